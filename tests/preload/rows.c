/*
 * rows GROUP FILE OTHER tmpfs|dax|direct|direct-dax [large]: what the kernel's DAX shows to programs, row by row. Knows
 * nothing of inodax: where that differs under lib/preload, the row says differs() and doc/mirror.md why. FILE is on a
 * tmpfs, on a file system of the kernel's with DAX, or on inodax, whose pool is on one of the former ("direct") or of
 * the latter.
 */
#include "rows.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

const char *name, *other;
enum where where;
bool dax_memory, large;
int fd = -1;

static const struct row *row;
static unsigned int wrong;
static sigjmp_buf escape;
static siginfo_t raised;

/* ---- Findings ----------------------------------------------------------------------------------------------- */

static void __attribute__((format(printf, 1, 0))) say(const char *format, va_list args)
{
	fprintf(stderr, "5.%s %s: ", row ? row->number : "0", row ? row->what : "start");
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	_exit(1);
}

void wanted(bool ok, const char *format, ...)
{
	va_list args;

	if (ok)
		return;
	wrong++;
	va_start(args, format);
	say(format, args);
	va_end(args);
}

void must(bool ok, const char *what)
{
	if (!ok)
		die("%s: %s", what, strerror(errno));
}

void same(long found, long needed, const char *what)
{
	wanted(found == needed, "%s: %ld, %ld was needed", what, found, needed);
}

void same_blocks(long found, long needed, const char *what)
{
	wanted(labs(found - needed) <= 8, "%s: %ld, %ld was needed", what, found, needed);
}

void fails(bool failed, int needed, const char *what)
{
	wanted(failed && errno == needed, "%s: %s, \"%s\" was needed", what, failed ? strerror(errno) : "no error",
	       strerror(needed));
}

long differs(long kernel, long inodax)
{
	return where == ON_INODAX ? inodax : kernel;
}

long status_of(const char *field)
{
	FILE *f = fopen("/proc/self/status", "r");
	size_t length = strlen(field);
	char line[256];
	long value = -1;

	must(f, "/proc/self/status");
	while (fgets(line, sizeof(line), f))
		if (strncmp(line, field, length) == 0 && line[length] == ':')
			value = atol(line + length + 1);
	fclose(f);
	wanted(value >= 0, "/proc/self/status has no %s", field);
	return value;
}

long if_large(void)
{
	return large ? 1 : (long)LARGE_PAGES;
}

long of_memory(long dax, long tmpfs)
{
	return dax_memory ? dax : tmpfs;
}

/* ---- The file ----------------------------------------------------------------------------------------------- */

long blocks(void)
{
	struct stat st;

	must(!fstat(fd, &st), "fstat");
	return st.st_blocks;
}

long free_blocks(void)
{
	struct statfs fs;

	must(!fstatfs(fd, &fs), "fstatfs");
	return (long)(fs.f_bfree * ((unsigned long)fs.f_bsize / 512));
}

long seek(int whence, size_t from)
{
	off_t at = lseek(fd, (off_t)from, whence);

	return at < 0 ? -errno : at;
}

void cut(size_t bytes)
{
	must(!ftruncate(fd, (off_t)bytes), "ftruncate");
}

void allocate(size_t bytes)
{
	must(!fallocate(fd, 0, 0, (off_t)bytes), "fallocate");
}

void fill(void)
{
	cut(PAGES * PAGE);
	for (size_t i = 0; i < PAGES; i++)
		put(i, (int)i + 1);
}

void put(size_t page, int value)
{
	char bytes[PAGE];

	memset(bytes, value, PAGE);
	must(pwrite(fd, bytes, PAGE, (off_t)(page * PAGE)) == PAGE, "pwrite");
}

static void all_are(const char *bytes, const char *whose, size_t page, int value)
{
	size_t i = 0;

	while (i < PAGE && bytes[i] == (char)value)
		i++;
	wanted(i == PAGE, "byte %zu of page %zu of the %s is %d, %d was needed", i, page, whose,
	       i < PAGE ? bytes[i] : 0, value);
}

void file_has(size_t page, int value)
{
	char bytes[PAGE];

	must(pread(fd, bytes, PAGE, (off_t)(page * PAGE)) == PAGE, "pread");
	all_are(bytes, "file", page, value);
}

void punch(size_t page, size_t pages)
{
	must(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * PAGE), (off_t)(pages * PAGE)),
	     "fallocate, PUNCH_HOLE");
}

/* ---- Maps --------------------------------------------------------------------------------------------------- */

char *map_of(int from, size_t page, size_t pages, int prot, int flags)
{
	char *at = mmap(NULL, pages * PAGE, prot, flags, from, (off_t)(page * PAGE));

	must(at != MAP_FAILED, "mmap");
	return at;
}

char *map(size_t pages, int prot)
{
	return map_of(fd, 0, pages, prot, MAP_SHARED);
}

void unmap(char *at, size_t pages)
{
	must(!munmap(at, pages * PAGE), "munmap");
}

void has(const char *at, size_t page, int value)
{
	all_are(at + page * PAGE, "map", page, value);
}

void store(char *at, size_t page, int value)
{
	memset(at + page * PAGE, value, PAGE);
}

