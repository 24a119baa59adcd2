/*
 * The emulated media, for tests.
 *
 * Owns a region in DRAM and, while recording, the trace of everything that passed the door: stores with
 * their bytes, flushes, fences, each with its thread. Produces, for any moment of the trace, the images the
 * media may hold if power is lost there. The rules are those of emu.h; in terms of the data here:
 *
 * The replay keeps, per aligned 8-byte word, its durable value and a chain of versions: the values it got
 * since, each with the event that stored it. A store appends a version to each word it touches. A word with
 * versions is in doubt: the media may hold any of them, or the durable value. A fence of thread T commits
 * what is pending for T:
 *
 *	a non-temporal store of T at event e	the version of e in each word of the store
 *	a flush by T at event f			in each word of the lines, the newest version before f that
 *						a cache can have held: a plain store of anybody, or a
 *						non-temporal store of T itself
 *
 * To commit a version makes its value the durable one and forgets it and all older ones; newer ones stay in
 * doubt. That a flush may be evaluated at its fence, not when it was made, is because other threads'
 * non-temporal versions leave the chain only by being committed, and then older ones are gone as well.
 *
 * The replay only moves forward: crash moments asked for in rising order cost the trace once in all. An
 * image is a copy of the durable values with the words in doubt set on top.
 */
#include "pmem/emu.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format.h"
#include "pmem/region_private.h"

#define LINE		64U
#define WORD		8U
#define LINE_WORDS	(LINE / WORD)
#define NO_POSITION	UINT32_MAX

enum event_type { EVENT_STORE, EVENT_STORE_NT, EVENT_ZERO_NT, EVENT_FLUSH, EVENT_FENCE };

struct event {
	enum event_type	 type;
	uint32_t	 thread;
	uint64_t	 off, len;	/* range in the pool; of a fence: off is the persist point */
	uint64_t	 data;		/* of stores: where the bytes start in emu.bytes */
};

/* One value a word had. Nodes live in replay.version and are named by index; 0 is none. */
struct version {
	uint64_t	value;
	uint64_t	event;
	uint32_t	older;		/* next in the chain, or in the free list */
	uint32_t	nt_thread;	/* thread of a non-temporal store, 0 of a plain one */
};

/* What the next fence of a thread commits. */
struct pending {
	uint64_t	event;
	uint64_t	off, len;
	bool		nt;
};

struct pending_list {
	struct pending	*item;
	size_t		 count, room;
};

struct replay {
	uint64_t		 events;	/* replayed so far */
	unsigned char		*durable;	/* size bytes */
	uint32_t		*newest;	/* per word: its newest version */
	struct version		*version;
	uint32_t		 versions, version_room, version_free;
	struct pending_list	*thread;	/* by thread number */
	size_t			 threads;
	uint8_t			*line_words;	/* per line: words with versions */
	uint32_t		*line_position;	/* per line: its place in active, or NO_POSITION */
	uint32_t		*active;	/* lines with versions, in no order */
	uint32_t		 actives;
	uint32_t		*doubt;		/* since emu_crash_begin: lines in doubt, in order */
	uint32_t		 doubts;
};

struct emu {
	uint64_t		 size;
	pthread_mutex_t		 lock;		/* protects all below */
	bool			 recording;
	struct event		*event;
	uint64_t		 events, event_room;
	unsigned char		*bytes;
	uint64_t		 bytes_used, bytes_room;
	unsigned char		*start;		/* the media when recording started */
	int			 plant_fence;	/* persist point whose fences are dropped, -1 */
	bool			 plant_flush;
	struct replay		 replay;
};

static _Thread_local uint32_t my_thread;
static atomic_uint last_thread;

static uint32_t thread_number(void)
{
	if (!my_thread)
		my_thread = atomic_fetch_add(&last_thread, 1) + 1;
	return my_thread;
}

/* Make room for `need` elements. A test that runs out of memory has no way to go on. */
static void *grow(void *array, uint64_t *room, uint64_t need, size_t element)
{
	if (need <= *room)
		return array;
	*room = need > *room * 2 ? need : *room * 2;
	array = realloc(array, *room * element);
	if (!array) {
		fprintf(stderr, "emulated media: out of memory\n");
		abort();
	}
	return array;
}

/* ---- Recording ----------------------------------------------------------------------------------------- */

