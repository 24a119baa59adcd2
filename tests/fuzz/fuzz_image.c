/*
 * Damaged images: nothing on media may crash, hang, trip an assertion, leak or touch stray memory. (Built with the
 * sanitizers this says more; see CONTRIBUTING.md.)
 *
 * Each round takes an image, damages it in a few places, mostly with the seal made right again, so that the damage is
 * met by what lies behind the seal; then checks it, mounts it, walks it, changes it, unmounts it, checks it again. That
 * any of these refuses is fine, and so is that it does not.
 *
 * The changes come after a mount that has derived the free space. What a free-map cache says is believed, as the
 * seals are all that vouches for it: of an image whose seals were forged two objects may then own one block, and a
 * write to one is a write to the other. Such a pool is walked, and changed no further than that.
 *
 * --seed N and --rounds N; a round that failed is repeated by --round N, with the messages of the library by --verbose.
 */
#include "fuzz.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "check/check.h"
#include "pmem/emu.h"

#define ROUNDS		1500U
#define HANG_SECONDS	120U

struct fuzz {
	struct fuzz_image	 clean, killed;
	uint64_t		 seed;
	uint64_t		 mounted, refused;
};

/* For the signal handler. */
static volatile uint64_t current_seed, current_round;

uint64_t fuzz_next(struct fuzz_random *rnd)
{
	uint64_t z = rnd->state += 0x9e3779b97f4a7c15ULL;	/* splitmix64 */

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* ---- Damage -------------------------------------------------------------------------------------------- */

/* An object of a kind drawn first: there are many inodes and one free map. */
static const struct fuzz_object *any_object(const struct fuzz_image *im, struct fuzz_random *rnd)
{
	unsigned int kind;

	do
		kind = (unsigned int)fuzz_below(rnd, FUZZ_KINDS);
	while (im->first[kind] == im->first[kind + 1]);
	return &im->object[im->first[kind] + fuzz_below(rnd, im->first[kind + 1] - im->first[kind])];
}

static uint64_t any_word(struct fuzz_random *rnd)
{
	switch (fuzz_below(rnd, 6)) {
	case 0:
		return 0;
	case 1:
		return ~0ULL >> fuzz_below(rnd, 64);
	case 2:
		return 1ULL << fuzz_below(rnd, 64);
	case 3:
		return fuzz_below(rnd, FUZZ_BLOCKS);
	case 4:
		return fuzz_below(rnd, 300);
	default:
		return fuzz_next(rnd);
	}
}

/* Copy some bytes of one object to the same place, or another one, of an object of its kind. */
static void copy_part(const struct fuzz_image *im, char *bytes, const struct fuzz_object *o,
		      struct fuzz_random *rnd)
{
	const struct fuzz_object *from = &im->object[im->first[o->kind]];
	uint64_t off = fuzz_below(rnd, o->len) & ~7ULL, src, len = 8U << fuzz_below(rnd, 3);

	from += fuzz_below(rnd, im->first[o->kind + 1] - im->first[o->kind]);
	src = fuzz_one_in(rnd, 2) ? off : fuzz_below(rnd, from->len) & ~7ULL;
	if (off + len <= o->len && src + len <= from->len)
		memmove(bytes + o->off + off, bytes + from->off + src, len);
}

/* One change inside an object; the first bytes of a large one are more interesting than the rest. */
static void damage_object(const struct fuzz_image *im, char *bytes, const struct fuzz_object *o,
			  struct fuzz_random *rnd)
{
	uint64_t room = o->len > 256 && fuzz_one_in(rnd, 2) ? 128 : o->len, at = fuzz_below(rnd, room), word;
	char *p = bytes + o->off + at;

	switch (fuzz_below(rnd, 5)) {
	case 0:
		*p ^= (char)(1U << fuzz_below(rnd, 8));
		break;
	case 1:
		*p = (char)fuzz_next(rnd);
		break;
	case 2:
		copy_part(im, bytes, o, rnd);
		break;
	case 3:
		*p += fuzz_one_in(rnd, 2) ? 1 : -1;
		break;
	default:
		word = any_word(rnd);
		at &= ~(uint64_t)7;
		memcpy(bytes + o->off + at, &word, o->len - at < 8 ? o->len - at : fuzz_one_in(rnd, 2) ? 4 : 8);
	}
}

static void damage(const struct fuzz_image *im, char *bytes, struct fuzz_random *rnd)
{
	uint64_t places = 1 + fuzz_below(rnd, 4);

	for (uint64_t i = 0; i < places; i++) {
		const struct fuzz_object *o = any_object(im, rnd);

		if (fuzz_one_in(rnd, 10)) {
			bytes[fuzz_below(rnd, FUZZ_BYTES)] ^= (char)(1U << fuzz_below(rnd, 8));
			continue;
		}
		damage_object(im, bytes, o, rnd);
		if (!fuzz_one_in(rnd, 5))
			fuzz_seal(im, bytes, o);
	}
}

/* Take the name of the free-map cache out of both tail slots: the mount derives the free space. */
static void drop_freemap(const struct fuzz_image *im, char *bytes)
{
	for (unsigned int i = im->first[FUZZ_TAIL]; i < im->first[FUZZ_TAIL + 1]; i++) {
		struct disk_tail *d = (struct disk_tail *)(bytes + im->object[i].off);

		d->flags = cpu_to_le32(le32_to_cpu(d->flags) & ~TAIL_FREEMAP);
		fuzz_seal(im, bytes, &im->object[i]);
	}
}

/* ---- Rounds -------------------------------------------------------------------------------------------- */

static void check(const struct region *r)
{
	struct check_report report;
	struct err err = { "" };

	check_pool(r, "fuzz", NULL, NULL, &report, &err);
	check_clean(r, "fuzz", &report, &err);
}

static void use(struct fuzz *z, struct region *r, struct fuzz_random *rnd, bool change)
{
	struct fs_options options = { .dax = FS_DAX_ALWAYS, .atime = FS_STRICTATIME, .scan_threads = 1 };
	struct err err = { "" };
	struct fs *fs;

	options.readonly = !change;
	if (change && fuzz_one_in(rnd, 3))
		options.atime = FS_RELATIME;
	if (fs_mount(&fs, "fuzz", r, &options, &err)) {
		z->refused++;
		return;
	}
	z->mounted++;
	fuzz_use(fs, rnd, change);
	fs_unmount(fs);
}

static int round_run(struct fuzz *z, uint64_t number)
{
	struct fuzz_random rnd = { .state = z->seed + number * 0x632be59bd9b4e019ULL };
	const struct fuzz_image *im = fuzz_one_in(&rnd, 2) ? &z->clean : &z->killed;
	bool change = !fuzz_one_in(&rnd, 4);
	struct region *r = emu_open(FUZZ_BYTES, im->bytes);

	if (!r)
		return -1;
	current_round = number;
	alarm(HANG_SECONDS);
	damage(im, r->base, &rnd);
	if (change)
		drop_freemap(im, r->base);
	check(r);
	use(z, r, &rnd, change);
	check(r);
	emu_close(r);
	alarm(0);
	return 0;
}

/* ---- The program --------------------------------------------------------------------------------------- */

static void put_number(const char *text, uint64_t n)
{
	char line[96], *p = line + sizeof(line);
	ssize_t ignored;

	do
		*--p = (char)('0' + n % 10);
	while (n /= 10);
	p -= strlen(text);
	memcpy(p, text, strlen(text));
	ignored = write(STDOUT_FILENO, p, (size_t)(line + sizeof(line) - p));
	(void)ignored;
}

/* Say which round it was, then die of the signal. */
static void died(int sig)
{
	put_number(sig == SIGALRM ? "\nhung: --seed " : "\ndied: --seed ", current_seed);
	put_number(" --verbose --round ", current_round);
	put_number("\nsignal ", (uint64_t)sig);
	signal(sig, SIG_DFL);
	raise(sig);
}

static void catch_signals(void)
{
	static const int signals[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGALRM };

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], died);
}

