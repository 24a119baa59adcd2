/*
 * Running a case: a directory, a process, an identity, a line of text.
 *
 * Owns the area that the process of a case shares with the one that runs them, where result and notes are
 * put. A case that is killed has its signal as its result, one that hangs is ended by SIGALRM. What a case
 * leaves behind stays: the filesystem is made for the test.
 */
#include "table.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define CASE_SECONDS	120
#define NOTE_MAX	1024

/* Written by the process of the case until it ends, then by the one that waited for it. */
struct outcome {
	long	rc;
	bool	done;		/* rc holds */
	bool	setup;		/* the fixture failed; note says at what */
	size_t	len;
	char	note[NOTE_MAX];
};

static struct outcome *outcome;
static unsigned int cases;		/* of the group, so far: names the next directory */

void table_start(void)
{
	outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (outcome == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
}

void note(const char *format, ...)
{
	size_t room = NOTE_MAX - outcome->len;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(outcome->note + outcome->len, room, format, ap);
	va_end(ap);
	outcome->len += (size_t)n < room ? (size_t)n : room - 1;
}

const char *errno_name(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "an unknown error";
}

long result(long rc)
{
	return rc < 0 ? -errno : rc;
}

long must(long rc, const char *what)
{
	if (rc >= 0)
		return rc;
	outcome->setup = true;
	note(" %s: %s", what, errno_name(errno));
	_exit(0);
}

/* ---- Users --------------------------------------------------------------------------------------------- */

static const struct { const char *name; uid_t uid; gid_t gid; } users[WHO_COUNT] = {
	[ROOT]		= { "root", 0, 0 },
	[OWNER]		= { "owner", UID_OWNER, GID_OWNER },
	[MEMBER]	= { "member", UID_MEMBER, GID_MEMBER },
	[OTHER]		= { "other", UID_OTHER, GID_OTHER },
};

const char *who_name(enum who who)
{
	return users[who].name;
}

uid_t who_uid(enum who who)
{
	return users[who].uid;
}

gid_t who_gid(enum who who)
{
	return users[who].gid;
}

void become(enum who who)
{
	gid_t groups[] = { GID_OWNER };

	must(setgroups(who == MEMBER, groups), "setgroups");
	must(setresgid(users[who].gid, users[who].gid, users[who].gid), "setresgid");
	must(setresuid(users[who].uid, users[who].uid, users[who].uid), "setresuid");
}

static const char *uid_name(uid_t uid)
{
	for (int i = 0; i < WHO_COUNT; i++)
		if (users[i].uid == uid)
			return users[i].name;
	return "somebody";
}

static const char *gid_name(gid_t gid)
{
	for (int i = 0; i < WHO_COUNT; i++)
		if (users[i].gid == gid)
			return users[i].name;
	return "some group";
}

/* ---- Cases --------------------------------------------------------------------------------------------- */

void note_stat(const char *path)
{
	struct stat st;

	if (lstat(path, &st)) {
		note(" [%s]", errno_name(errno));
		return;
	}
	note(" [%06o %s:%s", st.st_mode, uid_name(st.st_uid), gid_name(st.st_gid));
	note(" nlink=%lu", (unsigned long)st.st_nlink);
	if (S_ISREG(st.st_mode) || S_ISLNK(st.st_mode))
		note(" size=%lld", (long long)st.st_size);
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		note(" rdev=%u,%u", major(st.st_rdev), minor(st.st_rdev));
	note("]");
}

static _Noreturn void case_process(const struct step_group *g, const struct step *s)
{
	struct rlimit no_core = { 0, 0 };

	alarm(CASE_SECONDS);
	signal(SIGBUS, SIG_DFL);	/* which sanitizers take */
	setrlimit(RLIMIT_CORE, &no_core);
	umask(022);
	if (g)
		g->fixture();
	if (s->prepare)
		s->prepare(s);
	become(s->who);
	outcome->rc = s->call(s);
	outcome->done = true;
	_exit(0);
}

static void print_outcome(const char *group, const char *name, int status)
{
	printf("%s/%s: ", group, name);
	if (WIFSIGNALED(status))
		printf("signal SIG%s", sigabbrev_np(WTERMSIG(status)));
	else if (outcome->setup || !outcome->done)
		printf("SETUP");
	else if (outcome->rc < 0)
		printf("%s", errno_name((int)-outcome->rc));
	else if (outcome->rc == 0)
		printf("ok");
	else
		printf("ok %ld", outcome->rc);
	printf("%s\n", outcome->note);
	fflush(stdout);
}

/* `g` NULL: without a fixture. */
static void run(const char *group, const struct step_group *g, const struct step *s, const char *name)
{
	int status;
	pid_t pid;

	memset(outcome, 0, sizeof(*outcome));
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		case_process(g, s);
	if (pid < 0 || waitpid(pid, &status, 0) != pid) {
		perror("fork");
		exit(2);
	}
	if (s->show)
		note_stat(s->show);
	print_outcome(group, name, status);
}

void step_run(const struct step_group *g, const struct step *s, const char *name)
{
	int here = open(".", O_RDONLY | O_DIRECTORY);
	char dir[16];

	snprintf(dir, sizeof(dir), "c%05u", cases++);
	if (here < 0 || mkdir(dir, 0755) || chdir(dir)) {
		perror(dir);
		exit(2);
	}
	run(g->name, g, s, name ? name : s->name);
	if (fchdir(here)) {
		perror("fchdir");
		exit(2);
	}
	close(here);
}

void step_run_here(const struct step_group *g, const struct step *s)
{
	run(g->name, NULL, s, s->name);
}

void steps_run_as(const struct step_group *g, const struct step *steps, size_t count, const char *suffix)
{
	char name[128];
	struct step s;

	for (size_t i = 0; i < count; i++)
		for (enum who who = ROOT; who < WHO_COUNT; who++) {
			s = steps[i];
			s.who = who;
			snprintf(name, sizeof(name), "%s%s.%s", s.name, suffix, who_name(who));
			step_run(g, &s, name);
		}
}

void group_run(const struct step_group *g)
{
	if (mkdir(g->name, 0755) || chdir(g->name)) {
		perror(g->name);
		exit(2);
	}
	cases = 0;
	for (size_t i = 0; i < g->count; i++)
		step_run(g, &g->steps[i], NULL);
	if (g->run)
		g->run(g);
	if (chdir("..")) {
		perror("..");
		exit(2);
	}
}

/* ---- Fixtures ------------------------------------------------------------------------------------------ */

char *make_filled(char c, size_t len)
{
	char *s = malloc(len + 1);

	must(s ? 0 : -1, "malloc");
	memset(s, c, len);
	s[len] = '\0';
	return s;
}

void make_file(const char *path, mode_t mode, size_t size)
{
	int fd = (int)must(open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), path);
	char *data = make_filled('x', size);

	must(write(fd, data, size) == (ssize_t)size ? 0 : -1, "write");
	must(fchmod(fd, mode), "fchmod");
	close(fd);
	free(data);
}

