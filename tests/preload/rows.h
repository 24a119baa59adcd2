/*
 * rows: what a program can see of the mappings of a DAX file, one function for each row of doc/mirror.md, section 5.
 * rows.c has what they share; rows_hole.c, rows_file.c, rows_map.c and rows_hand.c have the rows.
 */
#ifndef ROWS_H
#define ROWS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PAGE	4096UL
#define LARGE	(2UL << 20)
#define LARGE_PAGES	(LARGE / PAGE)
#define PAGES	64UL			/* of most files here */
#define RW	(PROT_READ | PROT_WRITE)

/* What the file is on. */
enum where { ON_TMPFS, ON_DAX, ON_INODAX };

struct row {
	const char *number;	/* after "5." */
	const char *what;
	void (*fn)(void);
	bool on_tmpfs;		/* where tmpfs does the same; else it is left out there */
};

/* Each ends with a row without a function. */
extern const struct row hole_rows[], size_rows[], life_rows[], end_rows[], write_rows[], flag_rows[], private_rows[],
	part_rows[], advice_rows[], hand_rows[], other_rows[];

extern const char *name, *other;	/* the file of the row, made anew for it; one elsewhere, for O_DIRECT */
extern enum where where;
extern bool dax_memory;			/* the kernel knows its memory as DAX: not a tmpfs, not a pool on one */
extern bool large;			/* memory comes in pages of 2 MiB where it can */
extern int fd;				/* of `name` */

/* ---- Findings: wrong ones are printed and counted, and the row goes on ---- */

void __attribute__((format(printf, 1, 2), noreturn)) die(const char *format, ...);
void __attribute__((format(printf, 2, 3))) wanted(bool ok, const char *format, ...);
void must(bool ok, const char *what);			/* or errno is the reason to die */
void same(long found, long needed, const char *what);
void fails(bool failed, int needed, const char *what);	/* with that errno */
/* Of st_blocks: but for one block that says where the others lie. */
void same_blocks(long found, long needed, const char *what);
/* What has to be found: the kernel's DAX has the one, inodax the other. doc/mirror.md says why. */
long differs(long kernel, long inodax);
/* The same where it is not inodax that differs, but the tmpfs that its pool is on. */
long of_memory(long dax, long tmpfs);

/* In KiB, of /proc/self/status. */
long status_of(const char *field);
/* The faults of an access to each page of 2 MiB, where that is one mapping if it can be. */
long if_large(void);

/* ---- The file ---- */

void cut(size_t bytes);					/* ftruncate() */
void allocate(size_t bytes);				/* fallocate() from its start */
void fill(void);					/* PAGES pages, of which page n is full of n + 1 */
long blocks(void);					/* st_blocks */
long free_blocks(void);					/* of its filesystem, in units of 512 bytes */
long seek(int whence, size_t from);			/* -errno */
void put(size_t page, int value);			/* pwrite() of one page */
void file_has(size_t page, int value);
void punch(size_t page, size_t pages);

/* ---- Maps ---- */

char *map_of(int from, size_t page, size_t pages, int prot, int flags);
char *map(size_t pages, int prot);			/* shared, from the start of the file */
void unmap(char *at, size_t pages);
void has(const char *at, size_t page, int value);	/* all of it */
void store(char *at, size_t page, int value);		/* all of it */

/* The page faults of this thread for one access to each page. */
long loads(const char *at, size_t pages);
long stores(char *at, size_t pages, int value);

/* That a load, or a store, raises a signal with this si_code, and with its own address. */
void raises(int sig, int code, char *at, bool is_store);

/* ---- Another process ---- */

struct peer {
	pid_t	pid;
	int	to[2], from[2];
};

void peer_start(struct peer *p, void (*fn)(struct peer *p));	/* to where it stops first */
void peer_go(struct peer *p);					/* to where it stops next */
void peer_run(struct peer *p);					/* it goes on, and nobody waits */
void peer_stop(struct peer *p);					/* called by it: until it is told */
void peer_end(struct peer *p);					/* to its end; its findings count */
void in_child(void (*fn)(void));

#endif
