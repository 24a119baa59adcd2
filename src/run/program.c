#include "run/program.h"

#include <elf.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "util/command.h"

/* An executable of this machine's word size without an interpreter. */
static bool is_static(int fd)
{
	Elf64_Ehdr head;
	Elf64_Phdr ph;

	if (pread(fd, &head, sizeof(head), 0) != sizeof(head) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
	    head.e_ident[EI_CLASS] != ELFCLASS64 || head.e_phentsize != sizeof(ph))
		return false;
	for (unsigned int i = 0; i < head.e_phnum; i++) {
		if (pread(fd, &ph, sizeof(ph), (off_t)(head.e_phoff + i * sizeof(ph))) != sizeof(ph))
			return false;
		if (ph.p_type == PT_INTERP)
			return false;
	}
	return true;
}

/* As the kernel tells the dynamic linker (AT_SECURE): the program gets rights that its caller has not. */
static bool is_privileged(int fd)
{
	struct stat st;

	if (fstat(fd, &st))
		return false;
	if (st.st_mode & S_ISUID && st.st_uid != getuid())
		return true;
	if ((st.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && st.st_gid != getgid())
		return true;
	return getuid() != 0 && fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

enum program_kind program_kind(const char *command)
{
	enum program_kind kind = PROGRAM_OTHER;
	char path[4096];
	int fd;

	if (!command_find(command, path, sizeof(path)))
		return PROGRAM_OTHER;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return PROGRAM_OTHER;
	if (is_privileged(fd))
		kind = PROGRAM_PRIVILEGED;
	else if (is_static(fd))
		kind = PROGRAM_STATIC;
	close(fd);
	return kind;
}
