/*
 * What life_client.c is made of: clients with one map each, words that tell whose they are, files that take what is
 * free, and waiting for each other.
 *
 * Whatever is not as it has to be ends the process (client_util.h), and with it the round.
 */
#ifndef DIRECT_LIFE_H
#define DIRECT_LIFE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "client_util.h"

#define PAGE		4096UL

/* Between the other and a client, in memory that both have. */
struct control {
	_Atomic int	stage;		/* how far the client is; */
	_Atomic int	go;		/* and how far it may go */
	_Atomic bool	foreign;
	_Atomic pid_t	child;		/* of the client */
	pid_t		main;
	uint64_t	owner;		/* whose words the client stores */
	uint64_t	length;		/* of file and map, whole pages */
	uint64_t	keep;		/* what stays, or another thing the scenario has to say */
	uint64_t	free_before;	/* blocks, when the file was made */
	bool		parent_first, child_gone, cut;
	_Atomic bool	over;
	char		file[4096];
};

extern struct control *control;

/* Whose words there are besides the client's own. */
#define OTHER_OWNER	(control->owner ^ (1ULL << 62))
#define CHILD_OWNER	(control->owner ^ (1ULL << 61))

uint64_t size_of(int fd);

/* begin - once: directory and seed. rnd - below n. control_new - for one client; it becomes `control`. */
void begin(const char *directory, uint64_t seed);
uint64_t rnd(uint64_t n);
void pause_up_to(uint64_t us);
void control_new(struct control **out, const char *name, unsigned int number);

/* ---- Waiting ---------------------------------------------------------------------------------------------- */

/* start - a child that runs `fn`, with random choices of its own; it does not outlive us. */
pid_t start(void (*fn)(void));

enum ends { ENDS_WELL, ENDS_KILLED, ENDS_ANYHOW };

/* ended - wait for a child, which ends with 0 or (ENDS_KILLED, ENDS_ANYHOW) by SIGKILL. reap_others - all there are. */
void ended(pid_t pid, enum ends how);
void stopped(pid_t pid);
void reap_others(void);

void reached(int stage);
void await_go(int n);
void go(int n);
void await_stage(pid_t pid, int n);

/* orphan - ends us when the other is gone: nobody else would. */
void orphan(void);

/* until_free - as many blocks as when the file was made: it may be there still, without any. */
void until_free(void);

/* ---- The client ------------------------------------------------------------------------------------------- */

/*
 * client_map - make and map the file and store its words. `direct`: all of it has to be; else somebody may be taking it
 * away meanwhile.
 */
void client_map(bool direct);
void client_unmap(void);
void client_sync(void);
const volatile char *map_at(void);

/* leave - in one of the ways in which clients do. */
_Noreturn void leave(void);

/* storer_start - a thread that stores the words of [from, to) again and again. storer_forget - in a child. */
void storer_start(uint64_t from, uint64_t to);
void storer_stop(void);

/* Ranges are whole pages. store_some - a few words here and there, where that is possible. */
void store_all(uint64_t from, uint64_t to, uint64_t owner);
void store_some(unsigned int times);
void expect_whole(uint64_t from, uint64_t to, uint64_t owner);

/* expect_nothing_foreign - what can be loaded is zero, the client's or the other's. */
void expect_nothing_foreign(void);
void expect_direct(void);
void until_direct(void);
void until_all_beyond(uint64_t from);
void until_words_of(uint64_t from, uint64_t owner);

/* ---- Files ------------------------------------------------------------------------------------------------ */

void words_of(uint64_t *words, uint64_t at, uint64_t length, uint64_t owner);

/* rewrite - with OTHER_OWNER's words, as far as there is room. */
void rewrite(int fd, uint64_t at, uint64_t length);

struct filler {
	int		fd;
	uint64_t	owner, size;
	char		path[4096];
};

/*
 * fill_start - a file, empty yet. fill_more - to the last free block. fill_all - both. fill_check - is it all there,
 * and nothing else? fill_end - the same, and remove it.
 */
void fill_start(struct filler *f);
void fill_more(struct filler *f);
void fill_all(struct filler *f);
void fill_check(const struct filler *f);
void fill_end(struct filler *f);

#endif
