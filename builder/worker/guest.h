/* SPDX-License-Identifier: MIT
 *
 * What a builder VM's agent can be asked to do: one function a request, so that nobody above knows
 * the fields of agent/protocol.h, which has what each request means.
 *
 *     // given struct builder_vm *vm; int status;
 *     guest_mount(vm, GUEST_TARGET, false, NULL, &err);
 *     CLEANUP(guest_exec_clear) struct guest_exec e = GUEST_EXEC_INIT;
 *     guest_exec_arg(&e, "/bin/true");
 *     guest_exec(vm, &e, (struct guest_wait){.deadline_ms = 5000}, &status, NULL, &err);
 *
 * All return 0 or -1, with the errors of builder_vm_call; strings are borrowed during the call, and
 * where "may be NULL" is said, NULL leaves the field out. What takes no struct guest_wait does
 * nothing of the user's, and has two minutes.
 */
#ifndef BUILDER_WORKER_GUEST_H
#define BUILDER_WORKER_GUEST_H

#include "base/vector.h"
#include "builder/agent/message.h"
#include "builder/agent/protocol.h"
#include "builder/worker/vm.h"

#include <jansson.h>

/* Slots of disks, as for builder_vm_set_disk. */
enum {
    GUEST_TARGET = AGENT_DISK_TARGET, /* the disk being built */
    GUEST_EXTRA = AGENT_DISK_EXTRA,   /* the first of those for other disks */
    GUEST_SLOTS = AGENT_DISKS,        /* behind the last of them */
};

/* How long a request may take, and who hears what it prints. */
struct guest_wait {
    int deadline_ms;           /* from now; -1 = none */
    builder_output_fn *output; /* may be NULL */
    void *output_arg;
};

/* Mounts the tree of a slot's disk. mounts: [[partition number, "/path"], …] of a disk that we
 * partitioned; NULL = the agent finds the root file system. */
int guest_mount(struct builder_vm *vm, int slot, bool read_only, const json_t *mounts,
                struct error **err);
int guest_umount(struct builder_vm *vm, int slot, struct error **err);
/* A cache disk: gets a file system if it has none, and is mounted. */
int guest_format(struct builder_vm *vm, int slot, struct error **err);
/* What is on the target, for `image inspect`: owned, NULL on errors. */
json_t *guest_os(struct builder_vm *vm, struct error **err);

struct guest_partition {
    uint64_t size;       /* bytes; 0 = the rest */
    const char *fs;      /* these three may be NULL */
    const char *options; /* for the file system */
    const char *mount;
    char *flags; /* "boot,efi" */
};
/* On the target; table is "gpt" or "mbr". Mounts nothing. */
int guest_make_partitions(struct builder_vm *vm, const char *table,
                          const struct guest_partition *parts, size_t n, struct guest_wait w,
                          struct error **err);
/* The target's last partition takes the room behind it; its tree is unmounted. table may be NULL. */
int guest_grow(struct builder_vm *vm, const char *table, struct guest_wait w, struct error **err);

/* Where a COPY or ADD puts things, in the target. */
struct guest_place {
    const char *dest;          /* absolute */
    bool folder;               /* dest is one */
    bool keep_owner;           /* as in the source's tree */
    const char *chown, *chmod; /* may be NULL */
};
/* What is read of another tree; excludes may be NULL. */
struct guest_sources {
    int slot;
    const struct strv *sources, *excludes;
};
/* offset: of builder_vm_stream_begin. */
int guest_receive(struct builder_vm *vm, uint64_t offset, const struct guest_place *place,
                  struct guest_wait w, struct error **err);
int guest_copy(struct builder_vm *vm, const struct guest_sources *from,
               const struct guest_place *place, struct guest_wait w, struct error **err);

