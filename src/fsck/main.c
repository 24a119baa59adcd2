/*
 * fsck.inodax - check a pool. The work is lib/check's; this file is options, output and e2fsck's exit bits.
 *
 * Nothing is ever written: the pool is opened read-only, under a shared lock that a daemon's exclusive one
 * refuses. So a signal may end the program at any moment, and the handlers only say so and leave.
 *
 * Findings are printed as they come, also with --json: a badly damaged pool has more of them than should be
 * kept.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/check.h"
#include "config.h"
#include "pmem/region.h"

/* fsck(8): a sum of these. */
#define EXIT_CLEAN		0
#define EXIT_UNCORRECTED	4
#define EXIT_OPERATIONAL	8
#define EXIT_USAGE		16
#define EXIT_CANCELLED		32

#define OPT_JSON		256

struct options {
	const char	*path;
	bool		 force, json, verbose, quiet;
};

struct output {
	const struct options	*opt;
	uint64_t		 findings;
};

static const char usage_text[] =
	"Usage: fsck.inodax [-fnpaqv] [--json] POOL\n"
	"\n"
	"Check an inodax pool: a /dev/daxX.Y or a file. Nothing is written.\n"
	"\n"
	"  -f          run all passes also when the pool was unmounted cleanly\n"
	"  -n          check only (this version always does)\n"
	"  -p, -a      the same; for fsck(8) and boot scripts\n"
	"      --json  report and findings as one JSON object\n"
	"  -q          print findings only\n"
	"  -v          print more about the pool\n"
	"  -V          print the version and exit\n"
	"  -h          print this help and exit\n"
	"\n"
	"Exit status: 0 no problems, 4 problems found, 8 could not check, 16 usage, 32 cancelled.\n";

/* ---- Signals ------------------------------------------------------------------------------------------- */

static void say_and_exit(const char *text, int status)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		status |= EXIT_OPERATIONAL;
	_exit(status);
}

static void on_cancel(int sig)
{
	(void)sig;
	say_and_exit("fsck.inodax: cancelled\n", EXIT_CANCELLED);
}

/* Poisoned memory, or a pool file that was cut short under us. */
static void on_bus_error(int sig)
{
	(void)sig;
	say_and_exit("fsck.inodax: media error: a part of the pool cannot be read\n", EXIT_OPERATIONAL);
}

static void set_handlers(void)
{
	struct sigaction cancel = { .sa_handler = on_cancel }, bus = { .sa_handler = on_bus_error };

	sigaction(SIGINT, &cancel, NULL);
	sigaction(SIGTERM, &cancel, NULL);
	sigaction(SIGBUS, &bus, NULL);
}

/* ---- Output -------------------------------------------------------------------------------------------- */

static void print_finding(void *arg, const struct check_finding *f)
{
	struct output *out = arg;

	out->findings++;
	printf("%s: %s %u %s: %s\n", out->opt->path, f->severity, f->problem, f->name, f->text);
}

static void print_json(json_object *o)
{
	int flags = JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE;

	fputs(json_object_to_json_string_ext(o, flags), stdout);
	json_object_put(o);
}

static void print_finding_json(void *arg, const struct check_finding *f)
{
	struct output *out = arg;
	json_object *o = json_object_new_object();

	json_object_object_add(o, "number", json_object_new_int64(f->problem));
	json_object_object_add(o, "name", json_object_new_string(f->name));
	json_object_object_add(o, "severity", json_object_new_string(f->severity));
	json_object_object_add(o, "text", json_object_new_string(f->text));
	fputs(out->findings++ ? ",\n  " : "\n  ", stdout);
	print_json(o);
}

