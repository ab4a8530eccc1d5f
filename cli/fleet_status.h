/* SPDX-License-Identifier: MIT
 *
 * kiln status without a name: the VMs of a VMFile.
 *
 *     // given struct session *session; struct args *args;
 *     int status = fleet_status(session, args, &err);
 */
#ifndef CLI_FLEET_STATUS_H
#define CLI_FLEET_STATUS_H

#include "cli/command.h"

/* Prints them; args have FLEET_OPTIONS and --json. 0: all run as the file says; 3: some do not run. */
int fleet_status(struct session *s, const struct args *a, struct error **err);

#endif
