/*
 * storm DIR STEPS SEED [PROCESSES THREADS]: many threads of several processes map the same few files, and do with their
 * maps what programs may, by chance. Knows nothing of inodax: it has to see the same with lib/preload as without, on any
 * filesystem. What each thread did and saw becomes a trace, which is the same wherever it ran; its hash is printed.
 *
 * So that each thread knows what it has to see, the shared files are cut into slices: a thread stores to its own, and
 * has a copy of it in ordinary memory. What it sees of other slices has to be zeros, or words that say that they are of
 * that page of that file. Each thread has a file for itself, too, whose size it changes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE	4096UL
#define WORDS	(PAGE / sizeof(uint64_t))
#define FILES	4U		/* that all share; each thread has one more */
#define SLICE	8U		/* pages, of a shared file */
#define OWN	24U		/* pages that a file of a thread's own may have */
#define MAPS	12U
#define RW	(PROT_READ | PROT_WRITE)

/* What a thread stores to of a file. */
struct slice {
	int		 fd;
	unsigned int	 file;
	size_t		 first, pages;	/* of the file */
	size_t		 size;		/* pages of the slice that are within the file */
	uint64_t	*copy;
};

struct map {
	struct slice	*slice;
	char		*at;		/* of `page` */
	size_t		 page, count;	/* of the slice */
	int		 prot;
	uint64_t	*own;		/* private: the pages that were stored to. NULL: shared */
	uint64_t	 stored;	/* which: a bit each */
	char		*whole;		/* of a map of all the file: where it begins */
};

struct actor {
	pthread_t	 thread;
	unsigned int	 number;	/* of all threads of all processes */
	unsigned long	 step, steps;
	uint64_t	 rng, trace;
	struct slice	 slice[FILES + 1];
	struct map	 map[MAPS];
	unsigned int	 count;
};

static const char *dir;
static unsigned long seed;
static unsigned int actors;
static int shared_fd[FILES];
static _Thread_local struct actor *me;
static _Thread_local sigjmp_buf escape;
static _Thread_local volatile sig_atomic_t awaited;

static void __attribute__((format(printf, 1, 2), noreturn)) die(const char *format, ...)
{
	char text[512];
	va_list args;
	int n;

	n = snprintf(text, sizeof(text), "seed %lu, thread %u, step %lu: ", seed, me ? me->number : 0,
		     me ? me->step : 0);
	va_start(args, format);
	n += vsnprintf(text + n, sizeof(text) - (size_t)n - 1, format, args);
	va_end(args);
	text[n++] = '\n';
	(void)!write(STDERR_FILENO, text, (size_t)n);
	kill(0, SIGKILL);	/* of its own group: see main() */
	_exit(1);
}

static void must(bool ok, const char *what)
{
	if (!ok)
		die("%s: %s", what, strerror(errno));
}

static size_t below(size_t n)
{
	me->rng ^= me->rng << 13;
	me->rng ^= me->rng >> 7;
	me->rng ^= me->rng << 17;
	return me->rng % n;
}

/* Something that was done or seen. */
static void note(uint64_t what)
{
	me->trace = (me->trace ^ what) * 0x100000001b3;
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (awaited != sig)
		die("signal %d, code %d, at %p", sig, info->si_code, info->si_addr);
	siglongjmp(escape, 1);
}

/* ---- What is seen ------------------------------------------------------------------------------------------- */

static uint64_t tag(const struct slice *s, size_t page)
{
	return (uint64_t)(s->file + 1) << 48 | (uint64_t)(s->first + page) << 32;
}

static uint64_t *page_of(const struct slice *s, size_t page)
{
	return s->copy + page * WORDS;
}

static const uint64_t *expected(const struct map *m, size_t i)
{
	return m->stored >> i & 1 ? m->own + i * WORDS : page_of(m->slice, m->page + i);
}

static bool is_inside(const struct map *m, size_t i)
{
	return m->page + i < m->slice->size;
}

