/* SPDX-License-Identifier: MIT
 *
 * VMs of the store, for the commands: `create`, `run` with a name or detached, `start`.
 *
 *     // given struct session *session; struct args *args; struct vm_spec spec;
 *     CLEANUP(named_vm_clear) struct named_vm vm = NAMED_VM_INIT;
 *     vm_store_create(session, args, &spec, "web", NULL, true, NULL, &vm, &err);
 *     int status = vm_store_boot(session, &vm, &spec, true, NULL, NULL, &err);
 */
#ifndef CLI_VM_STORE_H
#define CLI_VM_STORE_H

#include "cli/command.h"
#include "cli/vm_copy.h"
#include "vm/named.h"
#include "vm/spec.h"

#include <stdint.h>

struct store;
struct vm_disks;
struct vm_warm_wish;

/* In a VM's folder: the metadata of the image it was made from, as its builder wrote it. */
#define VM_STORE_METADATA "image.json"

/* Makes a VM from the image that args names, as vm_image_take and vm_prepare have it; the options of
 * args are those of `create`. temporary: it goes once it has run. *ret is open, and its lock held: a
 * temporary VM whose maker is killed goes, too. fleet: what `up` notes of it in vm.json; NULL = none. */
int vm_store_create(struct session *s, const struct args *a, struct vm_spec *spec, const char *name,
                    const struct vm_copies *copies, bool temporary, json_t *fleet,
                    struct named_vm *ret, struct error **err);
/* The image's name, and a number that hardly any other has; owned. */
char *vm_store_invent_name(const char *image);
/* What it was created as; spec: as vm_spec_init leaves it. */
int vm_store_spec(const struct named_vm *vm, struct vm_spec *spec, struct error **err);
/* Boots a VM whose lock is held. copies: what goes in and out of it, or NULL. wish: with a
 * disk that nothing was written to, it starts from a saved boot (vm/warm.h); NULL = it boots. As
 * vm_options_boot. */
int vm_store_boot(const struct session *s, struct named_vm *vm, struct vm_spec *spec, bool detach,
                  const struct vm_copies *copies, const struct vm_warm_wish *wish,
                  struct error **err);
/* Boots it as it was created, and with what args say if they are those of `start`. */
int vm_store_start(const struct session *s, const struct args *a, const char *name, bool detach,
                   const struct vm_copies *copies, struct error **err);
/* The layers below its disk, and that, as the last of *files; they are leased by *st. size: of the
 * disk, bytes. */
int vm_store_chain(const struct session *s, const struct named_vm *vm, struct store **st,
                   struct strv *files, uint64_t *size, struct error **err);
/* What is kept of a VM that is listed in the store while it runs, but whose disk is not. */
struct vm_store_place {
    const char *image,
        *layer;    /* layer: its id, which is not pruned; NULL = somebody holds a lease */
    uint64_t size; /* of its disk, bytes */
    const struct vm_disks *extra; /* its further images; NULL = none */
    json_t *more;                 /* further members of vm.json; borrowed, NULL = none */
};
/* It is temporary, and has this name; named_vm_remove ends that. Its lock is held. */
int vm_store_appear(const struct session *s, const struct vm_spec *spec,
                    const struct vm_store_place *place, const char *name, struct named_vm *ret,
                    struct error **err);
bool vm_store_is_temporary(const struct named_vm *vm);
/* Removes a temporary VM that has run; any other is left alone. */
int vm_store_drop_temporary(const struct session *s, const char *name, struct error **err);
/* All that have run. */
void vm_store_sweep(const struct session *s);

#endif
