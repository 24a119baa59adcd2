/*
 * Leaving the terminal.
 *
 * daemon(3) would let the parent go before anything was tried. Here the parent waits on a pipe: what goes
 * wrong while the pool is opened and mounted is still said on the terminal and is the exit status that
 * mount(8) sees. The fork comes before everything else, so that the lock on the pool, its record of a pid,
 * the mapping and all threads are the child's own.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/log.h"

/* The parent: a byte says that the child is ready; the end of the pipe without one, that it exited. */
static _Noreturn void wait_for_child(int fd, pid_t child)
{
	ssize_t n;
	int status;
	char byte;

	do
		n = read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(0);
	if (waitpid(child, &status, 0) != child)
		_exit(EXIT_MOUNT);
	if (WIFSIGNALED(status))
		log_error("the daemon was killed by signal %d while it started", WTERMSIG(status));
	_exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : EXIT_MOUNT);
}

int background_start(void)
{
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	child = fork();
	if (child < 0) {
		int rc = -errno;

		close(fds[0]);
		close(fds[1]);
		return rc;
	}
	if (child > 0) {
		close(fds[1]);
		wait_for_child(fds[0], child);
	}
	close(fds[0]);
	setsid();
	return fds[1];
}

void background_ready(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	ssize_t n;

	log_to_syslog();
	if (chdir("/"))
		log_warn("cannot leave the working directory: it stays in use");
	if (null >= 0) {
		for (int std = 0; std <= 2; std++)
			dup2(null, std);
		if (null > 2)
			close(null);
	}
	do
		n = write(fd, "", 1);
	while (n < 0 && errno == EINTR);
	close(fd);
}