void make_dir(const char *path, mode_t mode)
{
	must(mkdir(path, 0700), path);
	must(chmod(path, mode), "chmod");
}

/* chown takes setuid and setgid away: give, then set the mode again. */
void give_to(const char *path, enum who who)
{
	struct stat st;

	must(lstat(path, &st), path);
	must(lchown(path, users[who].uid, users[who].gid), "lchown");
	if (!S_ISLNK(st.st_mode))
		must(chmod(path, st.st_mode & 07777), "chmod");
}

void fixture_none(void)
{
}

void fixture_usual(void)
{
	make_file("file", 0644, 10);
	make_file("empty", 0644, 0);
	make_file("twin1", 0644, 10);
	must(link("twin1", "twin2"), "link");
	make_dir("dir", 0755);
	make_file("dir/child", 0644, 10);
	make_dir("dir/sub", 0755);
	make_dir("void", 0755);
	must(symlink("file", "lfile"), "lfile");
	must(symlink("dir", "ldir"), "ldir");
	must(symlink("nothing", "ldangling"), "ldangling");
	must(symlink("lloop", "lloop"), "lloop");
	must(mknod("fifo", S_IFIFO | 0666, 0), "fifo");
	must(mknod("sock", S_IFSOCK | 0666, 0), "sock");
	must(mknod("null", S_IFCHR | 0666, makedev(1, 3)), "null");
	make_file("mine", 0644, 10);
	give_to("mine", OWNER);
	make_dir("minedir", 0755);
	give_to("minedir", OWNER);
}
