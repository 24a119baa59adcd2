/*
 * inodax-bench map: what it costs to cut a file that others have mapped directly.
 *
 * Each mapper is a child with a map of its own, asked over a socket: 'm' maps the file and stores to it; 'q' says what
 * the map is now, and unmaps it. The truncate between the two takes the map away from all of them, and each is
 * asked whether it did: a mapper that kept its map would make the call look cheap. Mappers are killed at the end, and
 * die with the bench.
 */
#include "bench/map.h"

#include <errno.h>
#include <fcntl.h>
#include <inodax.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAPPERS_MAX	16U
#define CUTS		5U		/* of one measurement */
#define CUT_BYTES	BENCH_HUGE
#define ANSWER_S	60		/* what a mapper may need to answer, at most */

struct mapper {
	pid_t	pid;
	int	fd;
};

static const char *const names[SIDES] = { "mapped", "unmapped" };

static void path_of(const struct stage *s, enum side side, char *path, size_t size)
{
	snprintf(path, size, "%s/%s", s->target[INODAX].dir, names[side]);
}

/* ---- A mapper --------------------------------------------------------------------------------------------- */

static char answer_map(const char *path, int fd, struct mapping *m)
{
	int rc = map_make(INODAX, fd, CUT_BYTES, m);

	if (rc) {
		map_failed("map", path, rc);
		return 'e';
	}
	map_touch(m, BENCH_PAGE);
	return 'd';
}

static char answer_query(struct mapping *m)
{
	struct inodax_query q = { .size = sizeof(q) };
	char kind = 'e';

	if (m->map && inodax_query(m->map, 0, &q) == 0)
		kind = q.kind == INODAX_DIRECT ? 'd' : 'r';
	map_drop(m);
	return kind;
}

/* The child: no buffer of stdio, no handler and no mount of the parent's is to end with it. */
static _Noreturn void be_mapper(const char *path, int command)
{
	struct mapping m = { .at = NULL };
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char c;

	if (fd < 0)
		map_failed("open", path, -errno);
	while (fd >= 0 && read(command, &c, 1) == 1) {
		c = c == 'm' ? answer_map(path, fd, &m) : answer_query(&m);
		if (write(command, &c, 1) != 1)
			break;
	}
	_exit(fd < 0);
}

static int start_mapper(const char *path, struct mapper *mapper)
{
	pid_t parent = getpid();
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	mapper->pid = fork();
	if (mapper->pid == 0) {
		signal(SIGINT, SIG_IGN);	/* the terminal's; the bench ends its mappers itself */
		signal(SIGTERM, SIG_DFL);
		signal(SIGHUP, SIG_DFL);
		signal(SIGPIPE, SIG_DFL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			be_mapper(path, pair[1]);
		_exit(1);
	}
	rc = mapper->pid < 0 ? -errno : 0;
	setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_sec = ANSWER_S }, sizeof(struct timeval));
	close(pair[1]);
	mapper->fd = pair[0];
	if (rc)
		close(pair[0]);
	return rc;
}

/* ---- All of them ------------------------------------------------------------------------------------------ */

/* All at once, as mappers are. *alike: how many gave the answer that is hoped for. */
static int ask_all(const struct stage *s, unsigned int count, char command, char hoped, uint64_t *alike)
{
	char answer;

	for (unsigned int i = 0; i < count; i++)
		if (send(s->mappers[i].fd, &command, 1, MSG_NOSIGNAL) != 1)
			return map_failed("ask a mapper", s->target[INODAX].dir, -errno);
	*alike = 0;
	for (unsigned int i = 0; i < count; i++) {
		ssize_t n = recv(s->mappers[i].fd, &answer, 1, 0);

		if (n != 1)
			return map_failed("a mapper does not answer", s->target[INODAX].dir, n ? -errno : -EPIPE);
		*alike += answer == hoped;
	}
	return 0;
}

static int begin_cuts(struct stage *s, const struct map_line *l)
{
	char path[SIDES][600];
	int fd, rc = 0;

	s->mappers = calloc(MAPPERS_MAX, sizeof(*s->mappers));
	if (!s->mappers)
		return map_failed("mappers", s->target[INODAX].dir, -ENOMEM);
	for (enum side side = INODAX; side < SIDES; side++) {
		path_of(s, side, path[side], sizeof(path[side]));
		fd = open(path[side], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0)
			return map_failed("create", path[side], -errno);
		close(fd);
	}
	for (unsigned int i = 0; i < l->amount && !rc; i++)
		rc = start_mapper(path[INODAX], &s->mappers[i]);
	return rc ? map_failed("start a mapper", path[INODAX], rc) : 0;
}

static void end_cuts(struct stage *s, const struct map_line *l)
{
	char path[600];

	for (unsigned int i = 0; s->mappers && i < l->amount && s->mappers[i].pid > 0; i++) {
		kill(s->mappers[i].pid, SIGKILL);
		close(s->mappers[i].fd);
		waitpid(s->mappers[i].pid, NULL, 0);
	}
	free(s->mappers);
	s->mappers = NULL;
	for (enum side side = INODAX; side < SIDES; side++) {
		path_of(s, side, path, sizeof(path));
		unlink(path);
	}
}

/* ---- Cutting ---------------------------------------------------------------------------------------------- */

static int fill(int fd)
{
	static char zeros[CUT_BYTES];

	return pwrite(fd, zeros, sizeof(zeros), 0) == (ssize_t)sizeof(zeros) ? 0 : errno ? -errno : -EIO;
}

static int cut(const struct stage *s, const struct map_line *l, enum side side, int fd, struct sample *out)
{
	unsigned int mappers = side == INODAX ? l->amount : 0;
	uint64_t alike = 0;
	double start;
	int rc = fill(fd);

	if (rc)
		return map_failed("write", names[side], rc);
	rc = ask_all(s, mappers, 'm', 'd', &alike);
	if (rc)
		return rc;
	if (alike != mappers)
		return -EOPNOTSUPP;	/* the mapper has said why */
	start = bench_nanoseconds();
	rc = ftruncate(fd, 0) ? -errno : 0;
	out->each += (bench_nanoseconds() - start) / CUTS;
	if (rc)
		return map_failed("truncate", names[side], rc);
	rc = ask_all(s, mappers, 'q', 'r', &alike);
	out->counted += alike;
	return rc;
}

static int run_cuts(struct stage *s, const struct map_line *l, enum side side, uint64_t turn, struct sample *out)
{
	char path[600];
	int fd, rc = 0;

	(void)turn;
	path_of(s, side, path, sizeof(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return map_failed("open", path, -errno);
	*out = (struct sample){ .operations = CUTS };
	for (unsigned int i = 0; i < CUTS && !rc; i++)
		rc = cut(s, l, side, fd, out);
	close(fd);
	return rc;
}

void add_lines_of_revocation(struct map_line *lines, unsigned int *n)
{
	static const unsigned int mappers[] = { 1, 4, MAPPERS_MAX };

	for (unsigned int i = 0; i < sizeof(mappers) / sizeof(mappers[0]); i++) {
		struct map_line *l = &lines[(*n)++];

		*l = (struct map_line){
			.beside = "unmapped", .counts = "revoked", .begin = begin_cuts, .run = run_cuts,
			.end = end_cuts, .pairs = 4, .amount = mappers[i],
		};
		snprintf(l->name, sizeof(l->name), "truncate 2 MiB, %u mapper%s", mappers[i],
			 mappers[i] == 1 ? "" : "s");
	}
}
