/* SPDX-License-Identifier: MIT
 *
 * The builder VM: restored from its template (or booted cold), with the agent answering.
 *
 *     #include "builder/agent/protocol.h"
 *     // given struct runner_options options; struct message request, reply;
 *     // given runner_output_fn *output;
 *     struct builder_vm *vm;
 *     builder_vm_start(session, &options, &vm, &err);   // target disk is there when it returns
 *     builder_vm_call(vm, AGENT_EXEC, &request, 5000, output, arg, &reply, &err);
 *     builder_vm_next_overlay(vm, path, &err);          // what came before is a whole layer file
 *     builder_vm_stop(vm, &err);
 *
 * Every call has a deadline, watches the console, QMP and QEMU's death, and the session's
 * cancel_fd. A VM that died is reported with its last console lines (ERR_GUEST; ERR_KILLED when
 * somebody killed QEMU); host disk full (QMP BLOCK_IO_ERROR with nospace) is ERR_SYSTEM with
 * ENOSPC, the path and the free bytes.
 */
#ifndef BUILDER_WORKER_VM_H
#define BUILDER_WORKER_VM_H

#include "base/error.h"
#include "builder/agent/message.h"
#include "builder/runner/runner.h"
#include "vm/accel.h"

#include <stdbool.h>
#include <stdint.h>

struct session;
struct builder_vm;

/* With the VM's template restored, or made first; cold (and a notice) where restoring fails, and
 * the template is then made again next time. A QEMU that is killed meanwhile says nothing of the
 * template: that is ERR_KILLED. With accel "auto", a KVM under which the VM does not start is given
 * up for TCG, which is said and remembered for an hour. */
int builder_vm_start(const struct session *s, const struct runner_options *o,
                     struct builder_vm **ret, struct error **err);
/* After a failed call: whether the VM itself failed (it died, went silent, broke the protocol) and
 * the template that it was restored from turns out to be damaged; that is then made again at the
 * next start. Reads the whole template in this case only. */
bool builder_vm_template_failed(struct builder_vm *vm);
/* When its agent first answered, by now_ms(): then it can be used, the target was attached after.
 */
long long builder_vm_answered(const struct builder_vm *vm);
/* Asks the agent to power off, waits shortly, then kills. */
int builder_vm_stop(struct builder_vm *vm, struct error **err);
void builder_vm_free(struct builder_vm *vm); /* kills at once; NULL is fine */
DEFINE_CLEANUP(struct builder_vm, builder_vm_free);

/* One request and its answer. `type` is an enum agent_type. reply may be NULL. deadline_ms: from
 * now; -1 = none (a RUN may take for ever). WARN frames go to notice. FAIL becomes ERR_GUEST. */
int builder_vm_call(struct builder_vm *vm, int type, const struct message *request, int deadline_ms,
                    runner_output_fn *output, void *output_arg, struct message *reply,
                    struct error **err);
/* EXEC; sockets: paths of the host's, for its mounts of type "ssh" in their order. */
int builder_vm_exec(struct builder_vm *vm, const struct message *request, struct runner_wait w,
                    const struct strv *sockets, struct message *reply, struct error **err);
/* EXEC with the caller's terminal: raw mode, INPUT, RESIZE; ret_status is a wait status. */
int builder_vm_terminal(struct builder_vm *vm, const struct message *request, int *ret_status,
                        struct error **err);

/* Puts a disk into a slot (AGENT_DISK_*), or takes it out (disk NULL); the agent has seen it when
 * this returns. The slot's tree must not be mounted. */
int builder_vm_set_disk(struct builder_vm *vm, int slot, const struct runner_disk *disk,
                        struct error **err);
/* Freezes the target and makes `path` (a complete, empty qcow2 overlay that exists) its new top;
 * the next request that may write thaws it. When this returns, the file that was on top is complete
 * on disk (flushed, not yet fsynced) and QEMU only reads it. */
int builder_vm_next_overlay(struct builder_vm *vm, const char *path, struct error **err);

/* Makes a stream readable for the guest; ret_offset goes into RECEIVE. `produce` is called from
 * another thread, gives up to n bytes, 0 at the end, -1 never (errors travel as STREAM_ABORT). One
 * stream at a time; it ends with builder_vm_stream_end, which waits for the last call of produce.
 */
int builder_vm_stream_begin(struct builder_vm *vm, runner_produce_fn *produce, void *arg,
                            uint64_t *ret_offset, struct error **err);
void builder_vm_stream_end(struct builder_vm *vm);

#endif
