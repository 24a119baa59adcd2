/*
 * A writer that keeps accounts, for tests that kill the daemon under it.
 *
 *	acked write DIR LOG THREADS	until the mount fails: exit status 0
 *	acked verify DIR LOG		after a remount: does everything that was acknowledged hold?
 *
 * Each thread works in a directory of its own, one operation at a time. It makes a file under a temporary
 * name, fills it (by write, by pwrite from the end, or through a shared mapping), sets an attribute, syncs
 * and renames it; removes old files; and appends records to a journal. Around each operation stand two
 * entries in LOG, which is on another filesystem: what is about to be done in lower case, and in upper case
 * that it was answered. So a file is whole and there ('C', no 'd'), gone ('D'), or either but never in
 * between.
 *
 * What a file contains follows from its thread and number.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define THREADS_MAX	64U
#define IDS_MAX		(1U << 20)	/* files of one thread */
#define LIVE_MAX	48U		/* files a thread keeps */
#define CHUNK		16384U
#define RECORD		64U
#define ATTRIBUTE	"user.acked"

static const char *top;
static int log_fd;

struct worker {
	pthread_t	thread;
	unsigned int	number;
	int		journal;
	uint32_t	next, oldest;	/* files made so far; first that is not removed */
};

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* Word `index` of file `id` of thread `number`. */
static uint64_t word_of(unsigned int number, uint32_t id, uint64_t index)
{
	return mix(((uint64_t)number << 56) + ((uint64_t)id << 32) + index + 1);
}

/* Small files mostly, in multiples of a word. */
static size_t size_of(unsigned int number, uint32_t id)
{
	uint64_t r = word_of(number, id, UINT32_MAX);
	size_t limit = r % 8 == 0 ? 512 << 10 : r % 8 < 4 ? 32 << 10 : 4096;

	return ((r >> 8) % limit + 8) & ~(size_t)7;
}

static void fill(uint64_t *buf, unsigned int number, uint32_t id, size_t off, size_t len)
{
	for (size_t i = 0; i < len / 8; i++)
		buf[i] = word_of(number, id, off / 8 + i);
}

static _Noreturn void die(const char *what, const char *path)
{
	printf("acked: %s %s: %s\n", what, path, strerror(errno));
	exit(1);
}

/* A call on the mount failed: if that is because the daemon is gone, the work of this process is done. */
static _Noreturn void mount_failed(const char *what, const char *path)
{
	if (errno == ENOTCONN || errno == ECONNABORTED || errno == EIO)
		_exit(0);
	die(what, path);
}

/*
 * A page of a mapping cannot be had, or be written back, any more. The test knows whether the daemon was
 * killed.
 */
static void on_bus_error(int sig)
{
	(void)sig;
	_exit(0);
}

/*
 * ---- Writing
 * -------------------------------------------------------------------------------------------------
 */

static void note(const struct worker *w, char what, uint32_t id)
{
	char line[64];
	int len = snprintf(line, sizeof(line), "%c %u %" PRIu32 "\n", what, w->number, id);

	if (write(log_fd, line, (size_t)len) != len)
		die("write", "LOG");
}

static void fill_by_write(const struct worker *w, int fd, uint32_t id, size_t size, const char *path)
{
	uint64_t buf[CHUNK / 8];

	for (size_t off = 0; off < size; off += CHUNK) {
		size_t len = size - off < CHUNK ? size - off : CHUNK;

		fill(buf, w->number, id, off, len);
		if (write(fd, buf, len) != (ssize_t)len)
			mount_failed("write", path);
	}
}

/* From the end to the start: every chunk but the first leaves a hole before it. */
static void fill_backwards(const struct worker *w, int fd, uint32_t id, size_t size, const char *path)
{
	uint64_t buf[CHUNK / 8];

	for (size_t off = (size - 1) / CHUNK * CHUNK;; off -= CHUNK) {
		size_t len = size - off < CHUNK ? size - off : CHUNK;

		fill(buf, w->number, id, off, len);
		if (pwrite(fd, buf, len, (off_t)off) != (ssize_t)len)
			mount_failed("pwrite", path);
		if (off == 0)
			break;
	}
}

static void fill_by_mapping(const struct worker *w, int fd, uint32_t id, size_t size, const char *path)
{
	uint64_t *map;

	if (ftruncate(fd, (off_t)size))
		mount_failed("ftruncate", path);
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		mount_failed("mmap", path);
	fill(map, w->number, id, 0, size);
	if (msync(map, size, MS_SYNC))
		mount_failed("msync", path);
	munmap(map, size);
}

