/*
 * The exchange beneath libfuse: what the kernel offers and libfuse does not know, and what a request says and
 * libfuse does not pass on.
 */
#ifndef DAEMON_INIT_EXCHANGE_H
#define DAEMON_INIT_EXCHANGE_H

#include <stdbool.h>

#include "daemon/daemon.h"

/*
 * init_exchange_attach - put the hooks under a mounted session whose userdata is the struct daemon, before
 * its first request is read; nothing where libfuse needs none. Returns 0 or a negative errno.
 */
int init_exchange_attach(struct fuse_session *se);

/*
 * init_exchange_write_kills_priv, init_exchange_setattr_kills_priv - does the FUSE_WRITE or FUSE_SETATTR
 * request that this thread is handling, of which libfuse passed on `fi` or `to_set`, ask for setuid, setgid
 * and security.capability to be cleared? Its caller has no CAP_FSETID then.
 */
bool init_exchange_write_kills_priv(const struct fuse_file_info *fi);
bool init_exchange_setattr_kills_priv(int to_set);

#endif
