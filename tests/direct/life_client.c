/*
 * What becomes of blocks that a client maps, whatever it does or fails to do, while others take them from the file and
 * would have them: one round of a scenario, with timing and choices by a seed. Files hold words that tell whose they
 * are; a block that changes hands shows as a word of one file in another.
 *
 *	life_client SCENARIO DIR SEED
 *		unlink	the file loses its name		cut	truncated, punched, written, while the client stores
 *		close	all descriptors of the client	fork	the parent ends first, or the child
 *		idle	a child that outlives its parent and does nothing
 *		clone	a child without the library	exec	another program in its place
 *		kill	SIGKILL at any moment		parked	SIGKILL in a write(2) that waits for a truncate(2)
 *		stop	SIGSTOP, and later SIGCONT
 *	life_client hold DIR CLIENTS SEED
 *		clients that store into their maps ("held"); every other of their files has no name any more, and the
 *		last one's is cut all the time. At each line of input, is everything there? ("whole"). At its end they
 *		leave.
 *	life_client fill FILE OWNER	a file of all the free space; one at least of its blocks, or it fails
 *	life_client verify FILE OWNER	is it still that?
 *	life_client pause		nothing, until it is killed
 *
 * In a scenario, "the other" is this program; the clients are its children, and the only ones that use libinodax.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "life.h"

#define CLIENTS_MAX	16U

/* Until it is killed, or the other is gone. */
static _Noreturn void idle(void)
{
	for (;;) {
		usleep(10000);
		orphan();
	}
}

/* ---- What many of them do --------------------------------------------------------------------------------- */

/* A client maps the file, and stores to all of it from then on. */
static void client_store(bool direct)
{
	client_map(direct);
	storer_start(0, control->length);
}

/* The client has a look at what it has, and leaves: no block that was free before is another's. */
static void let_go(pid_t pid, struct filler *f)
{
	go(1);
	await_stage(pid, 2);
	fill_check(f);
	go(2);
	ended(pid, ENDS_ANYHOW);
	fill_end(f);
}

static void remove_file(int fd)
{
	close(fd);
	must_do(unlink(control->file), "unlink");
}

/* ---- The file without a name ------------------------------------------------------------------------------ */

static void unlink_client(void)
{
	client_store(true);
	reached(1);
	await_go(1);
	expect_whole(0, control->length, control->owner);
	storer_stop();
	reached(2);
	await_go(2);
	expect_whole(0, control->length, control->owner);
	leave();
}

static void unlink_other(void)
{
	pid_t pid = start(unlink_client);
	struct filler f;

	await_stage(pid, 1);
	pause_up_to(3000);
	must_do(unlink(control->file), "unlink");
	fill_all(&f);
	let_go(pid, &f);
}

/* ---- Blocks taken away ------------------------------------------------------------------------------------ */

static void cut_client(void)
{
	client_store(true);
	reached(1);
	while (atomic_load(&control->go) < 1)
		expect_nothing_foreign();
	storer_stop();
	expect_nothing_foreign();
	reached(2);
	await_go(2);
	until_all_beyond(0);
	leave();
}

/* Cutting an extent in two may need a block, and there may be none. */
static void take_out(int fd, int mode, uint64_t at, uint64_t length)
{
	if (fallocate(fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)length) && errno != ENOSPC)
		fail("fallocate, mode %#x: %s", (unsigned int)mode, strerror(errno));
}

static void cut_once(int fd)
{
	uint64_t at = rnd(control->length / 8) * 8, length = (1 + rnd((control->length - at) / 8)) * 8;

	switch (rnd(5)) {
	case 0:
		must_do(ftruncate(fd, (off_t)at), "ftruncate");
		break;
	case 1:
		must_do(ftruncate(fd, (off_t)control->length), "ftruncate to grow");
		break;
	case 2:
		take_out(fd, FALLOC_FL_PUNCH_HOLE, at, length);
		break;
	case 3:
		take_out(fd, FALLOC_FL_ZERO_RANGE, at, length);
		break;
	default:
		rewrite(fd, at, length);
	}
}

