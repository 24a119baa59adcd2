/*
 * inodax: the daemon that serves a pool as a filesystem.
 *
 * The parts, in the order a mount passes them: opts.c the command line, background.c leaving the terminal,
 * session.c mounting and serving, init_exchange.c what is agreed with the kernel beneath libfuse, ops.c the
 * table of operations, ops_*.c the operations by group, reply.c the answers. The filesystem itself is lib/fs.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <sys/stat.h>

#include "util/log.h"

int main(int argc, char **argv)
{
	struct daemon d = { .opts = { .fs = { .dax = FS_DAX_ALWAYS, .atime = FS_RELATIME, .shm = true } } };
	struct err err = { "" };
	int rc, status;

	log_set_name("inodax");
	umask(0);	/* modes and umasks come with the requests */
	rc = opts_parse(argc, argv, &d.opts, &err);
	if (rc == -ECANCELED) {
		status = 0;
	} else if (rc) {
		log_error("%s", err.text);
		status = EXIT_USAGE;
	} else {
		status = session_run(&d);
	}
	opts_free(&d.opts);
	return status;
}
