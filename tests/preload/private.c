/*
 * private FILE [direct]: what a program may do with private maps of a file. Knows nothing of inodax: it has to see the
 * same with lib/preload as without; `direct` but for what inodax-run(1) says is different then.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE	4096UL
#define PAGES	64UL
#define RW	(PROT_READ | PROT_WRITE)

static const char *name, *doing = "start";
static bool direct;
static int fd;
static sigjmp_buf escape;

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s: ", doing);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	_exit(1);
}

static void must(bool ok, const char *what)
{
	if (!ok)
		die("%s: %s", what, strerror(errno));
}

/* ---- The file: page n is full of n + 1 --------------------------------------------------------------------- */

static void put(size_t page, int value)
{
	char bytes[PAGE];

	memset(bytes, value, PAGE);
	must(pwrite(fd, bytes, PAGE, (off_t)(page * PAGE)) == PAGE, "pwrite");
}

static void fill(void)
{
	must(!ftruncate(fd, 0) && !ftruncate(fd, PAGES * PAGE), "ftruncate");
	for (size_t i = 0; i < PAGES; i++)
		put(i, (int)i + 1);
}

static void file_has(size_t page, int value)
{
	char bytes[PAGE];

	must(pread(fd, bytes, PAGE, (off_t)(page * PAGE)) == PAGE, "pread");
	for (size_t i = 0; i < PAGE; i++)
		if (bytes[i] != (char)value)
			die("byte %zu of page %zu of the file is %d, %d was needed", i, page, bytes[i], value);
}

/* ---- Maps --------------------------------------------------------------------------------------------------- */

static char *map_at(int from, size_t page, size_t pages, int prot, int flags)
{
	char *at = mmap(NULL, pages * PAGE, prot, flags, from, (off_t)(page * PAGE));

	must(at != MAP_FAILED, "mmap");
	return at;
}

static char *map(int prot)
{
	return map_at(fd, 0, PAGES, prot, MAP_PRIVATE);
}

static void unmap(char *at)
{
	must(!munmap(at, PAGES * PAGE), "munmap");
}

static void has(const char *at, size_t page, int value)
{
	for (size_t i = 0; i < PAGE; i++)
		if (at[page * PAGE + i] != (char)value)
			die("byte %zu of page %zu of the map is %d, %d was needed", i, page, at[page * PAGE + i], value);
}

static void store(char *at, size_t page, int value)
{
	memset(at + page * PAGE, value, PAGE);
}

static void on_signal(int sig)
{
	siglongjmp(escape, sig);
}

/* A load (or a store) raises `sig`. */
static void raises(int sig, volatile char *at, bool is_store)
{
	int got;

	signal(sig, on_signal);
	got = sigsetjmp(escape, 1);
	if (!got) {
		if (is_store)
			*at = 1;
		else
			(void)*at;
		die("no %s", strsignal(sig));
	}
	signal(sig, SIG_DFL);
}

/* ---- What is private ---------------------------------------------------------------------------------------- */

static void stores_are_ones_own(void)
{
	struct stat before, after;
	char *at = map(RW), *other = map(PROT_READ);

	must(!fstat(fd, &before), "fstat");
	store(at, 3, 99);
	must(!fstat(fd, &after), "fstat");
	has(at, 3, 99);
	has(at, 2, 3);
	has(other, 3, 4);
	file_has(3, 4);
	if (before.st_blocks != after.st_blocks)
		die("st_blocks was %jd and is %jd", (intmax_t)before.st_blocks, (intmax_t)after.st_blocks);
	unmap(at);
	unmap(other);
}

/* Until a page is stored to it is the file's, by whatever way that changes. */
static void pages_follow_the_file(void)
{
	char *at = map(RW), *shared = map_at(fd, 0, PAGES, RW, MAP_SHARED);

	has(at, 5, 6);
	store(at, 4, 99);
	put(4, 70);
	put(5, 71);
	store(shared, 6, 72);
	has(at, 4, 99);
	has(at, 5, 71);
	has(at, 6, 72);
	unmap(at);
	unmap(shared);
}

static void a_descriptor_for_loads_is_enough(void)
{
	int only = open(name, O_RDONLY);
	char *at;

	must(only >= 0, "open");
	at = map_at(only, 0, PAGES, RW, MAP_PRIVATE);
	close(only);
	store(at, 1, 99);
	has(at, 1, 99);
	file_has(1, 2);
	unmap(at);
}

static void rights_may_be_added(void)
{
	char *at = map(PROT_READ);

	has(at, 7, 8);
	raises(SIGSEGV, at + 7 * PAGE, true);
	must(!mprotect(at + 7 * PAGE, 2 * PAGE, RW), "mprotect");
	store(at, 7, 99);
	store(at, 8, 98);
	raises(SIGSEGV, at + 9 * PAGE, true);
	must(!mprotect(at + 7 * PAGE, PAGE, PROT_READ), "mprotect");
	raises(SIGSEGV, at + 7 * PAGE, true);
	has(at, 7, 99);
	has(at, 8, 98);
	file_has(7, 8);
	must(!mprotect(at, PAGES * PAGE, PROT_NONE), "mprotect");
	raises(SIGSEGV, at + 8 * PAGE, false);
	must(!mprotect(at, PAGES * PAGE, PROT_READ), "mprotect");
	has(at, 8, 98);
	put(9, 50);
	has(at, 9, 50);
	unmap(at);
}

