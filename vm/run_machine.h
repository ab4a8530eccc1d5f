/* SPDX-License-Identifier: MIT
 *
 * The machine of a VM that is run (vm/run.h), attached or detached: its arguments and its ports.
 *
 *     // given struct vm_run_options options; json_t *disks; struct strv args; struct qmp *qmp;
 *     vm_run_check_ports(options.spec, &err);
 *     vm_run_machine(&options, disks, &args);
 *     // QEMU runs with these arguments
 *     unsigned port;
 *     vm_run_ssh_port(qmp, &port, &err);
 */
#ifndef VM_RUN_MACHINE_H
#define VM_RUN_MACHINE_H

#include "vm/run.h"

#include <jansson.h>

struct qmp;

/* ERR_SYSTEM: a port of the host that the spec names is taken. */
int vm_run_check_ports(const struct vm_spec *spec, struct error **err);
/* QEMU's end in *err in the same words, if it was that one of these ports was taken meanwhile; -1. */
int vm_run_explain(const struct vm_spec *spec, struct error **err);
/* Adds QEMU's arguments for the spec, with the block nodes of vm_run_disks (borrowed). */
void vm_run_machine(const struct vm_run_options *o, const json_t *disks, struct strv *args);
/* The port of 127.0.0.1 that leads to the guest's SSH. ERR_GUEST: there is none. */
int vm_run_ssh_port(struct qmp *qmp, unsigned *ret, struct error **err);
/* All ports of the host that lead to the guest's, as an array of {"address", "host_port", "guest_port",
 * "udp"}, each once: new reference; empty if QEMU tells none. */
json_t *vm_run_ports(struct qmp *qmp);

/* The descriptors that QEMU inherits, the n of `held` and those of the shares, into ret, which has room
 * for n and the shares. Returns how many. */
size_t vm_run_keep(const struct vm_run_options *o, const int *held, size_t n, int *ret);

#endif