/* Caller holds emu.lock. */
static void append(struct emu *e, enum event_type type, uint64_t off, uint64_t len, const void *src)
{
	struct event ev = {
		.type = type, .thread = thread_number(), .off = off, .len = len, .data = e->bytes_used,
	};

	if (src) {
		e->bytes = grow(e->bytes, &e->bytes_room, e->bytes_used + len, 1);
		memcpy(e->bytes + e->bytes_used, src, len);
		e->bytes_used += len;
	}
	e->event = grow(e->event, &e->event_room, e->events + 1, sizeof(ev));
	e->event[e->events++] = ev;
}

static void record(struct region *r, enum event_type type, const void *addr, size_t len, const void *src)
{
	struct emu *e = r->priv;

	pthread_mutex_lock(&e->lock);
	if (e->recording && len && !(type == EVENT_FLUSH && e->plant_flush))
		append(e, type, (uint64_t)((const char *)addr - r->base), len, src);
	pthread_mutex_unlock(&e->lock);
}

/* `src` may lie in the pool: it is recorded before it can be overwritten by its own copy. */
static void emu_store(struct region *r, void *dst, const void *src, size_t len)
{
	record(r, EVENT_STORE, dst, len, src);
	persist_copy(dst, src, len);
}

static void emu_store_nt(struct region *r, void *dst, const void *src, size_t len)
{
	record(r, EVENT_STORE_NT, dst, len, src);
	memcpy(dst, src, len);
}

static void emu_zero_nt(struct region *r, void *dst, size_t len)
{
	record(r, EVENT_ZERO_NT, dst, len, NULL);
	memset(dst, 0, len);
}

static void emu_flush(struct region *r, const void *addr, size_t len)
{
	record(r, EVENT_FLUSH, addr, len, NULL);
}

static int emu_fence(struct region *r, enum persist_point point)
{
	struct emu *e = r->priv;

	pthread_mutex_lock(&e->lock);
	if (e->recording && e->plant_fence != (int)point)
		append(e, EVENT_FENCE, point, 0, NULL);
	pthread_mutex_unlock(&e->lock);
	return 0;
}

uint64_t emu_events(const struct region *r)
{
	struct emu *e = r->priv;
	uint64_t events;

	pthread_mutex_lock(&e->lock);
	events = e->events;
	pthread_mutex_unlock(&e->lock);
	return events;
}

bool emu_is_fence(const struct region *r, uint64_t event, enum persist_point *point)
{
	struct emu *e = r->priv;
	bool fence;

	pthread_mutex_lock(&e->lock);
	assert(event < e->events);
	fence = e->event[event].type == EVENT_FENCE;
	if (fence && point)
		*point = (enum persist_point)e->event[event].off;
	pthread_mutex_unlock(&e->lock);
	return fence;
}

void emu_plant_missing_fence(struct region *r, int point)
{
	struct emu *e = r->priv;

	pthread_mutex_lock(&e->lock);
	e->plant_fence = point;
	pthread_mutex_unlock(&e->lock);
}

void emu_plant_missing_flush(struct region *r, bool on)
{
	struct emu *e = r->priv;

	pthread_mutex_lock(&e->lock);
	e->plant_flush = on;
	pthread_mutex_unlock(&e->lock);
}

/* ---- Replay: versions of a word ------------------------------------------------------------------------ */

static uint64_t word_at(const unsigned char *image, uint64_t word)
{
	uint64_t v;

	memcpy(&v, image + word * WORD, WORD);
	return v;
}

static void set_word(unsigned char *image, uint64_t word, uint64_t value)
{
	memcpy(image + word * WORD, &value, WORD);
}

static uint64_t newest_value(const struct replay *rp, uint64_t word)
{
	uint32_t v = rp->newest[word];

	return v ? rp->version[v].value : word_at(rp->durable, word);
}

static uint32_t take_version(struct replay *rp)
{
	uint64_t room = rp->version_room;
	uint32_t v = rp->version_free;

	if (v) {
		rp->version_free = rp->version[v].older;
		return v;
	}
	rp->version = grow(rp->version, &room, (uint64_t)rp->versions + 1, sizeof(*rp->version));
	rp->version_room = (uint32_t)room;
	return rp->versions++;
}

