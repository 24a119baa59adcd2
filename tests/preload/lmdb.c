/*
 * lmdb DIRECTORY map|write COMMAND: an environment of LMDB with a map of 1 GiB, stored to through the map
 * (MDB_WRITEMAP) or by write(2). Knows nothing of inodax.
 *
 *	load FIRST RECORDS		in transactions of 10, each said when it is durable: its last record
 *	add TIMES			a transaction each that adds 1 to the sum
 *	verify				all that is there is whole: says how many records, and the sum
 *	watch TIMES			verify TIMES times, beside writers
 *
 * What a record contains follows from its number. Each transaction counts what it stores, in a record of its own.
 */
#include <endian.h>
#include <inttypes.h>
#include <lmdb.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAP_SIZE	(1UL << 30)
#define BATCH		10U
#define VALUE_MAX	16384U

struct account {
	uint64_t records, sum;
};

static MDB_env *env;
static MDB_dbi dbi;
static unsigned char value[VALUE_MAX];

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static void must(int rc, const char *what)
{
	if (rc)
		die("%s: %s", what, mdb_strerror(rc));
}

static MDB_val val(const void *data, size_t size)
{
	return (MDB_val){ .mv_size = size, .mv_data = (void *)(uintptr_t)data };
}

/* Small ones that share a page, and now and then one that has pages of its own. */
static MDB_val record(uint64_t number)
{
	size_t size = number % 64 ? 16 + number % 700 : VALUE_MAX;

	for (size_t i = 0; i < size; i += 8)
		memcpy(value + i, &(uint64_t){ number * 0x9e3779b97f4a7c15 + i }, 8);
	return val(value, size);
}

static struct account account(MDB_txn *txn)
{
	MDB_val key = val("account", 7), data;
	struct account a = { 0 };
	int rc = mdb_get(txn, dbi, &key, &data);

	if (rc == MDB_NOTFOUND)
		return a;
	must(rc, "mdb_get of the account");
	memcpy(&a, data.mv_data, sizeof(a));
	return a;
}

static void commit_account(MDB_txn *txn, const struct account *a)
{
	MDB_val key = val("account", 7), data = val(a, sizeof(*a));

	must(mdb_put(txn, dbi, &key, &data, 0), "mdb_put of the account");
	must(mdb_txn_commit(txn), "mdb_txn_commit");
}

static void load(uint64_t first, uint64_t records)
{
	for (uint64_t number = first; number < first + records;) {
		struct account a;
		MDB_txn *txn;

		must(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
		a = account(txn);
		for (unsigned int i = 0; i < BATCH; i++, number++) {
			MDB_val key = val(&(uint64_t){ htobe64(number) }, 8), data = record(number);

			must(mdb_put(txn, dbi, &key, &data, MDB_NOOVERWRITE), "mdb_put");
		}
		a.records += BATCH;
		commit_account(txn, &a);
		printf("%" PRIu64 "\n", number - 1);
		fflush(stdout);
	}
}

static void add(uint64_t times)
{
	while (times--) {
		struct account a;
		MDB_txn *txn;

		must(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
		a = account(txn);
		a.sum++;
		commit_account(txn, &a);
	}
}

static void check(const MDB_val *key, const MDB_val *data)
{
	uint64_t number;
	MDB_val want;

	memcpy(&number, key->mv_data, 8);
	number = be64toh(number);
	want = record(number);
	if (data->mv_size != want.mv_size || memcmp(data->mv_data, want.mv_data, want.mv_size) != 0)
		die("record %" PRIu64 " is not what was stored", number);
}

static void verify(bool say)
{
	MDB_cursor *cursor;
	MDB_val key, data;
	uint64_t found = 0;
	struct account a;
	MDB_txn *txn;
	int rc;

	must(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn), "mdb_txn_begin");
	a = account(txn);
	must(mdb_cursor_open(txn, dbi, &cursor), "mdb_cursor_open");
	while (!(rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)))
		if (key.mv_size == 8) {
			check(&key, &data);
			found++;
		}
	if (rc != MDB_NOTFOUND)
		must(rc, "mdb_cursor_get");
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	if (found != a.records || found % BATCH)
		die("%" PRIu64 " records are there, and %" PRIu64 " accounted for", found, a.records);
	if (say)
		printf("%" PRIu64 " %" PRIu64 "\n", found, a.sum);
}

static void open_env(const char *dir, bool map)
{
	MDB_txn *txn;

	must(mdb_env_create(&env), "mdb_env_create");
	must(mdb_env_set_mapsize(env, MAP_SIZE), "mdb_env_set_mapsize");
	must(mdb_env_open(env, dir, map ? MDB_WRITEMAP : 0, 0644), "mdb_env_open");
	must(mdb_txn_begin(env, NULL, 0, &txn), "mdb_txn_begin");
	must(mdb_dbi_open(txn, NULL, 0, &dbi), "mdb_dbi_open");
	must(mdb_txn_commit(txn), "mdb_txn_commit");
}

int main(int argc, char **argv)
{
	const char *command = argc > 3 ? argv[3] : "";
	uint64_t n = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;

	if (argc < 4)
		die("usage: lmdb DIRECTORY map|write load FIRST RECORDS | add TIMES | verify | watch TIMES");
	open_env(argv[1], !strcmp(argv[2], "map"));
	if (!strcmp(command, "load") && argc > 5)
		load(n, strtoull(argv[5], NULL, 10));
	else if (!strcmp(command, "add"))
		add(n);
	else if (!strcmp(command, "verify"))
		verify(true);
	else
		while (n--)
			verify(false);
	mdb_env_close(env);
	return 0;
}