static void make_file(struct worker *w)
{
	uint32_t id = w->next++;
	size_t size = size_of(w->number, id);
	char temporary[4096], path[4096];
	int fd;

	snprintf(temporary, sizeof(temporary), "%s/%u/new", top, w->number);
	snprintf(path, sizeof(path), "%s/%u/%" PRIu32, top, w->number, id);
	note(w, 'c', id);
	fd = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		mount_failed("open", temporary);
	if (id % 3 == 0)
		fill_by_write(w, fd, id, size, temporary);
	else if (id % 3 == 1)
		fill_backwards(w, fd, id, size, temporary);
	else
		fill_by_mapping(w, fd, id, size, temporary);
	if (fsetxattr(fd, ATTRIBUTE, &id, sizeof(id), 0))
		mount_failed("fsetxattr", temporary);
	if (fsync(fd))
		mount_failed("fsync", temporary);
	close(fd);
	if (rename(temporary, path))
		mount_failed("rename", path);
	note(w, 'C', id);
}

static void remove_oldest(struct worker *w)
{
	uint32_t id = w->oldest++;
	char path[4096];

	snprintf(path, sizeof(path), "%s/%u/%" PRIu32, top, w->number, id);
	note(w, 'd', id);
	if (unlink(path))
		mount_failed("unlink", path);
	note(w, 'D', id);
}

static void append_record(const struct worker *w, uint32_t id)
{
	uint64_t buf[RECORD / 8];

	fill(buf, w->number, IDS_MAX, (size_t)id * RECORD, RECORD);
	note(w, 'a', id);
	if (write(w->journal, buf, RECORD) != (ssize_t)RECORD || fdatasync(w->journal))
		mount_failed("write", "journal");
	note(w, 'A', id);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	char path[4096];

	snprintf(path, sizeof(path), "%s/%u", top, w->number);
	if (mkdir(path, 0700))
		mount_failed("mkdir", path);
	snprintf(path, sizeof(path), "%s/%u/journal", top, w->number);
	w->journal = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	if (w->journal < 0)
		mount_failed("open", path);
	for (uint32_t n = 0; w->next < IDS_MAX; n++) {
		append_record(w, n);
		make_file(w);
		while (w->next - w->oldest > LIVE_MAX)
			remove_oldest(w);
	}
	return NULL;
}

static int write_files(unsigned int threads)
{
	static struct worker workers[THREADS_MAX];
	struct sigaction bus = { .sa_handler = on_bus_error };

	sigaction(SIGBUS, &bus, NULL);
	for (unsigned int i = 0; i < threads; i++) {
		workers[i].number = i;
		errno = pthread_create(&workers[i].thread, NULL, work, &workers[i]);
		if (errno)
			die("pthread_create", "");
	}
	for (unsigned int i = 0; i < threads; i++)
		pthread_join(workers[i].thread, NULL);
	printf("acked: all numbers are used up and the mount is still there\n");
	return 1;
}

/*
 * ---- Verifying
 * -----------------------------------------------------------------------------------------------
 */

#define MADE		(1U << 0)	/* 'c' */
#define MADE_ACKED	(1U << 1)	/* 'C' */
#define REMOVED		(1U << 2)	/* 'd' */
#define REMOVED_ACKED	(1U << 3)	/* 'D' */

static uint8_t *state[THREADS_MAX];
static uint32_t appended[THREADS_MAX], appended_acked[THREADS_MAX];
static uint64_t wrong, whole;

static void __attribute__((format(printf, 1, 2))) report(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	wrong++;
}

static void take_note(char what, unsigned int number, uint32_t id)
{
	static const char letters[] = "cCdD";
	const char *at = strchr(letters, what);

	if (what == 'a')
		appended[number] = id + 1;
	else if (what == 'A')
		appended_acked[number] = id + 1;
	else if (at)
		state[number][id] |= (uint8_t)(1U << (at - letters));
}

static unsigned int read_log(const char *path)
{
	unsigned int number, threads = 0;
	FILE *f = fopen(path, "re");
	uint32_t id;
	char what;

	if (!f)
		die("open", path);
	while (fscanf(f, " %c %u %" SCNu32, &what, &number, &id) == 3) {
		if (number >= THREADS_MAX || id >= IDS_MAX) {
			errno = EINVAL;
			die("read", path);
		}
		for (; threads <= number; threads++) {
			state[threads] = calloc(IDS_MAX, 1);
			if (!state[threads])
				die("calloc", path);
		}
		take_note(what, number, id);
	}
	fclose(f);
	return threads;
}

