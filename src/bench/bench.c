/*
 * What the commands share: the clock, medians, programs that are run, and a way out that takes everything along.
 *
 * A signal that asks for the end is remembered, not obeyed: who measures looks for it between two measurements and
 * goes the way of errors, so that there is one way to unmount and remove. Programs are started in process groups of
 * their own: the terminal's interrupt must not end a daemon before its mount is gone.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static volatile sig_atomic_t caught;

static void catch(int signal)
{
	caught = signal;
}

void bench_catch(void)
{
	struct sigaction action = { .sa_handler = catch, .sa_flags = SA_RESTART };

	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	sigaction(SIGPIPE, &action, NULL);
}

int bench_caught(void)
{
	return caught ? -EINTR : 0;
}

int bench_leave(int rc)
{
	if (caught) {
		signal(caught, SIG_DFL);
		raise(caught);
	}
	return rc ? 1 : 0;
}

double bench_nanoseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double bench_median(double *values, unsigned int n)
{
	qsort(values, n, sizeof(*values), compare_doubles);
	return values[n / 2];
}

int bench_start(const char *const argv[], pid_t *pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int rc;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
	rc = posix_spawnp(pid, argv[0], &actions, &attributes, (char *const *)argv, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	if (rc)
		fprintf(stderr, "%s: %s\n", argv[0], strerror(rc));
	return -rc;
}

int bench_run(const char *const argv[])
{
	int status, rc;
	pid_t pid;

	rc = bench_start(argv, &pid);
	if (rc)
		return rc;
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	fprintf(stderr, "%s failed\n", argv[0]);
	return -EIO;
}
