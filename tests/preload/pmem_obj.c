/*
 * pmem_obj FILE create|run TIMES|check: a pool of libpmemobj, a list and accounts. Each transaction moves money from
 * one account to another, and adds or frees an entry of the list: the sum stays, and the list has as many entries as it
 * says. Knows nothing of inodax.
 *
 *	create		a pool of the smallest size
 *	run TIMES	so many transactions, by chance; 0: until it is killed. Says a line for each
 *	check		the sum is right, and the list; says how many transactions there were
 */
#include <inttypes.h>
#include <libpmemobj.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POOL_BYTES	PMEMOBJ_MIN_POOL
#define ACCOUNTS	4096U
#define EACH		1000U
#define ENTRIES_MAX	200U

POBJ_LAYOUT_BEGIN(accounts);
POBJ_LAYOUT_ROOT(accounts, struct root);
POBJ_LAYOUT_TOID(accounts, struct entry);
POBJ_LAYOUT_END(accounts);

struct entry {
	TOID(struct entry) next;
	uint64_t	   number;
	uint64_t	   filling[];
};

struct root {
	uint64_t	   transactions, entries;
	TOID(struct entry) first;
	int64_t		   account[ACCOUNTS];
};

static PMEMobjpool *pool;
static TOID(struct root) root;

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "%s: %s\n", what, pmemobj_errormsg());
	exit(1);
}

static size_t words(uint64_t number)
{
	return number * 7919 % 100;
}

/* ---- Transactions: between TX_BEGIN and TX_END of step() --------------------------------------------------- */

static void transfer(unsigned int from, unsigned int to, int64_t amount)
{
	TX_ADD_FIELD(root, account[from]);
	D_RW(root)->account[from] -= amount;
	TX_ADD_FIELD(root, account[to]);
	D_RW(root)->account[to] += amount;
}

static void push(uint64_t number)
{
	TOID(struct entry) e = TX_ALLOC(struct entry, sizeof(struct entry) + words(number) * 8);

	D_RW(e)->next = D_RO(root)->first;
	D_RW(e)->number = number;
	for (size_t i = 0; i < words(number); i++)
		D_RW(e)->filling[i] = number + i;
	TX_SET(root, first, e);
	TX_SET(root, entries, D_RO(root)->entries + 1);
}

static void pop(void)
{
	TOID(struct entry) e = D_RO(root)->first;

	TX_SET(root, first, D_RO(e)->next);
	TX_SET(root, entries, D_RO(root)->entries - 1);
	TX_FREE(e);
}

static void step(void)
{
	uint64_t entries = D_RO(root)->entries;
	bool failed = false, give_up = rand() % 16 == 0;

	TX_BEGIN(pool) {
		transfer((unsigned int)rand() % ACCOUNTS, (unsigned int)rand() % ACCOUNTS, rand() % 100);
		if (entries < ENTRIES_MAX && (!entries || rand() % 2))
			push(D_RO(root)->transactions + 1);
		else
			pop();
		TX_SET(root, transactions, D_RO(root)->transactions + 1);
		if (give_up)
			pmemobj_tx_abort(-1);
	} TX_ONABORT {
		failed = !give_up;
	} TX_END
	must(!failed, "transaction");
}

static void run(uint64_t times)
{
	for (uint64_t i = 0; !times || i < times; i++) {
		step();
		printf("%" PRIu64 "\n", D_RO(root)->transactions);
		fflush(stdout);
	}
}

/* ---- What has to be --------------------------------------------------------------------------------------- */

static uint64_t entries_found(void)
{
	TOID(struct entry) e;
	uint64_t found = 0;

	for (e = D_RO(root)->first; !TOID_IS_NULL(e); e = D_RO(e)->next) {
		for (size_t i = 0; i < words(D_RO(e)->number); i++)
			if (D_RO(e)->filling[i] != D_RO(e)->number + i) {
				fprintf(stderr, "entry %" PRIu64 " is not what was stored\n", D_RO(e)->number);
				exit(1);
			}
		found++;
	}
	return found;
}

static void check(void)
{
	int64_t sum = 0;

	for (unsigned int i = 0; i < ACCOUNTS; i++)
		sum += D_RO(root)->account[i];
	if (sum != (int64_t)ACCOUNTS * EACH || entries_found() != D_RO(root)->entries) {
		fprintf(stderr, "the sum is %" PRId64 ", %" PRIu64 " entries of %" PRIu64 " are there\n", sum,
			entries_found(), D_RO(root)->entries);
		exit(1);
	}
	printf("%" PRIu64 "\n", D_RO(root)->transactions);
}

static void create(const char *path)
{
	pool = pmemobj_create(path, POBJ_LAYOUT_NAME(accounts), POOL_BYTES, 0644);
	must(pool, path);
	root = POBJ_ROOT(pool, struct root);
	for (unsigned int i = 0; i < ACCOUNTS; i++)
		D_RW(root)->account[i] = EACH;
	pmemobj_persist(pool, D_RW(root), sizeof(struct root));
}

int main(int argc, char **argv)
{
	const char *command = argc > 2 ? argv[2] : "";

	if (argc < 3)
		return 2;
	if (!strcmp(command, "create")) {
		create(argv[1]);
	} else {
		pool = pmemobj_open(argv[1], POBJ_LAYOUT_NAME(accounts));
		must(pool, argv[1]);
		root = POBJ_ROOT(pool, struct root);
		srand((unsigned int)D_RO(root)->transactions);
	}
	if (!strcmp(command, "run"))
		run(argc > 3 ? strtoull(argv[3], NULL, 10) : 0);
	else if (!strcmp(command, "check"))
		check();
	pmemobj_close(pool);
	return 0;
}