static void cut_other(void)
{
	pid_t pid = start(cut_client);
	struct filler f;
	int fd;

	await_stage(pid, 1);
	fd = open_file(control->file, O_RDWR);
	fill_all(&f);
	for (uint64_t n = 4 + rnd(8); n; n--) {
		cut_once(fd);
		pause_up_to(2000);
		/* What is free now is somebody else's at once. */
		if (rnd(2))
			fill_more(&f);
	}
	go(1);
	await_stage(pid, 2);
	must_do(ftruncate(fd, 0), "ftruncate to nothing");
	fill_more(&f);
	go(2);
	ended(pid, ENDS_ANYHOW);
	fill_end(&f);
	remove_file(fd);
}

/* ---- No descriptors --------------------------------------------------------------------------------------- */

static void close_client(void)
{
	client_store(true);
	switch (rnd(3)) {
	case 0:
		must_do(close_range(3, ~0U, 0), "close_range");
		break;
	case 1:
		closefrom(3);
		break;
	default:
		for (int fd = 3; fd < 1024; fd++)
			close(fd);
	}
	reached(1);
	await_go(1);
	storer_stop();
	expect_whole(0, control->keep, control->owner);
	until_all_beyond(control->keep);
	reached(2);
	await_go(2);
	leave();
}

static void close_other(void)
{
	pid_t pid = start(close_client);
	struct filler f;

	await_stage(pid, 1);
	pause_up_to(3000);
	control->keep = rnd(2) ? control->length : rnd(control->length / PAGE) * PAGE;
	if (control->keep < control->length)
		must_do(truncate(control->file, (off_t)control->keep), "truncate");
	must_do(unlink(control->file), "unlink");
	fill_all(&f);
	let_go(pid, &f);
}

/* ---- fork ------------------------------------------------------------------------------------------------- */

/*
 * [0, keep) is stored into by the parent, the rest is a hole when they part: the child stores into that, and asks for a
 * map of its own from then on.
 */
static void forked_child(void)
{
	atomic_store(&control->child, getpid());
	expect_whole(0, control->keep, control->owner);
	store_all(control->keep, control->length, CHILD_OWNER);
	client_sync();
	reached(2);
	await_go(2);
	expect_whole(0, control->keep, control->owner);
	expect_whole(control->keep, control->length, CHILD_OWNER);
	/* That takes a second at least: the file has just been used through the page cache. */
	if (rnd(4) == 0) {
		until_direct();
		expect_whole(0, control->keep, control->owner);
		expect_whole(control->keep, control->length, CHILD_OWNER);
	}
	reached(3);
	await_go(3);
	expect_whole(control->keep, control->length, CHILD_OWNER);
	leave();
}

static void fork_client(void)
{
	pid_t pid;

	client_map(true);
	storer_start(0, control->keep);
	reached(1);
	await_go(1);
	pid = fork();
	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (!pid)
		forked_child();
	/* As long as one of two uses the file through the page cache, it is not the other's directly. */
	await_go(2);
	storer_stop();
	if (!control->parent_first) {
		await_go(4);
		ended(pid, ENDS_ANYHOW);
		expect_whole(0, control->keep, control->owner);
		expect_whole(control->keep, control->length, CHILD_OWNER);
	}
	leave();
}

static void fork_other(void)
{
	pid_t pid, child;
	struct filler f;
	int fd;

	control->parent_first = rnd(2);
	control->keep = (1 + rnd(control->length / PAGE - 1)) * PAGE;
	pid = start(fork_client);
	await_stage(pid, 1);
	fd = open_file(control->file, O_RDWR);
	must_do(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)control->keep,
			  (off_t)(control->length - control->keep)), "punch");
	close(fd);
	go(1);
	await_stage(pid, 2);
	child = control->child;
	must_do(unlink(control->file), "unlink");
	if (control->parent_first && rnd(2))
		must_do(kill(pid, SIGKILL), "kill");
	go(2);
	if (control->parent_first)
		ended(pid, ENDS_ANYHOW);
	fill_all(&f);
	await_stage(control->parent_first ? child : pid, 3);
	fill_check(&f);
	go(4);
	/* Whose parent is gone is ours: PR_SET_CHILD_SUBREAPER. */
	ended(control->parent_first ? child : pid, ENDS_ANYHOW);
	fill_end(&f);
}

