/* SPDX-License-Identifier: MIT
 *
 * Bridges of the host: whether QEMU may put a VM on one, and which address the guest has there.
 *
 *     if (bridge_check("br0", &err) < 0) ...
 *     AUTO_FREE char *address = bridge_address("52:54:00:00:00:01");   // "192.168.1.20"
 */
#ifndef VM_BRIDGE_H
#define VM_BRIDGE_H

#include "base/error.h"

/* What QEMU's helper (qemu-bridge-helper) would refuse in words of its own: ERR_NOT_FOUND: no such
 * interface; ERR_USER: it is not a bridge, /etc/qemu/bridge.conf does not allow it, the helper is missing or
 * not setuid root. Rules that we may not read are left to the helper. */
int bridge_check(const char *name, struct error **err);

/* The IPv4 address of the host with this hardware address (of any bridge): by the newest lease of dnsmasq
 * or libvirt's dnsmasq that has not expired, or else by the kernel's neighbours, as `ip neigh` has them.
 * Owned; NULL: not known, or not yet. */
char *bridge_address(const char *mac);

/* A hardware address of QEMU's range, by chance; owned. */
char *bridge_new_mac(void);

#endif
