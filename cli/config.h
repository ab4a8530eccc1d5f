/* SPDX-License-Identifier: MIT
 *
 * Settings files: options of a command in TOML. A key is a long option's name, with '-' or '_'; keys
 * before the first table hold for run, create and start, those of [run], [create] and [start] for one;
 * [ci] is for all of `ci gitlab`.
 *
 *     // given struct session *session; struct args *args;
 *     config_apply(session, args, &err);        // before the options are looked at
 *
 * For all but `start` /etc/kiln/config.toml and $XDG_CONFIG_HOME/kiln/config.toml (~/.config) come
 * first; then --config FILE, then the command line: what comes later wins, and options that may stand
 * several times add up. `start` reads only --config: the VM's own options go before defaults.
 */
#ifndef CLI_CONFIG_H
#define CLI_CONFIG_H

#include "cli/command.h"

// clang-format off
#define CONFIG_OPTION {"config", 0, "FILE", "Read options from a TOML file", NULL}
// clang-format on

/* ERR_USER with the place in the file: not TOML, an option that there is not, or a value of the wrong
 * type. Nothing for a command without --config. */
int config_apply(const struct session *s, struct args *a, struct error **err);

#endif
