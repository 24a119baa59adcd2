/*
 * rocksdb DIRECTORY load FIRST RECORDS|verify: a database of RocksDB that maps the files it reads and those it writes.
 * `load` says each number when its record is durable, every hundredth; `verify` says how many there are, and that they
 * are the first ones. Knows nothing of inodax.
 */
#include <inttypes.h>
#include <rocksdb/c.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE	400U
#define SYNC	100U

static void must(char *error, const char *what)
{
	if (!error)
		return;
	fprintf(stderr, "%s: %s\n", what, error);
	exit(1);
}

static void record(uint64_t number, char *key, char *value)
{
	snprintf(key, 32, "%016" PRIx64, number);
	for (size_t i = 0; i < VALUE; i += 8)
		memcpy(value + i, &(uint64_t){ number * 0x9e3779b97f4a7c15 + i }, 8);
}

static void load(rocksdb_t *db, uint64_t first, uint64_t records)
{
	rocksdb_writeoptions_t *options = rocksdb_writeoptions_create();
	char key[32], value[VALUE], *error = NULL;

	for (uint64_t number = first; number < first + records; number++) {
		record(number, key, value);
		rocksdb_writeoptions_set_sync(options, number % SYNC == 0);
		rocksdb_put(db, options, key, strlen(key), value, VALUE, &error);
		must(error, "rocksdb_put");
		if (number % SYNC)
			continue;
		printf("%" PRIu64 "\n", number);
		fflush(stdout);
	}
	rocksdb_writeoptions_destroy(options);
}

static void verify(rocksdb_t *db)
{
	rocksdb_readoptions_t *options = rocksdb_readoptions_create();
	rocksdb_iterator_t *at = rocksdb_create_iterator(db, options);
	char key[32], value[VALUE], *error = NULL;
	uint64_t number = 0;

	for (rocksdb_iter_seek_to_first(at); rocksdb_iter_valid(at); rocksdb_iter_next(at)) {
		size_t key_length, length;
		const char *k = rocksdb_iter_key(at, &key_length), *v = rocksdb_iter_value(at, &length);

		record(++number, key, value);
		if (key_length != strlen(key) || memcmp(k, key, key_length) != 0 || length != VALUE ||
		    memcmp(v, value, length) != 0) {
			fprintf(stderr, "record %" PRIu64 " is not what was stored\n", number);
			exit(1);
		}
	}
	rocksdb_iter_get_error(at, &error);
	must(error, "the iterator");
	rocksdb_iter_destroy(at);
	rocksdb_readoptions_destroy(options);
	printf("%" PRIu64 "\n", number);
}

static rocksdb_t *open_db(const char *dir)
{
	rocksdb_options_t *options = rocksdb_options_create();
	char *error = NULL;
	rocksdb_t *db;

	rocksdb_options_set_create_if_missing(options, 1);
	rocksdb_options_set_allow_mmap_reads(options, 1);
	rocksdb_options_set_allow_mmap_writes(options, 1);
	rocksdb_options_set_paranoid_checks(options, 1);
	rocksdb_options_set_write_buffer_size(options, 256 << 10);
	rocksdb_options_set_target_file_size_base(options, 512 << 10);
	rocksdb_options_set_compression(options, rocksdb_no_compression);
	db = rocksdb_open(options, dir, &error);
	must(error, dir);
	rocksdb_options_destroy(options);
	return db;
}

int main(int argc, char **argv)
{
	rocksdb_t *db;

	if (argc != 3 && argc != 5)
		return 2;
	db = open_db(argv[1]);
	if (argc == 5)
		load(db, strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
	else
		verify(db);
	rocksdb_close(db);
	return 0;
}
