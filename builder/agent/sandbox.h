/* SPDX-License-Identifier: MIT
 *
 * The first process of an EXEC's namespaces. It puts up what the command is to see (its own /proc,
 * /sys, /dev, /run, the mounts asked for), starts the command below the image's
 * root, waits, kills what is left, takes everything down again and reports.
 *
 * It stays outside the image's root, so that programs which compare /proc/1/root with their own (as
 * systemctl and invoke-rc.d do) see that no system is running there.
 */
#ifndef BUILDER_AGENT_SANDBOX_H
#define BUILDER_AGENT_SANDBOX_H

#include "base/buf.h"
#include "base/error.h"
#include "base/vector.h"
#include "builder/agent/agent.h"
#include "builder/agent/disk.h"
#include "builder/agent/passwd.h"
#include "builder/agent/services.h"
#include "builder/agent/sockets.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct sandbox_mount {
    enum { SANDBOX_TMPFS, SANDBOX_BIND, SANDBOX_SECRET } kind;
    char *target;    /* absolute, in the image */
    char *source;    /* bind: what to bind, a path in the builder VM below `source_root` */
    int slot;        /* bind: whose tree holds the source; -1: a path of the builder VM */
    struct str data; /* secret: borrowed from the request */
    bool read_only, has_mode, has_owner;
    bool hosts;   /* secret: data goes in front of the image's own /etc/hosts */
    bool discard; /* bind of a slot: what the command writes goes to memory */
    mode_t mode;
    uid_t uid;
    gid_t gid;
    uint64_t size; /* tmpfs; 0 = the kernel's choice */
};
DEFINE_VECTOR(sandbox_mounts, struct sandbox_mount);

struct sandbox {
    const char *tree; /* "/tree/0" */
    struct strv argv, env;
    const char *cwd;
    const char *hostname;
    struct who who;
    struct str script; /* len 0 = none */
    bool tty, no_network;
    bool insecure; /* nothing of the VM is kept from it */
    unsigned rows, columns;
    struct sandbox_mounts mounts;
    struct sockets sockets;                  /* which some of the mounts show */
    const struct volumes *volumes;           /* nodes and names for /dev; may be NULL */
    const struct mounted_list *file_systems; /* of the tree; may be NULL */
    char *changed; /* afterwards: what the command changed of the VM (changes.h); NULL = nothing */
    int in, out, errors; /* the command's; -1 with tty */
    int control;         /* our end of the socket to the agent */
};

/* Where the agent has its cgroups, and the one that limits how many processes commands have. */
#define SANDBOX_CGROUPS "/cgroup"
#define SANDBOX_CGROUP SANDBOX_CGROUPS "/run"

/* What is sent over the control socket, a packet each. */
enum sandbox_event {
    SANDBOX_STATUS = 1, /* value: wait status */
    SANDBOX_FAILED,     /* value: errno or 0; message and hint */
    SANDBOX_TERMINAL,   /* comes with the descriptor of the pseudo-terminal's master */
    SANDBOX_WARNING,    /* message */
    SANDBOX_CHANGED,    /* message: see sandbox.changed */
};
struct sandbox_report {
    int event, value;
    char message[2000], hint[500];
};

/* Flags for clone(2). */
int sandbox_clone_flags(const struct sandbox *s);
/* In the new process: does everything and exits. Signals to send to the command's process group
 * come over the control socket as ints. */
void sandbox_main(struct sandbox *s) __attribute__((noreturn));
void sandbox_clear(struct sandbox *s);

/* dev.c: a private /dev on the tmpfs mounted at `path`. */
int dev_fill(const char *path, const struct volumes *volumes, struct error **err);
/* command.c: starts the command; its pid, or -1 with an error that says what is wrong with it. */
pid_t command_start(const struct sandbox *s, int root, int tty, struct services *services,
                    struct error **err);

#endif