static void check(const struct map *m, size_t i)
{
	const uint64_t *want = expected(m, i), *got = (const uint64_t *)(const void *)(m->at + i * PAGE);

	for (size_t w = 0; w < WORDS; w++)
		if (got[w] != want[w])
			die("file %u, page %zu at %p%s, word %zu: %" PRIx64 " is seen, %" PRIx64 " was stored",
			    m->slice->file, m->slice->first + m->page + i, (const void *)got,
			    m->own ? ", private" : "", w, got[w], want[w]);
	note(want[below(WORDS)]);
}

/* Loads (or stores) at `at` raise `sig`. */
static void raises(int sig, char *at, bool store)
{
	awaited = sig;
	if (!sigsetjmp(escape, 1)) {
		if (store)
			*(volatile uint64_t *)(void *)at = 1;
		else
			(void)*(volatile uint64_t *)(void *)at;
		die("%p: no signal %d", (void *)at, sig);
	}
	awaited = 0;
	note((uint64_t)sig);
}

static void look(const struct map *m, size_t i)
{
	if (m->prot & PROT_READ && is_inside(m, i))
		check(m, i);
	else
		raises(m->prot & PROT_READ ? SIGBUS : SIGSEGV, m->at + i * PAGE, false);
}

/* A page of somebody else's. */
static void look_around(const struct map *m)
{
	struct slice all = { .file = m->slice->file };
	size_t page = below((size_t)actors * SLICE), w = below(WORDS);
	uint64_t got = *(volatile uint64_t *)(void *)(m->whole + page * PAGE + w * sizeof(got));

	if (got && got >> 32 != tag(&all, page) >> 32)
		die("file %u, page %zu: %" PRIx64 " is of elsewhere", m->slice->file, page, got);
}

/* ---- The table of maps -------------------------------------------------------------------------------------- */

static struct map *add(const struct map *m)
{
	struct map *to = &me->map[me->count];

	if (!m->count)
		return NULL;
	me->count++;
	*to = *m;
	if (m->own) {
		to->own = malloc(m->count * PAGE);
		must(to->own, "malloc");
		memcpy(to->own, m->own, m->count * PAGE);
	}
	return to;
}

static void drop(struct map *m)
{
	free(m->own);
	*m = me->map[--me->count];
}

/* The part [first, first + pages) of `m`, as a map. */
static struct map part(const struct map *m, size_t first, size_t pages)
{
	struct map p = *m;

	p.at += first * PAGE;
	p.page += first;
	p.count = pages;
	p.stored >>= first;
	if (p.own)
		p.own += first * WORDS;
	return p;
}

/* `m` is cut; [first, first + pages) goes, or stays with these rights. Room for three is there. */
static void cut(struct map *m, size_t first, size_t pages, int prot)
{
	struct map was = *m, left = part(&was, 0, first), middle = part(&was, first, pages);
	struct map right = part(&was, first + pages, was.count - first - pages);

	*m = me->map[--me->count];
	add(&left);
	add(&right);
	if (prot >= 0) {
		middle.prot = prot;
		add(&middle);
	}
	free(was.own);
}

static bool is_full(void)
{
	return me->count > MAPS - 3;
}

static struct slice *any_slice(void)
{
	return &me->slice[below(FILES + 1)];
}

/* ---- The steps ---------------------------------------------------------------------------------------------- */

static void do_map(void)
{
	struct slice *s = any_slice();
	struct map m = { .slice = s, .page = below(s->pages), .prot = below(4) ? RW : PROT_READ };
	bool private = !below(4), all = s->file < FILES && !below(3), populate = !below(8);
	char *at;

	if (is_full())
		return;
	m.count = all ? s->pages : 1 + below(s->pages - m.page);
	if (all) {
		m.page = 0;
		private = false;
	}
	/* To populate a private map is to store to it. */
	at = mmap(NULL, all ? (size_t)actors * SLICE * PAGE : m.count * PAGE, m.prot,
		  (private ? MAP_PRIVATE : MAP_SHARED) | (populate && !private ? MAP_POPULATE : 0), s->fd,
		  all ? 0 : (off_t)((s->first + m.page) * PAGE));
	must(at != MAP_FAILED, "mmap");
	m.at = all ? at + s->first * PAGE : at;
	m.whole = all ? at : NULL;
	if (private) {
		m.own = calloc(m.count, PAGE);
		must(m.own, "calloc");
	}
	add(&m);
	free(m.own);
	note(m.page << 8 | m.count);
}

