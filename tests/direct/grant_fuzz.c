/*
 * Messages of direct.h by chance: some as a client would send them, some with fields that are wrong, forged, replayed
 * or random. The daemon has to answer each with 0 or an errno of its own, and to keep its accounts: that is looked at
 * by who runs this (no reference is left), and by each answer to FAULT, which must be of the file that was asked for
 * and of nobody else's blocks.
 *
 *	grant_fuzz DIR SEED MESSAGES
 *	grant_fuzz garbage DIR SHM SEED ROUNDS
 *		clients that write garbage over all of their page at any moment, and all the time over the lists of
 *		all grants if they may (root). SHM is the directory of the mount's shared memory: nobody else may write
 *		there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raw_client.h"

#define CLIENTS		4
#define LENGTH		(8UL << 20)
#define KEPT		64U

union message {
	struct direct_name	name;
	struct direct_open	open;
	struct direct_start	start;
	struct direct_map	map;
	struct direct_fault	fault;
	struct direct_unmap	unmap;
	struct direct_pin	pin;
	struct direct_unpin	unpin;
	unsigned char		bytes[16384];
};

static const unsigned long requests[] = {
	DIRECT_IOC_OPEN, DIRECT_IOC_START, DIRECT_IOC_MAP, DIRECT_IOC_FAULT, DIRECT_IOC_UNMAP, DIRECT_IOC_PIN,
	DIRECT_IOC_UNPIN,
};

static const char *const request_names[] = { "open", "start", "map", "fault", "unmap", "pin", "unpin" };

#define REQUESTS	(sizeof(requests) / sizeof(requests[0]))

static struct raw client[CLIENTS];
static bool live[CLIENTS];
static const char *dir;
static uint64_t state, counts[2 * REQUESTS];

static uint64_t rnd(uint64_t n)
{
	state += 0x9e3779b97f4a7c15ULL;
	uint64_t x = state;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return (x ^ (x >> 31)) % n;
}

static bool one_in(uint64_t n)
{
	return rnd(n) == 0;
}

/* Numbers that are near something. */
static uint64_t odd_number(void)
{
	static const uint64_t some[] = {
		0, 1, 4095, 4096, LENGTH, LENGTH + 1, INT64_MAX, UINT64_MAX, 1ULL << 62, 1ULL << 32,
	};

	return some[rnd(sizeof(some) / sizeof(some[0]))] + rnd(3) - 1;
}

static void client_new(unsigned int n)
{
	struct direct_map *m = &client[n].map;
	char file[4096];

	snprintf(file, sizeof(file), "%s/%u", dir, (unsigned int)rnd(CLIENTS));
	raw_start(&client[n], file, one_in(4) ? O_RDONLY : O_RDWR);
	*m = (struct direct_map){ .name = client[n].open.name, .length = LENGTH };
	(void)raw_ioctl(&client[n], DIRECT_IOC_MAP, m);
	live[n] = true;
}

static void client_end(unsigned int n)
{
	raw_close(&client[n]);
	live[n] = false;
}

/* What a client might say, of area 0 to 3. */
static void sensible(union message *m, unsigned long request, const struct raw *r)
{
	uint64_t offset = rnd(LENGTH / 4096) * 4096, length = (1 + rnd((LENGTH - offset) / 4096)) * 4096;

	memset(m, 0, sizeof(*m));
	m->name = r->open.name;
	if (request == DIRECT_IOC_OPEN) {
		m->open = (struct direct_open){ .version = DIRECT_VERSION };
	} else if (request == DIRECT_IOC_MAP) {
		m->map.offset = offset;
		m->map.length = length;
		m->map.flags = (uint32_t)rnd(4);
	} else if (request == DIRECT_IOC_FAULT) {
		m->fault.offset = offset;
		m->fault.length = length;
		m->fault.address = (1ULL << 40) + offset;
		m->fault.area = (uint32_t)rnd(4);
		m->fault.flags = (uint32_t)rnd(4);
	} else if (request == DIRECT_IOC_UNMAP) {
		m->unmap.offset = offset;
		m->unmap.length = one_in(3) ? LENGTH : length;
		m->unmap.area = (uint32_t)rnd(4);
	} else if (request == DIRECT_IOC_PIN) {
		m->pin.offset = offset;
		m->pin.length = one_in(2) ? 4096 : length;
		m->pin.flags = (uint32_t)rnd(2);
	} else if (request == DIRECT_IOC_UNPIN) {
		m->unpin.pin = (uint32_t)rnd(8);
	}
}

