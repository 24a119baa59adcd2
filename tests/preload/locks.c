/*
 * locks FILE: a program that has a lock of fcntl(2) on a file, and maps it by another descriptor, keeps the lock
 * whatever becomes of the map, and does not get more descriptors with each. Knows nothing of inodax.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE	4096UL
#define ROUNDS	200
#define RW	(PROT_READ | PROT_WRITE)

static int judge;	/* a socket to the process that looks */

static void must(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

/* In a process of its own: is there a lock of somebody else? Once for each byte that comes. */
static void look(int fd, int from)
{
	char byte;

	while (read(from, &byte, 1) == 1) {
		struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

		must(!fcntl(fd, F_GETLK, &lock), "F_GETLK");
		byte = lock.l_type != F_UNLCK;
		must(write(from, &byte, 1) == 1, "write");
	}
	_exit(0);
}

static void start_judge(int fd)
{
	int pair[2];
	pid_t pid;

	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
	pid = fork();
	must(pid >= 0, "fork");
	if (!pid) {
		close(pair[0]);
		look(fd, pair[1]);
	}
	close(pair[1]);
	judge = pair[0];
}

static void locked_is(char wanted, const char *when)
{
	char byte = 0;

	must(write(judge, &byte, 1) == 1 && read(judge, &byte, 1) == 1, "the judge");
	if (byte == wanted)
		return;
	fprintf(stderr, "%s: the file is %s\n", when, wanted ? "not locked any more" : "still locked");
	exit(1);
}

static void lock(int fd, short type)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_len = 1 };

	must(!fcntl(fd, F_SETLK, &l), "F_SETLK");
}

static unsigned int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned int n = 0;

	must(!!dir, "/proc/self/fd");
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static char *map(int fd, size_t pages, int prot, int flags)
{
	char *at = mmap(NULL, pages * PAGE, prot, flags, fd, 0);

	must(at != MAP_FAILED, "mmap");
	return at;
}

static void what_maps_go_through(int fd)
{
	char *at = map(fd, 4, RW, MAP_SHARED), *other;

	locked_is(1, "mapped");
	at[0] = 1;
	locked_is(1, "stored to");
	at = mremap(at, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE);
	must(at != MAP_FAILED, "mremap");
	locked_is(1, "grown");
	other = map(fd, 2, PROT_READ, MAP_PRIVATE);
	locked_is(1, "mapped again");
	must(!mprotect(at + PAGE, PAGE, PROT_READ) && !mprotect(at + PAGE, PAGE, RW), "mprotect");
	locked_is(1, "protected");
	must(!madvise(at + 2 * PAGE, PAGE, MADV_REMOVE), "MADV_REMOVE");
	locked_is(1, "punched");
	must(!msync(at, 8 * PAGE, MS_SYNC), "msync");
	locked_is(1, "synced");
	must(!munmap(at, 4 * PAGE) && !munmap(other, 2 * PAGE), "munmap");
	locked_is(1, "unmapped in part");
	must(!munmap(at + 4 * PAGE, 4 * PAGE), "munmap");
	locked_is(1, "unmapped");
}

int main(int argc, char **argv)
{
	unsigned int before = 0;
	int fd;

	if (argc != 2)
		return 2;
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0644);
	must(fd >= 0 && !ftruncate(fd, 16 * PAGE), argv[1]);
	start_judge(fd);
	locked_is(0, "at the start");
	lock(fd, F_WRLCK);
	what_maps_go_through(fd);
	for (int i = 0; i < ROUNDS; i++) {
		must(!munmap(map(fd, 1, RW, MAP_SHARED), PAGE), "munmap");
		if (i == ROUNDS / 2)
			before = descriptors();
	}
	locked_is(1, "mapped and unmapped");
	if (descriptors() != before) {
		fprintf(stderr, "%u descriptors are open, %u were before\n", descriptors(), before);
		return 1;
	}
	lock(fd, F_UNLCK);
	locked_is(0, "at the end");
	printf("locks stay\n");
	return 0;
}
