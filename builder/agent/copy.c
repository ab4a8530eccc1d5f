// SPDX-License-Identifier: MIT
#include "builder/agent/agent.h"
#include "builder/agent/place.h"
#include "builder/agent/tree.h"

#include <unistd.h>

int agent_mkdir(struct agent *a, const struct request *rq, struct message *reply,
                struct error **err)
{
    (void)reply;
    AUTO_FREE char *path = NULL, *owner = NULL;
    uid_t uid = 0;
    gid_t gid = 0;
    AUTO_CLOSE int root = tree_open(a, AGENT_DISK_TARGET, err);
    if (root < 0 || agent_path(rq, AGENT_TAG_PATH, &path, err) < 0 ||
        agent_string(rq, AGENT_TAG_OWNER, &owner, err) < 0 ||
        (owner && tree_owner(a, AGENT_DISK_TARGET, owner, &uid, &gid, err) < 0))
        return -1;
    AUTO_CLOSE int made = place_folder(root, path, uid, gid, err);
    return made < 0 ? -1 : 0;
}
