/* SPDX-License-Identifier: MIT
 *
 * Names are resolved in a command whatever the image's /etc/resolv.conf says: it may name servers
 * of another network, be a link to what only a running system has, or not be there (a C library
 * then asks 127.0.0.1). The file is left to the image and to the command, which may replace, edit
 * or remove it; what is sent to port 53, of any address, goes to the builder VM's name server
 * instead. A server that the command itself runs on a loopback address (IPv4) is asked as usual.
 */
#ifndef BUILDER_AGENT_RESOLVER_H
#define BUILDER_AGENT_RESOLVER_H

#include "base/error.h"

/* QEMU's own, which asks the host's. */
#define RESOLVER_DEFAULT "10.0.2.3"

/* From now on, `address` (IPv4) is the name server of all processes of the VM. On an error nothing
 * has changed, or only some of the ways to send. Linux 5.2, with CONFIG_CGROUP_BPF. */
int resolver_use(const char *address, struct error **err);

#endif