static void unmap(struct map *m)
{
	if (m->whole)
		must(!munmap(m->whole, (size_t)actors * SLICE * PAGE), "munmap");
	else
		must(!munmap(m->at, m->count * PAGE), "munmap");
	drop(m);
}

static void do_unmap(struct map *m, size_t first, size_t pages)
{
	if (m->whole || !below(2)) {
		unmap(m);
	} else if (!is_full()) {
		must(!munmap(m->at + first * PAGE, pages * PAGE), "munmap of a part");
		cut(m, first, pages, -1);
	}
}

static void store_words(uint64_t *at, uint64_t what, size_t first, size_t count)
{
	for (size_t w = first; w < first + count; w++)
		at[w] = what;
}

static void do_store(struct map *m, size_t i)
{
	size_t first = below(WORDS), count = 1 + below(below(4) ? 8 : WORDS);
	uint64_t what = tag(m->slice, m->page + i) | (below(1UL << 31) + 1);
	char *at = m->at + i * PAGE;

	if (!(m->prot & PROT_WRITE) || !is_inside(m, i)) {
		raises(m->prot & PROT_WRITE ? SIGBUS : SIGSEGV, at, true);
		return;
	}
	if (count > WORDS - first)
		count = WORDS - first;
	store_words((uint64_t *)(void *)at, what, first, count);
	if (m->own && !(m->stored >> i & 1)) {
		memcpy(m->own + i * WORDS, page_of(m->slice, m->page + i), PAGE);
		m->stored |= 1UL << i;
	}
	store_words(m->own ? m->own + i * WORDS : page_of(m->slice, m->page + i), what, first, count);
	note(what);
}

static void do_protect(struct map *m, size_t first, size_t pages)
{
	static const int prots[] = { RW, RW, PROT_READ, PROT_NONE };
	int prot = prots[below(4)];

	if (m->whole || is_full())
		return;
	must(!mprotect(m->at + first * PAGE, pages * PAGE, prot), "mprotect");
	cut(m, first, pages, prot);
}

/* A map is one mapping of the kernel's, always: only that moves as one. */
static void do_remap(struct map *m)
{
	size_t pages = m->own ? 1 + below(m->count) : 1 + below(m->slice->pages - m->page);
	char *at;

	if (m->whole)
		return;
	at = mremap(m->at, m->count * PAGE, pages * PAGE, MREMAP_MAYMOVE);
	must(at != MAP_FAILED, "mremap");
	m->at = at;
	m->count = pages;
}

static void do_advise(struct map *m, size_t first, size_t pages)
{
	/* None that the kernel keeps with a mapping, which it would cut for that. */
	static const int advice[] = { MADV_WILLNEED, MADV_DONTNEED, MADV_DONTNEED, MADV_COLD };
	int what = advice[below(sizeof(advice) / sizeof(*advice))];

	must(!madvise(m->at + first * PAGE, pages * PAGE, what), "madvise");
	for (size_t i = first; m->own && what == MADV_DONTNEED && i < first + pages; i++)
		m->stored &= ~(1UL << i);
}

static void do_sync(struct map *m, size_t first, size_t pages)
{
	must(!msync(m->at + first * PAGE, pages * PAGE, below(2) ? MS_SYNC : MS_ASYNC), "msync");
}

