/*
 * inodaxctl folios: the folio table of a pool, and who refers to each folio.
 *
 * One pass over the words that were ever written, joined with the runs of the grant lists in the order of the pool: the
 * runs that reach into the folio at hand are kept in `active`, by grant, and leave it when the pass has gone by. Lines
 * are printed as they are found, so that memory does not grow with the table, and totals come last.
 *
 * A folio's line is made of one look at its word (and, with accounting=page, of one at each of its units' words), so
 * that it says what was true at that moment; who holds it was read a little before.
 */
#include "ctl/ctl.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FEW_RUNS	16U
#define TEXT_HOLDERS	4U	/* named in a line of text */

static const char *const size_names[] = { "4K", "2M", "1G" };
static const char *const owner_names[] = { "free", "exclusive", "shared", "?" };

struct folio {
	uint64_t	unit, units, word;
	uint64_t	refs, maps;
	uint64_t	poisoned;	/* units */
};

/* All references of one grant on one folio. */
struct holder {
	uint64_t	id, ino;
	int32_t		pid;
	uint64_t	refs[3];	/* by kind */
};

struct totals {
	uint64_t	folios[DAX_SIZES];
	uint64_t	refs, maps, limbo, stale, poisoned, waiters;
};

struct walk {
	struct ctl_view		*v;
	struct ctl_options	 opts;
	struct ctl_runs		 runs;
	struct ctl_run		 next;		/* of runs, if more */
	bool			 more;
	struct ctl_run		*active;	/* by grant */
	struct holder		*holder;	/* of the folio at hand; as much room as active has */
	size_t			 active_count, room, holders;
	uint64_t		 printed;
	struct totals		 totals;
};

/* ---- Folios ---------------------------------------------------------------------------------------------- */

/* A size that cannot be, here, counts as one unit. */
static void look_at(struct walk *w, uint64_t unit, struct folio *f)
{
	uint64_t units;

	memset(f, 0, sizeof(*f));
	f->unit = unit;
	f->word = ctl_view_word(w->v, unit);
	units = ctl_view_units(w->v, folio_size(f->word));
	f->units = units && !(unit & (units - 1)) && units <= w->v->units - unit ? units : 1;
	f->refs = folio_refcount(f->word);
	f->maps = folio_mapcount(f->word);
	f->poisoned = f->word & FOLIO_POISON ? 1 : 0;
}

/* The tails of the folio; returns the first used unit behind it. */
static uint64_t look_at_tails(const struct walk *w, struct folio *f)
{
	uint64_t unit = ctl_view_next(w->v, f->unit + 1), word;

	for (; unit < f->unit + f->units; unit = ctl_view_next(w->v, unit + 1)) {
		word = atomic_load_explicit(&w->v->shm.words[unit], memory_order_acquire);
		f->poisoned += word & FOLIO_POISON ? 1 : 0;
		if (w->v->page) {
			f->refs += folio_refcount(word);
			f->maps += folio_mapcount(word);
		}
	}
	return unit;
}

/* In a torn look at several words there could be less references than page-table entries. */
static uint64_t pins_of(uint64_t refs, uint64_t maps)
{
	return refs > maps ? refs - maps : 0;
}

static unsigned int size_of(const struct walk *w, const struct folio *f)
{
	return f->units > 1 ? folio_size(f->word) : w->v->base;
}

static void add_up(struct walk *w, const struct folio *f)
{
	struct totals *t = &w->totals;

	if (folio_owner(f->word) != FOLIO_FREE || f->refs)
		t->folios[size_of(w, f)]++;
	t->refs += f->refs;
	t->maps += f->maps;
	t->limbo += f->word & FOLIO_LIMBO ? 1 : 0;
	t->stale += f->word & FOLIO_STALE ? 1 : 0;
	t->waiters += f->word & FOLIO_WAITERS ? 1 : 0;
	t->poisoned += f->poisoned ? 1 : 0;
}

static bool wanted(const struct walk *w, const struct folio *f)
{
	return f->refs || f->maps || f->poisoned || (f->word & (FOLIO_LIMBO | FOLIO_STALE)) ||
	       (w->opts.all && folio_owner(f->word) != FOLIO_FREE);
}

/* ---- Who holds them -------------------------------------------------------------------------------------- */

static int grow_active(struct walk *w)
{
	size_t room = w->room ? 2 * w->room : 64;
	struct ctl_run *active = realloc(w->active, room * sizeof(*active));
	struct holder *holder;

	if (active)
		w->active = active;
	holder = active ? realloc(w->holder, room * sizeof(*holder)) : NULL;
	if (!holder) {
		fprintf(stderr, "inodaxctl: %s\n", strerror(ENOMEM));
		return -ENOMEM;
	}
	w->holder = holder;
	w->room = room;
	return 0;
}

static int by_grant(const void *left, const void *right)
{
	const struct ctl_run *a = left, *b = right;

	return a->id < b->id ? -1 : a->id > b->id;
}

