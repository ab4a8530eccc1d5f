/* SPDX-License-Identifier: MIT
 *
 * The chosen VMs of a VMFile at the same time, as far as `after` allows, each in a process of its own,
 * whose output is printed a line at a time behind the VM's name.
 *
 *     // given struct fleet_work work;
 *     int status = fleet_run(&work, fleet_up, FLEET_IN_ORDER, &err);
 */
#ifndef CLI_FLEET_RUN_H
#define CLI_FLEET_RUN_H

#include "cli/fleet_up.h"

typedef int fleet_fn(const struct fleet_work *w, const struct fleet_vm *vm, struct error **err);

enum fleet_order {
    FLEET_IN_ORDER, /* a VM comes after those that it names; if one of them fails, it is left out */
    FLEET_REVERSED, /* before them */
    FLEET_ANY,
};

/* 0 or, when some failed, the exit status of the first that did, whose error was printed; -1: *err. */
int fleet_run(const struct fleet_work *w, fleet_fn *fn, enum fleet_order order, struct error **err);

#endif
