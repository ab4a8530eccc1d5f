/* SPDX-License-Identifier: MIT
 *
 * Users and groups as an image names them: its /etc/passwd and /etc/group as text. Pure; the
 * builder VM's own users play no part. passwd(5), group(5).
 */
#ifndef BUILDER_AGENT_PASSWD_H
#define BUILDER_AGENT_PASSWD_H

#include "base/buf.h"
#include "base/error.h"
#include "base/vector.h"

#include <sys/types.h>

DEFINE_VECTOR(gids, gid_t);

struct who {
    uid_t uid;
    gid_t gid;
    char *home;         /* owned; "/" when the image does not know the user */
    struct gids groups; /* supplementary; none when a group was named */
};
void who_clear(struct who *w);

/*
 * "name|uid[:group|gid]" in the way of Dockerfile's USER. A number need not be in the files; a
 * name that is not there is an error that says so. Without a group: the user's own from passwd
 * (an unknown number's group is 0).
 */
int who_resolve(const char *spec, struct str passwd, struct str group, struct who *ret,
                struct error **err);
/* The same for --chown: an absent group is the user's own, or for a bare number the same number. */
int owner_resolve(const char *spec, struct str passwd, struct str group, uid_t *ret_uid,
                  gid_t *ret_gid, struct error **err);

#endif
