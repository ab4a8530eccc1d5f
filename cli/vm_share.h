/* SPDX-License-Identifier: MIT
 *
 * --volume and --sftp-bin-name: folders of the host in the guest (vm/share.h).
 *
 *     // given struct args *args; struct vm_spec *spec; struct session *session; const char *name;
 *     vm_volumes_take(args, spec, &err);
 *     vm_volumes_mount(session, name, spec, &err);     // in a VM that was started in the background
 */
#ifndef CLI_VM_SHARE_H
#define CLI_VM_SHARE_H

#include "cli/command.h"
#include "vm/spec.h"

#include <jansson.h>

struct vm_live;
struct vm_ssh;

// clang-format off
#define VOLUME_OPTION \
    {"volume", 's', "FOLDER:/GUEST[:ro]", "Share a folder of the host with the guest; also -v FOLDER:/GUEST", "shared-folder"}, \
    {"sftp-bin-name", 0, "PROGRAM", "SFTP server for shares by sshfs [default: OpenSSH's sftp-server]", NULL}
// clang-format on

/* ERR_USAGE: not of that form; ERR_USER: the folder is not there; ERR_NOT_FOUND: the SFTP server is not. */
int vm_volumes_take(const struct args *a, struct vm_spec *spec, struct error **err);
/* Waits for the guest's SSH and mounts them. Nothing without any. */
int vm_volumes_mount(const struct session *s, const char *name, const struct vm_spec *spec,
                     struct error **err);
/* Of a VM that runs, by its record: whether none is left to be mounted. An attached one does it itself. */
bool vm_volumes_mounted(const json_t *record);
/* Mounts those that are not yet, and notes it. live: logged in. */
int vm_volumes_mount_rest(const struct session *s, struct vm_ssh *ssh, struct vm_live *live,
                          struct error **err);
/* Tells what to type in a guest on whose console the user is. */
void vm_volumes_tell(const struct session *s, const struct vm_spec *spec);

#endif
