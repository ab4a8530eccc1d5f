// SPDX-License-Identifier: MIT
//
// Of a qcow2 header (https://www.qemu.org/docs/master/interop/qcow2.html#header) only three fields
// are read here, all big-endian: cluster_bits at byte 20, size at 24, incompatible features at 72
// (version 3; bit 4 = extended L2 entries of 16 bytes). They decide how large an L2 cache covers
// the disk: size / cluster * bytes an entry. QEMU's default is 32 MiB at most and the size of the
// whole table if that is less; only when the table of a file is larger than the default cache of
// its QEMU version a number is given.
#include "vm/qemu.h"

#include "base/alloc.h"
#include "base/endian.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/session.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { HEADER = 104, L2_CACHE_MAX = 32 << 20, L2_CACHE_LEAST = 1 << 20 };

struct header {
    unsigned cluster_bits, entry;
    uint64_t size;
};

void qemu_clear(struct qemu *q)
{
    free(q->path);
    free(q->version);
    free(q->build);
    *q = (struct qemu)QEMU_INIT;
}

/* "QEMU emulator version 7.2.22 (Debian …)" → fields. */
static int parse_version(struct qemu *q, const char *text, struct error **err)
{
    static const char mark[] = "version ";
    const char *at = strstr(text, mark);
    unsigned major, minor, micro;
    if (!at || sscanf(at + sizeof mark - 1, "%u.%u.%u", &major, &minor, &micro) != 3)
        return error_set(err, ERR_SYSTEM, "'%s' does not tell its version", q->path);
    q->version = xasprintf("%u.%u.%u", major, minor, micro);
    q->build = xstrndup(text, strcspn(text, "\n"));
    q->major = major;
    q->minor = minor;
    return 0;
}

/* What tells one file from another without reading it. */
static char *identity(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return xstrdup("");
    return xasprintf("%lld.%09ld %lld", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                     (long long)st.st_size);
}

static int ask_version(const struct session *s, struct qemu *q, struct error **err)
{
    AUTO_FREE char *cache = s ? path_join(s->cache, "qemu.json") : NULL;
    AUTO_FREE char *id = identity(q->path);
    json_auto_t *known = cache ? json_read_file(cache, NULL) : NULL;
    if (!json_is_object(known)) {
        json_decref(known);
        known = json_object();
    }
    const json_t *mine = json_object_get(known, q->path);
    const char *told = json_str(mine, "version"), *then = json_str(mine, "file");
    if (told && then && !strcmp(then, id) && parse_version(q, told, NULL) == 0)
        return 0;
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    if (process_run(s, ARGV(q->path, "--version"), &out, err) < 0 ||
        parse_version(q, out.data, err) < 0)
        return -1;
    if (!cache)
        return 0;
    json_object_set_new(known, q->path, json_pack("{s:s, s:s}", "version", q->build, "file", id));
    // a cache that cannot be written only costs time
    if (make_dirs(s->cache, 0700, NULL) < 0 || json_write_file(cache, 0644, known, NULL) < 0)
        session_debug(s, 1, "cannot remember QEMU's version in '%s'", cache);
    return 0;
}

int qemu_find(const struct session *s, const char *wish, struct qemu *ret, struct error **err)
{
    const char *env = getenv("KILN_QEMU");
    const char *name = wish && *wish ? wish : env && *env ? env : "qemu-system-x86_64";
    CLEANUP(qemu_clear) struct qemu q = QEMU_INIT;
    q.path = process_find(name);
    if (!q.path) {
        error_set(err, ERR_NOT_FOUND, "QEMU ('%s') was not found", name);
        return error_hint(err, "apt-get install qemu-system-x86, or name it with KILN_QEMU");
    }
    if (ask_version(s, &q, err) < 0)
        return -1;
    if (q.major < QEMU_MAJOR_MIN || (q.major == QEMU_MAJOR_MIN && q.minor < QEMU_MINOR_MIN)) {
        error_set(err, ERR_USER, "QEMU %s ('%s') is too old", q.version, q.path);
        return error_hint(err, "kiln needs QEMU %d.%d or newer", QEMU_MAJOR_MIN, QEMU_MINOR_MIN);
    }
    *ret = q;
    q = (struct qemu)QEMU_INIT;
    return 0;
}