/* ---- A child that does nothing ---------------------------------------------------------------------------- */

static void idle_client(void)
{
	client_store(true);
	if (fork() == 0) {
		atomic_store(&control->child, getpid());
		reached(1);
		idle();
	}
	for (;;)
		pause();
}

/* It has what keeps the handle open, and so the grant. But nobody maps the pool, and nobody would answer. */
static void idle_other(void)
{
	pid_t pid = start(idle_client);
	struct filler f;

	await_stage(pid, 1);
	pause_up_to(2000);
	must_do(kill(pid, SIGKILL), "kill");
	if (rnd(2))
		ended(pid, ENDS_KILLED);
	must_do(truncate(control->file, 0), "truncate");
	until_free();
	fill_all(&f);
	must_do(kill(control->child, SIGKILL), "kill");
	reap_others();
	fill_end(&f);
	must_do(unlink(control->file), "unlink");
}

/* ---- clone(2) --------------------------------------------------------------------------------------------- */

/* No library knows of this process: what the pool is mapped at in the parent is mapped at nothing here. */
static void cloned_child(void)
{
	unsigned char in_core;
	uint64_t at;

	for (at = 0; at < control->length; at += PAGE)
		if (!mincore((void *)(uintptr_t)(map_at() + at), PAGE, &in_core) || errno != ENOMEM)
			break;
	atomic_store(&control->foreign, at < control->length);
	atomic_store(&control->child, getpid());
	reached(2);
	idle();
}

static void clone_client(void)
{
	pid_t pid;

	client_map(true);
	expect_direct();
	storer_start(0, control->length);
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid < 0)
		fail("clone: %s", strerror(errno));
	if (!pid)
		cloned_child();
	await_go(1);
	expect_whole(0, control->length, control->owner);
	storer_stop();
	leave();
}

static void clone_other(void)
{
	pid_t pid = start(clone_client);
	struct filler f;

	await_stage(pid, 2);
	if (atomic_load(&control->foreign))
		fail("a child of clone(2) has memory that its parent maps directly");
	must_do(unlink(control->file), "unlink");
	fill_all(&f);
	if (rnd(2)) {
		must_do(kill(control->child, SIGKILL), "kill");
		pause_up_to(2000);
		control->child_gone = true;
	}
	go(1);
	ended(pid, ENDS_ANYHOW);
	fill_check(&f);
	if (!control->child_gone)
		must_do(kill(control->child, SIGKILL), "kill");
	ended(control->child, ENDS_KILLED);
	fill_end(&f);
}

/* ---- exec ------------------------------------------------------------------------------------------------- */

static void exec_client(void)
{
	client_store(true);
	reached(1);
	pause_up_to(3000);
	execl("/proc/self/exe", "life_client", "pause", (char *)NULL);
	fail("exec: %s", strerror(errno));
}

/* The program that took the client's place goes on, and has nothing. */
static void exec_other(void)
{
	pid_t pid = start(exec_client);
	struct filler f;

	await_stage(pid, 1);
	pause_up_to(3000);
	must_do(unlink(control->file), "unlink");
	fill_all(&f);
	fill_end(&f);
	until_free();
	fill_all(&f);
	must_do(kill(pid, SIGKILL), "kill");
	ended(pid, ENDS_KILLED);
	fill_end(&f);
}

/* ---- SIGKILL ---------------------------------------------------------------------------------------------- */

/* Maps come and go; children too. */
static void kill_client(void)
{
	pid_t pid;

	for (;;) {
		client_store(false);
		reached(1);
		pause_up_to(2000);
		pid = rnd(4) ? -1 : fork();
		if (!pid) {
			store_some(100);
			_exit(0);
		}
		if (pid > 0)
			ended(pid, ENDS_WELL);
		storer_stop();
		client_unmap();
	}
}

