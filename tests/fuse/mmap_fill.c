/*
 * Fills a file through a shared mapping, and reads it back by pread.
 *
 *	mmap_fill FILE MIB
 *
 * A plain writer of the kind that makes dirty pages without asking anybody: for tests with little memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB		(1UL << 20)
#define PAGE_WORDS	512

static int die(const char *what)
{
	printf("mmap_fill: %s: %s\n", what, strerror(errno));
	return 1;
}

static int read_back(int fd, size_t words)
{
	uint64_t buf[PAGE_WORDS];

	for (size_t at = 0; at < words; at += PAGE_WORDS) {
		if (pread(fd, buf, sizeof(buf), (off_t)(at * 8)) != (ssize_t)sizeof(buf))
			return die("pread");
		for (size_t i = 0; i < PAGE_WORDS; i++) {
			if (buf[i] != ~(at + i)) {
				printf("word %zu is %#jx, not %#zx\n", at + i, (uintmax_t)buf[i], ~(at + i));
				return 1;
			}
		}
	}
	return 0;
}

int main(int argc, char **argv)
{
	size_t size = argc == 3 ? strtoul(argv[2], NULL, 10) * MIB : 0;
	uint64_t *map;
	int fd;

	if (!size) {
		fprintf(stderr, "usage: mmap_fill FILE MIB\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)size))
		return die(argv[1]);
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return die("mmap");
	for (size_t i = 0; i < size / 8; i++)
		map[i] = ~i;
	if (msync(map, size, MS_SYNC))
		return die("msync");
	munmap(map, size);
	return read_back(fd, size / 8);
}
