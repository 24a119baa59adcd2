/*
 * The visible state of a filesystem as a sorted array of nodes. Written for clarity: everything is read again each
 * time.
 */
#include "tree.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "meta/dir.h"

struct walk {
	struct fs	*fs;
	struct tree	*tree;
	bool		 times;
};

static char *format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static char *format(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		abort();
	va_end(ap);
	return text;
}

static struct tree_node *add_node(struct tree *t)
{
	t->nodes = realloc(t->nodes, (t->count + 1) * sizeof(*t->nodes));
	if (!t->nodes)
		abort();
	t->nodes[t->count] = (struct tree_node){ 0 };
	return &t->nodes[t->count++];
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "name=hex" of all extended attributes, sorted. */
static char *xattrs_text(struct walk *w, uint64_t ino)
{
	static char list[65536], value[65536];
	const struct fs_cred cred = { .cap_trusted = true };
	ssize_t len = fs_listxattr(w->fs, &cred, ino, list, sizeof(list)), n;
	char *names[256], *text = format("%s", ""), *next;
	size_t count = 0;

	for (char *p = list; len > 0 && p < list + len && count < 256; p += strlen(p) + 1)
		names[count++] = p;
	qsort(names, count, sizeof(names[0]), compare_names);
	for (size_t i = 0; i < count; i++) {
		n = fs_getxattr(w->fs, ino, names[i], value, sizeof(value));
		next = format("%s %s[%zd]=%.*s", text, names[i], n, n > 64 ? 64 : (int)n, n > 0 ? value : "");
		free(text);
		text = next;
	}
	return text;
}

static char *attrs_text(struct walk *w, const struct stat *st)
{
	char target[4096] = "", *xattrs = xattrs_text(w, st->st_ino), *text;
	uint32_t flags = 0, projid = 0;

	if (S_ISLNK(st->st_mode))
		fs_readlink(w->fs, st->st_ino, target, sizeof(target));
	fs_getflags(w->fs, st->st_ino, &flags, &projid);
	text = format("mode %o nlink %lu uid %u gid %u size %lld blocks %lld rdev %lx flags %x projid %u "
		      "mtime %lld.%09ld target '%s'%s", st->st_mode, (unsigned long)st->st_nlink, st->st_uid,
		      st->st_gid, (long long)st->st_size, (long long)st->st_blocks, (unsigned long)st->st_rdev, flags,
		      projid, w->times ? (long long)st->st_mtim.tv_sec : 0, w->times ? st->st_mtim.tv_nsec : 0, target,
		      xattrs);
	free(xattrs);
	return text;
}

static int read_data(struct walk *w, const struct stat *st, struct tree_node *node)
{
	struct fs_file *f;
	ssize_t n;
	int rc = fs_open(w->fs, st->st_ino, 0, &f);

	if (rc)
		return rc;
	node->size = (size_t)st->st_size;
	node->data = calloc(1, node->size + 8);
	n = fs_read(f, node->data, 0, node->size);
	fs_close(f);
	return n < 0 ? (int)n : (size_t)n == node->size ? 0 : -EIO;
}

static int walk_dir(struct walk *w, uint64_t ino, const char *path);

static int visit(struct walk *w, uint64_t parent, const char *path, const char *name)
{
	struct tree_node *node;
	struct stat st;
	char *full;
	int rc = fs_lookup(w->fs, parent, name, &st, NULL);

	full = format("%s/%s", path, name);
	if (rc) {
		printf("%s: lookup: %s\n", full, strerror(-rc));
		free(full);
		return rc;
	}
	node = add_node(w->tree);
	node->path = full;
	node->attrs = attrs_text(w, &st);
	if (S_ISREG(st.st_mode))
		rc = read_data(w, &st, node);
	if (rc)
		printf("%s: read: %s\n", full, strerror(-rc));
	return rc || !S_ISDIR(st.st_mode) ? rc : walk_dir(w, st.st_ino, full);
}

/* Names first: what is done to an entry must not happen under the directory's lock. */
struct names {
	char	**name;
	size_t	  count;
};

static int collect_name(void *arg, const struct dir_entry *e)
{
	struct names *n = arg;

	if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
		return 0;
	n->name = realloc(n->name, (n->count + 1) * sizeof(*n->name));
	if (!n->name)
		abort();
	n->name[n->count++] = format("%s", e->name);
	return 0;
}

static int walk_dir(struct walk *w, uint64_t ino, const char *path)
{
	struct names names = { .count = 0 };
	struct fs_file *d;
	int rc = fs_opendir(w->fs, ino, &d);

	if (!rc) {
		rc = fs_readdir(d, 0, collect_name, &names);
		fs_close(d);
	}
	if (rc)
		printf("%s: readdir: %s\n", path, strerror(-rc));
	for (size_t i = 0; i < names.count; i++) {
		if (!rc)
			rc = visit(w, ino, path, names.name[i]);
		free(names.name[i]);
	}
	free(names.name);
	return rc;
}

static int compare_nodes(const void *a, const void *b)
{
	return strcmp(((const struct tree_node *)a)->path, ((const struct tree_node *)b)->path);
}

struct tree *tree_read(struct fs *fs, bool times)
{
	struct tree *t = calloc(1, sizeof(*t));
	struct walk w = { .fs = fs, .tree = t, .times = times };
	struct tree_node *root;
	struct stat st;

