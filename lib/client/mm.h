/*
 * The address space, as the kernel has it. The library may be loaded with another that stands in for mmap(2) and its
 * kin (lib/preload): what is done here is not for that one to see.
 */
#ifndef CLIENT_MM_H
#define CLIENT_MM_H

#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/*
 * mm_room - where the library maps what is its own: a hint, far from where the kernel puts maps of programs. There it
 * would get the very room that a program has just given back, to map something at the same address.
 */
void *mm_room(size_t length);

/* Each as the call of its name: MAP_FAILED or -1, and errno. */

static inline void *mm_mmap(void *at, size_t length, int prot, int flags, int fd, off_t offset)
{
	/* MAP_FAILED is -1. */
	return (void *)syscall(SYS_mmap, at, length, (long)prot, (long)flags, (long)fd, offset);
}

static inline int mm_munmap(void *at, size_t length)
{
	return (int)syscall(SYS_munmap, at, length);
}

static inline void *mm_mremap(void *from, size_t old_length, size_t length, int flags, void *to)
{
	return (void *)syscall(SYS_mremap, from, old_length, length, (long)flags, to);
}

static inline int mm_madvise(void *at, size_t length, int advice)
{
	return (int)syscall(SYS_madvise, at, length, (long)advice);
}

static inline int mm_pkey_mprotect(void *at, size_t length, int prot, int key)
{
	return (int)syscall(SYS_pkey_mprotect, at, length, (long)prot, (long)key);
}

static inline int mm_msync(void *at, size_t length, int flags)
{
	return (int)syscall(SYS_msync, at, length, (long)flags);
}

static inline int mm_mprotect(void *at, size_t length, int prot)
{
	return (int)syscall(SYS_mprotect, at, length, (long)prot);
}

static inline int mm_munlock(void *at, size_t length)
{
	return (int)syscall(SYS_munlock, at, length);
}

/* Of a userfaultfd. */
static inline int mm_ioctl(int fd, unsigned long request, void *arg)
{
	return (int)syscall(SYS_ioctl, (long)fd, request, arg);
}

#endif
