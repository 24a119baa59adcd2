/*
 * pin_client FILE BYTES: a process with a map of a file, told what to do by lines of its input; each is answered by one
 * of output: "ok", or "error NUMBER" (errno).
 *
 *	pin OFFSET LENGTH	the one pin
 *	unpin
 *	unmap			the map
 *	close			every descriptor from 3 on
 *	ring			register the pin's handle with an io_uring, and leave that to a child that has nothing
 *				else; "ok PID", and it ends by a signal
 *	fork			a child that lets go of the pin and ends; "ok" if that is 0
 *	load OFFSET		"ok BYTE"
 *	pipe			the first 64 KiB of the map, their pages themselves, into a pipe (vmsplice)
 *	piped			"ok same" or "ok changed": is what is in it the letter x?
 *	quit
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <inodax.h>

#define PIPED	65536

static struct inodax_map *map;
static struct inodax_pin *pin;
static int ends[2];		/* of the pipe */

static void say(int rc)
{
	if (rc)
		printf("error %d\n", -rc);
	else
		puts("ok");
}

static int open_map(const char *path, size_t length)
{
	int fd = open(path, O_RDWR | O_CLOEXEC), rc;

	if (fd < 0)
		return -errno;
	rc = inodax_map(fd, 0, length, INODAX_MAP_WRITE | INODAX_MAP_REQUIRE, &map);
	close(fd);
	return rc;
}

static int drop_pin(void)
{
	int rc = pin ? inodax_unpin(pin) : -EINVAL;

	pin = NULL;
	return rc;
}

static int drop_map(void)
{
	int rc = map ? inodax_unmap(map) : -EINVAL;

	map = NULL;
	return rc;
}

/* Nothing but the ring, and with it the handle, is left to the child. */
static void child_with_ring(const struct io_uring *ring)
{
	close_range(0, (unsigned int)ring->ring_fd - 1, 0);
	close_range((unsigned int)ring->ring_fd + 1, ~0U, 0);
	for (;;)
		pause();
}

static void leave_ring(void)
{
	struct io_uring ring;
	int fd = inodax_pin_fd(pin), rc = fd < 0 ? fd : io_uring_queue_init(4, &ring, 0);
	pid_t pid;

	if (!rc)
		rc = io_uring_register_files(&ring, &fd, 1);
	if (rc) {
		say(rc);
		return;
	}
	fflush(stdout);
	pid = fork();
	if (!pid)
		child_with_ring(&ring);
	close(ring.ring_fd);
	printf("ok %d\n", (int)pid);
}

static void child(void)
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(inodax_pin_fd(pin) != -ECHILD || inodax_unpin(pin));
	waitpid(pid, &status, 0);
	say(status ? -ECHILD : 0);
}

static int in_pipe(void)
{
	struct iovec whole = { .iov_len = PIPED };

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	whole.iov_base = inodax_map_address(map);
	return vmsplice(ends[1], &whole, 1, SPLICE_F_NONBLOCK) == PIPED ? 0 : -EIO;
}

static void say_piped(void)
{
	static unsigned char bytes[PIPED];

	if (read(ends[0], bytes, PIPED) != PIPED)
		say(-EIO);
	else
		puts(bytes[0] == 'x' && memcmp(bytes, bytes + 1, PIPED - 1) == 0 ? "ok same" : "ok changed");
}

static bool answer(char *line)
{
	unsigned long long offset, length;

	if (sscanf(line, "pin %llu %llu", &offset, &length) == 2)
		say(pin ? -EBUSY : inodax_pin(map, offset, length, &pin));
	else if (strcmp(line, "unpin\n") == 0)
		say(drop_pin());
	else if (strcmp(line, "unmap\n") == 0)
		say(drop_map());
	else if (strcmp(line, "close\n") == 0)
		say(close_range(3, ~0U, 0) ? -errno : 0);
	else if (strcmp(line, "ring\n") == 0)
		leave_ring();
	else if (strcmp(line, "fork\n") == 0)
		child();
	else if (strcmp(line, "pipe\n") == 0)
		say(in_pipe());
	else if (strcmp(line, "piped\n") == 0)
		say_piped();
	else if (sscanf(line, "load %llu", &offset) == 1)
		printf("ok %u\n", ((volatile unsigned char *)inodax_map_address(map))[offset]);
	else
		return false;
	fflush(stdout);
	return true;
}

int main(int argc, char **argv)
{
	char line[128];
	int rc;

	if (argc != 3) {
		fputs("pin_client FILE BYTES\n", stderr);
		return 2;
	}
	rc = open_map(argv[1], strtoull(argv[2], NULL, 10));
	say(rc);
	fflush(stdout);
	while (!rc && fgets(line, sizeof(line), stdin) && answer(line))
		;
	return rc ? 1 : 0;
}
