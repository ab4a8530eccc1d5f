/* SPDX-License-Identifier: MIT
 *
 * --copy-in-before and --copy-out-after: files that go into a VM before it starts and come out once it
 * has ended. Its disk is opened in the builder VM; with --direct-copy the guest that runs does it,
 * over SSH.
 *
 *     // given struct args *args; const char *name;
 *     CLEANUP(vm_copies_clear) struct vm_copies copies = {0};
 *     vm_copies_take(args, true, &copies, &err);
 *     vm_copy_in(session, name, &copies, &err);
 *     ...                                         // it runs
 *     vm_copy_out(session, name, &copies, &err);
 */
#ifndef CLI_VM_COPY_H
#define CLI_VM_COPY_H

#include "base/vector.h"
#include "cli/command.h"

struct offline;
struct vm_ssh;

struct vm_copies {
    struct strv in, out; /* pairs: from, to */
    int timeout_ms;      /* of one copy; -1 = none */
    bool direct;         /* over SSH */
    bool links; /* --rsync: a link that is named is copied as one, not what it leads to; what
                          * comes out keeps ACLs, user.* xattrs and holes */
};
void vm_copies_clear(struct vm_copies *c);
/* What the arguments say, with the host's paths looked at; with_out: the command has
 * --copy-out-after and --direct-copy, too. ERR_USAGE, ERR_NOT_FOUND. */
int vm_copies_take(const struct args *a, bool with_out, struct vm_copies *ret, struct error **err);

/* Into a VM of the store that does not run. Its disk is changed when all copies have succeeded. */
int vm_copy_in(const struct session *s, const char *name, const struct vm_copies *c,
               struct error **err);
/* Into a disk that is open. */
int vm_copy_in_offline(struct offline *off, const struct vm_copies *c, struct error **err);
/* Out of a VM of the store that does not run, one after the other; one that fails does not keep the rest from
 * being copied, and the first error is the result; that the guest has no such file (ERR_NOT_FOUND with
 * errnum ENOENT) counts least. A file or folder of the host is there whole, or not at
 * all if there was none of that name. */
int vm_copy_out(const struct session *s, const char *name, const struct vm_copies *c,
                struct error **err);
/* The same after a command that ended with `status`: that, also as the error's. */
int vm_copy_out_status(const struct session *s, const char *name, const struct vm_copies *c,
                       int status, struct error **err);
/* `kiln cp` from a VM of the store that does not run, by cp_copy.h's rules. */
int vm_copy_from(const struct session *s, const char *name, const char *from, const char *dest,
                 bool follow, struct error **err);
/* The same over a connection to the guest; name: for messages. */
int vm_copy_in_ssh(struct vm_ssh *ssh, const char *name, const struct vm_copies *c,
                   struct error **err);
int vm_copy_out_ssh(struct vm_ssh *ssh, const char *name, const struct vm_copies *c,
                    struct error **err);

/* Rows of a command's table of options. */
// clang-format off
#define COPY_IN_OPTIONS \
    {"copy-in-before", 'b', "HOST:GUEST", "Copy a file or folder into the VM before it starts", NULL}, \
    {"rsync", 0, NULL, "Copy a symbolic link as a link; copies out keep ACLs, user.* xattrs and holes, too", NULL}, \
    {"copy-timeout", 0, "SECONDS", "How long one copy may take [default: no limit]", NULL}
#define COPY_OPTIONS COPY_IN_OPTIONS, \
    {"copy-out-after", 'a', "GUEST:HOST", "Copy a file or folder out into a folder of the host once the VM has ended", NULL}, \
    {"direct-copy", 0, NULL, "Let the guest copy over SSH, instead of a builder VM", NULL}
// clang-format on

#endif
