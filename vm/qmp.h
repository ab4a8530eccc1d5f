/* SPDX-License-Identifier: MIT
 *
 * QMP, QEMU's control protocol: JSON objects, one a line, over a stream socket
 * (https://www.qemu.org/docs/master/interop/qmp-spec.html).
 *
 *     // given json_t *reply; json_int_t size;
 *     CLEANUP(qmp_freep) struct qmp *q = qmp_new_take(fd, session);
 *     qmp_handshake(q, 10000, &err);
 *     qmp_command(q, "blockdev-del", json_pack("{s:s}", "node-name", "top"), 5000, NULL, &err);
 *     qmp_callf(q, 5000, &reply, &err, "block_resize", "{s:s, s:I}", "node-name", "top", "size", size);
 *
 * No call waits longer than its timeout. While it waits, events go to the callback and into a
 * queue. In a caller's own poll loop: watch qmp_fd() for POLLIN and then call qmp_readable().
 * Whoever owns a struct vm (vm/vm.h) gets its qmp ready made, and waits that see QEMU's death.
 *
 * At verbosity 2 every line goes to the session's log. Users get the command's name and QEMU's
 * own description.
 */
#ifndef VM_QMP_H
#define VM_QMP_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct session;
struct qmp;

enum {
    QMP_LINE_MAX = 16 << 20, /* bytes; a longer line is an error */
    QMP_EVENTS_KEPT = 256,   /* older ones are dropped from the queue */
};

/* Takes the connected socket (also when it is one end of a socketpair). session is borrowed until
 * the free; may be NULL. */
struct qmp *qmp_new_take(int fd, const struct session *session);
void qmp_free(struct qmp *q);
DEFINE_CLEANUP(struct qmp, qmp_free);

/* From now on the session's interruption ends no wait: for what is to be put right after one. */
void qmp_ignore_interruption(struct qmp *q);
int qmp_fd(const struct qmp *q); /* to poll for POLLIN; borrowed */
bool qmp_closed(const struct qmp *q);
/* "7.2.22" from the greeting; borrowed, "" before the handshake. */
const char *qmp_qemu_version(const struct qmp *q);

/* data is borrowed during the call and NULL when the event has none. The callback must not call
 * qmp_ functions of the same q. */
typedef void qmp_event_fn(void *arg, const char *event, const json_t *data);
void qmp_on_event(struct qmp *q, qmp_event_fn *fn, void *arg);

/*
 * How to wait: until q's socket has `events` (POLLIN, POLLOUT), or something else that concerns
 * the waiter happened, or the deadline (now_ms() scale) passed. Returns 1, 0 at the deadline, -1
 * with an error. The default polls the socket and the session's cancel_fd (ERR_CANCELLED). struct vm
 * sets its own.
 */
typedef int qmp_wait_fn(void *arg, int fd, short events, long long deadline, struct error **err);
void qmp_set_wait(struct qmp *q, qmp_wait_fn *fn, void *arg);

/* Waits for the greeting and negotiates no capabilities. Call it once, first. */
int qmp_handshake(struct qmp *q, int timeout_ms, struct error **err);

/*
 * Sends a command and waits for its answer. args is taken (NULL = none). The "return" value goes
 * into *reply as a new reference (reply may be NULL). Errors: ERR_SYSTEM "QMP <name>: <desc>" for
 * QEMU's refusal, ERR_GUEST when QEMU does not answer in time, closes the connection or does not
 * keep to the protocol, and what the wait gives. After an ERR_GUEST q is of no more use, except
 * that the answer to a command which was too slow is passed over when it comes.
 */
int qmp_command(struct qmp *q, const char *name, json_t *args, int timeout_ms, json_t **reply,
                struct error **err);
/* As qmp_command, args by json_pack's format: an argument that is not UTF-8 (file names may not
 * be) is an error (ERR_USER) instead of a command without arguments. */
int qmp_callf(struct qmp *q, int timeout_ms, json_t **reply, struct error **err, const char *name,
              const char *fmt, ...);

/* Lends QEMU a descriptor under a name, for "fd:<name>". */
int qmp_lend(struct qmp *q, int fd, const char *name, struct error **err);

/* Takes in what has arrived, without waiting. Call it when qmp_fd() is readable. Errors: as
 * qmp_command's ERR_GUEST. */
int qmp_readable(struct qmp *q, struct error **err);

/* The oldest queued event of this name: removed from the queue (all older ones of other names
 * stay), its data a new reference in *ret_data (may be NULL). Waits for it if need be; ERR_GUEST
 * at the timeout. timeout_ms 0 only looks at what is there already. */
int qmp_wait_event(struct qmp *q, const char *event, int timeout_ms, json_t **ret_data,
                   struct error **err);
void qmp_forget_events(struct qmp *q); /* empties the queue */

/* Bytes as they come from the socket: what qmp_readable does after reading. For tests. */
int qmp_feed(struct qmp *q, const void *bytes, size_t n, struct error **err);

#endif
