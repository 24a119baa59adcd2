/*
 * The reference model: see model.h.
 */
#include "model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *must(void *p)
{
	if (!p) {
		perror("out of memory");
		exit(2);
	}
	return p;
}

static struct node *node_new(mode_t mode)
{
	struct node *n = must(calloc(1, sizeof(*n)));

	n->mode = mode;
	if (S_ISREG(mode))
		n->data = must(calloc(1, MODEL_FILE_MAX));
	return n;
}

static void node_free(struct node *n)
{
	if (n->nlink || n->opens)
		return;
	for (int i = 0; i < MODEL_XATTRS; i++)
		free(n->xattrs[i].value);
	free(n->data);
	free(n->target);
	free(n->entries);
	free(n);
}

struct node *model_root(void)
{
	struct node *n = node_new(S_IFDIR | 0755);

	n->nlink = 2;
	n->parent = n;
	return n;
}

struct entry *model_find(struct node *dir, const char *name)
{
	for (size_t i = 0; i < dir->count; i++)
		if (strcmp(dir->entries[i].name, name) == 0)
			return &dir->entries[i];
	return NULL;
}

static void add(struct node *dir, const char *name, struct node *n)
{
	dir->entries = must(realloc(dir->entries, (dir->count + 1) * sizeof(struct entry)));
	dir->entries[dir->count].name = must(strdup(name));
	dir->entries[dir->count++].node = n;
}

static void drop(struct node *dir, struct entry *e)
{
	free(e->name);
	*e = dir->entries[--dir->count];
}

static int check_name(const char *name)
{
	return strlen(name) > 255 ? ENAMETOOLONG : 0;
}

int model_create(struct node *dir, const char *name, mode_t mode, const char *target, struct node **out)
{
	struct node *n;

	if (check_name(name))
		return ENAMETOOLONG;
	if (model_find(dir, name))
		return EEXIST;
	n = node_new(mode);
	n->nlink = S_ISDIR(mode) ? 2 : 1;
	if (S_ISDIR(mode)) {
		n->parent = dir;
		dir->nlink++;
	}
	if (target) {
		n->target = must(strdup(target));
		n->size = strlen(target);
	}
	add(dir, name, n);
	if (out)
		*out = n;
	return 0;
}

int model_link(struct node *dir, const char *name, struct node *n)
{
	if (check_name(name))
		return ENAMETOOLONG;
	if (model_find(dir, name))
		return EEXIST;
	if (S_ISDIR(n->mode))
		return EPERM;
	n->nlink++;
	add(dir, name, n);
	return 0;
}

int model_unlink(struct node *dir, const char *name)
{
	struct entry *e = model_find(dir, name);
	struct node *n;

	if (check_name(name))
		return ENAMETOOLONG;
	if (!e)
		return ENOENT;
	n = e->node;
	if (S_ISDIR(n->mode))
		return EISDIR;
	n->nlink--;
	drop(dir, e);
	node_free(n);
	return 0;
}

static void remove_dir(struct node *dir, struct entry *e)
{
	struct node *n = e->node;

	n->nlink = 0;
	dir->nlink--;
	drop(dir, e);
	node_free(n);
}

int model_rmdir(struct node *dir, const char *name)
{
	struct entry *e = model_find(dir, name);

	if (check_name(name))
		return ENAMETOOLONG;
	if (!e)
		return ENOENT;
	if (!S_ISDIR(e->node->mode))
		return ENOTDIR;
	if (e->node->count)
		return ENOTEMPTY;
	remove_dir(dir, e);
	return 0;
}

bool model_is_below(const struct node *n, const struct node *above)
{
	while (n != above && n != n->parent)
		n = n->parent;
	return n == above;
}

static void reparent(struct node *n, struct node *from, struct node *to)
{
	if (!S_ISDIR(n->mode))
		return;
	from->nlink--;
	to->nlink++;
	n->parent = to;
}

/* The errno, in the order in which the kernel and a filesystem look. */
static int rename_check(struct node *from, struct entry *a, struct node *to, struct entry *b, unsigned int flags)
{
	if ((flags & RENAME_NOREPLACE) && b)
		return EEXIST;
	if ((flags & RENAME_EXCHANGE) && !b)
		return ENOENT;
	if (S_ISDIR(a->node->mode) && model_is_below(to, a->node))
		return EINVAL;
	if (b && S_ISDIR(b->node->mode) && model_is_below(from, b->node))
		return flags & RENAME_EXCHANGE ? EINVAL : ENOTEMPTY;
	if (!b || (flags & RENAME_EXCHANGE) || a->node == b->node)
		return 0;
	if (S_ISDIR(b->node->mode) && !S_ISDIR(a->node->mode))
		return EISDIR;
	if (!S_ISDIR(b->node->mode) && S_ISDIR(a->node->mode))
		return ENOTDIR;
	return b->node->count ? ENOTEMPTY : 0;
}

int model_rename(struct node *from, const char *name, struct node *to, const char *new_name, unsigned int flags)
{
	struct entry *a = model_find(from, name), *b = model_find(to, new_name);
	struct node *moved;
	int rc;

	if (check_name(name))
		return ENAMETOOLONG;
	if (!a)
		return ENOENT;
	if (check_name(new_name))
		return ENAMETOOLONG;
	rc = rename_check(from, a, to, b, flags);
	if (rc || (b && a->node == b->node))
		return rc;
	if (flags & RENAME_EXCHANGE) {
		moved = a->node;
		a->node = b->node;
		b->node = moved;
		reparent(moved, from, to);
		reparent(a->node, to, from);
		return 0;
	}
	if (b && S_ISDIR(b->node->mode))
		remove_dir(to, b);
	else if (b)
		model_unlink(to, new_name);
	a = model_find(from, name);
	moved = a->node;
	drop(from, a);
	add(to, new_name, moved);
	reparent(moved, from, to);
	return 0;
}

void model_close(struct node *n)
{
	n->opens--;
	node_free(n);
}

void model_path(const struct node *dir, const char *root_path, char *buf, size_t size)
{
	char tail[4096];

	if (dir->parent == dir) {
		snprintf(buf, size, "%s/", root_path);
		return;
	}
	model_path(dir->parent, root_path, tail, sizeof(tail));
	for (size_t i = 0; i < dir->parent->count; i++)
		if (dir->parent->entries[i].node == dir)
			snprintf(buf, size, "%s%s/", tail, dir->parent->entries[i].name);
}
