/* SPDX-License-Identifier: MIT
 *
 * The agent's state and the handlers of its requests (protocol.h). serve.c takes frames from the
 * port and calls the handler; a handler fills in the fields of DONE and returns 0, or returns -1
 * with the error that becomes FAIL. Requests are run one after the other, in one thread.
 */
#ifndef BUILDER_AGENT_AGENT_H
#define BUILDER_AGENT_AGENT_H

#include "base/error.h"
#include "base/vector.h"
#include "builder/agent/changes.h"
#include "builder/agent/message.h"
#include "builder/agent/port.h"
#include "builder/agent/protocol.h"

#include <stdbool.h>
#include <stdint.h>

/* A file system of a slot's tree, in the order in which they were mounted. */
struct mounted {
    char *path;   /* in the builder VM: "/tree/0/boot" */
    char *device; /* "/dev/vda2" */
    char *fs;
    bool read_only; /* mounted so, never thawed to writable */
    bool remounted; /* frozen by being made read-only (file systems without a freeze) */
    bool frozen;
};
DEFINE_VECTOR(mounted_list, struct mounted);

struct slot {
    char disk[32]; /* "vda"; "" = there is none */
    struct mounted_list mounts;
    bool lvm;                /* volume groups on it are active */
    struct volumes *volumes; /* what was seen when it was mounted (disk.h); owned, NULL = none */
};

struct agent {
    struct port port;
    struct slot slots[AGENT_DISKS];
    uint32_t id; /* of the request being run */
    bool frozen;
    bool stop;            /* SHUTDOWN was answered */
    unsigned unpacked;    /* folders that UNPACK has made for the next EXEC */
    char name_server[16]; /* of commands (resolver.h); "" = none yet */
    struct changes changes;
    bool cold_shell; /* the first shell is worth being run ahead of its RUN (warm.h) */
};

struct request {
    uint32_t id;
    int type;
    struct message fields;
};

/* Takes requests for ever; returns when SHUTDOWN was answered. */
void agent_serve(struct agent *a);
/* Sends the frames of the request being run. */
void agent_warn(struct agent *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void agent_output(struct agent *a, int stream, const char *bytes, size_t n);
/* Answers PING (and FAILs what is out of turn) while a long request runs. With `running`, frames
 * of its id are handed to it. False: the host has gone. */
typedef void agent_frame_fn(void *arg, int type, const struct message *m);
bool agent_poll(struct agent *a, agent_frame_fn *running, void *arg);

/* Undoes FREEZE; nothing is done when it is not frozen. */
int agent_thaw(struct agent *a, struct error **err);
/* The slot a request names; -1 and an error when there is none with a disk. */
int agent_slot(struct agent *a, const struct request *rq, struct slot **ret, int *ret_number,
               struct error **err);
/* The request's field as an owned C string, NULL when absent; -1 when it holds a NUL. */
int agent_string(const struct request *rq, unsigned tag, char **ret, struct error **err);
/* The field MODE as chmod(1) takes it (base/mode.h), owned; NULL when absent. */
int agent_mode(const struct request *rq, char **ret, struct error **err);
/* As agent_string, but it must be there and start with '/'. */
int agent_path(const struct request *rq, unsigned tag, char **ret, struct error **err);

typedef int agent_handler(struct agent *a, const struct request *rq, struct message *reply,
                          struct error **err);
agent_handler agent_disk, agent_partition, agent_format; /* disk.c, partition.c */
agent_handler agent_grow;                                /* grow.c */
agent_handler agent_mount, agent_umount, agent_freeze;   /* tree.c */
agent_handler agent_exec;                                /* exec.c */
agent_handler agent_unpack;                              /* exec_request.c */
agent_handler agent_receive, agent_copy, agent_mkdir;    /* receive.c, copy.c */
agent_handler agent_survey;                              /* survey.c */
agent_handler agent_os, agent_read;                      /* look.c */
agent_handler agent_appliance, agent_adopt;              /* guestfs.c */

#endif
