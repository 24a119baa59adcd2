/*
 * See life.h.
 */
#include "life.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES_MAX	512U
#define CHUNK		(64 * PAGE)
#define NAP_US		200U
#define HANG_US		(600ULL * 1000000)	/* for what has to come: a full run has no other end */

struct control *control;

static const char *dir;
static uint64_t state;

uint64_t size_of(int fd)
{
	struct stat st;

	must_do(fstat(fd, &st), "fstat");
	return (uint64_t)st.st_size;
}

/* ---- Chance ----------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static uint64_t next(uint64_t *s, uint64_t n)
{
	*s += 0x9e3779b97f4a7c15ULL;
	return mix(*s) % n;
}

uint64_t rnd(uint64_t n)
{
	return next(&state, n);
}

void pause_up_to(uint64_t us)
{
	usleep((useconds_t)rnd(us));
}

void begin(const char *directory, uint64_t seed)
{
	dir = directory;
	state = seed;
}

static uint64_t free_blocks(void)
{
	struct statvfs st;

	must_do(statvfs(dir, &st), "statvfs");
	return st.f_bfree;
}

void control_new(struct control **out, const char *name, unsigned int number)
{
	control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (control == MAP_FAILED)
		fail("no memory");
	control->main = getpid();
	control->owner = rnd(UINT64_MAX);
	control->length = (2 + rnd(PAGES_MAX - 1)) * PAGE;
	snprintf(control->file, sizeof(control->file), "%s/%s-%u", dir, name, number);
	close(open_file(control->file, O_RDWR | O_CREAT | O_EXCL));
	control->free_before = free_blocks();
	*out = control;
}

/* ---- Waiting ---------------------------------------------------------------------------------------------- */

pid_t start(void (*fn)(void))
{
	uint64_t seed = rnd(UINT64_MAX);
	pid_t pid = fork();

	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	state = seed;
	fn();
	_exit(0);
}

void orphan(void)
{
	if (kill(control->main, 0))
		_exit(4);
}

static void nap(uint64_t *waited)
{
	usleep(NAP_US);
	orphan();
	*waited += NAP_US;
	if (*waited > HANG_US)
		fail("waited %llu s in vain: stage %d, go %d", HANG_US / 1000000, control->stage, control->go);
}

static void check_status(pid_t pid, int status, enum ends how)
{
	if (WIFEXITED(status) && !WEXITSTATUS(status) && how != ENDS_KILLED)
		return;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && how != ENDS_WELL)
		return;
	fail("process %d ended with status %#x", (int)pid, (unsigned int)status);
}

void ended(pid_t pid, enum ends how)
{
	uint64_t waited = 0;
	int status;
	pid_t rc;

	while ((rc = waitpid(pid, &status, WNOHANG)) == 0)
		nap(&waited);
	if (rc != pid)
		fail("waitpid: %s", strerror(errno));
	check_status(pid, status, how);
}

