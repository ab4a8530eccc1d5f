/* SPDX-License-Identifier: MIT
 *
 * The guest's side of `kiln cp`, and what goes between the two.
 *
 *     // given struct vm_ssh *ssh;
 *     struct cp_guest guest = cp_guest_ssh(ssh, "web");
 *     struct cp_job job = {.receive = true, .from = "log", .dir = "/tmp", .name = "log"};
 *     cp_transfer(&guest, "tar -c -f - -C /var log", &job, &err);
 */
#ifndef CLI_CP_TRANSFER_H
#define CLI_CP_TRANSFER_H

#include "vm/ssh.h"

#include <stdbool.h>

/* Runs a command line in the guest with these as stdin, stdout and stderr; *ret_status: its exit
 * status. As vm_ssh_run_on. */
typedef int cp_run_fn(void *arg, const char *command, const int fds[3], int *ret_status,
                      struct error **err);
struct cp_guest {
    cp_run_fn *run;
    void *arg;        /* borrowed */
    const char *name; /* of the VM, for messages; borrowed */
    bool
        attributes; /* files that come out keep ACLs, user.* xattrs and holes, if its tar tells them */
};
struct cp_guest cp_guest_ssh(struct vm_ssh *ssh, const char *name);

enum cp_kind { CP_NONE, CP_FILE, CP_FOLDER, CP_OTHER };
enum cp_links {
    CP_LINK,   /* a symbolic link is a file */
    CP_FOLLOW, /* it is what it leads to */
    CP_REAL    /* likewise, and *ret_path is that */
};
/* What a path of the guest is; *ret_path (owned) is the path. ERR_GUEST. */
int cp_look(const struct cp_guest *g, const char *path, enum cp_links links, enum cp_kind *ret,
            char **ret_path, struct error **err);

/* The arguments of cp_tar_read (receive) or cp_tar_write. */
struct cp_job {
    bool receive, attributes;
    const char *from, *dir, *name;
};
/* Runs the guest's command with the job at the other end of its output or input. */
int cp_transfer(const struct cp_guest *g, const char *command, const struct cp_job *job,
                struct error **err);
/* Runs it with our own stdin and stdout. Both: ERR_GUEST with what the command said. */
int cp_stream(const struct cp_guest *g, const char *command, struct error **err);

#endif
