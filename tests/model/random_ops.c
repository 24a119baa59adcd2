/*
 * Random operations on a mounted directory, each also done to a model in memory (model.c): results must agree.
 *
 *	random_ops DIR OPERATIONS [SEED]
 *
 * Runs as root in an empty directory. Prints the seed; a failure prints the operation's number, what was done, what
 * came back and what the model says, and leaves the directory as it is.
 */
#include "model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define NAMES		10
#define HELD		8
#define DEPTH_MAX	3		/* bounds the tree: it must fit into the pool for any number of operations */

static const char *root_path;
static struct node *root;
static uint64_t state, step;
static char names[NAMES + 1][300];

struct held {
	int		 fd;
	struct node	*node;
} held[HELD];

/* What an operation works on: a directory and a name in it. */
struct place {
	struct node	*dir;
	const char	*name;
	struct node	*node;		/* NULL: no such name */
	char		 path[4096];
};

static unsigned int rnd(unsigned int n)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned int)((state >> 33) % n);
}

static void fail(const char *op, const char *path, int got, int want)
{
	printf("step %llu: %s %.300s: %s, the model says %s\n", (unsigned long long)step, op, path,
	       got ? strerror(got) : "success", want ? strerror(want) : "success");
	exit(1);
}

static void wrong(const char *op, const char *path, const char *what)
{
	printf("step %llu: %s %.300s: %s\n", (unsigned long long)step, op, path, what);
	exit(1);
}

/* Compare a system call's result (-1 and errno) with the model's errno. True: both succeeded. */
static bool agree(const char *op, const char *path, int rc, int want)
{
	int got = rc < 0 ? errno : 0;

	if (got != want)
		fail(op, path, got, want);
	return got == 0;
}

static struct node *random_dir(void)
{
	struct node *d = root;

	for (unsigned int depth = rnd(DEPTH_MAX); depth > 0; depth--) {
		struct node *next = NULL;

		for (size_t i = 0, at = d->count ? rnd((unsigned int)d->count) : 0; i < d->count && !next; i++) {
			struct node *n = d->entries[(at + i) % d->count].node;

			if (S_ISDIR(n->mode))
				next = n;
		}
		if (!next)
			break;
		d = next;
	}
	return d;
}

static unsigned int depth_of(const struct node *dir)
{
	unsigned int depth = 0;

	for (; dir != dir->parent; dir = dir->parent)
		depth++;
	return depth;
}

static void pick(struct place *p)
{
	struct entry *e;

	p->dir = random_dir();
	p->name = names[rnd(100) == 0 ? NAMES : rnd(NAMES)];
	e = model_find(p->dir, p->name);
	p->node = e ? e->node : NULL;
	model_path(p->dir, root_path, p->path, sizeof(p->path));
	strncat(p->path, p->name, sizeof(p->path) - strlen(p->path) - 1);
}

/* A place that has a regular file, if one is found in a few tries. */
static bool pick_file(struct place *p)
{
	for (int i = 0; i < 12; i++) {
		pick(p);
		if (p->node && S_ISREG(p->node->mode))
			return true;
	}
	return false;
}

/* ---- Names --------------------------------------------------------------------------------------------- */

static void op_create(void)
{
	struct place p;
	int fd;

	pick(&p);
	fd = open(p.path, O_CREAT | O_EXCL | O_RDWR, 0644);
	if (agree("create", p.path, fd, model_create(p.dir, p.name, S_IFREG | 0644, NULL, NULL)))
		close(fd);
}

static void op_mkdir(void)
{
	struct place p;

	pick(&p);
	if (depth_of(p.dir) >= DEPTH_MAX)
		return;
	agree("mkdir", p.path, mkdir(p.path, 0755), model_create(p.dir, p.name, S_IFDIR | 0755, NULL, NULL));
}

static void op_symlink(void)
{
	struct place p;
	char target[3000];
	size_t len = 1 + (rnd(2) ? rnd(90) : rnd(sizeof(target) - 2));

	pick(&p);
	memset(target, 't', len);
	target[len] = 0;
	agree("symlink", p.path, symlink(target, p.path), model_create(p.dir, p.name, S_IFLNK | 0777, target, NULL));
}

static void op_mkfifo(void)
{
	struct place p;

	pick(&p);
	agree("mkfifo", p.path, mkfifo(p.path, 0600), model_create(p.dir, p.name, S_IFIFO | 0600, NULL, NULL));
}