static int read_header(const char *file, struct header *ret, struct error **err)
{
    unsigned char h[HEADER] = {0};
    AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", file);
    ssize_t n = pread_all(fd, h, sizeof h, 0);
    if (n < 0)
        return error_errno(err, "cannot read '%s'", file);
    uint32_t version = be32_at(h + 4), bits = be32_at(h + 20);
    if (n < 72 || memcmp(h, "QFI\xfb", 4) || (version != 2 && version != 3) || bits < 9 ||
        bits > 21)
        return error_set(err, ERR_USER, "'%s' is not a qcow2 image", file);
    bool extended = version == 3 && (be64_at(h + 72) & 1 << 4);
    *ret = (struct header){bits, extended ? 16 : 8, be64_at(h + 24)};
    return 0;
}

int vm_disk_size(const char *file, uint64_t *ret, struct error **err)
{
    struct header h;
    if (read_header(file, &h, err) < 0)
        return -1;
    *ret = h.size;
    return 0;
}

/* Bytes of L2 cache to ask for; 0 = QEMU's default will do. */
static uint64_t l2_cache(const struct header *h)
{
    uint64_t cluster = UINT64_C(1) << h->cluster_bits;
    uint64_t need = (h->size / cluster + 1) * h->entry;
    need = (need + cluster - 1) / cluster * cluster;
    if (need <= L2_CACHE_LEAST)
        return 0;
    return need > L2_CACHE_MAX ? L2_CACHE_MAX : need;
}

static json_t *one_node(const struct vm_disk *d, size_t depth, const char *file, bool writable,
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
static char *file_name(const struct vm_disk *d, size_t i)
{
    if (i == d->n_files)
        return xasprintf("/dev/fdset/%d", d->top_fdset);
    const char *file = d->files[i], *slash = d->cwd ? strrchr(d->cwd, '/') : NULL;
    if (slash && !strncmp(file, d->cwd, (size_t)(slash - d->cwd) + 1))
        return xasprintf("..%s", file + (slash - d->cwd));
    return xstrdup(file);
}

json_t *vm_disk_nodes(const struct vm_disk *d, struct error **err)
{
    size_t overlay = d->top_fdset > 0, n = d->n_files + overlay;
    json_auto_t *all = json_array();
    const char *below = NULL;
    struct header h = {16, 8, 0};
    for (size_t i = 0; i < n; i++) {
        bool top = i == n - 1, fdset = top && overlay;
        AUTO_FREE char *file = file_name(d, i);
        if (!fdset && read_header(d->files[i], &h, err) < 0)
            return NULL;
        json_t *node = one_node(d, n - 1 - i, file, top && d->writable, fdset ? 0 : l2_cache(&h));
        if (!node) {
            error_set(err, ERR_USER, "the path '%s' is not UTF-8: QEMU cannot be told it", file);
            return NULL;
        }
        json_object_set_new(node, "backing", below ? json_string(below) : json_null());
        below = json_str(node, "node-name");
        json_array_append_new(all, node);
    }
    return STEAL(all);
}

int vm_disk_blockdev(struct strv *args, const struct vm_disk *d, struct error **err)
{
    json_auto_t *nodes = vm_disk_nodes(d, err);
    size_t i;
    json_t *node;
    if (!nodes)
        return -1;
    json_array_foreach(nodes, i, node)
    {
        AUTO_FREE char *text = json_text(node);
        strv_add(args, "-blockdev");
        strv_add(args, text);
    }
    return 0;
}

char *qemu_escape(const char *text)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    for (; *text; text++) {
        buf_addc(&b, *text);
        if (*text == ',')
            buf_addc(&b, ',');
    }
    return buf_detach(&b, NULL);
}
