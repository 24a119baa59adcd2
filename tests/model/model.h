/*
 * A filesystem as a plain data structure in memory: what the random tester compares a mount with. Written for clarity
 * alone. All functions return 0 or the errno (positive) the system call would give to root.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#define MODEL_FILE_MAX	(256u << 10)	/* bytes a file may have */
#define MODEL_XATTRS	4
#define MODEL_XATTR_MAX	3000

struct node;

struct entry {
	char		*name;
	struct node	*node;
};

struct xattr {
	char	*value;		/* NULL: not set */
	size_t	 size;
};

struct node {
	mode_t		 mode;
	unsigned int	 nlink, uid, gid;
	unsigned int	 opens;		/* descriptors the tester holds */
	char		*data;		/* MODEL_FILE_MAX bytes; zeros beyond size */
	size_t		 size;
	char		*target;
	struct xattr	 xattrs[MODEL_XATTRS];
	struct entry	*entries;
	size_t		 count;
	struct node	*parent;	/* directories */
};

struct node *model_root(void);

/* model_find - entry of a directory, NULL when there is none. */
struct entry *model_find(struct node *dir, const char *name);

int model_create(struct node *dir, const char *name, mode_t mode, const char *target, struct node **out);
int model_link(struct node *dir, const char *name, struct node *node);
int model_unlink(struct node *dir, const char *name);
int model_rmdir(struct node *dir, const char *name);
int model_rename(struct node *from, const char *name, struct node *to, const char *new_name, unsigned int flags);

/* model_close - drop a descriptor; a node without names and descriptors is gone. */
void model_close(struct node *n);

/* model_path - path of a directory below `root_path`, ending in '/'; static buffer of the caller. */
void model_path(const struct node *dir, const char *root_path, char *buf, size_t size);

/* model_is_below - is `n` the directory `above` or below it? */
bool model_is_below(const struct node *n, const struct node *above);

#endif
