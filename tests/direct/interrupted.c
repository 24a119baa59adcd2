/*
 * interrupted FILE SIZE: truncate, with a signal after half a second. Prints "EINTR", "done", or the error.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static void on_alarm(int sig)
{
	(void)sig;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	/* Again and again: the first may come before the call. */
	struct itimerval timer = { .it_value.tv_usec = 500000, .it_interval.tv_usec = 100000 };

	if (argc != 3) {
		fputs("interrupted FILE SIZE\n", stderr);
		return 2;
	}
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	if (!truncate(argv[1], strtoll(argv[2], NULL, 10)))
		puts("done");
	else
		puts(errno == EINTR ? "EINTR" : strerror(errno));
	return 0;
}
