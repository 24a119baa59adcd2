/*
 * inodaxctl map: who maps, or pins, what of one file.
 *
 * The file is looked up on its mount, which is all that is asked of it; the rest is in the grant lists and, for the
 * counts, in the folio table.
 */
#include "ctl/ctl.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const kind_names[] = { "map", "pin", "layout" };
static const char *const size_names[] = { "4K", "2M", "1G" };

/* The least and the greatest refcount of the folios of a run. */
struct counts {
	unsigned int	least, most;
};

struct show {
	struct ctl_view		*v;
	struct ctl_options	 opts;
	const char		*path;
	uint64_t		 ino;
	uint64_t		 printed;
};

static struct counts count_refs(struct ctl_view *v, const struct ctl_run *run)
{
	uint64_t unit = run->unit, end = unit + ctl_run_units(v, run), head, word, n;
	struct counts c = { .least = FOLIO_COUNT_MASK };
	unsigned int refs;

	while (unit < end) {
		head = ctl_view_folio(v, unit, &word, &n);
		refs = folio_refcount(v->page ? ctl_view_word(v, unit) : word);
		c.least = refs < c.least ? refs : c.least;
		c.most = refs > c.most ? refs : c.most;
		unit = v->page ? unit + 1 : head + n;
	}
	return c;
}

static void print_line(const struct show *s, const struct ctl_run *run)
{
	uint64_t bytes = ctl_view_bytes(s->v, ctl_run_units(s->v, run));
	struct counts c = count_refs(s->v, run);
	char command[CTL_COMMAND_NAME], refs[32];

	if (!s->printed)
		printf("%10s %8s %-16s %-6s %4s %14s %12s %15s %10s\n", "GRANT", "PID", "COMMAND", "KIND", "SIZE",
		       "OFFSET", "BYTES", "POOL OFFSET", "REFS");
	snprintf(refs, sizeof(refs), c.least == c.most ? "%u" : "%u-%u", c.least, c.most);
	printf("%10" PRIu64 " %8d %-16s %-6s %4s %14" PRIu64 " %12" PRIu64 " %15" PRIu64 " %10s\n", run->id, run->pid,
	       ctl_command_name(run->pid, command)[0] ? command : "-", kind_names[run->kind], size_names[run->size],
	       ctl_view_bytes(s->v, run->index), bytes, ctl_view_bytes(s->v, run->unit), refs);
}

static void print_object(const struct show *s, const struct ctl_run *run)
{
	struct json_object *o = json_object_new_object();
	struct counts c = count_refs(s->v, run);
	char command[CTL_COMMAND_NAME];

	ctl_command_name(run->pid, command);
	json_object_object_add(o, "grant", json_object_new_uint64(run->id));
	json_object_object_add(o, "pid", json_object_new_int64(run->pid));
	json_object_object_add(o, "command", *command ? json_object_new_string(command) : NULL);
	json_object_object_add(o, "uid", json_object_new_int64(run->uid));
	json_object_object_add(o, "kind", json_object_new_string(kind_names[run->kind]));
	json_object_object_add(o, "folio_bytes",
			       json_object_new_uint64(ctl_view_bytes(s->v, ctl_view_units(s->v, run->size))));
	json_object_object_add(o, "offset", json_object_new_uint64(ctl_view_bytes(s->v, run->index)));
	json_object_object_add(o, "bytes", json_object_new_uint64(ctl_view_bytes(s->v, ctl_run_units(s->v, run))));
	json_object_object_add(o, "pool_offset", json_object_new_uint64(ctl_view_bytes(s->v, run->unit)));
	json_object_object_add(o, "count", json_object_new_int64(run->count));
	json_object_object_add(o, "refcount_min", json_object_new_int64(c.least));
	json_object_object_add(o, "refcount_max", json_object_new_int64(c.most));
	ctl_print_element(o, s->printed > 0);
}

static int show(struct show *s)
{
	struct json_object *head;
	struct ctl_runs runs;
	struct ctl_run run;
	int rc = ctl_runs_open(&runs, s->v, CTL_BY_FILE, s->ino, CTL_ANY);

	if (rc)
		return rc;
	if (s->opts.json) {
		head = ctl_view_object(s->v);
		json_object_object_add(head, "inode", json_object_new_uint64(s->ino));
		ctl_print_first(head, "references");
	}
	while ((rc = ctl_runs_next(&runs, &run)) > 0) {
		if (s->opts.json)
			print_object(s, &run);
		else
			print_line(s, &run);
		s->printed++;
	}
	if (s->opts.json)
		ctl_print_last(NULL, NULL);
	else if (!rc && !s->printed)
		printf("%s (inode %" PRIu64 "): nobody maps it\n", s->path, s->ino);
	ctl_runs_close(&runs);
	return rc;
}

int ctl_map(int argc, char **argv)
{
	struct show s = { .printed = 0 };
	struct ctl_view v;
	char *pool;
	int rc;

	if (ctl_parse(argc, argv, "js", &s.opts) || argc - optind != 1) {
		fputs("usage: inodaxctl map FILE [--json] [--shm DIR]\n", stderr);
		return EXIT_FAILURE;
	}
	s.path = argv[optind];
	pool = ctl_pool_of_file(s.path, &s.ino);
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
