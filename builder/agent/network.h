/* SPDX-License-Identifier: MIT
 *
 * The builder VM's network: QEMU's user network, whose addresses are fixed, so that nothing has to
 * be asked for. Its gateway, 10.0.2.2, is also a name for the host's own loopback: services there,
 * often without a password, are none of a build's business. So it is not reachable (EHOSTUNREACH),
 * though all packets go through it. Whoever runs as root in the VM can undo that: it keeps commands
 * from the host by default, and is no protection against hostile ones.
 */
#ifndef BUILDER_AGENT_NETWORK_H
#define BUILDER_AGENT_NETWORK_H

#include "base/vector.h"

#include <stdbool.h>

/* Loopback, and eth0 if there is one. Failures are console lines. */
void network_set_up(void);
/* Whether this environment ("name=value") has a proxy on the host: a *_proxy that names 10.0.2.2.
 */
bool network_proxy_on_host(const struct strv *env);
/* Makes the host's loopback a destination, or none again. */
void network_reach_host(bool reach);

#endif
