// SPDX-License-Identifier: MIT
//
// How large an L2 cache covers a disk: size / cluster * bytes an entry. QEMU's default is 32 MiB at
// most and the size of the whole table if that is less; only when the table of a file is larger than
// the default cache of its QEMU version a number is given.
#include "qcow2/nodes.h"

#include "base/alloc.h"
#include "base/json.h"
#include "qcow2/head.h"

#include <string.h>

enum { L2_CACHE_MAX = 32 << 20, L2_CACHE_LEAST = 1 << 20 };

/* Bytes of L2 cache to ask for; 0 = QEMU's default will do. */
static uint64_t l2_cache(const struct qcow2_head *h)
{
    uint64_t cluster = UINT64_C(1) << h->cluster_bits;
    uint64_t need = (h->virtual_size / cluster + 1) * (h->extended_l2 ? 16 : 8);
    need = (need + cluster - 1) / cluster * cluster;
    if (need <= L2_CACHE_LEAST)
        return 0;
    return need > L2_CACHE_MAX ? L2_CACHE_MAX : need;
}

static json_t *one_node(const struct qcow2_disk *d, size_t depth, const char *file, bool writable,
                        uint64_t cache)
{
    AUTO_FREE char *name = depth ? xasprintf("%s-%zu", d->node, depth) : xstrdup(d->node);
    bool unsafe = writable && d->unsafe;
    json_t *n =
        json_pack("{s:s, s:s, s:b, s:{s:s, s:s, s:b, s:{s:b, s:b}}, s:{s:b, s:b}}", "driver",
                  "qcow2", "node-name", name, "read-only", !writable, "file", "driver", "file",
                  "filename", file, "read-only", !writable, "cache", "direct", 0, "no-flush",
                  unsafe, "cache", "direct", 0, "no-flush", unsafe);
    if (!n)
        return NULL;
    if (cache)
        json_object_set_new(n, "l2-cache-size", json_integer((json_int_t)cache));
    if (writable) {
        json_object_set_new(n, "discard", json_string("unmap"));
        json_object_set_new(n, "detect-zeroes", json_string("unmap"));
        json_object_set_new(json_object_get(n, "file"), "discard", json_string("unmap"));
        // Once blockdev-snapshot made it a backing file, its descriptor becomes a read-only one; or
        // QEMU would open it again for writing at the next snapshot, by a name it no longer has.
        // An fdset holds only the descriptor it was given.
        json_object_set_new(json_object_get(n, "file"), "auto-read-only",
                            json_boolean(strncmp(file, "/dev/fdset/", 11) != 0));
    }
    return n;
}

/* As QEMU is to call the i-th file. */
static char *file_name(const struct qcow2_disk *d, size_t i)
{
    if (i == d->n_files)
        return xasprintf("/dev/fdset/%d", d->top_fdset);
    const char *file = d->files[i], *slash = d->cwd ? strrchr(d->cwd, '/') : NULL;
    if (slash && !strncmp(file, d->cwd, (size_t)(slash - d->cwd) + 1))
        return xasprintf("..%s", file + (slash - d->cwd));
    return xstrdup(file);
}

json_t *qcow2_nodes(const struct qcow2_disk *d, struct error **err)
{
    size_t overlay = d->top_fdset > 0, n = d->n_files + overlay;
    json_auto_t *all = json_array();
    const char *below = NULL;
    struct qcow2_head h = {.cluster_bits = 16};
    for (size_t i = 0; i < n; i++) {
        bool top = i == n - 1, fdset = top && overlay;
        AUTO_FREE char *file = file_name(d, i);
        if (!fdset && qcow2_head_read(d->files[i], &h, err) < 0)
            return NULL;
        json_t *node = one_node(d, n - 1 - i, file, top && d->writable, fdset ? 0 : l2_cache(&h));
        if (!node) {
            error_set(err, ERR_USER, "the path '%s' is not valid UTF-8, which QEMU requires", file);
            return NULL;
        }
        json_object_set_new(node, "backing", below ? json_string(below) : json_null());
        below = json_str(node, "node-name");
        json_array_append_new(all, node);
    }
    return STEAL(all);
}

char *qcow2_chain_json(const struct strv *chain)
{
    json_t *node = json_null();
    for (size_t i = 0; i < chain->len; i++) {
        node = json_pack("{s:s, s:b, s:{s:s, s:s}, s:o}", "driver", "qcow2", "read-only", 1, "file",
                         "driver", "file", "filename", chain->ptr[i], "backing", node);
        if (!node)
            alloc_failed();
    }
    AUTO_FREE char *text = json_dumps(node, JSON_COMPACT);
    json_decref(node);
    return xasprintf("json:%s", text);
}
