/* SPDX-License-Identifier: MIT
 *
 * What an image's metadata says about a VM made from it.
 *
 *     // given struct args *args; struct vm_spec spec; json_t *metadata;
 *     vm_image_take(args, metadata, &spec, &err);
 */
#ifndef CLI_VM_IMAGE_H
#define CLI_VM_IMAGE_H

#include "cli/command.h"
#include "vm/spec.h"

#include <jansson.h>

/* The user to log in as, if none was given, is the label kiln.ssh-user; kiln.uefi=yes means --uefi. With --publish-all every port
 * of EXPOSE gets a free one of 127.0.0.1, unless --publish names it. metadata: NULL = none. */
int vm_image_take(const struct args *a, const json_t *metadata, struct vm_spec *spec,
                  struct error **err);

/* Only these labels. ERR_USER: kiln.ssh-user, which is to be used, can't be the name of a user. */
int vm_image_take_labels(const json_t *metadata, struct vm_spec *spec, struct error **err);

#define PUBLISH_ALL_OPTION \
    { \
        "publish-all", 'P', NULL, \
            "Forward a free port of 127.0.0.1 to each port the image exposes", NULL \
    }

#endif
