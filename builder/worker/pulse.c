// SPDX-License-Identifier: MIT
//
// Every few seconds of a wait a byte goes to the guest's pulse process (builder/agent/pulse.h),
// which sends it back. Only time that was spent waiting counts: whatever came back while kiln did
// something else, or was stopped, is read first.
#include "builder/worker/internal.h"

#include "base/session.h"

#include <errno.h>
#include <unistd.h>

enum { BEAT_MS = 10 * 1000, SILENCE_MS = 90 * 1000 };

void builder_vm_pulse_start(struct builder_vm *vm)
{
    vm->pulse = (struct pulse){.watched = true, .next = now_ms() + BEAT_MS};
}

struct pollfd builder_vm_pulse_fd(const struct builder_vm *vm)
{
    return (struct pollfd){.fd = vm->pulse.watched ? vm_port(vm->vm, "pulse") : -1,
                           .events = POLLIN};
}

long long builder_vm_pulse_deadline(const struct builder_vm *vm, long long deadline)
{
    const struct pulse *p = &vm->pulse;
    return p->watched && (deadline < 0 || p->next < deadline) ? p->next : deadline;
}

int builder_vm_pulse(struct builder_vm *vm, struct error **err)
{
    struct pulse *p = &vm->pulse;
    char beats[64];
    int fd = vm_port(vm->vm, "pulse");
    if (!p->watched)
        return 0;
    while (read(fd, beats, sizeof beats) > 0)
        p->asked = 0;
    long long now = now_ms();
    if (now < p->next)
        return 0;
    if (p->asked && now - p->asked > SILENCE_MS) {
        vm->lost = true;
        error_set(err, ERR_GUEST, "the builder VM is stuck: it has shown no sign of life for %d s",
                  SILENCE_MS / 1000);
        error_hint(err,
                   "the step may have stopped its devices or taken all of its memory; a larger "
                   "--memory may help");
        return vm_add_console(vm->vm, err);
    }
    p->next = now + BEAT_MS;
    if (!p->asked)
        p->asked = now;
    // one that is not taken is one that does not come back
    return write(fd, "", 1) == 1 || errno == EAGAIN || errno == EPIPE
               ? 0
               : error_errno(err, "cannot write to the builder VM");
}
