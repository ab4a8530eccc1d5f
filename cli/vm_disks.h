/* SPDX-License-Identifier: MIT
 *
 * --extra-image: further disks of a VM, each an overlay on an image of its own, behind the disk that it
 * boots from (vm/run.h, vm_run_options.disks).
 *
 *     // given struct session *session; struct args *args; struct image_request request;
 *     // given struct vm_run_disk first; struct vm_run_options options;
 *     CLEANUP(vm_disks_free) struct vm_disks extra = {0};
 *     vm_disks_fetch(session, args, &request, &extra, &err);
 *     options.disks = vm_disks_all(first, &extra, &options.n_disks);
 *
 * In vm.json: "extra_images": [{"image": "data", "layer": "<id>"}, …], disk-1.qcow2 being the first's.
 */
#ifndef CLI_VM_DISKS_H
#define CLI_VM_DISKS_H

#include "builder/build/image_chain.h"
#include "cli/command.h"
#include "vm/named.h"
#include "vm/run.h"

struct vm_disk {
    struct image_chain chain; /* files, size, and the lease; owned */
    char *image;              /* its name; owned */
};
DEFINE_VECTOR(vm_disks, struct vm_disk);
void vm_disks_free(struct vm_disks *d); /* the elements too */

/* The images that the arguments name, fetched as `how` says (its ref is not looked at). */
int vm_disks_fetch(const struct session *s, const struct args *a, const struct image_request *how,
                   struct vm_disks *ret, struct error **err);
/* "extra_images" of a VM whose disks are not in the store: without layers. New reference; NULL = there
 * are none. */
json_t *vm_disks_note(const struct vm_disks *d);
/* Makes their overlays in the folder of a VM that is being made: "extra_images" of its vm.json, new
 * reference, in *ret; NULL = there are none. */
int vm_disks_make(const struct session *s, struct vm_disks *d, const char *dir, json_t **ret,
                  struct error **err);
/* Those of a VM of the store; their layers are leased by st. */
int vm_disks_open(const struct named_vm *vm, struct store *st, struct vm_disks *ret,
                  struct error **err);
/* All disks, `first` first; owned, what is in them is borrowed. */
struct vm_run_disk *vm_disks_all(struct vm_run_disk first, const struct vm_disks *d, size_t *ret_n);
/* Adds the names of a VM's further images to what is known of it, as "extra_images"; nothing without any. */
void vm_disks_add_names(const json_t *config, json_t *to);
/* For a list (cli/list.h): all images of a VM, "debian, data". */
void vm_disks_add_images(struct buf *b, const json_t *item, const char *key);
/* What a VM's disks take, bytes. -1: the first is not there. */
int64_t vm_disks_usage(const struct named_vm *vm);

/* A row of a command's table of options. */
// clang-format off
#define EXTRA_IMAGE_OPTION \
    {"extra-image", 0, "IMAGE", "A further disk with an image of its own, behind the one that is booted", NULL}
// clang-format on

#endif