static void op_link(void)
{
	struct place from, to;
	int want;

	pick(&from);
	pick(&to);
	if (strlen(from.name) > 255)
		want = ENAMETOOLONG;
	else
		want = from.node ? model_link(to.dir, to.name, from.node) : ENOENT;
	agree("link", to.path, link(from.path, to.path), want);
}

static void op_unlink(void)
{
	struct place p;

	pick(&p);
	agree("unlink", p.path, unlink(p.path), model_unlink(p.dir, p.name));
}

static void op_rmdir(void)
{
	struct place p;

	pick(&p);
	agree("rmdir", p.path, rmdir(p.path), model_rmdir(p.dir, p.name));
}

static unsigned int height_of(const struct node *n)
{
	unsigned int max = 0, h;

	for (size_t i = 0; n && S_ISDIR(n->mode) && i < n->count; i++) {
		h = 1 + height_of(n->entries[i].node);
		max = h > max ? h : max;
	}
	return max;
}

static void op_rename(void)
{
	static const unsigned int flags[] = { 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE };
	unsigned int f = flags[rnd(5)];
	struct place a, b;

	pick(&a);
	pick(&b);
	if (depth_of(b.dir) + height_of(a.node) > DEPTH_MAX || depth_of(a.dir) + height_of(b.node) > DEPTH_MAX)
		return;
	agree("rename", a.path, (int)syscall(SYS_renameat2, AT_FDCWD, a.path, AT_FDCWD, b.path, f),
	      model_rename(a.dir, a.name, b.dir, b.name, f));
}

/* ---- Data ---------------------------------------------------------------------------------------------- */

static char buffer[MODEL_FILE_MAX], got[MODEL_FILE_MAX];

static void random_range(size_t *off, size_t *len)
{
	static const size_t sizes[] = { 1, 100, 4096, 5000, 16384, 65536 };

	*off = rnd(2) ? rnd(MODEL_FILE_MAX) : rnd(MODEL_FILE_MAX / 4096) * 4096;
	*len = 1 + rnd((unsigned int)sizes[rnd(6)]);
	if (*len > MODEL_FILE_MAX - *off)
		*len = MODEL_FILE_MAX - *off;
}

static void fill_buffer(size_t len)
{
	memset(buffer, 'a' + (int)rnd(26), len);
	for (size_t i = 0; i < len; i += 97)
		buffer[i] = (char)rnd(256);
}

static void model_write(struct node *n, size_t off, size_t len)
{
	memcpy(n->data + off, buffer, len);
	if (off + len > n->size)
		n->size = off + len;
}

static int open_file(struct place *p, int flags)
{
	int fd = open(p->path, flags);

	if (fd < 0)
		fail("open", p->path, errno, 0);
	return fd;
}

static void check_written(const char *op, const char *path, ssize_t got_len, size_t len)
{
	if (got_len < 0)
		wrong(op, path, strerror(errno));
	if ((size_t)got_len != len)
		wrong(op, path, "short write");
}

static void op_write(void)
{
	struct place p;
	size_t off, len;
	int fd;

	if (!pick_file(&p))
		return;
	random_range(&off, &len);
	fill_buffer(len);
	fd = open_file(&p, O_WRONLY);
	check_written("write", p.path, pwrite(fd, buffer, len, (off_t)off), len);
	close(fd);
	model_write(p.node, off, len);
}

static void op_append(void)
{
	struct place p;
	size_t len = 1 + rnd(5000);
	int fd;

	if (!pick_file(&p) || p.node->size + len > MODEL_FILE_MAX)
		return;
	fill_buffer(len);
	fd = open_file(&p, O_WRONLY | O_APPEND);
	check_written("append", p.path, write(fd, buffer, len), len);
	close(fd);
	model_write(p.node, p.node->size, len);
}