static void kill_other(void)
{
	pid_t pid = start(kill_client);
	struct filler f;
	int fd;

	await_stage(pid, 1);
	fd = open_file(control->file, O_RDWR);
	fill_start(&f);
	if (rnd(2))
		fill_more(&f);
	for (uint64_t n = rnd(4); n; n--) {
		cut_once(fd);
		pause_up_to(2000);
	}
	pause_up_to(10000);
	must_do(kill(pid, SIGKILL), "kill");
	if (rnd(2))
		must_do(ftruncate(fd, 0), "ftruncate");
	fill_more(&f);
	ended(pid, ENDS_KILLED);
	reap_others();
	fill_more(&f);
	fill_end(&f);
	remove_file(fd);
}

/* ---- SIGKILL while it waits ------------------------------------------------------------------------------- */

static void silent_client(void)
{
	client_store(false);
	reached(1);
	for (;;)
		pause();
}

static void writing_client(void)
{
	static uint64_t words[8 * PAGE / 8];
	int fd;

	client_store(false);
	fd = open_file(control->file, O_RDWR);
	reached(2);
	for (;;) {
		uint64_t at = rnd(control->length / PAGE) * PAGE, length = sizeof(words);

		if (length > control->length - at)
			length = control->length - at;
		words_of(words, at, length, control->owner);
		if (pwrite(fd, words, length, (off_t)at) < 0 && errno != ENOSPC)
			fail("pwrite: %s", strerror(errno));
	}
}

static void truncating(void)
{
	reached(3);
	for (int i = 0; i < 3; i++)
		must_do(truncate(control->file, (off_t)(rnd(control->length / 8) * 8)), "truncate");
	_exit(0);
}

/* A stopped client makes truncate(2) wait, that makes write(2) wait, and the writer is killed there. */
static void parked_other(void)
{
	pid_t silent = start(silent_client), writer, cutter;
	struct filler f;

	await_stage(silent, 1);
	writer = start(writing_client);
	await_stage(writer, 2);
	must_do(kill(silent, SIGSTOP), "SIGSTOP");
	stopped(silent);
	cutter = start(truncating);
	await_stage(cutter, 3);
	pause_up_to(100000);
	must_do(kill(writer, SIGKILL), "kill");
	ended(writer, ENDS_KILLED);
	fill_all(&f);
	ended(cutter, ENDS_WELL);
	fill_more(&f);
	if (rnd(2)) {
		must_do(kill(silent, SIGCONT), "SIGCONT");
		pause_up_to(5000);
	}
	fill_more(&f);
	must_do(kill(silent, SIGKILL), "kill");
	ended(silent, ENDS_KILLED);
	must_do(unlink(control->file), "unlink");
	fill_end(&f);
}

/* ---- SIGSTOP ---------------------------------------------------------------------------------------------- */

/* It stores into the first page alone, as what it stores will be in the file once it goes on. */
static void stop_client(void)
{
	client_map(true);
	storer_start(0, PAGE);
	reached(1);
	await_go(1);
	storer_stop();
	if (control->keep)
		until_words_of(PAGE, OTHER_OWNER);
	else
		until_all_beyond(0);
	reached(2);
	await_go(2);
	leave();
}

static void stop_other(void)
{
	pid_t pid = start(stop_client);
	struct filler f;
	int fd;

	control->keep = rnd(2);
	await_stage(pid, 1);
	fd = open_file(control->file, O_RDWR);
	pause_up_to(3000);
	must_do(kill(pid, SIGSTOP), "SIGSTOP");
	stopped(pid);
	must_do(ftruncate(fd, 0), "ftruncate under a stopped client");
	if (control->keep) {
		rewrite(fd, 0, control->length);
		if (size_of(fd) != control->length)
			fail("there is no room for as much as the stopped client has");
	}
	fill_all(&f);
	fill_check(&f);
	if (control->free_before - f.size / PAGE < control->length / PAGE)
		fail("a file has %" PRIu64 " of %" PRIu64 " free blocks, and the stopped client's are %" PRIu64,
		     f.size / PAGE, control->free_before, control->length / PAGE);
	must_do(kill(pid, SIGCONT), "SIGCONT");
	pause_up_to(3000);
	let_go(pid, &f);
	remove_file(fd);
}

/* ---- Clients that outlive the daemon ---------------------------------------------------------------------- */

static struct control *of_client[CLIENTS_MAX];