/* Which owners a survey lists. The values are in the names of kept answers. */
enum guest_owners {
    GUEST_KEEP_OWNER = AGENT_KEEP_OWNER, /* all */
    GUEST_TOP_OWNER = AGENT_TOP_OWNER,   /* of a folder that a source names, too */
};
/* A manifest (agent/manifest.h) of what COPY would copy, as w's output; *ret_listed is false if
 * that is too much to be looked at: then what came counts for nothing. flags: enum guest_owners. */
int guest_survey(struct builder_vm *vm, const struct guest_sources *from, int flags,
                 struct guest_wait w, bool *ret_listed, struct error **err);
/* Makes a folder of the target with its parents if it is missing. owner may be NULL. */
int guest_mkdir(struct builder_vm *vm, const char *path, const char *owner, struct guest_wait w,
                struct error **err);
/* The files of a stream go to the guest's memory until the next command has ended; *ret_number is
 * what struct guest_run_mount names them by. */
int guest_unpack(struct builder_vm *vm, uint64_t offset, struct guest_wait w, int *ret_number,
                 struct error **err);

/* A command in the target's tree, filled by the functions below, which copy what they are given. */
struct guest_exec {
    struct message request;
};
#define GUEST_EXEC_INIT \
    { \
        MESSAGE_INIT \
    }
/* Where a script is seen by its command: a file that is never in the image. */
#define GUEST_SCRIPT AGENT_SCRIPT

enum guest_exec_flag {
    GUEST_NO_NETWORK = AGENT_NO_NETWORK,
    GUEST_INSECURE = AGENT_INSECURE, /* all capabilities; /proc/sys and /sys are writable */
    GUEST_SHELL = AGENT_SHELL,       /* the first argument is a POSIX shell */
};

void guest_exec_clear(struct guest_exec *e);
void guest_exec_arg(struct guest_exec *e, const char *arg); /* one more */
void guest_exec_env(struct guest_exec *e, const char *name, const char *value);
void guest_exec_cwd(struct guest_exec *e, const char *dir); /* absolute */
void guest_exec_user(struct guest_exec *e,
                     const char *user); /* "name|uid[:group|gid]"; NULL: root */
void guest_exec_nameserver(struct guest_exec *e, const char *address);
void guest_exec_script(struct guest_exec *e, struct str bytes); /* what GUEST_SCRIPT has */
void guest_exec_flags(struct guest_exec *e, int flags); /* enum guest_exec_flag; at most once */
/* It is for guest_terminal, and begins with this size. In place of guest_exec_flags. */
void guest_exec_terminal(struct guest_exec *e, const char *term, unsigned columns, unsigned rows);

enum guest_mount_type { GUEST_TMPFS, GUEST_CACHE, GUEST_BIND, GUEST_SECRET };

/* A mount of one command. */
struct guest_run_mount {
    enum guest_mount_type type;
    const char *target; /* absolute; made for the run if missing */
    const char *mode;   /* octal; may be NULL */
    const char *owner;  /* "uid[:gid]" or names; may be NULL */
    uint64_t size;      /* of a tmpfs, bytes; 0 = the kernel's own */
    bool read_only;     /* bind: what is written to one that is not is gone afterwards */
    int slot;           /* cache, bind: whose tree holds the source; 0 = what was unpacked */
    const char *source; /* bind: path in that tree */
    int unpacked;       /* bind without a slot: number from guest_unpack */
    struct str secret;  /* its bytes */
};
void guest_exec_mount(struct guest_exec *e, const struct guest_run_mount *m);

/* *ret_status is a wait status. *ret_changed, owned, says what the command changed of the VM itself,
 * so that the next one would see it; NULL = nothing. ret_changed may be NULL. */
int guest_exec(struct builder_vm *vm, const struct guest_exec *e, struct guest_wait w,
               int *ret_status, char **ret_changed, struct error **err);
/* On the caller's terminal, as builder_vm_terminal. */
int guest_terminal(struct builder_vm *vm, const struct guest_exec *e, int *ret_status,
                   struct error **err);

#endif