static void the_kernel_may_store(void)
{
	char *at = map(RW);

	must(pread(fd, at + 10 * PAGE, 2 * PAGE, 20 * PAGE) == 2 * PAGE, "pread");
	has(at, 10, 21);
	has(at, 11, 22);
	file_has(10, 11);
	must(pwrite(fd, at + 10 * PAGE, PAGE, 12 * PAGE) == PAGE, "pwrite");
	file_has(12, 21);
	has(at, 12, 21);
	unmap(at);
}

/* ---- Children ----------------------------------------------------------------------------------------------- */

static void wait_for(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0) == pid, "waitpid");
	if (status)
		die("a child ended with status %d", status);
}

static void child_of_child(char *at)
{
	pid_t pid = fork();

	must(pid >= 0, "fork");
	if (!pid) {
		has(at, 13, 99);
		has(at, 14, 98);
		has(at, 15, 97);
		has(at, 16, 44);
		_exit(0);
	}
	wait_for(pid);
}

static void children_have_copies(void)
{
	char *at = map(RW);
	int go[2];
	char c;
	pid_t pid;

	store(at, 13, 99);
	store(at, 14, 1);
	must(!pipe(go), "pipe");
	pid = fork();
	must(pid >= 0, "fork");
	if (!pid) {
		must(read(go[0], &c, 1) == 1, "read");
		has(at, 13, 99);
		has(at, 14, 1);
		has(at, 16, 44);
		store(at, 14, 98);
		store(at, 15, 97);
		child_of_child(at);
		_exit(0);
	}
	store(at, 13, 50);
	put(16, 44);
	must(write(go[1], "", 1) == 1, "write");
	wait_for(pid);
	has(at, 13, 50);
	has(at, 14, 1);
	has(at, 15, 16);
	has(at, 16, 44);
	close(go[0]);
	close(go[1]);
	unmap(at);
}

/* ---- Parts -------------------------------------------------------------------------------------------------- */