/* Does the file from its start on hold `size` bytes of what it should? */
static bool contents_hold(int fd, unsigned int number, uint32_t id, size_t size)
{
	uint64_t found[CHUNK / 8], wanted[CHUNK / 8];

	for (size_t off = 0; off < size; off += CHUNK) {
		size_t len = size - off < CHUNK ? size - off : CHUNK;

		fill(wanted, number, id, off, len);
		if (pread(fd, found, len, (off_t)off) != (ssize_t)len || memcmp(found, wanted, len))
			return false;
	}
	return true;
}

static void verify_file(const char *path, unsigned int number, uint32_t id)
{
	size_t size = size_of(number, id);
	uint32_t attr = 0;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st)) {
		report("%s: %s", path, strerror(errno));
		return;
	}
	if ((size_t)st.st_size != size)
		report("%s: size %jd, needed %zu", path, (intmax_t)st.st_size, size);
	else if (!contents_hold(fd, number, id, size))
		report("%s: contents are wrong", path);
	else if (fgetxattr(fd, ATTRIBUTE, &attr, sizeof(attr)) != (ssize_t)sizeof(attr) || attr != id)
		report("%s: attribute %" PRIu32 ", needed %" PRIu32, path, attr, id);
	else
		whole++;
	close(fd);
}

static void verify_journal(unsigned int number)
{
	size_t least = (size_t)appended_acked[number] * RECORD, most = (size_t)appended[number] * RECORD;
	char path[4096];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%u/journal", top, number);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		if (least)
			report("%s: %s", path, strerror(errno));
		return;
	}
	if ((size_t)st.st_size < least || (size_t)st.st_size > most)
		report("%s: size %jd, needed %zu to %zu", path, (intmax_t)st.st_size, least, most);
	else if (!contents_hold(fd, number, IDS_MAX, least))
		report("%s: acknowledged records are wrong", path);
	close(fd);
}

static void verify_name(unsigned int number, uint32_t id)
{
	uint8_t is = state[number][id];
	char path[4096];

	snprintf(path, sizeof(path), "%s/%u/%" PRIu32, top, number, id);
	if (access(path, F_OK) == 0) {
		if (is & REMOVED_ACKED)
			report("%s: is there after it was removed", path);
		else
			verify_file(path, number, id);
	} else if ((is & MADE_ACKED) && !(is & REMOVED)) {
		report("%s: %s", path, strerror(errno));
	}
}

/* Names that nobody made. */
static void verify_directory(unsigned int number)
{
	struct dirent *de;
	char path[4096];
	DIR *d;

	snprintf(path, sizeof(path), "%s/%u", top, number);
	d = opendir(path);
	if (!d) {
		report("%s: %s", path, strerror(errno));
		return;
	}
	while ((de = readdir(d))) {
		unsigned long id = strtoul(de->d_name, NULL, 10);

		if (isdigit((unsigned char)de->d_name[0]) && (id >= IDS_MAX || !(state[number][id] & MADE)))
			report("%s/%s: was never made", path, de->d_name);
	}
	closedir(d);
}

static int verify(const char *log)
{
	unsigned int threads = read_log(log);

	for (unsigned int number = 0; number < threads; number++) {
		verify_directory(number);
		verify_journal(number);
		for (uint32_t id = 0; id < IDS_MAX; id++)
			if (state[number][id])
				verify_name(number, id);
	}
	printf("acked: %" PRIu64 " files whole, %" PRIu64 " wrong\n", whole, wrong);
	return wrong || !whole;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	top = argc > 2 ? argv[2] : NULL;
	if (argc == 4 && strcmp(argv[1], "verify") == 0)
		return verify(argv[3]);
	if (argc == 5 && strcmp(argv[1], "write") == 0) {
		unsigned long threads = strtoul(argv[4], NULL, 10);

		log_fd = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
		if (log_fd < 0)
			die("open", argv[3]);
		if (threads >= 1 && threads <= THREADS_MAX)
			return write_files((unsigned int)threads);
	}
	fprintf(stderr, "usage: acked write DIR LOG THREADS | acked verify DIR LOG\n");
	return 2;
}