	if (!t || fs_getattr(fs, INO_ROOT, &st, NULL))
		return NULL;
	root = add_node(t);
	root->path = format("%s", "");
	root->attrs = attrs_text(&w, &st);
	if (walk_dir(&w, INO_ROOT, "")) {
		tree_free(t);
		return NULL;
	}
	qsort(t->nodes, t->count, sizeof(*t->nodes), compare_nodes);
	return t;
}

void tree_free(struct tree *t)
{
	for (size_t i = 0; t && i < t->count; i++) {
		free(t->nodes[i].path);
		free(t->nodes[i].attrs);
		free(t->nodes[i].data);
	}
	if (t)
		free(t->nodes);
	free(t);
}

static bool node_same(const struct tree_node *a, const struct tree_node *b, bool contents)
{
	if (strcmp(a->path, b->path) != 0 || strcmp(a->attrs, b->attrs) != 0 || a->size != b->size)
		return false;
	return !contents || a->size == 0 || memcmp(a->data, b->data, a->size) == 0;
}

static bool tree_same(const struct tree *a, const struct tree *b, bool contents)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!node_same(&a->nodes[i], &b->nodes[i], contents))
			return false;
	return true;
}

static const struct tree_node *find(const struct tree *t, const char *path)
{
	struct tree_node key = { .path = (char *)path };

	return bsearch(&key, t->nodes, t->count, sizeof(*t->nodes), compare_nodes);
}

static bool word_of(const struct tree_node *n, size_t off, size_t len, const char *word)
{
	return n && off + len <= n->size && memcmp(n->data + off, word, len) == 0;
}

/* Every aligned word is of one of the two. */
static bool contents_mixed(const struct tree_node *n, const struct tree_node *a, const struct tree_node *b)
{
	for (size_t off = 0; off < n->size; off += 8) {
		size_t len = n->size - off < 8 ? n->size - off : 8;

		if (!word_of(a, off, len, n->data + off) && !word_of(b, off, len, n->data + off))
			return false;
	}
	return true;
}

bool tree_between(const struct tree *t, const struct tree *before, const struct tree *after, bool mixed)
{
	if (tree_same(t, before, true) || tree_same(t, after, true))
		return true;
	if (!mixed || (!tree_same(t, before, false) && !tree_same(t, after, false)))
		return false;
	for (size_t i = 0; i < t->count; i++)
		if (!contents_mixed(&t->nodes[i], find(before, t->nodes[i].path), find(after, t->nodes[i].path)))
			return false;
	return true;
}

void tree_print_diff(const char *name, const struct tree *t, const struct tree *other)
{
	for (size_t i = 0; i < t->count || i < other->count; i++) {
		const struct tree_node *a = i < t->count ? &t->nodes[i] : NULL;
		const struct tree_node *b = i < other->count ? &other->nodes[i] : NULL;

		if (a && b && node_same(a, b, true))
			continue;
		printf("  differs from %s:\n    found '%s' %s\n    there '%s' %s\n", name, a ? a->path : "(nothing)",
		       a ? a->attrs : "", b ? b->path : "(nothing)", b ? b->attrs : "");
		return;
	}
}
