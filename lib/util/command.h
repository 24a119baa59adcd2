/*
 * Where programs are.
 */
#ifndef UTIL_COMMAND_H
#define UTIL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

/*
 * command_find - the file that execvp(3) runs by this name: the name itself if it has a slash, else one in PATH. false:
 * there is none in PATH, or it does not fit in `path`.
 */
bool command_find(const char *name, char *path, size_t size);

#endif
