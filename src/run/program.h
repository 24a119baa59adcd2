/*
 * What the dynamic linker will make of a program.
 */
#ifndef RUN_PROGRAM_H
#define RUN_PROGRAM_H

enum program_kind {
	PROGRAM_OTHER,		/* dynamically linked, a script, or nothing that can be told */
	PROGRAM_STATIC,
	PROGRAM_PRIVILEGED,	/* set-user-ID, set-group-ID to somebody else, or file capabilities */
};

/* program_kind - of what execvp(3) runs by this name. */
enum program_kind program_kind(const char *command);

#endif
