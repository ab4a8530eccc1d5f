/* SPDX-License-Identifier: MIT
 *
 * Who changes a disk: it opens a chain of qcow2 files, reads and writes the trees on it, runs
 * commands in them, and seals what was changed as a file of its own. The builder VM
 * (worker/runner.h) is one; a build knows only this.
 *
 *     // given const struct runner_ops *ops; struct runner_options options; const char *next;
 *     struct runner *r;
 *     ops->start(session, &options, &r, &err);             // options.target is there now
 *     runner_mount(r, RUNNER_TARGET, false, NULL, &err);
 *     int status;
 *     CLEANUP(runner_exec_clear) struct runner_exec e = {0};
 *     runner_exec_arg(&e, "/bin/true");
 *     runner_exec(r, &e, (struct runner_wait){.deadline_ms = 5000}, &status, NULL, &err);
 *     runner_next_overlay(r, next, &err);                  // what came before is a whole layer file
 *     runner_free(r);
 *
 * Functions return 0 or -1; strings are borrowed during the call, and where "may be NULL" is said,
 * NULL leaves the value out. Errors: ERR_GUEST when the request fails or the runner does, ERR_KILLED
 * when somebody ended it, ERR_CANCELLED, ERR_SYSTEM with ENOSPC when the host's disk is full. What
 * takes no struct runner_wait has a deadline of the runner's own; runner_terminal has none.
 */
#ifndef BUILDER_RUNNER_RUNNER_H
#define BUILDER_RUNNER_RUNNER_H

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/vector.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct session;

/* Slots of disks. */
enum {
    RUNNER_TARGET = 0, /* the disk being built */
    RUNNER_EXTRA = 2,  /* the first of those for other disks */
    RUNNER_SLOTS = 8,  /* behind the last of them */
};

/* A qcow2 chain as it is to be opened: every file is named, nothing is probed. */
struct runner_disk {
    const char *const *files; /* from the base to the top; borrowed during the call */
    size_t n_files;
    bool writable; /* the top file */
    uint64_t size; /* virtual size in bytes */
};

/* What a runner does not need, it ignores. */
struct runner_options {
    unsigned memory_mb;        /* 0 = by what the host has free, bounded */
    unsigned cpus;             /* 0 = by the host, bounded */
    const char *cwd;           /* store_cwd of the backend whose layers it gets; may be NULL */
    const char *accel;         /* "auto", "kvm", "tcg"; NULL = KILN_ACCEL or auto */
    struct str disk_key;       /* what opens a target that is encrypted with LUKS; may be empty */
    struct runner_disk target; /* n_files 0: none yet */
};

/* How long a request may take, and who hears what it prints: stream 1 is out, 2 is err. */
typedef void runner_output_fn(void *arg, int stream, const char *bytes, size_t n);
struct runner_wait {
    int deadline_ms;          /* from now; -1 = none */
    runner_output_fn *output; /* may be NULL */
    void *output_arg;
};

/* Gives up to n bytes of a stream, 0 at the end; called from another thread. */
typedef ssize_t runner_produce_fn(void *arg, void *bytes, size_t n);
struct runner_stream {
    runner_produce_fn *produce;
    void *arg;
};

struct runner_partition {
    uint64_t size;       /* bytes; 0 = the rest */
    const char *fs;      /* these three may be NULL */
    const char *options; /* for the file system */
    const char *mount;
    char *flags; /* "boot,efi" */
};

/* Where a COPY or ADD puts things, in the target. */
struct runner_place {
    const char *dest; /* absolute */
    bool folder;      /* dest is one */
    bool keep_owner;  /* as in the source's tree */
    bool parents;     /* runner_copy: sources keep their folders, from "/./" on if there is one */
    const char *chown, *chmod; /* may be NULL */
};
/* What is read of another tree; excludes may be NULL. */
struct runner_sources {
    int slot;
    const struct strv *sources, *excludes;
};

/* Which owners a survey lists. The values are in the names of kept answers. */
enum runner_owners {
    RUNNER_KEEP_OWNER = 32, /* all */
    RUNNER_TOP_OWNER = 512, /* of a folder that a source names, too */
};