static void activate(struct replay *rp, uint64_t line)
{
	if (rp->line_words[line]++)
		return;
	rp->line_position[line] = rp->actives;
	rp->active[rp->actives++] = (uint32_t)line;
}

static void deactivate(struct replay *rp, uint64_t line)
{
	uint32_t last, position = rp->line_position[line];

	if (--rp->line_words[line])
		return;
	last = rp->active[--rp->actives];
	rp->active[position] = last;
	rp->line_position[last] = position;
	rp->line_position[line] = NO_POSITION;
}

/* The word gets a value. To store what is durable anyway makes no doubt. */
static void add_version(struct replay *rp, uint64_t word, uint64_t value, uint64_t event, uint32_t nt_thread)
{
	uint32_t v, older = rp->newest[word];

	if (!older && value == word_at(rp->durable, word))
		return;
	v = take_version(rp);
	rp->version[v] = (struct version){
		.value = value, .event = event, .older = older, .nt_thread = nt_thread,
	};
	rp->newest[word] = v;
	if (!older)
		activate(rp, word / LINE_WORDS);
}

static void free_versions(struct replay *rp, uint32_t v)
{
	uint32_t older;

	for (; v; v = older) {
		older = rp->version[v].older;
		rp->version[v].older = rp->version_free;
		rp->version_free = v;
	}
}

/* Whether the fence of `thread` that p waits for makes version v durable. Asked from the newest one down. */
static bool commits(const struct pending *p, uint32_t thread, const struct version *v)
{
	if (p->nt)
		return v->event == p->event;
	return v->event < p->event && (!v->nt_thread || v->nt_thread == thread);
}

static void commit_word(struct replay *rp, const struct pending *p, uint32_t thread, uint64_t word)
{
	uint32_t v = rp->newest[word], newer = 0;

	while (v && !commits(p, thread, &rp->version[v])) {
		newer = v;
		v = rp->version[v].older;
	}
	if (!v)
		return;
	set_word(rp->durable, word, rp->version[v].value);
	if (newer) {
		rp->version[newer].older = 0;
	} else {
		rp->newest[word] = 0;
		deactivate(rp, word / LINE_WORDS);
	}
	free_versions(rp, v);
}

/* ---- Replay: events ------------------------------------------------------------------------------------ */

/* The part of [off, off + len) that lies in `word`: its first byte there, and how many. */
static unsigned int word_part(uint64_t word, uint64_t off, uint64_t len, unsigned int *count)
{
	uint64_t start = word * WORD, end = start + WORD, first = off > start ? off : start;

	*count = (unsigned int)((off + len < end ? off + len : end) - first);
	return (unsigned int)(first - start);
}

static void replay_store(struct emu *e, const struct event *ev, uint64_t number)
{
	const unsigned char *src = ev->type == EVENT_ZERO_NT ? NULL : e->bytes + ev->data;
	uint32_t nt_thread = ev->type == EVENT_STORE ? 0 : ev->thread;
	unsigned char value[WORD];
	unsigned int at, count;
	uint64_t word, v;

	for (word = ev->off / WORD; word * WORD < ev->off + ev->len; word++) {
		v = newest_value(&e->replay, word);
		memcpy(value, &v, WORD);
		at = word_part(word, ev->off, ev->len, &count);
		if (src)
			memcpy(value + at, src + (word * WORD + at - ev->off), count);
		else
			memset(value + at, 0, count);
		memcpy(&v, value, WORD);
		add_version(&e->replay, word, v, number, nt_thread);
	}
}

static struct pending_list *pending_of(struct replay *rp, uint32_t thread)
{
	uint64_t room = rp->threads;

	if (thread >= rp->threads) {
		rp->thread = grow(rp->thread, &room, (uint64_t)thread + 1, sizeof(*rp->thread));
		memset(rp->thread + rp->threads, 0, (room - rp->threads) * sizeof(*rp->thread));
		rp->threads = room;
	}
	return &rp->thread[thread];
}

static void add_pending(struct replay *rp, const struct event *ev, uint64_t number)
{
	struct pending_list *list = pending_of(rp, ev->thread);
	uint64_t room = list->room;

	list->item = grow(list->item, &room, list->count + 1, sizeof(*list->item));
	list->room = room;
	list->item[list->count++] = (struct pending){
		.event = number, .off = ev->off, .len = ev->len, .nt = ev->type != EVENT_FLUSH,
	};
}

