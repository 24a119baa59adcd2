/*
 * What became of the maps of a program, for people: one line each, where INODAX_EXPLAIN says ("-": standard error; else
 * a file, to whose end they are written). Without it nothing is said and nothing is done.
 */
#ifndef PRELOAD_EXPLAIN_H
#define PRELOAD_EXPLAIN_H

#include <stddef.h>
#include <sys/types.h>

struct inodax_map;

/* explain_map - a file of inodax was mapped; how much of it directly, and why not the rest. */
void explain_map(int fd, off_t offset, size_t length, struct inodax_map *map);

/* explain_plain - it is mapped as without inodax, for `reason`. */
void explain_plain(int fd, off_t offset, size_t length, const char *reason);

/* explain_detached - it was mapped directly up to now. */
void explain_detached(const struct inodax_map *map, size_t length, const char *reason);

#endif