static void held_client(void)
{
	bool cut = control->cut;

	client_store(true);
	reached(1);
	for (unsigned int n = 1;; n++) {
		while (atomic_load(&control->go) < (int)n) {
			if (cut)
				expect_nothing_foreign();
			usleep(1000);
			orphan();
		}
		if (control->over)
			break;
		if (cut)
			expect_nothing_foreign();
		else
			expect_whole(0, control->length, control->owner);
		reached((int)n + 1);
	}
	storer_stop();
	leave();
}

/* Until the mount is dead. */
static void cutting(void)
{
	int fd = open_file(control->file, O_RDWR);
	bool dead = false;

	while (!dead && !control->over) {
		uint64_t at = rnd(control->length / 8) * 8;

		if (rnd(2))
			dead = ftruncate(fd, (off_t)at) || ftruncate(fd, (off_t)control->length);
		else
			dead = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, 8 * PAGE);
		if (dead && errno == ENOSPC)
			dead = false;
		orphan();
	}
	_exit(0);
}

static int hold(unsigned int clients)
{
	pid_t pid[CLIENTS_MAX], cutter = 0;
	char line[64];
	int n = 1;

	for (unsigned int i = 0; i < clients; i++) {
		control_new(&of_client[i], "held", i);
		control->cut = i == clients - 1;
		pid[i] = start(held_client);
		await_stage(pid[i], 1);
		if (i % 2 == 0 && !control->cut)
			must_do(unlink(control->file), "unlink");
		if (control->cut)
			cutter = start(cutting);
	}
	puts("held");
	for (; fgets(line, sizeof(line), stdin); n++) {
		for (unsigned int i = 0; i < clients; i++)
			atomic_store(&of_client[i]->go, n);
		for (unsigned int i = 0; i < clients; i++) {
			control = of_client[i];
			await_stage(pid[i], n + 1);
		}
		puts("whole");
	}
	for (unsigned int i = 0; i < clients; i++) {
		of_client[i]->over = true;
		atomic_store(&of_client[i]->go, n);
		ended(pid[i], ENDS_ANYHOW);
	}
	ended(cutter, ENDS_WELL);
	return 0;
}

/* ---- The program ------------------------------------------------------------------------------------------ */

static const struct {
	const char	*name;
	void		(*other)(void);
} scenarios[] = {
	{ "unlink", unlink_other }, { "cut", cut_other }, { "close", close_other }, { "fork", fork_other },
	{ "idle", idle_other },
	{ "clone", clone_other }, { "exec", exec_other }, { "kill", kill_other }, { "parked", parked_other },
	{ "stop", stop_other },
};

static int scenario(const char *name)
{
	struct control *c;

	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (strcmp(name, scenarios[i].name))
			continue;
		control_new(&c, name, 0);
		scenarios[i].other();
		return 0;
	}
	fail("no such scenario: %s", name);
}

static int file_of(const char *verb, const char *path, uint64_t owner)
{
	struct filler f = { .owner = owner };

	if (!strcmp(verb, "verify")) {
		f.fd = open_file(path, O_RDONLY);
		f.size = size_of(f.fd);
		fill_check(&f);
		return 0;
	}
	f.fd = open_file(path, O_RDWR | O_CREAT | O_EXCL);
	fill_more(&f);
	if (!f.size)
		fail("%s: there was nothing to fill", path);
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 2 && !strcmp(verb, "pause"))
		for (;;)
			pause();
	if (argc == 4 && (!strcmp(verb, "fill") || !strcmp(verb, "verify")))
		return file_of(verb, argv[2], strtoull(argv[3], NULL, 0));
	must_do(prctl(PR_SET_CHILD_SUBREAPER, 1), "prctl");
	if (argc == 5 && !strcmp(verb, "hold") && strtoul(argv[3], NULL, 0) - 1 < CLIENTS_MAX) {
		begin(argv[2], strtoull(argv[4], NULL, 0));
		return hold((unsigned int)strtoul(argv[3], NULL, 0));
	}
	if (argc == 4) {
		begin(argv[2], strtoull(argv[3], NULL, 0));
		return scenario(verb);
	}
	fprintf(stderr, "life_client SCENARIO DIR SEED | hold DIR CLIENTS SEED | fill|verify FILE OWNER | pause\n");
	return 2;
}
