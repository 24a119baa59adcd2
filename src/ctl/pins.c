/*
 * inodaxctl pins: who has pinned what, and which truncate waits for it.
 *
 * Pins in the order of inode and place in the file, one line each, then a line about the inode. Printed as they are
 * read: memory does not grow with their number.
 */
#include "ctl/ctl.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* What the pins of one inode come to. */
struct inode {
	uint64_t	ino;
	uint64_t	pins, refs;
	uint64_t	end;		/* of the last folio in the file that has a pin, bytes */
};

struct show {
	struct ctl_view		*v;
	struct ctl_options	 opts;
	struct inode		 inode;
	uint64_t		 inodes;
};

/*
 * A folio is revoked whole: where, in the file, the one ends that the last unit of the run is in. The table was read
 * after the list; a folio that begins before the pinned file does is another one by now.
 */
static uint64_t end_in_file(struct ctl_view *v, const struct ctl_run *run)
{
	uint64_t units = ctl_run_units(v, run), last = run->unit + units - 1, word, n, head;
	uint64_t end = run->index + units;

	head = ctl_view_folio(v, last, &word, &n);
	if (last - head < end)
		end += head + n - (last + 1);
	return ctl_view_bytes(v, end);
}

/* A truncate takes blocks, of 4 KiB: the largest size with which it takes the last of these. */
static uint64_t truncate_waits(const struct inode *inode)
{
	return inode->end - 4096;
}

static void inode_begin(struct show *s, uint64_t ino)
{
	if (s->opts.json)
		printf("%s\n    {\"inode\": %" PRIu64 ", \"pins\": [", s->inodes ? "," : "", ino);
	else if (!s->inodes)
		printf("%10s %8s %-16s %7s %10s %14s %10s %15s %6s\n", "GRANT", "PID", "COMMAND", "UID", "INODE",
		       "OFFSET", "BYTES", "POOL OFFSET", "COUNT");
	s->inode = (struct inode){ .ino = ino };
	s->inodes++;
}

static void inode_end(const struct show *s)
{
	const struct inode *i = &s->inode;

	if (!s->inodes)
		return;
	if (s->opts.json) {
		printf("],\n     \"count\": %" PRIu64 ", \"truncate_waits\": ", i->refs);
		if (s->v->kernel)
			fputs("null}", stdout);
		else
			printf("%" PRIu64 "}", truncate_waits(i));
	} else if (s->v->kernel) {
		printf("inode %" PRIu64 ": pins: %" PRIu64 "; layout=kernel: every truncate waits for them\n", i->ino,
		       i->pins);
	} else {
		printf("inode %" PRIu64 ": pins: %" PRIu64 "; a truncate to %" PRIu64 " bytes or less waits for them\n",
		       i->ino, i->pins, truncate_waits(i));
	}
}

static void print_line(const struct show *s, const struct ctl_run *run)
{
	char command[CTL_COMMAND_NAME];

	printf("%10" PRIu64 " %8d %-16s %7u %10" PRIu64 " %14" PRIu64 " %10" PRIu64 " %15" PRIu64 " %6u\n", run->id,
	       run->pid, ctl_command_name(run->pid, command)[0] ? command : "-", run->uid, run->ino,
	       ctl_view_bytes(s->v, run->index), ctl_view_bytes(s->v, ctl_run_units(s->v, run)),
	       ctl_view_bytes(s->v, run->unit), run->count);
}

static void print_object(const struct show *s, const struct ctl_run *run)
{
	struct json_object *o = json_object_new_object();
	char command[CTL_COMMAND_NAME];

	ctl_command_name(run->pid, command);
	json_object_object_add(o, "grant", json_object_new_uint64(run->id));
	json_object_object_add(o, "pid", json_object_new_int64(run->pid));
	json_object_object_add(o, "command", *command ? json_object_new_string(command) : NULL);
	json_object_object_add(o, "uid", json_object_new_int64(run->uid));
	json_object_object_add(o, "inode", json_object_new_uint64(run->ino));
	json_object_object_add(o, "offset", json_object_new_uint64(ctl_view_bytes(s->v, run->index)));
	json_object_object_add(o, "bytes", json_object_new_uint64(ctl_view_bytes(s->v, ctl_run_units(s->v, run))));
	json_object_object_add(o, "pool_offset", json_object_new_uint64(ctl_view_bytes(s->v, run->unit)));
	json_object_object_add(o, "count", json_object_new_int64(run->count));
	ctl_print_element(o, s->inode.pins > 0);
}

static int show(struct show *s)
{
	struct ctl_runs runs;
	struct ctl_run run;
	uint64_t end;
	int rc = ctl_runs_open(&runs, s->v, CTL_BY_FILE, CTL_ANY, GRANT_PIN);

	if (rc)
		return rc;
	if (s->opts.json)
		ctl_print_first(ctl_view_object(s->v), "inodes");
	while ((rc = ctl_runs_next(&runs, &run)) > 0) {
		if (!s->inodes || run.ino != s->inode.ino) {
			inode_end(s);
			inode_begin(s, run.ino);
		}
		if (s->opts.json)
			print_object(s, &run);
		else
			print_line(s, &run);
		end = end_in_file(s->v, &run);
		if (end > s->inode.end)
			s->inode.end = end;
		s->inode.pins++;
		s->inode.refs += run.count;
	}
	inode_end(s);
	if (s->opts.json)
		ctl_print_last(NULL, NULL);
	ctl_runs_close(&runs);
	return rc;
}

int ctl_pins(int argc, char **argv)
{
	struct show s = { .inodes = 0 };
	struct ctl_view v;
	char *pool;
	int rc;

	if (ctl_parse(argc, argv, "js", &s.opts) || argc - optind != 1) {
		fputs("usage: inodaxctl pins POOL|MOUNTPOINT [--json] [--shm DIR]\n", stderr);
		return EXIT_FAILURE;
	}
	pool = ctl_pool_of(argv[optind]);
	if (!pool)
		return EXIT_FAILURE;
	rc = ctl_view_open(&v, pool, s.opts.shm);
	if (!rc) {
		s.v = &v;
		rc = show(&s);
		ctl_view_close(&v);
	}
	free(pool);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