static void replay_fence(struct replay *rp, uint32_t thread)
{
	struct pending_list *list = pending_of(rp, thread);
	const struct pending *p;
	uint64_t word, end;

	for (p = list->item; p < list->item + list->count; p++) {
		uint64_t grain = p->nt ? WORD : LINE;

		word = p->off / grain * grain / WORD;
		end = (p->off + p->len + grain - 1) / grain * grain / WORD;
		while (word < end) {
			if (rp->line_words[word / LINE_WORDS])
				commit_word(rp, p, thread, word++);
			else
				word = (word / LINE_WORDS + 1) * LINE_WORDS;
		}
	}
	list->count = 0;
}

static void replay_event(struct emu *e, uint64_t number)
{
	const struct event *ev = &e->event[number];

	switch (ev->type) {
	case EVENT_STORE:
		replay_store(e, ev, number);
		break;
	case EVENT_STORE_NT:
	case EVENT_ZERO_NT:
		replay_store(e, ev, number);
		add_pending(&e->replay, ev, number);
		break;
	case EVENT_FLUSH:
		add_pending(&e->replay, ev, number);
		break;
	case EVENT_FENCE:
		replay_fence(&e->replay, ev->thread);
		break;
	}
}

/* Back to the start of the trace. Version 0 is never used. */
static void replay_reset(struct emu *e)
{
	struct replay *rp = &e->replay;
	size_t i;

	rp->events = 0;
	memcpy(rp->durable, e->start, e->size);
	memset(rp->newest, 0, e->size / WORD * sizeof(*rp->newest));
	rp->versions = 1;
	rp->version_free = 0;
	for (i = 0; i < rp->threads; i++)
		rp->thread[i].count = 0;
	memset(rp->line_words, 0, e->size / LINE);
	memset(rp->line_position, 0xff, e->size / LINE * sizeof(*rp->line_position));
	rp->actives = 0;
	rp->doubts = 0;
}

/* ---- Crash states -------------------------------------------------------------------------------------- */

/* Some version differs from the durable value. */
static bool word_in_doubt(const struct replay *rp, uint64_t word)
{
	uint64_t durable = word_at(rp->durable, word);
	uint32_t v;

	for (v = rp->newest[word]; v; v = rp->version[v].older)
		if (rp->version[v].value != durable)
			return true;
	return false;
}

static bool line_in_doubt(const struct replay *rp, uint32_t line)
{
	uint64_t word = (uint64_t)line * LINE_WORDS, end = word + LINE_WORDS;

	while (word < end && !word_in_doubt(rp, word))
		word++;
	return word < end;
}