enum runner_exec_flag {
    RUNNER_NO_NETWORK = 1,
    RUNNER_INSECURE = 2, /* all capabilities; /proc/sys and /sys are writable */
    RUNNER_SHELL = 4,    /* the first argument is a POSIX shell */
};

enum runner_mount_type {
    RUNNER_TMPFS,
    RUNNER_CACHE,
    RUNNER_BIND,
    RUNNER_SECRET,
    RUNNER_HOSTS,
    RUNNER_SSH, /* a socket; who connects to it reaches an ssh-agent of the host */
};

/* A mount of one command. */
struct runner_exec_mount {
    enum runner_mount_type type;
    const char *target; /* absolute; made for the run if missing */
    const char *mode;   /* octal; may be NULL */
    const char *owner;  /* "uid[:gid]" or names; may be NULL */
    uint64_t size;      /* of a tmpfs, bytes; 0 = the kernel's own */
    bool read_only;     /* bind: what is written to one that is not is gone afterwards */
    int slot;           /* cache, bind: whose tree holds the source; 0 = what was unpacked */
    const char *source; /* bind: path in that tree; ssh: the agent's socket on the host */
    int unpacked;       /* bind without a slot: number from runner_unpack */
    struct str secret;  /* its bytes; hosts: lines in front of those of the image's /etc/hosts */
};

/* Where a script is seen by its command: a file that is never in the image. */
#define RUNNER_SCRIPT "/dev/kiln-script"

/* A command in the target's tree, filled by the functions below. {0} is an empty one. */
struct runner_exec {
    struct strv argv, env; /* env: NAME=VALUE */
    struct strv nameservers;
    char *cwd;         /* absolute */
    char *user;        /* "name|uid[:group|gid]"; NULL: root */
    struct str script; /* what RUNNER_SCRIPT has; borrowed */
    int flags;         /* enum runner_exec_flag */
    char *term;        /* its terminal, for runner_terminal; NULL = none */
    unsigned columns, rows;
    struct runner_exec_mount *mounts; /* their strings are ours, but for the bytes of secrets */
    size_t n_mounts;
};
void runner_exec_clear(struct runner_exec *e); /* values of env are overwritten */
/* These copy what they are given. */
void runner_exec_arg(struct runner_exec *e, const char *arg); /* one more */
void runner_exec_env(struct runner_exec *e, const char *name, const char *value);
void runner_exec_mount(struct runner_exec *e, const struct runner_exec_mount *m);

struct runner {
    const struct runner_ops *ops;
};

/* One kind of runner. Each member is what the function below of the same name does. */
struct runner_ops {
    const char *name;
    int (*start)(const struct session *s, const struct runner_options *o, struct runner **ret,
                 struct error **err);
    void (*free)(struct runner *r);
    /* One that is started while another works, and nothing has run or was mounted in. `ahead`
     * begins (NULL: there is no thread to be had), `take` waits, gives it its target and frees a
     * (NULL: it did not come up, and another start will say why), `drop` ends it. The session is
     * borrowed until the runner's end, o->accel and o->cwd until take or drop; o->target is
     * ignored. All three are NULL where a start costs nothing. */
    struct runner_ahead *(*ahead)(const struct session *s, const struct runner_options *o);
    struct runner *(*take)(struct runner_ahead *a, const struct runner_disk *target);
    void (*drop)(struct runner_ahead *a);
    long long (*answered)(const struct runner *r);
    bool (*worth_retry)(struct runner *r);

