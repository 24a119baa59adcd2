/*
 * The ring of redo records: commit, group commit, retire, tail.
 *
 * Owns the ring's bytes, the sequence, and the tail slots of a mounted pool. Relies on its callers to hold
 * the locks of what a record names, and to store in place and say so (journal_applied) soon after. A record
 * is
 *
 *	reserved	has sequence and position; both came from one critical section, so their orders agree
 *	durable		its committer's fence is over; it counts once every earlier record is durable too
 *	applied		what it says is stored in place, by plain stores that nobody flushed
 *	retired		its in-place lines were flushed and fenced and the durable tail has passed it
 *
 * and three watermarks say how far the first three reach without a gap; tail.seq is the fourth. Crc, copy and
 * fence run outside the mutex, side by side. In-place lines are flushed when the tail moves, once for all
 * records that changed them, whoever stored them.
 *
 * Why this survives a power cut at any moment: no in-place store happens before all records up to its own are
 * durable, so replay from the tail always covers it; the tail passes a record only after its lines are
 * durable in place; and the ring space of a record is used again only after the tail that passed it is
 * durable.
 *
 * Why nobody waits in a circle: who has a sequence waits for earlier records' fences alone. Who has none yet
 * may wait for room with inode locks held, since room comes from records that need only their fences and a
 * few stores to be applied.
 *
 * A failed write-back (REGION_PAGED) ends all: the record and every later one fail, earlier ones go on, and
 * everybody who waits for room or for the tail is told.
 */
#include "meta/journal.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "meta/record.h"
#include "pmem/persist.h"

#define IN_FLIGHT	256U		/* records reserved and not yet applied; a power of two */
#define SPINS		200U		/* looks at the watermark before a committer sleeps: about a fence */
#define LINE		64U
#define LINE_FILTER	512U		/* lines remembered as flushed; a power of two */
#define NO_LINE		UINT64_MAX

enum record_state { RECORD_RESERVED, RECORD_DURABLE, RECORD_APPLIED };

struct in_flight {
	enum record_state	state;
	uint64_t		end;		/* logical position behind the record */
};

struct journal {
	struct region		*region;
	struct super		 super;
	uint64_t		 ring_size;	/* bytes */
	uint64_t		 mount;
	void			(*settled)(void *arg, uint64_t seq);
	void			*settled_arg;

	pthread_mutex_t		 lock;		/* protects all down to `table`; order: doc/locking.md */
	pthread_cond_t		 durable_moved;	/* durable_seq moved, or an error came */
	pthread_cond_t		 room_moved;	/* applied_seq or the tail moved, or an error came */
	uint64_t		 head;		/* logical position of the next record */
	uint64_t		 next_seq;	/* its sequence */
	_Atomic uint64_t	 durable_seq;	/* every record below is durable; read without the lock too */
	uint64_t		 applied_seq;	/* every record below is applied */
	uint64_t		 applied_pos;	/* where the record applied_seq begins */
	uint64_t		 failed_seq;	/* this record and all later ones fail */
	struct tail		 tail;		/* as it is on media */
	bool			 retiring;	/* somebody is at it, without the lock */
	int			 error;		/* first failure, negative errno */
	struct in_flight	 table[IN_FLIGHT];	/* applied_seq <= s < next_seq, at s modulo */

	/* of the retirer */
	uint64_t		 flushed[LINE_FILTER];	/* lines flushed in this retiring, modulo */
	struct disk_record	*record;	/* RECORD_MAX bytes: the record being retired */
};

static struct in_flight *in_flight(struct journal *j, uint64_t seq)
{
	return &j->table[seq % IN_FLIGHT];
}

#if defined(__x86_64__)
static inline void cpu_relax(void)
{
	__builtin_ia32_pause();
}
#else
static inline void cpu_relax(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}
#endif

int journal_open(struct journal **out, struct region *r, const struct super *sb, const struct tail *tail,
		 void (*settled)(void *arg, uint64_t seq), void *arg)
{
	struct journal *j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	j->record = malloc(RECORD_MAX);
	if (!j->record) {
		free(j);
		return -ENOMEM;
	}
	j->region = r;
	j->super = *sb;
	j->ring_size = sb->journal_blocks << BLOCK_SHIFT;
	j->mount = tail->mount;
	j->settled = settled;
	j->settled_arg = arg;
	j->tail = *tail;
	j->head = j->applied_pos = tail->pos;
	j->next_seq = j->applied_seq = tail->seq;
	atomic_init(&j->durable_seq, tail->seq);
	j->failed_seq = UINT64_MAX;
	pthread_mutex_init(&j->lock, NULL);
	pthread_cond_init(&j->durable_moved, NULL);
	pthread_cond_init(&j->room_moved, NULL);
	*out = j;
	return 0;
}

