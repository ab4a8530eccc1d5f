/* SPDX-License-Identifier: MIT
 *
 * VMs of the store that run: what `ssh`, `logs`, `stop` and their kin have in common.
 *
 *     // given struct session *session; struct args *args;
 *     CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
 *     vm_live_open(session, "web", &live, &err);
 *     CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = vm_live_login(session, args, &live, &err);
 */
#ifndef CLI_VM_LIVE_H
#define CLI_VM_LIVE_H

#include "cli/command.h"
#include "cli/waiting.h"
#include "vm/named.h"
#include "vm/spec.h"
#include "vm/ssh.h"

#include <jansson.h>

struct vm_live {
    const struct session *session;
    struct named_vm vm;
    json_t *record; /* named_vm_running */
    struct waiting waiting;
    int timeout_ms;              /* for the login; 0 = as the VM was started with */
    const char *late_hint;       /* what to do if that is too short; NULL = what is for `ssh` */
    struct vm_spec spec;         /* as the VM was started, with the SSH options of the arguments */
    struct vm_ssh_options login; /* after it: with whom, for ssh(1); borrowed from here */
    char *user, *vm_key, *address;
};
#define VM_LIVE_INIT \
    { \
        .vm = NAMED_VM_INIT \
    }
void vm_live_clear(struct vm_live *live);

/* ERR_NOT_FOUND: there is no such VM, or it does not run. */
int vm_live_open(const struct session *s, const char *name, struct vm_live *ret,
                 struct error **err);
/* The same; with --wait of LOGIN_OPTIONS a VM that does not run yet is waited for. */
int vm_live_await(const struct session *s, const struct args *a, const char *name,
                  struct vm_live *ret, struct error **err);
/* named_vm_noted of one that runs; what a kiln could not note that was killed while it started the VM is found out. */
json_t *vm_live_record(const struct session *s, const struct named_vm *vm);
/* Why the guest of a VM that runs does not: "suspended", "no-space" (of the host), "panicked";
 * NULL = it does. */
const char *vm_live_halted(const struct named_vm *vm);
/* ERR_USER: it is halted. */
int vm_live_check_halted(const struct named_vm *vm, struct error **err);
/* The last lines of its console's log; owned, NULL = the kiln that the VM is attached to has it. */
char *vm_live_console(const struct named_vm *vm, unsigned lines);
/* Where the guest is reached: "127.0.0.1" with the port of a record, else its address on a bridge of the
 * host. Owned; NULL = it does not run, or that is not known. */
char *vm_live_address(const json_t *record);
/* A login by LOGIN_OPTIONS (a: NULL = none), else as the VM was started. Waits as long as --wait or
 * --ssh-timeout says, else as --ssh-timeout of its start; a VM that ends meanwhile ends the wait. NULL with
 * *err. */
struct vm_ssh *vm_live_login(const struct session *s, const struct args *a, struct vm_live *live,
                             struct error **err);
/* The same while the guest boots: cloud-init may make its user later than the SSH server is there. Waits
 * live->timeout_ms if that is set, else at least_ms, or longer as above. */
struct vm_ssh *vm_live_first_login(const struct session *s, struct vm_live *live, int at_least_ms,
                                   struct error **err);
/* 1: it has ended, 2: it did not run; -1. kill: at once, else after timeout_ms, which is reported. */
int vm_live_stop(const struct session *s, const struct named_vm *vm, bool kill, int timeout_ms,
                 struct error **err);
/* --timeout of stop and restart, in ms. */
int vm_live_stop_timeout(const struct args *a, int *ret_ms, struct error **err);

/* Rows of a command's table of options. */
// clang-format off
#define LOGIN_OPTIONS_WITH(key_letter) \
    {"wait", 0, "[=SECONDS]", "Wait also until the VM is started, and how long for SSH", NULL}, \
    {"ssh-timeout", 0, "SECONDS", "How long to wait for SSH [default: as the VM was started]", NULL}, \
    {"user", 'u', "USER", "User to log in as [default: as the VM was started]", "ssh-user"}, \
    {"ssh-key", (key_letter), "FILE", "Private key [default: as the VM was started]", "key"}
#define LOGIN_OPTIONS LOGIN_OPTIONS_WITH('i')
#define STOP_TIMEOUT_OPTION {"timeout", 't', "SECONDS", "How long it may take until the VM is killed [default: 40]", "time"}
// clang-format on

#endif
