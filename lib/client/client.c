/*
 * The process: its locks and threads, and descriptors that somebody may have closed.
 */
#include "client/client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "client/mm.h"
#include "util/clock.h"
#include "util/fault.h"

#define STACK_BYTES	(128U << 10)

struct client client;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_rc;

void client_init_locks(void)
{
	pthread_rwlock_init(&client.working, NULL);
	pthread_mutex_init(&client.making, NULL);
	pthread_mutex_init(&client.lock, NULL);
	cond_init(&client.changed);
}

/*
 * A signal handler may touch a map: what it then waits for needs the lock, which the interrupted thread would have.
 */
static _Thread_local sigset_t unlocked;

void client_lock(void)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &unlocked);
	pthread_mutex_lock(&client.lock);
}

void client_unlock(void)
{
	sigset_t before = unlocked;

	pthread_mutex_unlock(&client.lock);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* The mapping keeps the file; no descriptor of it is needed, nor could it be relied on. */
static int map_nothing(void)
{
	int fd = memfd_create("inodax-lost", MFD_CLOEXEC);
	void *at;

	if (fd < 0)
		return -errno;
	at = mm_mmap(mm_room(PAGE), PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		return -ENOMEM;
	client.nothing = at;
	return 0;
}

static void init(void)
{
	client_init_locks();
	list_init(&client.grants);
	list_init(&client.revokers);
	once_rc = map_nothing();
	if (!once_rc)
		once_rc = fork_init();
}

int client_enter(void)
{
	int rc;

	pthread_once(&once, init);
	if (once_rc)
		return once_rc;
	client_lock();
	rc = client.resolving ? 0 : client_thread(resolver, NULL);
	if (!rc)
		client.resolving = true;
	client_unlock();
	return rc;
}

/*
 * Where no program maps: mm_room(). A page below is a guard. Threads of the library do not end, nor do their stacks.
 * `stack` NULL: a stack of libpthread's, which alone knows how much a sanitizer wants of it.
 */
static int start_on(char *stack, size_t size, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	int rc;

	if ((stack && mm_mprotect(stack + PAGE, size - PAGE, PROT_READ | PROT_WRITE)) || pthread_attr_init(&attr))
		return -ENOMEM;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (stack)
		rc = pthread_attr_setstack(&attr, stack + PAGE, size - PAGE);
	else
		rc = pthread_attr_setstacksize(&attr, size);
	if (!rc)
		rc = pthread_create(&thread, &attr, fn, arg);
	pthread_attr_destroy(&attr);
	return -rc;
}

int client_thread(void *(*fn)(void *), void *arg)
{
	size_t size = ((size_t)PTHREAD_STACK_MIN + STACK_BYTES + 2 * PAGE - 1) & ~((size_t)PAGE - 1);
	void *stack = mm_room(size);
	sigset_t all, before;
	int rc;

	if (fault(FAULT_ALLOC))
		return -ENOMEM;
	if (stack)
		stack = mm_mmap(stack, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -ENOMEM;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = start_on(stack, size, fn, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc && stack)
		mm_munmap(stack, size);
	return rc;
}

uint64_t client_now(void)
{
	return clock_ms() + 1;
}

void client_wait(uint64_t until)
{
	struct timespec at = clock_timespec(until);

	pthread_cond_timedwait(&client.changed, &client.lock, &at);
}

const char *client_reason(int rc)
{
	const char *text;

	switch (rc) {
	case -EFBIG:
		if (*uffd_refusal())
			return uffd_refusal();
		return "more blocks would have to be allocated than the mount allows at once";
	case -EBADF:
		return "the library's descriptor of the file was closed";
	case -EPROTO:
		return "the daemon answered what makes no sense";
	case -ENOMEM:
		return "no memory, or too many mappings (vm.max_map_count)";
	}
	text = strerrordesc_np(-rc);
	return text ? text : "unknown error";
}

/* ---- Descriptors ------------------------------------------------------------------------------------------ */

/* Of a device, the device; of a file, the file. What the kernel knows is enough: FUSE is not asked. */
int desc_of(struct desc *d, int fd)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &st))
		return -errno;
	d->fd = fd;
	if (S_ISCHR(st.stx_mode) || S_ISBLK(st.stx_mode)) {
		d->dev = makedev(st.stx_rdev_major, st.stx_rdev_minor);
		d->ino = 0;
	} else {
		d->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
		d->ino = st.stx_ino;
	}
	return 0;
}

int desc_fd(const struct desc *d)
{
	struct desc now;

	if (d->fd < 0 || desc_of(&now, d->fd) || now.dev != d->dev || now.ino != d->ino)
		return -EBADF;
	return d->fd;
}

bool desc_locked(int fd)
{
	struct flock any = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	return !fcntl(fd, F_OFD_GETLK, &any) && any.l_type != F_UNLCK;
}

void desc_close(struct desc *d)
{
	if (desc_fd(d) >= 0)
		close(d->fd);
	d->fd = -1;
}
