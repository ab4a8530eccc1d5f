/* SPDX-License-Identifier: MIT
 *
 * A VM of a VMFile as `create` makes it, and what of it has changed since it was made.
 *
 *     // given struct fleet_file file; const struct fleet_vm *vm; const json_t *old;
 *     json_auto_t *now = fleet_definition(&file, vm, &err);
 *     CLEANUP(buf_clear) struct buf text = BUF_INIT;
 *     enum fleet_change most = fleet_changes(old, now, &text);       // "memory 1024 → 2048"
 *
 * A definition is an object of texts, by the names of the nodes; contents of files are in it as
 * digests. It is kept in vm.json as {"fleet": {"file": "/path", "definition": {…}}}.
 */
#ifndef CLI_FLEET_DEFINE_H
#define CLI_FLEET_DEFINE_H

#include "base/buf.h"
#include "cli/fleet_file.h"
#include "vm/spec.h"

#include <jansson.h>

/* What a change takes, the least first. */
enum fleet_change {
    FLEET_SAME,
    FLEET_PROVISION, /* to run the provisions */
    FLEET_RESTART,   /* to start the VM again */
    FLEET_RELOAD,    /* to make it anew */
};

/* New reference. ERR_SYSTEM: a file cannot be read. */
json_t *fleet_definition(const struct fleet_file *f, const struct fleet_vm *vm, struct error **err);
/* The most that a change from old to now takes; the changes are added to *text, separated by commas. */
enum fleet_change fleet_changes(const json_t *old, const json_t *now, struct buf *text);
/* The machine: all but image and disk. ret: as vm_spec_init leaves it. */
void fleet_spec(const struct session *s, const struct fleet_file *f, const struct fleet_vm *vm,
                struct vm_spec *ret);
/* The image as `create` takes it; owned. */
char *fleet_image(const struct fleet_vm *vm);
/* The name of the image that `build` makes; owned. */
char *fleet_build_name(const struct fleet_vm *vm);

#endif
