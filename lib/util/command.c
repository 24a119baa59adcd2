#include "util/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool command_find(const char *name, char *path, size_t size)
{
	const char *dirs = getenv("PATH");
	char *copy, *dir, *rest;
	bool found = false;

	if (strchr(name, '/'))
		return snprintf(path, size, "%s", name) < (int)size;
	copy = strdup(dirs ? dirs : "/bin:/usr/bin");
	for (rest = copy; !found && rest && (dir = strsep(&rest, ":")) != NULL;)
		found = snprintf(path, size, "%s/%s", *dir ? dir : ".", name) < (int)size && access(path, X_OK) == 0;
	free(copy);
	return found;
}