/* Those from `sorted` on are new: put each in its place, or sort all if that is cheaper. */
static void sort_active(struct walk *w, size_t sorted)
{
	struct ctl_run run;
	size_t at;

	if (w->active_count - sorted > FEW_RUNS) {
		qsort(w->active, w->active_count, sizeof(run), by_grant);
		return;
	}
	for (; sorted < w->active_count; sorted++) {
		run = w->active[sorted];
		for (at = sorted; at && w->active[at - 1].id > run.id; at--)
			w->active[at] = w->active[at - 1];
		w->active[at] = run;
	}
}

/* More runs than a folio can have references are not a daemon's; they are left out. */
static int activate(struct walk *w, const struct ctl_run *run)
{
	if (w->active_count > FOLIO_REF_MAX)
		return 0;
	if (w->active_count == w->room && grow_active(w))
		return -ENOMEM;
	w->active[w->active_count++] = *run;
	return 0;
}

/* Runs that end before the folio leave; those that begin before it ends come. */
static int advance(struct walk *w, const struct folio *f)
{
	size_t kept = 0;
	int rc = 0;

	for (size_t i = 0; i < w->active_count; i++)
		if (w->active[i].unit + ctl_run_units(w->v, &w->active[i]) > f->unit)
			w->active[kept++] = w->active[i];
	w->active_count = kept;
	while (!rc && w->more && w->next.unit < f->unit + f->units) {
		if (w->next.unit + ctl_run_units(w->v, &w->next) > f->unit)
			rc = activate(w, &w->next);
		if (!rc)
			rc = ctl_runs_next(&w->runs, &w->next);
		w->more = rc > 0;
		rc = rc < 0 ? rc : 0;
	}
	sort_active(w, kept);
	return rc;
}

/* References of the run on the folio: accounting=page counts the units that they have in common. */
static uint64_t refs_on(const struct walk *w, const struct ctl_run *run, const struct folio *f)
{
	uint64_t n = w->v->page ? 1 : ctl_view_units(w->v, run->size);
	uint64_t end = run->unit + ctl_run_units(w->v, run), first = f->unit > run->unit ? f->unit : run->unit;

	end = f->unit + f->units < end ? f->unit + f->units : end;
	return (end - 1 - run->unit) / n - (first - run->unit) / n + 1;
}

static void find_holders(struct walk *w, const struct folio *f)
{
	struct holder *h = NULL;

	w->holders = 0;
	for (size_t i = 0; i < w->active_count; i++) {
		const struct ctl_run *run = &w->active[i];

		if (!h || h->id != run->id) {
			h = &w->holder[w->holders++];
			*h = (struct holder){ .id = run->id, .ino = run->ino, .pid = run->pid };
		}
		h->refs[run->kind] += refs_on(w, run, f);
	}
}

/* ---- Output ---------------------------------------------------------------------------------------------- */

/* "stale,limbo", or "-". */
static const char *flags_text(const struct folio *f, char buf[static 40])
{
	snprintf(buf, 40, "%s%s%s%s", f->word & FOLIO_STALE ? ",stale" : "", f->word & FOLIO_LIMBO ? ",limbo" : "",
		 f->poisoned ? ",poison" : "", f->word & FOLIO_WAITERS ? ",waiters" : "");
	return *buf ? buf + 1 : "-";
}

static void print_holders(const struct walk *w)
{
	for (size_t i = 0; i < w->holders && i < TEXT_HOLDERS; i++)
		printf("%s%" PRIu64 " (pid %d, inode %" PRIu64 ")", i ? ", " : "", w->holder[i].id, w->holder[i].pid,
		       w->holder[i].ino);
	if (w->holders > TEXT_HOLDERS)
		printf(", %zu more", w->holders - TEXT_HOLDERS);
	puts(w->holders ? "" : "-");
}

static void print_line(const struct walk *w, const struct folio *f)
{
	char flags[40];

	if (!w->printed)
		printf("%10s %15s %4s %-9s %5s %6s %6s %6s %-11s %s\n", "UNIT", "OFFSET", "SIZE", "OWNER", "SHARE",
		       "REFS", "MAPS", "PINS", "FLAGS", "HELD BY GRANT");
	printf("%10" PRIu64 " %15" PRIu64 " %4s %-9s %5u %6" PRIu64 " %6" PRIu64 " %6" PRIu64 " %-11s ", f->unit,
	       ctl_view_bytes(w->v, f->unit), size_names[size_of(w, f)], owner_names[folio_owner(f->word)],
	       folio_share(f->word), f->refs, f->maps, pins_of(f->refs, f->maps), flags_text(f, flags));
	print_holders(w);
}

static const char *truth(bool value)
{
	return value ? "true" : "false";
}

