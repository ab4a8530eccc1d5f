// SPDX-License-Identifier: MIT
#include "cli/vm_disks.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "cache/store.h"
#include "qcow2/head.h"
#include "qcow2/qcow2.h"

#include <string.h>
#include <sys/stat.h>

static const char member[] = "extra_images";

void vm_disks_free(struct vm_disks *d)
{
    vec_foreach (struct vm_disk *, disk, d) {
        image_chain_clear(&disk->chain);
        free(disk->image);
    }
    vm_disks_clear(d);
}

int vm_disks_fetch(const struct session *s, const struct args *a, const struct image_request *how,
                   struct vm_disks *ret, struct error **err)
{
    const char *ref;
    for (size_t i = 0; (ref = args_nth(a, "extra-image", i)); i++) {
        struct image_request request = *how;
        struct vm_disk *disk = vm_disks_push(ret);
        request.ref = ref;
        disk->image = xstrndup(ref, strcspn(ref, ","));
        if (image_chain_open(s, &request, &disk->chain, err) < 0)
            return -1;
    }
    return 0;
}

json_t *vm_disks_note(const struct vm_disks *d)
{
    json_t *list = d->len ? json_array() : NULL;
    vec_foreach (const struct vm_disk *, disk, d)
        (void)json_array_append_new(list, json_pack("{s:s}", "image", disk->image));
    return list;
}

static json_t *make_disk(const struct session *s, struct vm_disk *disk, const char *path,
                         struct error **err)
{
    struct image_chain *c = &disk->chain;
    AUTO_FREE char *layer = image_chain_layer(s, c->store, c, err);
    AUTO_FREE char *below = layer ? realpath(c->files.ptr[c->files.len - 1], NULL) : NULL;
    if (layer && !below)
        error_errno(err, "cannot find '%s'", c->files.ptr[c->files.len - 1]);
    struct qcow2_overlay overlay = {.size = c->size, .backing = below, .sync = true};
    if (!below || qcow2_create_overlay(path, &overlay, err) < 0)
        return NULL;
    json_t *v = json_pack("{s:s, s:s}", "image", disk->image, "layer", layer);
    if (!v)
        error_set(err, ERR_USER, "an argument is not UTF-8");
    return v;
}

int vm_disks_make(const struct session *s, struct vm_disks *d, const char *dir, json_t **ret,
                  struct error **err)
{
    json_auto_t *list = d->len ? json_array() : NULL;
    for (size_t i = 0; i < d->len; i++) {
        AUTO_FREE char *path = named_vm_disk_in(dir, i + 1);
        json_t *v = make_disk(s, &d->ptr[i], path, err);
        if (!v)
            return -1;
        (void)json_array_append_new(list, v);
    }
    *ret = json_incref(list);
    return 0;
}

int vm_disks_open(const struct named_vm *vm, struct store *st, struct vm_disks *ret,
                  struct error **err)
{
    size_t i;
    json_t *v;
    json_array_foreach (json_object_get(vm->config, member), i, v) {
        struct vm_disk *disk = vm_disks_push(ret);
        AUTO_FREE char *path = named_vm_disk(vm, i + 1);
        const char *layer = json_str(v, "layer");
        if (!layer)
            return error_set(err, ERR_USER, "vm.json of VM '%s' names no layer", vm->name);
        if (store_chain(st, layer, &disk->chain.files, err) < 0)
            return error_wrap(err, "VM '%s'", vm->name);
        strv_add(&disk->chain.files, path);
        if (qcow2_size(path, &disk->chain.size, err) < 0)
            return -1;
    }
    return 0;
}

struct vm_run_disk *vm_disks_all(struct vm_run_disk first, const struct vm_disks *d, size_t *ret_n)
{
    struct vm_run_disk *all = xcalloc(1 + d->len, sizeof *all);
    all[0] = first;
    for (size_t i = 0; i < d->len; i++) {
        const struct image_chain *c = &d->ptr[i].chain;
        all[i + 1] = (struct vm_run_disk){(const char *const *)c->files.ptr, c->files.len, c->size};
    }
    *ret_n = 1 + d->len;
    return all;
}

void vm_disks_add_names(const json_t *config, json_t *to)
{
    const json_t *extra = json_object_get(config, member);
    json_t *names = json_array_size(extra) ? json_array() : NULL, *v;
    size_t i;
    json_array_foreach ((json_t *)extra, i, v)
        (void)json_array_append(names, json_object_get(v, "image"));
    if (names)
        (void)json_object_set_new(to, member, names);
}

void vm_disks_add_images(struct buf *b, const json_t *item, const char *key)
{
    size_t i;
    json_t *name;
    const char *first = json_str(item, key);
    buf_adds(b, first ? first : "-");
    json_array_foreach (json_object_get(item, member), i, name)
        buf_addf(b, ", %s", json_string_value(name));
}

int64_t vm_disks_usage(const struct named_vm *vm)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < named_vm_disks(vm); i++) {
        AUTO_FREE char *path = named_vm_disk(vm, i);
        struct stat st;
        if (stat(path, &st) < 0)
            return -1;
        bytes += (int64_t)st.st_blocks * 512;
    }
    return bytes;
}
