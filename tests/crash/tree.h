/*
 * What a user can see of a mounted filesystem, as a value: every name with its attributes, extended attributes and
 * contents. For the crash tests: a state after a power cut must be one of two such values.
 */
#ifndef CRASH_TREE_H
#define CRASH_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "fs/fs.h"

struct tree_node {
	char	*path;
	char	*attrs;		/* one line: type, mode, owner, size, blocks, flags, target, xattrs */
	char	*data;		/* regular files: contents */
	size_t	 size;
};

struct tree {
	struct tree_node *nodes;	/* sorted by path */
	size_t		  count;
};

/* tree_read - walk from the root. `times`: mtime belongs to the value. NULL: an error of the filesystem (printed). */
struct tree *tree_read(struct fs *fs, bool times);
void tree_free(struct tree *t);

/*
 * tree_between - is `t` exactly `before` or exactly `after`? With `mixed`, a file whose attributes agree with one
 * of them may hold, in each aligned 8-byte word, the contents of either: a write in place.
 */
bool tree_between(const struct tree *t, const struct tree *before, const struct tree *after, bool mixed);

/* tree_print_diff - first node in which they differ, to stdout. */
void tree_print_diff(const char *name, const struct tree *t, const struct tree *other);

#endif