void journal_close(struct journal *j)
{
	if (!j)
		return;
	pthread_cond_destroy(&j->room_moved);
	pthread_cond_destroy(&j->durable_moved);
	pthread_mutex_destroy(&j->lock);
	free(j->record);
	free(j);
}

/* Nothing from record `seq` on will ever commit. Lock held. */
static void journal_fail(struct journal *j, uint64_t seq, int error)
{
	if (!j->error)
		j->error = error;
	if (seq < j->failed_seq)
		j->failed_seq = seq;
	pthread_cond_broadcast(&j->durable_moved);
	pthread_cond_broadcast(&j->room_moved);
}

/* ---- Retiring ------------------------------------------------------------------------------------------ */

/*
 * Flush the lines of one patch that were not flushed in this retiring yet. One flush is enough: every store
 * of the records being retired was made before it began.
 */
static int retire_patch(void *arg, const struct record_patch *patch)
{
	struct journal *j = arg;
	uint64_t line = patch->off / LINE, last = (patch->off + patch->len - 1) / LINE;

	for (; line <= last; line++) {
		if (j->flushed[line % LINE_FILTER] == line)
			continue;
		j->flushed[line % LINE_FILTER] = line;
		persist_flush(j->region, region_at(j->region, line * LINE), LINE);
	}
	return 0;
}

/* Make all that the records from `from` to `to` stored in place durable. Their ring space is still theirs. */
static int retire_lines(struct journal *j, const struct tail *from, const struct tail *to)
{
	uint64_t pos = from->pos, seq;
	unsigned int i;

	for (i = 0; i < LINE_FILTER; i++)
		j->flushed[i] = NO_LINE;
	for (seq = from->seq; seq < to->seq; seq++) {
		if (!record_read(j->region, &j->super, pos, seq, j->record))
			return -EUCLEAN;
		record_patches(j->record, le32_to_cpu(j->record->patches), retire_patch, j);
		pos += le32_to_cpu(j->record->len);
	}
	return pos == to->pos ? persist_fence(j->region, PERSIST_RETIRE) : -EUCLEAN;
}

/* Retire what is applied now. Lock held and nobody retiring on entry; the lock is dropped while at it. */
static void retire_applied(struct journal *j)
{
	struct tail from = j->tail, to = from;
	int rc;

	to.pos = j->applied_pos;
	to.seq = j->applied_seq;
	j->retiring = true;
	pthread_mutex_unlock(&j->lock);

	rc = retire_lines(j, &from, &to);
	if (!rc)
		rc = tail_write(j->region, &j->super, &to);

	pthread_mutex_lock(&j->lock);
	if (!rc) {
		j->tail = to;
		pthread_cond_broadcast(&j->room_moved);
		pthread_mutex_unlock(&j->lock);
		j->settled(j->settled_arg, to.seq);
		pthread_mutex_lock(&j->lock);
	} else {
		journal_fail(j, j->next_seq, rc);
	}
	j->retiring = false;
	pthread_cond_broadcast(&j->room_moved);
}

int journal_retire(struct journal *j)
{
	uint64_t target, seq;
	int rc;

	pthread_mutex_lock(&j->lock);
	target = j->next_seq;
	while (!j->error && (j->retiring || j->tail.seq < target)) {
		if (j->retiring || j->applied_seq < target)
			pthread_cond_wait(&j->room_moved, &j->lock);
		else
			retire_applied(j);
	}
	rc = j->error;
	seq = j->tail.seq;
	pthread_mutex_unlock(&j->lock);
	/*
	 * Blocks may have been put off since the tail came to stand here: they are nobody else's to settle.
	 */
	if (!rc)
		j->settled(j->settled_arg, seq);
	return rc;
}

/* ---- Committing ---------------------------------------------------------------------------------------- */

/* Sequence and position in one go. Waits for room in table and ring, and makes it when nobody does. */
static int reserve(struct journal *j, uint32_t len, uint64_t *seq, uint64_t *pos)
{
	bool table_full, ring_full;
	int rc;

	pthread_mutex_lock(&j->lock);
	for (;;) {
		table_full = j->next_seq - j->applied_seq == IN_FLIGHT;
		ring_full = j->head + len - j->tail.pos > j->ring_size;
		if (j->error || (!table_full && !ring_full))
			break;
		if (table_full || j->retiring || j->applied_seq == j->tail.seq)
			pthread_cond_wait(&j->room_moved, &j->lock);
		else
			retire_applied(j);
	}
	rc = j->error;
	if (!rc) {
		*seq = j->next_seq++;
		*pos = j->head;
		j->head += len;
		*in_flight(j, *seq) = (struct in_flight){ .state = RECORD_RESERVED, .end = j->head };
	}
	pthread_mutex_unlock(&j->lock);
	return rc;
}

