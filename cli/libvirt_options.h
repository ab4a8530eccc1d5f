/* SPDX-License-Identifier: MIT
 *
 * Options that the commands for libvirt share.
 */
#ifndef CLI_LIBVIRT_OPTIONS_H
#define CLI_LIBVIRT_OPTIONS_H

#define LIBVIRT_CONNECT_OPTION \
    { \
        "connect", 'c', "URI", \
            "Which libvirt: qemu:///system, qemu:///session… [default: as virsh]", NULL \
    }

#endif
