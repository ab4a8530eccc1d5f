/* SPDX-License-Identifier: MIT
 *
 * The builder VM as a runner (runner/runner.h).
 */
#ifndef BUILDER_WORKER_RUNNER_H
#define BUILDER_WORKER_RUNNER_H

#include "builder/runner/runner.h"

extern const struct runner_ops builder_vm_runner;

#endif