/* The same slice, from another page on, over some of the map. */
static void do_fixed(struct map *m, size_t first, size_t pages)
{
	struct map over = part(m, first, pages);

	if (m->whole || m->own || me->count > MAPS - 4)
		return;
	over.page = below(m->slice->pages - pages + 1);
	over.prot = RW;
	must(mmap(over.at, pages * PAGE, RW, MAP_SHARED | MAP_FIXED, over.slice->fd,
		  (off_t)((over.slice->first + over.page) * PAGE)) == over.at, "mmap, MAP_FIXED");
	cut(m, first, pages, -1);
	add(&over);
}

static void do_write(void)
{
	struct slice *s = any_slice();
	size_t page = below(s->pages), first = below(WORDS), count = 1 + below(WORDS - first);
	size_t length = count * sizeof(uint64_t);
	off_t at = (off_t)((s->first + page) * PAGE + first * sizeof(uint64_t));
	uint64_t *copy = page_of(s, page);

	if (page >= s->size)
		return;
	store_words(copy, tag(s, page) | (below(1UL << 31) + 1), first, count);
	must(pwrite(s->fd, copy + first, length, at) == (ssize_t)length, "pwrite");
}

static void do_read(void)
{
	struct slice *s = any_slice();
	size_t page = below(s->pages);
	uint64_t got[WORDS];

	if (page >= s->size)
		return;
	must(pread(s->fd, got, PAGE, (off_t)((s->first + page) * PAGE)) == PAGE, "pread");
	if (memcmp(got, page_of(s, page), PAGE) != 0)
		die("file %u, page %zu: read(2) finds other bytes than were stored", s->file, s->first + page);
	note(got[0]);
}

/* What a private map sees of pages that go is not the same everywhere. */
static void drop_private(const struct slice *s)
{
	for (unsigned int i = me->count; i-- > 0; )
		if (me->map[i].own && me->map[i].slice == s)
			unmap(&me->map[i]);
}

static void do_punch(void)
{
	struct slice *s = any_slice();
	size_t page = below(s->pages), pages = 1 + below(s->pages - page);

	drop_private(s);
	must(!fallocate(s->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)((s->first + page) * PAGE),
			(off_t)(pages * PAGE)), "fallocate");
	memset(page_of(s, page), 0, pages * PAGE);
}

static void do_truncate(void)
{
	struct slice *s = &me->slice[FILES];
	size_t size = below(s->pages + 1);

	drop_private(s);
	must(!ftruncate(s->fd, (off_t)(size * PAGE)), "ftruncate");
	if (size < s->size)
		memset(page_of(s, size), 0, (s->size - size) * PAGE);
	s->size = size;
	note(size);
}

/* The child sees what the thread does, and the thread what the child stores. */
static void do_fork(void)
{
	struct map *m = &me->map[below(me->count)];
	size_t i = below(m->count);
	int status;
	pid_t pid;

	pid = fork();
	must(pid >= 0, "fork");
	if (!pid) {
		for (unsigned int j = 0; j < me->count; j++)
			look(&me->map[j], below(me->map[j].count));
		do_store(m, i);
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid, "waitpid");
	if (status)
		die("the child ended with status %x", (unsigned int)status);
	if (m->own || !(m->prot & PROT_WRITE) || !is_inside(m, i))
		return;
	/* What it stored is what its generator made of the same state. */
	memcpy(page_of(m->slice, m->page + i), m->at + i * PAGE, PAGE);
	note(page_of(m->slice, m->page + i)[0]);
}

static void step_map(struct map *m, size_t what)
{
	size_t first = below(m->count), pages = 1 + below(m->count - first);

	if (what < 20)
		do_unmap(m, first, pages);
	else if (what < 28)
		do_protect(m, first, pages);
	else if (what < 33)
		do_remap(m);
	else if (what < 43)
		do_advise(m, first, pages);
	else if (what < 46)
		do_sync(m, first, pages);
	else if (what < 49)
		do_fixed(m, first, pages);
	else if (m->whole && what < 100)
		look_around(m);
	else if (what < 550)
		do_store(m, first);
	else
		look(m, first);
}

