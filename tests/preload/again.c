/*
 * again FILE: a program that gives address space back, and maps files there again, page by page. Nobody else may have
 * taken it meanwhile. Knows nothing of inodax.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE	4096UL
#define PAGES	64UL
#define RW	(PROT_READ | PROT_WRITE)

static void must(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static void round_of(int fd, int flags)
{
	char *at = mmap(NULL, PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(at != MAP_FAILED && !munmap(at, PAGES * PAGE), "room");
	for (size_t i = PAGES; i-- > 0;) {
		off_t offset = (off_t)(i * PAGE);

		must(mmap(at + offset, PAGE, RW, MAP_SHARED | flags, fd, offset) == at + offset, "mmap");
		at[offset] = (char)i;
	}
	for (size_t i = 0; i < PAGES; i++)
		must(at[i * PAGE] == (char)i, "what was stored");
	must(!munmap(at, PAGES * PAGE), "munmap");
}

int main(int argc, char **argv)
{
	int fd;

	if (argc != 2)
		return 2;
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0644);
	must(fd >= 0 && !ftruncate(fd, PAGES * PAGE), argv[1]);
	for (int i = 0; i < 10; i++)
		round_of(fd, i % 2 ? MAP_FIXED_NOREPLACE : MAP_FIXED);
	puts("mapped again");
	return 0;
}