static void spoil(union message *m, size_t size)
{
	uint64_t value;

	for (unsigned int i = 0; i < 1 + rnd(3); i++) {
		switch (rnd(4)) {
		case 0:
			m->bytes[rnd(size)] ^= (unsigned char)(1 << rnd(8));
			break;
		case 1:
			value = odd_number();
			memcpy(&m->bytes[rnd(size / 8) * 8], &value, 8);
			break;
		case 2:
			value = rnd(UINT64_MAX);
			memcpy(&m->bytes[rnd(size / 8) * 8], &value, 8);
			break;
		default:
			/* Another's name, with his token or without. */
			memcpy(m->bytes, &client[rnd(CLIENTS)].open.name, one_in(2) ? 8 : 24);
		}
	}
}

/* Blocks of the file, in the order of the file: of the pool, and of the range that was asked for. */
static void check_answer(const struct direct_fault *asked, const struct direct_fault *f, uint64_t pool_bytes)
{
	uint64_t at = asked->offset;

	check(f->count <= DIRECT_EXTENTS && f->stop <= DIRECT_CACHED);
	for (uint32_t i = 0; i < f->count; i++) {
		const struct direct_extent *e = &f->extent[i];

		check(e->offset == at && e->length && !(e->length & 4095) && e->type <= DIRECT_POISON);
		if (e->type == DIRECT_POOL)
			check(e->addr && !(e->addr & 4095) && e->addr < pool_bytes &&
			      e->length <= pool_bytes - e->addr);
		at += e->length;
	}
	check(f->next == at);
}

/* Answers, and what are none. The page may be cut: it is not touched here. */
static void answer_somehow(const struct raw *r)
{
	static unsigned char garbage[DIRECT_PAGE_BYTES];
	uint32_t done = (uint32_t)rnd(UINT32_MAX);
	ssize_t n = 0;

	if (one_in(3) && pread(r->page_fd, &done, sizeof(done), offsetof(struct direct_page, posted)) == sizeof(done)) {
		n = pwrite(r->page_fd, &done, sizeof(done), offsetof(struct direct_page, done));
	} else if (one_in(20)) {
		n = pwrite(r->page_fd, &done, sizeof(done), offsetof(struct direct_page, done));
	} else if (one_in(500)) {
		memset(garbage, (int)rnd(256), sizeof(garbage));
		n = pwrite(r->page_fd, garbage, sizeof(garbage), 0);
	} else if (one_in(1000)) {
		must(ftruncate(r->page_fd, one_in(2) ? 0 : DIRECT_PAGE_BYTES), 0);
	}
	check(n >= 0);
}

static void send_one(void)
{
	static union message m, asked, kept[KEPT];
	static unsigned long kept_request[KEPT];
	unsigned int n = (unsigned int)rnd(CLIENTS), slot = (unsigned int)rnd(KEPT), which;
	unsigned long request;
	int rc;

	if (!live[n])
		client_new(n);
	if (one_in(300)) {
		client_end(n);
		return;
	}
	request = requests[rnd(REQUESTS)];
	if (one_in(8) && kept_request[slot]) {
		m = kept[slot];
		request = kept_request[slot];
	} else {
		sensible(&m, request, &client[n]);
		if (one_in(3))
			spoil(&m, _IOC_SIZE(request));
	}
	kept[slot] = m;
	kept_request[slot] = request;
	asked = m;
	rc = raw_ioctl(&client[n], request, &m);
	if (!rc && request == DIRECT_IOC_FAULT)
		check_answer(&asked.fault, &m.fault, client[n].open.pool_bytes);
	for (which = 0; requests[which] != request; which++)
		;
	counts[which * 2 + !rc]++;
	answer_somehow(&client[n]);
}

/* Every other block gets its turn first, so that the file is in pieces. */
static void write_apart(int fd)
{
	static const char block[4096] = "apart";

	for (unsigned int odd = 0; odd < 2; odd++)
		for (off_t at = odd * 4096; at < (off_t)LENGTH; at += 8192)
			must(pwrite(fd, block, sizeof(block), at), sizeof(block));
}

/* Somebody else takes blocks away, but those that are pinned (the mount option pin=busy). */
static void disturb(void)
{
	unsigned int n = (unsigned int)rnd(CLIENTS);
	off_t at = (off_t)(rnd(LENGTH / 4096) * 4096);
	char file[4096];
	int fd;

	snprintf(file, sizeof(file), "%s/%u", dir, n);
	fd = open(file, O_RDWR);
	if (fd < 0)
		raw_die("%s: %s", file, strerror(errno));
	if (one_in(20))
		write_apart(fd);
	else if (one_in(3))
		check(!ftruncate(fd, (off_t)rnd(LENGTH)) || errno == EBUSY);
	else
		check(!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, 1 + (off_t)rnd(LENGTH)) ||
		      errno == EBUSY);
	check(!ftruncate(fd, LENGTH) || errno == EBUSY);
	close(fd);
}