/* Stores through a shared mapping, inside the file. */
static void op_mmap_write(void)
{
	struct place p;
	size_t off, len;
	char *map;
	int fd;

	if (!pick_file(&p) || p.node->size == 0)
		return;
	random_range(&off, &len);
	if (off >= p.node->size)
		return;
	if (len > p.node->size - off)
		len = p.node->size - off;
	fill_buffer(len);
	fd = open_file(&p, O_RDWR);
	map = mmap(NULL, p.node->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		wrong("mmap", p.path, strerror(errno));
	memcpy(map + off, buffer, len);
	if (rnd(2) && msync(map, p.node->size, MS_SYNC))
		wrong("msync", p.path, strerror(errno));
	munmap(map, p.node->size);
	close(fd);
	model_write(p.node, off, len);
}

static void compare(const char *op, struct node *n, int fd, const char *path)
{
	size_t off, len;
	ssize_t want, r;

	random_range(&off, &len);
	if (rnd(4) == 0) {
		off = 0;
		len = MODEL_FILE_MAX;
	}
	want = off < n->size ? (ssize_t)(n->size - off < len ? n->size - off : len) : 0;
	r = pread(fd, got, len, (off_t)off);
	if (r != want)
		wrong(op, path, "length read differs");
	for (ssize_t i = 0; i < want; i++) {
		if (got[i] == n->data[off + (size_t)i])
			continue;
		printf("byte %zu: found %02x, the model has %02x\n", off + (size_t)i, (unsigned char)got[i],
		       (unsigned char)n->data[off + (size_t)i]);
		wrong(op, path, "contents differ");
	}
}

static void op_read(void)
{
	struct place p;
	int fd;

	if (!pick_file(&p))
		return;
	fd = open_file(&p, O_RDONLY);
	compare("read", p.node, fd, p.path);
	close(fd);
}

static void op_mmap_read(void)
{
	struct place p;
	char *map;
	int fd;

	if (!pick_file(&p) || p.node->size == 0)
		return;
	fd = open_file(&p, O_RDONLY);
	map = mmap(NULL, p.node->size, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		wrong("mmap", p.path, strerror(errno));
	if (memcmp(map, p.node->data, p.node->size) != 0)
		wrong("mapped read", p.path, "contents differ");
	munmap(map, p.node->size);
	close(fd);
}

static void op_truncate(void)
{
	size_t size = rnd(2) ? rnd(MODEL_FILE_MAX) : rnd(9000);
	struct place p;

	if (!pick_file(&p))
		return;
	agree("truncate", p.path, truncate(p.path, (off_t)size), 0);
	if (size < p.node->size)
		memset(p.node->data + size, 0, p.node->size - size);
	p.node->size = size;
}

static void op_fallocate(void)
{
	static const int modes[] = {
		0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
	};
	int mode = modes[rnd(5)], fd;
	size_t off, len, end;
	struct place p;

	if (!pick_file(&p))
		return;
	random_range(&off, &len);
	fd = open_file(&p, O_RDWR);
	agree("fallocate", p.path, fallocate(fd, mode, (off_t)off, (off_t)len), 0);
	close(fd);
	end = off + len;
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && off < p.node->size)
		memset(p.node->data + off, 0, (end < p.node->size ? end : p.node->size) - off);
	if (!(mode & FALLOC_FL_KEEP_SIZE) && end > p.node->size)
		p.node->size = end;
}

static void op_copy_range(void)
{
	struct place a, b;
	off_t off_in, off_out;
	size_t x, y, len, dummy;
	ssize_t n, want;
	int in, out;

	if (!pick_file(&a) || !pick_file(&b) || a.node == b.node)
		return;
	random_range(&x, &len);
	random_range(&y, &dummy);
	if (len > MODEL_FILE_MAX - y)
		len = MODEL_FILE_MAX - y;
	off_in = (off_t)x;
	off_out = (off_t)y;
	want = x < a.node->size ? (ssize_t)(a.node->size - x < len ? a.node->size - x : len) : 0;
	in = open_file(&a, O_RDONLY);
	out = open_file(&b, O_WRONLY);
	n = copy_file_range(in, &off_in, out, &off_out, len, 0);
	if (n != want)
		wrong("copy_file_range", a.path, n < 0 ? strerror(errno) : "length differs");
	close(in);
	close(out);
	memcpy(buffer, a.node->data + x, (size_t)want);
	if (want)
		model_write(b.node, y, (size_t)want);
}

/* ---- Descriptors held while names go away -------------------------------------------------------------- */

static void op_hold(void)
{
	struct held *h = &held[rnd(HELD)];
	struct place p;

	if (h->node) {
		compare("held read", h->node, h->fd, "(held)");
		close(h->fd);
		model_close(h->node);
		h->node = NULL;
		return;
	}
	if (!pick_file(&p))
		return;
	h->fd = open_file(&p, O_RDWR);
	h->node = p.node;
	h->node->opens++;
}

static void op_held_write(void)
{
	struct held *h = &held[rnd(HELD)];
	struct stat st;
	size_t off, len;

	if (!h->node)
		return;
	random_range(&off, &len);
	fill_buffer(len);
	check_written("write of a held file", "", pwrite(h->fd, buffer, len, (off_t)off), len);
	model_write(h->node, off, len);
	if (fstat(h->fd, &st) || (size_t)st.st_size != h->node->size || st.st_nlink != h->node->nlink)
		wrong("fstat of a held file", "", "size or links differ");
	compare("held read", h->node, h->fd, "(held)");
}

/* ---- Attributes ---------------------------------------------------------------------------------------- */

static void op_chmod(void)
{
	mode_t mode = rnd(07777);
	struct place p;

	pick(&p);
	if (!p.node || S_ISLNK(p.node->mode))
		return;
	mode &= ~(mode_t)06000;		/* which bits root may keep is not what is tested here */
	agree("chmod", p.path, chmod(p.path, mode), 0);
	p.node->mode = (p.node->mode & S_IFMT) | mode;
}

static void op_chown(void)
{
	unsigned int uid = rnd(70000), gid = rnd(70000);
	struct place p;

	pick(&p);
	if (!p.node)
		return;
	agree("chown", p.path, lchown(p.path, uid, gid), 0);
	p.node->uid = uid;
	p.node->gid = gid;
}

static void xattr_name(unsigned int i, char *name)
{
	sprintf(name, "%s.name%u", i % 2 ? "trusted" : "user", i);
}

static bool pick_for_xattr(struct place *p)
{
	pick(p);
	return p->node && (S_ISREG(p->node->mode) || S_ISDIR(p->node->mode));
}

static void op_setxattr(void)
{
	unsigned int i = rnd(MODEL_XATTRS), size = rnd(3) ? rnd(60) : rnd(MODEL_XATTR_MAX);
	int flags = rnd(3) == 0 ? XATTR_CREATE : rnd(3) == 0 ? XATTR_REPLACE : 0, want = 0;
	struct xattr *x;
	struct place p;
	char name[32];

	if (!pick_for_xattr(&p))
		return;
	x = &p.node->xattrs[i];
	xattr_name(i, name);
	fill_buffer(size);
	if (flags == XATTR_CREATE && x->value)
		want = EEXIST;
	if (flags == XATTR_REPLACE && !x->value)
		want = ENODATA;
	if (!agree("setxattr", p.path, setxattr(p.path, name, buffer, size, flags), want))
		return;
	free(x->value);
	x->value = malloc(size + 1);
	memcpy(x->value, buffer, size);
	x->size = size;
}

static void op_removexattr(void)
{
	unsigned int i = rnd(MODEL_XATTRS);
	struct xattr *x;
	struct place p;
	char name[32];

	if (!pick_for_xattr(&p))
		return;
	x = &p.node->xattrs[i];
	xattr_name(i, name);
	if (!agree("removexattr", p.path, removexattr(p.path, name), x->value ? 0 : ENODATA))
		return;
	free(x->value);
	x->value = NULL;
}

static void check_xattrs(const struct node *n, const char *path)
{
	char name[32];

	for (unsigned int i = 0; i < MODEL_XATTRS; i++) {
		const struct xattr *x = &n->xattrs[i];
		ssize_t r;

		xattr_name(i, name);
		r = lgetxattr(path, name, got, sizeof(got));
		if (x->value ? r != (ssize_t)x->size || memcmp(got, x->value, x->size) != 0 :
			       r >= 0 || errno != ENODATA)
			wrong("getxattr", path, name);
	}
}

/* ---- Looking ------------------------------------------------------------------------------------------- */

static void check_stat(const struct node *n, const char *path)
{
	struct stat st;

	if (lstat(path, &st))
		fail("lstat", path, errno, 0);
	if (st.st_mode != n->mode || st.st_nlink != n->nlink || st.st_uid != n->uid || st.st_gid != n->gid)
		wrong("lstat", path, "mode, links or owner differ");
	if (!S_ISDIR(n->mode) && (size_t)st.st_size != n->size)
		wrong("lstat", path, "size differs");
}

static void check_target(const struct node *n, const char *path)
{
	ssize_t r = readlink(path, got, sizeof(got));

	if (r != (ssize_t)n->size || memcmp(got, n->target, n->size) != 0)
		wrong("readlink", path, "target differs");
}

static void op_stat(void)
{
	struct place p;
	struct stat st;

	pick(&p);
	if (!p.node)
		agree("lstat", p.path, lstat(p.path, &st), strlen(p.name) > 255 ? ENAMETOOLONG : ENOENT);
	else
		check_stat(p.node, p.path);
	if (p.node && S_ISLNK(p.node->mode))
		check_target(p.node, p.path);
	if (p.node && (S_ISREG(p.node->mode) || S_ISDIR(p.node->mode)))
		check_xattrs(p.node, p.path);
}

static void check_dir(struct node *dir, const char *path)
{
	size_t seen = 0;
	struct dirent *e;
	DIR *d = opendir(path);

	if (!d)
		fail("opendir", path, errno, 0);
	while ((e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (!model_find(dir, e->d_name))
			wrong("readdir", path, e->d_name);
		seen++;
	}
	closedir(d);
	if (seen != dir->count)
		wrong("readdir", path, "number of entries differs");
}

static void op_readdir(void)
{
	char path[4096];
	struct node *dir = random_dir();

	model_path(dir, root_path, path, sizeof(path));
	check_dir(dir, path);
}

/* Everything, at the end. */
static void check_all(struct node *dir)
{
	char path[4096], full[4096 + 300];
	int fd;

	model_path(dir, root_path, path, sizeof(path));
	check_dir(dir, path);
	for (size_t i = 0; i < dir->count; i++) {
		struct node *n = dir->entries[i].node;

		snprintf(full, sizeof(full), "%s%s", path, dir->entries[i].name);
		check_stat(n, full);
		if (S_ISLNK(n->mode))
			check_target(n, full);
		if (S_ISDIR(n->mode))
			check_all(n);
		if (!S_ISREG(n->mode))
			continue;
		check_xattrs(n, full);
		fd = open(full, O_RDONLY);
		if (fd < 0 || pread(fd, got, sizeof(got), 0) != (ssize_t)n->size || memcmp(got, n->data, n->size) != 0)
			wrong("final read", full, "contents differ");
		close(fd);
	}
}

/* ---- The run ------------------------------------------------------------------------------------------- */

static const struct {
	void		(*run)(void);
	unsigned int	weight;
} ops[] = {
	{ op_create, 12 }, { op_mkdir, 4 }, { op_symlink, 4 }, { op_mkfifo, 1 }, { op_link, 5 }, { op_unlink, 12 },
	{ op_rmdir, 6 }, { op_rename, 8 }, { op_write, 12 }, { op_append, 5 }, { op_mmap_write, 3 }, { op_read, 8 },
	{ op_mmap_read, 2 }, { op_truncate, 4 }, { op_fallocate, 6 }, { op_copy_range, 3 }, { op_hold, 4 },
	{ op_held_write, 4 }, { op_chmod, 3 }, { op_chown, 2 }, { op_setxattr, 4 }, { op_removexattr, 2 },
	{ op_stat, 8 }, { op_readdir, 3 },
};

static void run_one(void)
{
	unsigned int total = 0, at;
	size_t i;

	for (i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		total += ops[i].weight;
	at = rnd(total);
	for (i = 0; at >= ops[i].weight; i++)
		at -= ops[i].weight;
	ops[i].run();
}

static void make_names(void)
{
	static const size_t lengths[NAMES + 1] = { 1, 2, 3, 8, 12, 20, 40, 100, 200, 255, 256 };

	for (size_t i = 0; i <= NAMES; i++)
		memset(names[i], 'A' + (int)i, lengths[i]);
}

int main(int argc, char **argv)
{
	uint64_t count, seed;

	if (argc < 3) {
		fprintf(stderr, "usage: %s DIR OPERATIONS [SEED]\n", argv[0]);
		return 2;
	}
	root_path = argv[1];
	count = strtoull(argv[2], NULL, 0);
	if (argc > 3)
		seed = strtoull(argv[3], NULL, 0);
	else if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return 2;
	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	state = seed;
	umask(0);
	make_names();
	root = model_root();
	for (step = 0; step < count; step++)
		run_one();
	for (int i = 0; i < HELD; i++) {
		if (held[i].node) {
			close(held[i].fd);
			model_close(held[i].node);
		}
	}
	check_all(root);
	printf("%llu operations agree with the model\n", (unsigned long long)count);
	return 0;
}