static uint64_t pick_seed(void)
{
	uint64_t seed = 0;

	return getrandom(&seed, sizeof(seed), 0) == sizeof(seed) ? seed >> 1 : 1;
}

/* What the library has to say of thousands of damaged pools is not wanted. */
static void be_quiet(void)
{
	if (!freopen("/dev/null", "w", stderr))
		printf("messages of the library cannot be left out\n");
}

int main(int argc, char **argv)
{
	static struct fuzz z;
	uint64_t first = 0, rounds = ROUNDS;
	bool verbose = false;

	z.seed = pick_seed();
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--verbose") == 0) {
			verbose = true;
		} else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
			z.seed = strtoull(argv[++i], NULL, 0);
		} else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) {
			rounds = strtoull(argv[++i], NULL, 0);
		} else if (strcmp(argv[i], "--round") == 0 && i + 1 < argc) {
			first = strtoull(argv[++i], NULL, 0);
			rounds = 1;
		} else {
			fprintf(stderr, "usage: %s [--seed N] [--rounds N | --round N] [--verbose]\n", argv[0]);
			return 2;
		}
	}
	current_seed = z.seed;
	printf("seed %llu\n", (unsigned long long)z.seed);
	fflush(stdout);
	catch_signals();
	fuzz_make_images(&z.clean, &z.killed);
	if (!verbose)
		be_quiet();
	for (uint64_t n = first; n < first + rounds; n++)
		if (round_run(&z, n))
			return EXIT_FAILURE;
	printf("%llu rounds, %llu mounts, %llu refused\n", (unsigned long long)rounds, (unsigned long long)z.mounted,
	       (unsigned long long)z.refused);
	free(z.clean.bytes);
	free(z.killed.bytes);
	return z.mounted ? EXIT_SUCCESS : EXIT_FAILURE;
}