/* Is the thread of that name stopped, or in the kernel until one that is stopped goes on? */
static bool thread_stopped(int tasks, const char *name)
{
	char path[NAME_MAX + 8], text[512], *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/stat", name);
	fd = openat(tasks, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	end = strrchr(text, ')');
	return end && (end[2] == 'T' || end[2] == 'D');
}

static bool all_stopped(pid_t pid)
{
	char path[64];
	struct dirent *e;
	bool all = true;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		fail("%s: %s", path, strerror(errno));
	while ((e = readdir(tasks)))
		all = all && (e->d_name[0] == '.' || thread_stopped(dirfd(tasks), e->d_name));
	closedir(tasks);
	return all;
}

/*
 * waitpid(2) may have to wait for long: a thread that changes holes is not stopped before the library's reader has heard
 * of it (lib/client/uffd.c), which may be stopped already.
 */
void stopped(pid_t pid)
{
	uint64_t waited = 0;

	while (!all_stopped(pid))
		nap(&waited);
}

void reap_others(void)
{
	int status;
	pid_t pid;

	while ((pid = wait(&status)) > 0)
		check_status(pid, status, ENDS_ANYHOW);
}

void reached(int stage)
{
	atomic_store(&control->stage, stage);
}

void go(int n)
{
	atomic_store(&control->go, n);
}

void await_go(int n)
{
	uint64_t waited = 0;

	while (atomic_load(&control->go) < n)
		nap(&waited);
}

void await_stage(pid_t pid, int n)
{
	uint64_t waited = 0;

	while (atomic_load(&control->stage) < n) {
		siginfo_t info = { 0 };
		bool ours = !waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
		bool gone = ours ? info.si_pid == pid : kill(pid, 0);

		if (gone && atomic_load(&control->stage) < n)
			fail("process %d ended before stage %d", (int)pid, n);
		nap(&waited);
	}
}

void until_free(void)
{
	uint64_t waited = 0;

	while (free_blocks() < control->free_before)
		nap(&waited);
}

/* ---- Words ------------------------------------------------------------------------------------------------ */

static uint64_t word_of(uint64_t owner, uint64_t at)
{
	return mix(owner + mix(at + 1));
}

void words_of(uint64_t *words, uint64_t at, uint64_t length, uint64_t owner)
{
	for (uint64_t i = 0; i < length / 8; i++)
		words[i] = word_of(owner, at + i * 8);
}

/* ---- Memory that may go ----------------------------------------------------------------------------------- */

static struct inodax_map *map;
static volatile char *base;

static _Thread_local sigjmp_buf out;
static _Thread_local volatile sig_atomic_t guarded;

static void on_sigbus(int sig)
{
	static const char text[] = "life_client: SIGBUS where there is none to be\n";

	(void)sig;
	if (guarded)
		siglongjmp(out, 1);
	if (write(2, text, sizeof(text) - 1) < 0)
		_exit(6);
	_exit(5);
}

/* Another thread maps anew what is accessed here: that is the point, and no race to be found. */
#define MAPPED	__attribute__((noinline, no_sanitize("thread"), no_sanitize("address")))

/* `length` bytes to or from the map. false: SIGBUS, and some of them, perhaps. */
static MAPPED bool try_copy(volatile uint64_t *to, const volatile uint64_t *from, uint64_t length)
{
	if (sigsetjmp(out, 1)) {
		guarded = 0;
		return false;
	}
	guarded = 1;
	for (uint64_t i = 0; i < length / 8; i++)
		to[i] = from[i];
	guarded = 0;
	return true;
}

static volatile uint64_t *mapped(uint64_t at)
{
	return (volatile uint64_t *)(base + at);
}

static bool try_store(uint64_t at, uint64_t length, uint64_t owner)
{
	uint64_t words[PAGE / 8];

	words_of(words, at, length, owner);
	return try_copy(mapped(at), words, length);
}

static bool try_load(uint64_t at, uint64_t words[PAGE / 8])
{
	return try_copy(words, mapped(at), PAGE);
}

/* ---- The client ------------------------------------------------------------------------------------------- */

const volatile char *map_at(void)
{
	return base;
}

void client_map(bool direct)
{
	struct sigaction sa = { .sa_handler = on_sigbus };
	int fd = open_file(control->file, O_RDWR | O_CREAT), rc;

	must_do(sigaction(SIGBUS, &sa, NULL), "sigaction");
	must_do(ftruncate(fd, (off_t)control->length), "ftruncate");
	rc = inodax_map(fd, 0, control->length, INODAX_MAP_WRITE | (direct ? INODAX_MAP_REQUIRE : 0), &map);
	if (rc)
		fail("inodax_map: %s", strerror(-rc));
	close(fd);
	base = inodax_map_address(map);
	if (direct)
		store_all(0, control->length, control->owner);
	else
		store_some(1000);
}

void client_unmap(void)
{
	inodax_unmap(map);
	base = NULL;
}

void client_sync(void)
{
	int rc = inodax_sync(map, 0, control->length);

	if (rc)
		fail("inodax_sync: %s", strerror(-rc));
}

void leave(void)
{
	switch (rnd(3)) {
	case 0:
		client_unmap();
		break;
	case 1:
		kill(getpid(), SIGKILL);
		break;
	}
	_exit(0);
}

/* ---- Stores ----------------------------------------------------------------------------------------------- */

static struct {
	pthread_t	thread;
	_Atomic bool	stop;
	uint64_t	from, to, state;
} storer;

/* Up to a page from `from` on, of [from, to), anywhere. */
static void store_at(uint64_t from, uint64_t to, uint64_t at, uint64_t length)
{
	at = from + at % ((to - from) / 8) * 8;
	(void)try_store(at, length < to - at ? length : to - at, control->owner);
}

static void *storing(void *arg)
{
	while (!atomic_load(&storer.stop)) {
		store_at(storer.from, storer.to, next(&storer.state, UINT64_MAX),
			 8 + next(&storer.state, PAGE / 8) * 8);
		usleep(20);
	}
	return arg;
}

void storer_start(uint64_t from, uint64_t to)
{
	storer.from = from;
	storer.to = to;
	storer.state = rnd(UINT64_MAX);
	atomic_store(&storer.stop, false);
	must_do(-pthread_create(&storer.thread, NULL, storing, NULL), "pthread_create");
}

void storer_stop(void)
{
	atomic_store(&storer.stop, true);
	pthread_join(storer.thread, NULL);
}

void store_all(uint64_t from, uint64_t to, uint64_t owner)
{
	for (uint64_t at = from; at < to; at += PAGE)
		if (!try_store(at, PAGE, owner))
			fail("SIGBUS in the page at %" PRIu64 " of %" PRIu64, at, control->length);
}

void store_some(unsigned int times)
{
	while (times--)
		store_at(0, control->length, rnd(UINT64_MAX), 8 + rnd(8) * 8);
}

/* ---- What is there ---------------------------------------------------------------------------------------- */

/* Says of whom a wrong word is. */
static _Noreturn void wrong(uint64_t at, uint64_t value, const char *wanted)
{
	struct inodax_query q = query_at(map, at);

	fail("word at %" PRIu64 " of %" PRIu64 " is %" PRIx64 ", has to be %s (%" PRIx64 ", the other's is %" PRIx64
	     "); it is mapped as %u %s", at, control->length, value, wanted, word_of(control->owner, at),
	     word_of(OTHER_OWNER, at), q.kind, q.reason);
}

void expect_whole(uint64_t from, uint64_t to, uint64_t owner)
{
	uint64_t words[PAGE / 8];

	for (uint64_t at = from; at < to; at += PAGE) {
		if (!try_load(at, words))
			fail("SIGBUS in the page at %" PRIu64 " of %" PRIu64, at, control->length);
		for (uint64_t i = 0; i < PAGE / 8; i++)
			if (words[i] != word_of(owner, at + i * 8))
				wrong(at + i * 8, words[i], owner == control->owner ? "the client's" : "another's");
	}
}

void expect_nothing_foreign(void)
{
	uint64_t words[PAGE / 8];

	for (uint64_t from = 0; from < control->length; from += PAGE) {
		if (!try_load(from, words))
			continue;
		for (uint64_t i = 0; i < PAGE / 8; i++) {
			uint64_t at = from + i * 8;

			if (words[i] && words[i] != word_of(control->owner, at) && words[i] != word_of(OTHER_OWNER, at))
				wrong(at, words[i], "zero, the client's or the other's");
		}
	}
}

void expect_direct(void)
{
	for (uint64_t at = 0; at < control->length; at += PAGE)
		if (query_at(map, at).kind != INODAX_DIRECT)
			fail("page at %" PRIu64 " is %u: %s", at, query_at(map, at).kind, query_at(map, at).reason);
}

void until_direct(void)
{
	uint64_t waited = 0;

	for (uint64_t at = 0; at < control->length; at += PAGE)
		while (query_at(map, at).kind != INODAX_DIRECT)
			nap(&waited);
}

void until_all_beyond(uint64_t from)
{
	uint64_t waited = 0, words[PAGE / 8];

	for (uint64_t at = from; at < control->length; at += PAGE)
		while (try_load(at, words))
			nap(&waited);
}

static bool are_words_of(const uint64_t words[PAGE / 8], uint64_t at, uint64_t owner)
{
	uint64_t wanted[PAGE / 8];

	words_of(wanted, at, PAGE, owner);
	return memcmp(words, wanted, PAGE) == 0;
}

void until_words_of(uint64_t from, uint64_t owner)
{
	uint64_t waited = 0, words[PAGE / 8];

	for (uint64_t at = from; at < control->length; at += PAGE)
		while (!try_load(at, words) || !are_words_of(words, at, owner))
			nap(&waited);
}

/* ---- Files ------------------------------------------------------------------------------------------------ */

void rewrite(int fd, uint64_t at, uint64_t length)
{
	static uint64_t words[CHUNK / 8];
	ssize_t n = 0;

	for (; length; at += (uint64_t)n, length -= (uint64_t)n) {
		uint64_t some = length < CHUNK ? length : CHUNK;

		words_of(words, at, some, OTHER_OWNER);
		n = pwrite(fd, words, some, (off_t)at);
		if (n < 0 && errno == ENOSPC)
			return;
		if (n <= 0 || n % 8)
			fail("pwrite of %" PRIu64 " gives %zd: %s", some, n, strerror(errno));
	}
}

void fill_start(struct filler *f)
{
	snprintf(f->path, sizeof(f->path), "%s/full", dir);
	f->fd = open_file(f->path, O_RDWR | O_CREAT | O_EXCL);
	f->owner = control->owner ^ (1ULL << 63);
	f->size = 0;
}

void fill_more(struct filler *f)
{
	static uint64_t words[CHUNK / 8];
	uint64_t some = CHUNK;

	while (some >= PAGE) {
		ssize_t n;

		words_of(words, f->size, some, f->owner);
		n = pwrite(f->fd, words, some, (off_t)f->size);
		if (n > 0 && n % 8 == 0)
			f->size += (uint64_t)n;
		else if (n < 0 && errno == ENOSPC)
			some /= 2;
		else
			fail("%s: pwrite gives %zd: %s", f->path, n, strerror(errno));
	}
}

void fill_all(struct filler *f)
{
	fill_start(f);
	fill_more(f);
}

void fill_check(const struct filler *f)
{
	static uint64_t found[CHUNK / 8], wanted[CHUNK / 8];
	uint64_t some;

	if (size_of(f->fd) != f->size)
		fail("%s: %" PRIu64 " bytes, has to have %" PRIu64, f->path, size_of(f->fd), f->size);
	for (uint64_t at = 0; at < f->size; at += some) {
		some = f->size - at < CHUNK ? f->size - at : CHUNK;
		if (pread(f->fd, found, some, (off_t)at) != (ssize_t)some)
			fail("%s: pread: %s", f->path, strerror(errno));
		words_of(wanted, at, some, f->owner);
		for (uint64_t i = 0; i < some / 8; i++)
			if (found[i] != wanted[i])
				fail("%s: word at %" PRIu64 " is %" PRIx64 ", has to be %" PRIx64, f->path, at + i * 8,
				     found[i], wanted[i]);
	}
}

void fill_end(struct filler *f)
{
	fill_check(f);
	must_do(unlink(f->path), "unlink");
	close(f->fd);
}
