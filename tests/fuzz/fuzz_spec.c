// SPDX-License-Identifier: MIT
//
// Texts about images: specs, names, checksum files, and the registry's answers.
#include "base/alloc.h"
#include "image/checksum.h"
#include "image/name.h"
#include "image/spec.h"
#include "image/vagrant.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data, size};
    struct image_spec spec = {0};
    if (image_spec_parse(text, &spec, NULL) == 0) {
        AUTO_FREE char *file = image_name_encode(spec.name), *name = image_name_decode(file);
        assert(name && !strcmp(name, spec.name) && *file != '.' && !strchr(file, '/'));
        assert((spec.kind == SPEC_VAGRANT) == (spec.box != NULL));
        image_spec_clear(&spec);
    }
    AUTO_FREE char *copy = str_dup(text), *decoded = image_name_decode(copy);
    if (decoded) {
        AUTO_FREE char *again = image_name_encode(decoded);
        assert(!strcmp(again, copy));
    }
    struct checksum d;
    (void)checksum_find(text, "disk.qcow2", &d);
    struct vagrant_box box = {0};
    if (vagrant_parse(text.ptr, text.len, "me/box", "1.0", &box, NULL) == 0) {
        assert(box.url);
        free(box.url);
    }
    return 0;
}