/* Minor or major: one that had to wait for somebody counts as major. */
static long faults(void)
{
	struct rusage use;

	must(!getrusage(RUSAGE_THREAD, &use), "getrusage");
	return use.ru_minflt + use.ru_majflt;
}

long loads(const char *at, size_t pages)
{
	long before = faults();

	for (size_t i = 0; i < pages; i++)
		(void)*(const volatile char *)(at + i * PAGE);
	return faults() - before;
}

long stores(char *at, size_t pages, int value)
{
	long before = faults();

	for (size_t i = 0; i < pages; i++)
		*(volatile char *)(at + i * PAGE) = (char)value;
	return faults() - before;
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)context;
	raised = *info;
	siglongjmp(escape, sig);
}

void raises(int sig, int code, char *at, bool is_store)
{
	struct sigaction act = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	int got;

	must(!sigaction(sig, &act, NULL), "sigaction");
	got = sigsetjmp(escape, 1);
	if (!got) {
		if (is_store)
			*(volatile char *)at = 1;
		else
			(void)*(volatile char *)at;
		wanted(false, "a %s raises no %s", is_store ? "store" : "load", strsignal(sig));
	} else {
		same(raised.si_code, code, "si_code");
		wanted(raised.si_addr == at, "si_addr is %p, %p was needed", raised.si_addr, (void *)at);
	}
	signal(sig, SIG_DFL);
}

/* ---- Another process ---------------------------------------------------------------------------------------- */

static void child_ends(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0) == pid, "waitpid");
	wanted(!status, "the other process ended with status %#x", (unsigned int)status);
}

void peer_start(struct peer *p, void (*fn)(struct peer *p))
{
	char c;

	must(!pipe(p->to) && !pipe(p->from), "pipe");
	p->pid = fork();
	must(p->pid >= 0, "fork");
	if (!p->pid) {
		close(p->to[1]);
		close(p->from[0]);
		wrong = 0;
		fn(p);
		_exit(wrong ? 1 : 0);
	}
	close(p->to[0]);
	close(p->from[1]);
	must(read(p->from[0], &c, 1) == 1, "the other process ended");
}

void peer_go(struct peer *p)
{
	char c = 0;

	must(write(p->to[1], &c, 1) == 1 && read(p->from[0], &c, 1) == 1, "the other process ended");
}

void peer_stop(struct peer *p)
{
	char c = 0;

	must(write(p->from[1], &c, 1) == 1 && read(p->to[0], &c, 1) >= 0, "the other process ended");
}

void peer_run(struct peer *p)
{
	char c = 0;

	must(write(p->to[1], &c, 1) == 1, "write");
}

void peer_end(struct peer *p)
{
	close(p->to[1]);
	close(p->from[0]);
	child_ends(p->pid);
}

void in_child(void (*fn)(void))
{
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (!pid) {
		wrong = 0;
		fn();
		_exit(wrong ? 1 : 0);
	}
	child_ends(pid);
}

/* ---- All of them -------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	const struct row *rows;
} groups[] = {
	{ "holes", hole_rows }, { "sizes", size_rows }, { "lives", life_rows }, { "ends", end_rows },
	{ "writes", write_rows }, { "flags", flag_rows }, { "private", private_rows }, { "parts", part_rows },
	{ "advice", advice_rows }, { "hands", hand_rows }, { "others", other_rows },
};

/* What is counted is not to include the first use of the code that counts. */
static void warm_up(void)
{
	char *at = mmap(NULL, 4 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(at != MAP_FAILED, "mmap");
	(void)loads(at, 1);
	same(stores(at + PAGE, 3, 1), 3, "faults of three stores to ordinary memory");
	same(stores(at + PAGE, 3, 1), 0, "faults of the same again");
	unmap(at, 4);
}

/* Each row has a file of its own. false: none could be run here. */
static bool run(const struct row *rows)
{
	bool any = false;

	for (row = rows; row->fn; row++) {
		if (where == ON_TMPFS && !row->on_tmpfs)
			continue;
		unlink(name);
		fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
		must(fd >= 0, name);
		row->fn();
		close(fd);
		printf("5.%s\n", row->number);
		any = true;
	}
	row = NULL;
	unlink(name);
	return any;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		enum where where;
		bool dax_memory;
	} places[] = {
		{ "tmpfs", ON_TMPFS, false }, { "dax", ON_DAX, true },
		{ "direct", ON_INODAX, false }, { "direct-dax", ON_INODAX, true }, { "", ON_TMPFS, false },
	}, *place = places;
	bool any = false;

	if (argc < 5) {
		fputs("rows GROUP FILE OTHER tmpfs|dax|direct|direct-dax [large]\n", stderr);
		return 2;
	}
	name = argv[2];
	other = argv[3];
	while (*place->name && strcmp(argv[4], place->name) != 0)
		place++;
	where = place->where;
	dax_memory = place->dax_memory;
	large = argc > 5;
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IONBF, 0);	/* children have no lines of it to say again */
	warm_up();
	for (size_t i = 0; i < sizeof(groups) / sizeof(*groups); i++)
		if (*place->name && strcmp(argv[1], groups[i].name) == 0)
			any = run(groups[i].rows);
	if (!*place->name || !any) {
		fprintf(stderr, "no rows '%s' on '%s'\n", argv[1], argv[4]);
		return 2;
	}
	return wrong ? 1 : 0;
}