static void copies_may_be_dropped(void)
{
	char *at = map(RW);

	store(at, 17, 99);
	store(at, 18, 98);
	put(17, 40);
	must(!madvise(at + 17 * PAGE, PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	has(at, 17, 40);
	has(at, 18, 98);
	store(at, 17, 97);
	has(at, 17, 97);
	errno = 0;
	must(madvise(at, PAGE, MADV_REMOVE) == -1 && errno == EACCES, "MADV_REMOVE: EACCES");
	must(madvise(at, PAGE, MADV_FREE) == -1 && errno == EINVAL, "MADV_FREE: EINVAL");
	unmap(at);
}

static void parts_go(void)
{
	char *at = map(RW);

	store(at, 20, 99);
	store(at, 22, 98);
	must(!munmap(at + 21 * PAGE, PAGE), "munmap");
	raises(SIGSEGV, at + 21 * PAGE, false);
	has(at, 20, 99);
	has(at, 22, 98);
	has(at, 23, 24);
	must(mmap(at + 21 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_FIXED, fd, 30 * PAGE) == at + 21 * PAGE, "MAP_FIXED");
	has(at, 21, 31);
	unmap(at);
}

static void copies_move_along(void)
{
	char *at = map(RW), *to, *there = map_at(-1, 0, 2 * PAGES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS);

	store(at, 24, 99);
	to = mremap(at, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there);
	must(to == there, "mremap");
	has(to, 24, 99);
	has(to, 25, 26);
	put(25, 41);
	has(to, 25, 41);
	store(to, 26, 98);
	file_has(26, 27);
	to = mremap(to, PAGES * PAGE, PAGES / 2 * PAGE, 0);
	must(to == there, "mremap to less");
	has(to, 24, 99);
	errno = 0;
	must(mremap(to, 0, PAGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EINVAL, "mremap of nothing: EINVAL");
	unmap(to);
	munmap(there, 2 * PAGES * PAGE);
}

/* ---- What becomes of the file -------------------------------------------------------------------------------- */

static void holes_are_filled(void)
{
	char *at, *only;

	must(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8 * PAGE), "fallocate");
	at = map(RW);
	only = map(PROT_READ);
	has(at, 0, 0);
	has(only, 2, 0);
	store(at, 1, 99);
	put(1, 33);
	put(2, 34);
	put(3, 35);
	has(at, 1, 99);
	has(at, 2, 34);
	has(only, 1, 33);
	has(only, 2, 34);
	has(only, 3, 35);
	has(at, 4, 0);
	unmap(at);
	unmap(only);
}

/* A map that may be stored to keeps what is punched: see inodax-run(1). */
static void punched_pages_go(void)
{
	char *at = map(RW), *only = map(PROT_READ);

	store(at, 30, 99);
	has(at, 31, 32);
	has(only, 31, 32);
	must(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 29 * PAGE, 4 * PAGE), "fallocate");
	has(at, 30, 99);
	has(at, 31, direct ? 32 : 0);
	has(only, 30, 0);
	has(only, 31, 0);
	has(at, 33, 34);
	store(at, 31, 98);
	put(32, 45);
	has(only, 32, 45);
	has(at, 31, 98);
	must(!madvise(at + 31 * PAGE, 2 * PAGE, MADV_DONTNEED), "MADV_DONTNEED");
	has(at, 31, 0);
	has(at, 32, 45);
	unmap(at);
	unmap(only);
}

static void cut_pages_go(void)
{
	char *at = map(RW), *only = map(PROT_READ);

	store(at, 40, 99);
	has(only, 41, 42);
	must(!ftruncate(fd, 40 * PAGE), "ftruncate");
	has(only, 39, 40);
	raises(SIGBUS, only + 41 * PAGE, false);
	raises(SIGBUS, at + 40 * PAGE, false);
	store(at, 39, 97);
	must(!ftruncate(fd, PAGES * PAGE), "ftruncate");
	has(only, 41, 0);
	has(at, 40, 0);
	put(41, 46);
	has(only, 41, 46);
	has(at, 41, 46);
	has(at, 39, 97);
	unmap(at);
	unmap(only);
}

#define THREADS	4U
#define ROUNDS	1000

/* Of one thread: every THREADS'th page is its own to store to. */
struct storing {
	pthread_t	 thread;
	char		*at;
	unsigned int	 number;
};

static atomic_uint left;

/* What is stored stays until it is dropped, whatever becomes of the file meanwhile. */
static void *storing(void *arg)
{
	struct storing *s = arg;

	for (int round = 0; round < ROUNDS; round++) {
		for (size_t page = s->number; page < PAGES; page += THREADS) {
			volatile int *at = (volatile int *)(s->at + page * PAGE);

			if ((round + page) % 8 == 0 && madvise(s->at + page * PAGE, PAGE, MADV_DONTNEED))
				die("MADV_DONTNEED: %s", strerror(errno));
			at[0] = round;
			at[1] = (int)page;
			if (at[0] != round || at[1] != (int)page)
				die("page %zu lost what was stored in round %d", page, round);
		}
		for (size_t page = s->number; page < PAGES; page += THREADS)
			if (*(volatile int *)(s->at + page * PAGE) != round)
				die("page %zu lost what was stored in round %d, a little later", page, round);
	}
	atomic_fetch_sub(&left, 1);
	return NULL;
}

static void stores_stay(void)
{
	struct storing s[THREADS];
	char *at = map(RW);

	atomic_store(&left, THREADS);
	for (unsigned int i = 0; i < THREADS; i++) {
		s[i] = (struct storing){ .at = at, .number = i };
		must(!(errno = pthread_create(&s[i].thread, NULL, storing, &s[i])), "pthread_create");
	}
	for (size_t page = 0; atomic_load(&left); page = (page + 7) % PAGES) {
		must(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * PAGE), 3 * PAGE),
		     "fallocate");
		put(page, 1);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(s[i].thread, NULL);
	unmap(at);
}

static void flags_without_meaning(void)
{
	/* Some filesystems without DAX refuse MAP_SYNC here, too. */
	char *at = map_at(fd, 0, PAGES, RW, MAP_PRIVATE | MAP_POPULATE | MAP_NORESERVE | (direct ? MAP_SYNC : 0));

	has(at, 50, 51);
	must(!msync(at, PAGES * PAGE, MS_SYNC), "msync");
	must(!mlock(at, PAGE) && !munlock(at, PAGE), "mlock");
	unmap(at);
}

int main(int argc, char **argv)
{
	static const struct {
		void (*fn)(void);
		const char *what;
	} test[] = {
		{ stores_are_ones_own, "stores are one's own" },
		{ pages_follow_the_file, "pages follow the file" },
		{ a_descriptor_for_loads_is_enough, "a descriptor for loads is enough" },
		{ rights_may_be_added, "rights may be added" },
		{ the_kernel_may_store, "the kernel may store" },
		{ children_have_copies, "children have copies" },
		{ copies_may_be_dropped, "copies may be dropped" },
		{ parts_go, "parts go" },
		{ copies_move_along, "copies move along" },
		{ holes_are_filled, "holes are filled" },
		{ punched_pages_go, "punched pages go" },
		{ flags_without_meaning, "flags without meaning" },
		{ stores_stay, "stores stay" },
		{ cut_pages_go, "cut pages go" },
	};

	if (argc < 2) {
		fputs("private FILE [direct]\n", stderr);
		return 2;
	}
	name = argv[1];
	direct = argc > 2;
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0666);
	must(fd >= 0, name);
	for (size_t i = 0; i < sizeof(test) / sizeof(*test); i++) {
		doing = test[i].what;
		fill();
		test[i].fn();
	}
	puts("as private maps are");
	return 0;
}