/* By hand: there may be a million, and nothing in it needs quoting. */
static void print_object(const struct walk *w, const struct folio *f)
{
	printf("%s\n    {\"unit\": %" PRIu64 ", \"offset\": %" PRIu64 ", \"bytes\": %" PRIu64
	       ", \"owner\": \"%s\", \"share\": %u, \"refcount\": %" PRIu64 ", \"mapcount\": %" PRIu64
	       ", \"pins\": %" PRIu64, w->printed ? "," : "", f->unit, ctl_view_bytes(w->v, f->unit),
	       ctl_view_bytes(w->v, f->units), owner_names[folio_owner(f->word)], folio_share(f->word), f->refs,
	       f->maps, pins_of(f->refs, f->maps));
	printf(", \"stale\": %s, \"limbo\": %s, \"waiters\": %s, \"poisoned_units\": %" PRIu64 ", \"held_by\": [",
	       truth(f->word & FOLIO_STALE), truth(f->word & FOLIO_LIMBO), truth(f->word & FOLIO_WAITERS), f->poisoned);
	for (size_t i = 0; i < w->holders; i++) {
		const struct holder *h = &w->holder[i];

		printf("%s{\"grant\": %" PRIu64 ", \"pid\": %d, \"inode\": %" PRIu64 ", \"maps\": %" PRIu64
		       ", \"pins\": %" PRIu64 ", \"layouts\": %" PRIu64 "}", i ? ", " : "", h->id, h->pid, h->ino,
		       h->refs[GRANT_MAP], h->refs[GRANT_PIN], h->refs[GRANT_LAYOUT]);
	}
	fputs("]}", stdout);
}

static void print_totals(const struct walk *w)
{
	const struct totals *t = &w->totals;

	printf("folios    %" PRIu64 " of 4K, %" PRIu64 " of 2M, %" PRIu64 " of 1G are owned or referenced\n",
	       t->folios[DAX_PTE], t->folios[DAX_PMD], t->folios[DAX_PUD]);
	printf("counts    %" PRIu64 " references: %" PRIu64 " mapped, %" PRIu64 " pins\n", t->refs, t->maps,
	       pins_of(t->refs, t->maps));
	printf("flags     %" PRIu64 " stale, %" PRIu64 " in limbo, %" PRIu64 " poisoned, %" PRIu64 " waited for\n",
	       t->stale, t->limbo, t->poisoned, t->waiters);
	printf("resting   %" PRIu64 " free blocks that were mapped directly\n", w->v->resting);
}

static struct json_object *totals_object(const struct walk *w)
{
	const struct totals *t = &w->totals;
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "folios_4k", json_object_new_uint64(t->folios[DAX_PTE]));
	json_object_object_add(o, "folios_2m", json_object_new_uint64(t->folios[DAX_PMD]));
	json_object_object_add(o, "folios_1g", json_object_new_uint64(t->folios[DAX_PUD]));
	json_object_object_add(o, "refcount", json_object_new_uint64(t->refs));
	json_object_object_add(o, "mapcount", json_object_new_uint64(t->maps));
	json_object_object_add(o, "pins", json_object_new_uint64(pins_of(t->refs, t->maps)));
	json_object_object_add(o, "stale", json_object_new_uint64(t->stale));
	json_object_object_add(o, "limbo", json_object_new_uint64(t->limbo));
	json_object_object_add(o, "poisoned", json_object_new_uint64(t->poisoned));
	json_object_object_add(o, "waiters", json_object_new_uint64(t->waiters));
	json_object_object_add(o, "resting", json_object_new_uint64(w->v->resting));
	return o;
}

/* ---- The walk -------------------------------------------------------------------------------------------- */

static int walk_table(struct walk *w)
{
	uint64_t unit = ctl_view_next(w->v, 0), next;
	struct folio f;
	int rc = 0;

	while (unit < w->v->units && !rc) {
		look_at(w, unit, &f);
		next = look_at_tails(w, &f);
		add_up(w, &f);
		if (wanted(w, &f)) {
			rc = advance(w, &f);
			if (rc)
				break;
			find_holders(w, &f);
			if (w->opts.json)
				print_object(w, &f);
			else
				print_line(w, &f);
			w->printed++;
		}
		unit = next;
	}
	return rc;
}

static int show(struct walk *w)
{
	int rc = ctl_runs_open(&w->runs, w->v, CTL_BY_UNIT, CTL_ANY, CTL_ANY);

	if (rc)
		return rc;
	rc = ctl_runs_next(&w->runs, &w->next);
	w->more = rc > 0;
	if (w->opts.json)
		ctl_print_first(ctl_view_object(w->v), "folios");
	else
		ctl_view_print(w->v);
	if (rc >= 0)
		rc = walk_table(w);
	if (w->opts.json)
		ctl_print_last(totals_object(w), "totals");
	else
		print_totals(w);
	free(w->active);
	free(w->holder);
	ctl_runs_close(&w->runs);
	return rc;
}

int ctl_folios(int argc, char **argv)
{
	struct walk w = { .printed = 0 };
	struct ctl_view v;
	char *pool;
	int rc;

	if (ctl_parse(argc, argv, "jas", &w.opts) || argc - optind != 1) {
		fputs("usage: inodaxctl folios POOL|MOUNTPOINT [--json] [--all] [--shm DIR]\n", stderr);
		return EXIT_FAILURE;
	}
	pool = ctl_pool_of(argv[optind]);
	if (!pool)
		return EXIT_FAILURE;
	rc = ctl_view_open(&v, pool, w.opts.shm);
	if (!rc) {
		w.v = &v;
		rc = show(&w);
		ctl_view_close(&v);
	}
	free(pool);
	return rc ? EXIT_FAILURE : EXIT_SUCCESS;
}