static void make_files(void)
{
	char file[4096];

	for (unsigned int i = 0; i < CLIENTS; i++) {
		int fd;

		snprintf(file, sizeof(file), "%s/%u", dir, i);
		fd = open(file, O_RDWR | O_CREAT, 0644);
		if (fd < 0 || ftruncate(fd, LENGTH))
			raw_die("%s: %s", file, strerror(errno));
		close(fd);
	}
}

static void end_all(void)
{
	for (unsigned int i = 0; i < CLIENTS; i++)
		if (live[i])
			client_end(i);
}

/* ---- Garbage ------------------------------------------------------------------------------------------------ */

static void write_garbage(int fd, off_t at, size_t length)
{
	static unsigned char garbage[DIRECT_PAGE_BYTES];
	bool same = one_in(3);
	unsigned char all = (unsigned char)rnd(256);

	for (size_t i = 0; i < sizeof(garbage); i++)
		garbage[i] = same ? all : (unsigned char)rnd(256);
	must(pwrite(fd, garbage, length, at), (long)length);
}

/* Of the files in SHM the one to write garbage to: the lists, for root. Others may open none of all there are now. */
static int open_lists(const char *shm)
{
	DIR *d = opendir(shm);
	int lists = -1, refused = 0, fd;
	struct dirent *e;

	check(d);
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC);
		refused += fd < 0 && errno == EACCES;
		if (geteuid())
			check(fd < 0 && errno == EACCES);
		else
			check(fd >= 0);
		if (!geteuid() && strstr(e->d_name, ".grants"))
			lists = fd;
		else if (fd >= 0)
			close(fd);
	}
	closedir(d);
	check(geteuid() ? refused >= 2 : lists >= 0);
	return lists;
}

/* In a process of its own. The first page says what the file is, and who runs this wants to look at the accounts. */
static pid_t garbage_over_lists(int lists)
{
	pid_t pid = lists < 0 ? 0 : fork();
	struct stat st;

	check(pid >= 0);
	if (pid || lists < 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		must(fstat(lists, &st), 0);
		for (off_t at = DIRECT_PAGE_BYTES; at < st.st_size; at += DIRECT_PAGE_BYTES)
			write_garbage(lists, at, DIRECT_PAGE_BYTES);
	}
}

static void end_garbage_over_lists(pid_t pid)
{
	int status;

	if (!pid)
		return;
	must(kill(pid, SIGKILL), 0);
	must(waitpid(pid, &status, 0), pid);
	check(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Over a page; the messages that follow find it. */
static void garbage_once(void)
{
	unsigned int n = (unsigned int)rnd(CLIENTS);

	if (!live[n])
		client_new(n);
	write_garbage(client[n].page_fd, 0, DIRECT_PAGE_BYTES);
}

static int garbage(const char *shm, uint64_t rounds)
{
	int lists = open_lists(shm);
	pid_t writer = garbage_over_lists(lists);

	make_files();
	for (uint64_t i = 0; i < rounds; i++) {
		for (uint64_t messages = rnd(20); messages; messages--)
			send_one();
		garbage_once();
		if (one_in(4))
			disturb();
	}
	end_garbage_over_lists(writer);
	end_all();
	printf("garbage over %lu pages of grants%s\n", rounds, writer ? ", and over all lists" : "");
	return 0;
}

/* ---- The program -------------------------------------------------------------------------------------------- */

static int messages_by_chance(uint64_t messages)
{
	make_files();
	for (uint64_t i = 0; i < messages; i++) {
		send_one();
		if (one_in(200))
			disturb();
	}
	end_all();
	printf("%lu messages; refused and accepted:", messages);
	for (unsigned int i = 0; i < REQUESTS; i++)
		printf("%s %s %lu %lu", i ? "," : "", request_names[i], counts[2 * i], counts[2 * i + 1]);
	putchar('\n');
	/* Some are the right ones, at the right moment. */
	for (unsigned int i = 2; i < REQUESTS; i++)
		check(counts[2 * i] && counts[2 * i + 1]);
	return 0;
}

int main(int argc, char **argv)
{
	bool pages = argc == 6 && strcmp(argv[1], "garbage") == 0;

	if (argc != 4 && !pages) {
		fprintf(stderr, "grant_fuzz DIR SEED MESSAGES | garbage DIR SHM SEED ROUNDS\n");
		return 2;
	}
	dir = argv[1 + pages];
	state = strtoull(argv[2 + 2 * pages], NULL, 0);
	printf("seed %lu\n", state);
	fflush(stdout);
	return pages ? garbage(argv[3], strtoull(argv[5], NULL, 0)) : messages_by_chance(strtoull(argv[3], NULL, 0));
}