static void add_number(json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

/* The rest of the object that main() opened. `full`: all passes ran. */
static void print_report_json(const struct options *opt, const struct check_report *report, bool full,
			      int status)
{
	json_object *o = json_object_new_object();

	json_object_object_add(o, "clean", json_object_new_boolean(report->clean));
	json_object_object_add(o, "full_check", json_object_new_boolean(full));
	json_object_object_add(o, "backup_superblock", json_object_new_boolean(report->backup_super));
	add_number(o, "blocks", report->blocks);
	add_number(o, "blocks_used", report->blocks_used);
	add_number(o, "inodes", report->inodes);
	add_number(o, "inodes_used", report->inodes_used);
	if (full) {
		add_number(o, "directories", report->directories);
		add_number(o, "files", report->files);
	}
	add_number(o, "records", report->records);
	add_number(o, "problems", report->problems);
	fputs("],\n \"report\":", stdout);
	print_json(o);
	fputs(",\n \"pool\":", stdout);
	print_json(json_object_new_string(opt->path));
	printf(",\n \"exit\":%d}\n", status);
}

static void print_error_json(const struct options *opt, const char *text, int status)
{
	fputs("],\n \"error\":", stdout);
	print_json(json_object_new_string(text));
	fputs(",\n \"pool\":", stdout);
	print_json(json_object_new_string(opt->path));
	printf(",\n \"exit\":%d}\n", status);
}

static void print_details(const struct options *opt, const struct check_report *report)
{
	printf("%s: %s\n", opt->path, report->clean ? "unmounted cleanly" : "not unmounted cleanly");
	if (!report->clean)
		printf("%s: %" PRIu64 " journal records taken into account; the next mount replays them\n",
		       opt->path, report->records);
	printf("%s: %" PRIu64 " directories, %" PRIu64 " other files\n", opt->path, report->directories,
	       report->files);
}

static void print_summary(const struct options *opt, const struct check_report *report, bool full)
{
	if (opt->verbose && full)
		print_details(opt, report);
	if (report->problems)
		printf("%s: %" PRIu64 " problem%s found, none repaired\n", opt->path, report->problems,
		       report->problems == 1 ? "" : "s");
	if (!opt->quiet)
		printf("%s: %s%" PRIu64 "/%" PRIu64 " files, %" PRIu64 "/%" PRIu64 " blocks\n", opt->path,
		       full ? "" : "clean, ", report->inodes_used, report->inodes, report->blocks_used,
		       report->blocks);
}

/* ---- Checking ------------------------------------------------------------------------------------------ */

/* *full: all passes ran. Returns 0 or a negative errno with `err`. */
static int check_region(const struct options *opt, const struct region *r, struct check_report *report,
			bool *full, struct err *err)
{
	struct output out = { .opt = opt };
	int rc = opt->force ? 0 : check_clean(r, opt->path, report, err);

	*full = rc == 0;
	if (rc)
		return rc < 0 ? rc : 0;
	return check_pool(r, opt->path, opt->json ? print_finding_json : print_finding, &out, report, err);
}

static int run(const struct options *opt)
{
	struct check_report report;
	struct region *r = NULL;
	struct err err = { "" };
	int rc, status;
	bool full;

	if (opt->json)
		fputs("{\"findings\":[", stdout);
	rc = region_open(&r, opt->path, 0, REGION_RDONLY, &err);
	if (!rc)
		rc = check_region(opt, r, &report, &full, &err);
	region_close(r);
	if (rc) {
		status = EXIT_OPERATIONAL;
		fprintf(stderr, "fsck.inodax: %s\n", err.text);
		if (opt->json)
			print_error_json(opt, err.text, status);
		return status;
	}
	status = report.problems ? EXIT_UNCORRECTED : EXIT_CLEAN;
	if (opt->json)
		print_report_json(opt, &report, full, status);
	else
		print_summary(opt, &report, full);
	return status;
}

/* ---- Options ------------------------------------------------------------------------------------------- */

static int usage_error(const char *text)
{
	fprintf(stderr, "fsck.inodax: %s\n", text);
	return EXIT_USAGE;
}

/* 0 to go on, else exit with *status. */
static int parse_options(struct options *opt, int argc, char **argv, int *status)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, OPT_JSON }, { "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
	};
	int o;

	*status = EXIT_USAGE;
	while ((o = getopt_long(argc, argv, "fnpayqvVh", longs, NULL)) != -1) {
		switch (o) {
		case 'f':
			opt->force = true;
			break;
		case 'n':
		case 'p':
		case 'a':
			break;
		case 'y':
			usage_error("-y: this version checks and does not repair; run it with -n");
			return 1;
		case OPT_JSON:
			opt->json = true;
			break;
		case 'q':
			opt->quiet = true;
			break;
		case 'v':
			opt->verbose = true;
			break;
		case 'V':
			puts("fsck.inodax " PACKAGE_VERSION);
			*status = EXIT_CLEAN;
			return 1;
		case 'h':
			fputs(usage_text, stdout);
			*status = EXIT_CLEAN;
			return 1;
		default:
			fputs(usage_text, stderr);
			return 1;
		}
	}
	if (optind + 1 != argc) {
		usage_error(optind == argc ? "no pool given: fsck.inodax POOL" : "more than one pool given");
		return 1;
	}
	opt->path = argv[optind];
	return 0;
}

int main(int argc, char **argv)
{
	struct options opt = { 0 };
	int status;

	if (!parse_options(&opt, argc, argv, &status)) {
		set_handlers();
		status = run(&opt);
	}
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "fsck.inodax: standard output: %s\n", strerror(errno));
		status |= EXIT_OPERATIONAL;
	}
	return status;
}