    int (*set_disk)(struct runner *r, int slot, const struct runner_disk *disk, struct error **err);
    int (*next_overlay)(struct runner *r, const char *path, struct error **err);
    int (*mount)(struct runner *r, int slot, bool read_only, const json_t *mounts,
                 struct error **err);
    int (*umount)(struct runner *r, int slot, struct error **err);
    int (*format)(struct runner *r, int slot, struct error **err);
    json_t *(*os)(struct runner *r, struct error **err);
    int (*make_partitions)(struct runner *r, const char *table,
                           const struct runner_partition *parts, size_t n, struct runner_wait w,
                           struct error **err);
    int (*grow)(struct runner *r, const char *table, struct runner_wait w, struct error **err);
    int (*receive)(struct runner *r, const struct runner_stream *from,
                   const struct runner_place *place, struct runner_wait w, struct error **err);
    int (*copy)(struct runner *r, const struct runner_sources *from,
                const struct runner_place *place, struct runner_wait w, struct error **err);
    int (*survey)(struct runner *r, const struct runner_sources *from, int owners,
                  struct runner_wait w, bool *ret_listed, struct error **err);
    int (*mkdir)(struct runner *r, const char *path, const char *owner, struct runner_wait w,
                 struct error **err);
    int (*unpack)(struct runner *r, const struct runner_stream *from, struct runner_wait w,
                  int *ret_number, struct error **err);
    int (*exec)(struct runner *r, const struct runner_exec *e, struct runner_wait w,
                int *ret_status, char **ret_changed, struct error **err);
    int (*terminal)(struct runner *r, const struct runner_exec *e, int *ret_status,
                    struct error **err);
};

void runner_free(struct runner *r); /* ends it; what was not sealed is gone; NULL is fine */
/* When it could first be used, by now_ms(). */
long long runner_answered(const struct runner *r);
/* After a failed call: whether the runner itself failed in a way that another one may not. */
bool runner_worth_retry(struct runner *r);

/* Puts a disk into a slot, or takes it out (disk NULL). The slot's tree must not be mounted. */
int runner_set_disk(struct runner *r, int slot, const struct runner_disk *disk, struct error **err);
/* Makes `path` (a complete, empty qcow2 overlay that exists) the target's new top. The file that was
 * on top is then complete on disk (flushed, not yet fsynced), and only read. */
int runner_next_overlay(struct runner *r, const char *path, struct error **err);

/* Mounts the tree of a slot's disk. mounts: [[partition number, "/path"], …] of a disk that we
 * partitioned; NULL = the root file system is looked for. */
int runner_mount(struct runner *r, int slot, bool read_only, const json_t *mounts,
                 struct error **err);
int runner_umount(struct runner *r, int slot, struct error **err);
/* A cache disk: gets a file system if it has none, and is mounted. */
int runner_format(struct runner *r, int slot, struct error **err);
/* What is on the target, for `image inspect`: owned, NULL on errors. */
json_t *runner_os(struct runner *r, struct error **err);

/* On the target; table is "gpt" or "mbr". Mounts nothing. */
int runner_make_partitions(struct runner *r, const char *table,
                           const struct runner_partition *parts, size_t n, struct runner_wait w,
                           struct error **err);
/* The target's last partition takes the room behind it; its tree is unmounted. table may be NULL. */
int runner_grow(struct runner *r, const char *table, struct runner_wait w, struct error **err);

/* A stream (context/send.h) into the target. */
int runner_receive(struct runner *r, const struct runner_stream *from,
                   const struct runner_place *place, struct runner_wait w, struct error **err);
int runner_copy(struct runner *r, const struct runner_sources *from,
                const struct runner_place *place, struct runner_wait w, struct error **err);
/* A manifest (agent/manifest.h) of what COPY would copy, as w's output; *ret_listed is false if
 * that is too much to be listed: then what came counts for nothing. owners: enum runner_owners. */
int runner_survey(struct runner *r, const struct runner_sources *from, int owners,
                  struct runner_wait w, bool *ret_listed, struct error **err);
/* Makes a folder of the target with its parents if it is missing. owner may be NULL. */
int runner_mkdir(struct runner *r, const char *path, const char *owner, struct runner_wait w,
                 struct error **err);
/* The files of a stream are kept beside the trees until the next command has ended; *ret_number is
 * what struct runner_exec_mount names them by. */
int runner_unpack(struct runner *r, const struct runner_stream *from, struct runner_wait w,
                  int *ret_number, struct error **err);

/* *ret_status is a wait status. *ret_changed, owned, says what the command changed of the runner
 * itself, so that the next one would see it; NULL = nothing. ret_changed may be NULL. */
int runner_exec(struct runner *r, const struct runner_exec *e, struct runner_wait w,
                int *ret_status, char **ret_changed, struct error **err);
/* On the session's terminal: raw mode, changes of size; *ret_status is a wait status. */
int runner_terminal(struct runner *r, const struct runner_exec *e, int *ret_status,
                    struct error **err);

#endif
