/*
 * Pins. Each has a grant of its own: what keeps the grant's handle keeps the pin and nothing else, be it this process,
 * a ring that the handle is registered with, or another process that got the descriptor.
 *
 * Descriptors may be closed by whoever likes to. So a pin has two mappings that nobody can touch: a page of the file,
 * for the handle, and a unit of the pool, for the lock that tells a later daemon of it.
 */
#include "client/client.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/inodax.h"
#include "client/mm.h"
#include "util/fault.h"

#define PIN_WAIT_MS	5000U		/* for revocations elsewhere */

struct inodax_pin {
	struct grant	*grant;		/* alone in it */
	pid_t		 pid;		/* children of a fork have the struct, not the pin */
	uint32_t	 number;
	void		*handle;	/* a page of the file */
	void		*pool;		/* a unit of the pool */
};

/* ---- Its grant --------------------------------------------------------------------------------------------- */

static int own_grant(struct inodax_map *m, struct grant **out)
{
	struct grant *g = map_grant(m);
	int fd = desc_fd(&g->handle), rc = fd;

	if (fd >= 0) {
		pthread_mutex_lock(&client.making);
		rc = grant_single(fd, m->write, out);
		pthread_mutex_unlock(&client.making);
	}
	grant_put(g);
	return rc;
}

/* No child of a fork has them: it would keep what the parent lets go of. */
static int keep(struct inodax_pin *p, uint64_t addr)
{
	const struct grant *g = p->grant;
	void *at = mm_mmap(mm_room(PAGE), PAGE, PROT_NONE, MAP_PRIVATE, g->handle.fd, 0);

	if (at == MAP_FAILED)
		return -errno;
	p->handle = at;
	at = mm_mmap(mm_room(g->unit), g->unit, PROT_NONE, MAP_SHARED, g->pool.fd, (off_t)addr);
	if (at == MAP_FAILED)
		return -errno;
	p->pool = at;
	if (mm_madvise(p->handle, PAGE, MADV_DONTFORK) || mm_madvise(p->pool, g->unit, MADV_DONTFORK))
		return -errno;
	return 0;
}

static void let_go(struct inodax_pin *p)
{
	uint64_t unit = p->grant->unit;

	if (p->pool)
		mm_munmap(p->pool, unit);
	if (p->handle)
		mm_munmap(p->handle, PAGE);
}

/* ---- The calls --------------------------------------------------------------------------------------------- */

static int ask(struct inodax_pin *p, uint64_t offset, uint64_t length)
{
	const struct grant *g = p->grant;
	uint64_t first = offset & ~(g->unit - 1), until = client_now() + PIN_WAIT_MS;
	struct direct_pin d;
	int rc;

	do {
		d = (struct direct_pin){
			.name = g->name, .offset = first, .length = offset + length - first,
			.flags = g->write ? DIRECT_WRITE : 0,
		};
		rc = grant_ioctl(g, DIRECT_IOC_PIN, &d);
		if (rc == -EAGAIN)
			usleep(1000);
	} while (rc == -EAGAIN && client_now() < until);
	if (rc)
		return rc;
	p->number = d.pin;
	if (d.addr & (g->unit - 1) || d.addr >= g->pool_bytes)
		return -EPROTO;
	return keep(p, d.addr);
}

static int make(struct inodax_map *m, size_t offset, size_t length, struct inodax_pin *p)
{
	int rc = own_grant(m, &p->grant);

	if (rc)
		return rc;
	rc = ask(p, m->start + m->asked + offset, length);
	if (rc) {
		let_go(p);
		grant_put(p->grant);
	}
	return rc;
}

int inodax_pin(struct inodax_map *m, size_t offset, size_t length, struct inodax_pin **out)
{
	struct inodax_pin *p;
	int rc;

	if (!length || !map_has(m, offset, length))
		return -EINVAL;
	if (m->private)
		return -EOPNOTSUPP;
	rc = client_enter();
	if (rc)
		return rc;
	p = fault(FAULT_ALLOC) ? NULL : calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->pid = getpid();
	pthread_rwlock_rdlock(&client.working);
	rc = make(m, offset, length, p);
	pthread_rwlock_unlock(&client.working);
	if (rc) {
		free(p);
		return rc;
	}
	*out = p;
	return 0;
}

int inodax_pin_fd(const struct inodax_pin *p)
{
	return p->pid == getpid() ? desc_fd(&p->grant->handle) : -ECHILD;
}

/* Whoever else has the handle does not keep what is let go of here. In a child there is nothing to let go of. */
int inodax_unpin(struct inodax_pin *p)
{
	struct direct_unpin u = { .name = p->grant->name, .pin = p->number };

	pthread_rwlock_rdlock(&client.working);
	if (p->pid == getpid()) {
		(void)grant_ioctl(p->grant, DIRECT_IOC_UNPIN, &u);
		let_go(p);
	}
	grant_put(p->grant);
	pthread_rwlock_unlock(&client.working);
	free(p);
	return 0;
}
