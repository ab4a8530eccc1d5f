/* SPDX-License-Identifier: MIT
 *
 * Networks of the VMs of one VMFile. Every VM has a network card in each that it names, on a multicast
 * group of the host's loopback, which follows from the VMFile's path and the network's name; so do its
 * hardware address and its IP address, of 10.64.0.0/10. kiln gives the guest the address over SSH when
 * it has started, writes the names of all members into its /etc/hosts, and leaves a script that does
 * both at the guest's next boots (systemd, OpenRC, busybox's init).
 *
 *     // given struct session *session; struct fleet_file file; const struct fleet_vm *vm;
 *     // given struct vm_spec spec;
 *     fleet_network_spec(session, &file, vm, &spec);
 *     fleet_network_join(session, &file, vm, &err);        // once it runs
 */
#ifndef CLI_FLEET_NETWORK_H
#define CLI_FLEET_NETWORK_H

#include "base/buf.h"
#include "cli/fleet_file.h"
#include "vm/spec.h"

/* Gives each VM of a file that is just read its number in all networks, f->hosts, and each network its
 * own, f->subnets: they follow from the names, whatever comes and goes beside it; of two that would have
 * the same the later one takes the next. */
void fleet_network_number(struct fleet_file *f);
/* Adds the card on the VM's bridge, if it has one; its hardware address follows from VMFile and VM. */
void fleet_network_bridge(const struct fleet_file *f, const struct fleet_vm *vm,
                          struct vm_spec *spec);
/* Adds the cards. */
void fleet_network_spec(const struct session *s, const struct fleet_file *f,
                        const struct fleet_vm *vm, struct vm_spec *spec);
/* "10.70.0.2": vm's address in its network; added to *out. */
void fleet_network_address(const struct fleet_file *f, const struct fleet_vm *vm,
                           const char *network, struct buf *out);
/* Whether that was done since its start, or need not be. */
bool fleet_network_joined(const struct fleet_vm *vm, const json_t *record);
/* Waits for SSH and sets the guest's addresses, unless that was done since its start. ERR_GUEST. */
int fleet_network_join(const struct session *s, const struct fleet_file *f,
                       const struct fleet_vm *vm, struct error **err);

#endif