static int compare_lines(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Lines are sorted so that a mask or a seed means the same whether the replay started here or at 0. */
void emu_crash_begin(struct region *r, uint64_t events)
{
	struct emu *e = r->priv;
	struct replay *rp = &e->replay;
	uint32_t i;

	pthread_mutex_lock(&e->lock);
	assert(e->recording && events <= e->events);
	if (events < rp->events)
		replay_reset(e);
	while (rp->events < events)
		replay_event(e, rp->events++);
	rp->doubts = 0;
	for (i = 0; i < rp->actives; i++)
		if (line_in_doubt(rp, rp->active[i]))
			rp->doubt[rp->doubts++] = rp->active[i];
	qsort(rp->doubt, rp->doubts, sizeof(*rp->doubt), compare_lines);
	pthread_mutex_unlock(&e->lock);
}

unsigned int emu_crash_lines(const struct region *r)
{
	struct emu *e = r->priv;
	unsigned int lines;

	pthread_mutex_lock(&e->lock);
	lines = e->replay.doubts;
	pthread_mutex_unlock(&e->lock);
	return lines;
}

void emu_crash_subset(struct region *r, uint64_t mask, void *image)
{
	struct emu *e = r->priv;
	struct replay *rp = &e->replay;
	uint64_t word, end;
	uint32_t i;

	pthread_mutex_lock(&e->lock);
	assert(rp->doubts <= 64);
	memcpy(image, rp->durable, e->size);
	for (i = 0; i < rp->doubts; i++) {
		if (!(mask >> i & 1))
			continue;
		word = (uint64_t)rp->doubt[i] * LINE_WORDS;
		for (end = word + LINE_WORDS; word < end; word++)
			set_word(image, word, newest_value(rp, word));
	}
	pthread_mutex_unlock(&e->lock);
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* One of the word's versions or its durable value, each as likely as the others. */
static uint64_t draw_value(const struct replay *rp, uint64_t word, uint64_t *state)
{
	uint64_t count = 1, pick;
	uint32_t v;

	for (v = rp->newest[word]; v; v = rp->version[v].older)
		count++;
	pick = next_random(state) % count;
	for (v = rp->newest[word]; v && pick; v = rp->version[v].older)
		pick--;
	return v ? rp->version[v].value : word_at(rp->durable, word);
}

void emu_crash_random(struct region *r, uint64_t seed, void *image)
{
	struct emu *e = r->priv;
	struct replay *rp = &e->replay;
	uint64_t word, end;
	uint32_t i;

	pthread_mutex_lock(&e->lock);
	memcpy(image, rp->durable, e->size);
	for (i = 0; i < rp->doubts; i++) {
		word = (uint64_t)rp->doubt[i] * LINE_WORDS;
		for (end = word + LINE_WORDS; word < end; word++)
			if (rp->newest[word])
				set_word(image, word, draw_value(rp, word, &seed));
	}
	pthread_mutex_unlock(&e->lock);
}

/* ---- Life ---------------------------------------------------------------------------------------------- */

static bool replay_alloc(struct emu *e)
{
	struct replay *rp = &e->replay;

	e->start = malloc(e->size);
	rp->durable = malloc(e->size);
	rp->newest = malloc(e->size / WORD * sizeof(*rp->newest));
	rp->line_words = malloc(e->size / LINE);
	rp->line_position = malloc(e->size / LINE * sizeof(*rp->line_position));
	rp->active = malloc(e->size / LINE * sizeof(*rp->active));
	rp->doubt = malloc(e->size / LINE * sizeof(*rp->doubt));
	return e->start && rp->durable && rp->newest && rp->line_words && rp->line_position && rp->active &&
	       rp->doubt;
}

static void replay_free(struct emu *e)
{
	struct replay *rp = &e->replay;
	size_t i;

	for (i = 0; i < rp->threads; i++)
		free(rp->thread[i].item);
	free(rp->thread);
	free(rp->version);
	free(rp->doubt);
	free(rp->active);
	free(rp->line_position);
	free(rp->line_words);
	free(rp->newest);
	free(rp->durable);
	free(e->start);
}

/* The replay's arrays are only there from the first recording on: most tests never record. */
void emu_record(struct region *r)
{
	struct emu *e = r->priv;

	pthread_mutex_lock(&e->lock);
	if (!e->start && !replay_alloc(e)) {
		fprintf(stderr, "emulated media: out of memory\n");
		abort();
	}
	memcpy(e->start, r->base, e->size);
	e->events = 0;
	e->bytes_used = 0;
	e->recording = true;
	replay_reset(e);
	pthread_mutex_unlock(&e->lock);
}

void emu_close(struct region *r)
{
	struct emu *e = r->priv;

	replay_free(e);
	free(e->event);
	free(e->bytes);
	pthread_mutex_destroy(&e->lock);
	free(e);
	free(r->base);
	free(r);
}

static const struct persist_ops emu_ops = {
	.store		= emu_store,
	.store_nt	= emu_store_nt,
	.zero_nt	= emu_zero_nt,
	.flush		= emu_flush,
	.fence		= emu_fence,
	.close		= emu_close,
};

struct region *emu_open(uint64_t size, const void *image)
{
	struct region *r = calloc(1, sizeof(*r));
	struct emu *e = calloc(1, sizeof(*e));
	char *base = aligned_alloc(BLOCK_SIZE, size);

	assert(size % BLOCK_SIZE == 0);
	if (!r || !e || !base) {
		free(r);
		free(e);
		free(base);
		return NULL;
	}
	if (image)
		memcpy(base, image, size);
	else
		memset(base, 0, size);
	e->size = size;
	e->plant_fence = -1;
	pthread_mutex_init(&e->lock, NULL);
	*r = (struct region){
		.base = base, .size = size, .unit = BLOCK_SIZE, .kind = REGION_EMU, .fd = -1,
		.ops = &emu_ops, .priv = e,
	};
	return r;
}