static void one_step(void)
{
	size_t what = below(1000);

	if (!me->count || what < 25)
		do_map();
	else if (what < 45)
		do_write();
	else if (what < 65)
		do_read();
	else if (what < 67)
		do_punch();
	else if (what < 69)
		do_truncate();
	else if (what == 69 && !below(8))
		do_fork();
	else
		step_map(&me->map[below(me->count)], below(1000));
}

/* ---- Threads and processes ---------------------------------------------------------------------------------- */

static void init_slice(struct slice *s, int fd, unsigned int file, size_t first, size_t pages)
{
	*s = (struct slice){ .fd = fd, .file = file, .first = first, .pages = pages, .size = pages };
	s->copy = calloc(pages, PAGE);
	must(s->copy, "calloc");
}

static int open_file(const char *kind, unsigned int number, size_t pages)
{
	char name[4096];
	int fd;

	snprintf(name, sizeof(name), "%s/%s.%u", dir, kind, number);
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_TRUNC, 0666);
	must(fd >= 0 && !ftruncate(fd, (off_t)(pages * PAGE)), name);
	return fd;
}

static void *act(void *arg)
{
	me = arg;
	me->rng = (seed * 2654435761U + me->number + 1) * 0x9e3779b97f4a7c15;
	for (unsigned int f = 0; f < FILES; f++)
		init_slice(&me->slice[f], shared_fd[f], f, (size_t)me->number * SLICE, SLICE);
	init_slice(&me->slice[FILES], open_file("own", me->number, OWN), FILES + me->number, 0, OWN);
	for (; me->step < me->steps; me->step++)
		one_step();
	while (me->count)
		unmap(&me->map[0]);
	for (unsigned int f = 0; f <= FILES; f++)
		free(me->slice[f].copy);
	close(me->slice[FILES].fd);
	return NULL;
}

static void process(unsigned int first, unsigned int threads, unsigned long steps, uint64_t *traces)
{
	struct actor *all = calloc(threads, sizeof(*all));

	must(all, "calloc");
	for (unsigned int i = 0; i < threads; i++) {
		all[i].number = first + i;
		all[i].steps = steps;
		errno = pthread_create(&all[i].thread, NULL, act, &all[i]);
		must(!errno, "pthread_create");
	}
	for (unsigned int i = 0; i < threads; i++) {
		pthread_join(all[i].thread, NULL);
		traces[first + i] = all[i].trace;
	}
	free(all);
}

/* All of them are one group of processes, which dies together. */
int main(int argc, char **argv)
{
	unsigned int processes = argc > 5 ? (unsigned int)atoi(argv[4]) : 4;
	unsigned int threads = argc > 5 ? (unsigned int)atoi(argv[5]) : 16;
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_NODEFER | SA_SIGINFO };
	uint64_t *traces, hash = 0;
	int status, failed = 0;

	if (argc < 4 || !processes || !threads) {
		fputs("storm DIR STEPS SEED [PROCESSES THREADS]\n", stderr);
		return 2;
	}
	dir = argv[1];
	seed = strtoul(argv[3], NULL, 10);
	actors = processes * threads;
	setpgid(0, 0);
	for (unsigned int f = 0; f < FILES; f++)
		shared_fd[f] = open_file("shared", f, (size_t)actors * SLICE);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	traces = mmap(NULL, actors * sizeof(*traces), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(traces != MAP_FAILED, "mmap");
	for (unsigned int p = 0; p < processes; p++) {
		pid_t pid = fork();

		must(pid >= 0, "fork");
		if (!pid) {
			process(p * threads, threads, strtoul(argv[2], NULL, 10) / actors, traces);
			exit(0);
		}
	}
	while (wait(&status) > 0)
		failed |= status;
	for (unsigned int i = 0; i < actors; i++)
		hash = (hash ^ traces[i]) * 0x100000001b3;
	printf("trace %016" PRIx64 "\n", hash);
	return failed ? 1 : 0;
}