static void ring_store(struct journal *j, uint64_t pos, const void *record, uint32_t len)
{
	uint64_t at = pos % j->ring_size;
	char *ring = region_at(j->region, j->super.journal_block << BLOCK_SHIFT);
	uint64_t first = len < j->ring_size - at ? len : j->ring_size - at;

	persist_store_nt(j->region, ring + at, record, first);
	if (first < len)
		persist_store_nt(j->region, ring, (const char *)record + first, len - first);
}

/* The record's own fence is over. It may be what all later ones were waiting for. */
static void mark_durable(struct journal *j, uint64_t seq)
{
	pthread_mutex_lock(&j->lock);
	in_flight(j, seq)->state = RECORD_DURABLE;
	if (seq == atomic_load(&j->durable_seq)) {
		while (seq < j->next_seq && in_flight(j, seq)->state == RECORD_DURABLE)
			seq++;
		atomic_store(&j->durable_seq, seq);
		pthread_cond_broadcast(&j->durable_moved);
	}
	pthread_mutex_unlock(&j->lock);
}

/* Until every earlier record is durable too: then this one counts. */
static int wait_durable(struct journal *j, uint64_t seq)
{
	unsigned int spin;
	int rc = 0;

	for (spin = 0; spin < SPINS; spin++) {
		if (atomic_load(&j->durable_seq) > seq)
			return 0;
		cpu_relax();
	}
	pthread_mutex_lock(&j->lock);
	while (atomic_load(&j->durable_seq) <= seq && seq < j->failed_seq)
		pthread_cond_wait(&j->durable_moved, &j->lock);
	if (atomic_load(&j->durable_seq) <= seq)
		rc = j->error;
	pthread_mutex_unlock(&j->lock);
	return rc;
}

int journal_commit(struct journal *j, void *record, uint32_t len, uint32_t patches, uint64_t *seq)
{
	uint64_t pos = 0;
	int rc;

	assert(len <= RECORD_MAX && len % RECORD_ALIGN == 0 && patches > 0);
	rc = reserve(j, len, seq, &pos);
	if (rc)
		return rc;
	record_seal(&j->super, record, len, patches, *seq, pos, j->mount);
	ring_store(j, pos, record, len);
	rc = persist_fence(j->region, PERSIST_COMMIT);
	if (rc) {
		pthread_mutex_lock(&j->lock);
		journal_fail(j, *seq, rc);
		pthread_mutex_unlock(&j->lock);
		return rc;
	}
	mark_durable(j, *seq);
	return wait_durable(j, *seq);
}

void journal_applied(struct journal *j, uint64_t seq)
{
	pthread_mutex_lock(&j->lock);
	in_flight(j, seq)->state = RECORD_APPLIED;
	if (seq == j->applied_seq) {
		while (seq < j->next_seq && in_flight(j, seq)->state == RECORD_APPLIED)
			j->applied_pos = in_flight(j, seq++)->end;
		j->applied_seq = seq;
		pthread_cond_broadcast(&j->room_moved);
	}
	/* Here, and not in the next committer who finds no room: nobody waits for this thread any more. */
	if (!j->retiring && !j->error && j->applied_pos - j->tail.pos > j->ring_size / 2)
		retire_applied(j);
	pthread_mutex_unlock(&j->lock);
}

uint64_t journal_next_seq(struct journal *j)
{
	uint64_t seq;

	pthread_mutex_lock(&j->lock);
	seq = j->next_seq;
	pthread_mutex_unlock(&j->lock);
	return seq;
}

int journal_set_tail(struct journal *j, uint32_t flags, uint64_t freemap_block, uint32_t freemap_blocks)
{
	int rc;

	pthread_mutex_lock(&j->lock);
	assert(j->error || (j->tail.seq == j->next_seq && !j->retiring));
	rc = j->error;
	if (!rc) {
		j->tail.flags = flags;
		j->tail.freemap_block = freemap_block;
		j->tail.freemap_blocks = freemap_blocks;
		rc = tail_write(j->region, &j->super, &j->tail);
		if (rc)
			journal_fail(j, j->next_seq, rc);
	}
	pthread_mutex_unlock(&j->lock);
	return rc;
}
