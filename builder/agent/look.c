// SPDX-License-Identifier: MIT
// OS and READ: what is on a disk, without changing it.
#include "builder/agent/agent.h"
#include "builder/agent/disk.h"
#include "builder/agent/fstab.h"
#include "builder/agent/sys.h"
#include "builder/agent/tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

// A JSON string; bytes that are no UTF-8 become '?', as JSON cannot hold them.
static void put_text(struct buf *b, const char *s)
{
    buf_addc(b, '"');
    for (const unsigned char *p = (const unsigned char *)s; *p;) {
        size_t n = *p < 0x80 ? 1 : *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : *p >= 0xc2 ? 2 : 0;
        bool whole = n && *p < 0xf5;
        for (size_t i = 1; i < n; i++)
            whole = whole && (p[i] & 0xc0) == 0x80;
        if (*p == '"' || *p == '\\')
            buf_addf(b, "\\%c", *p);
        else if (*p < 0x20)
            buf_addf(b, "\\u%04x", *p);
        else if (whole)
            buf_add(b, p, n);
        else
            buf_addc(b, '?');
        p += whole ? n : 1;
    }
    buf_addc(b, '"');
}

static void put_member(struct buf *b, const char *name, const char *value)
{
    if (b->data[b->len - 1] != '{')
        buf_addc(b, ',');
    buf_addf(b, "\"%s\":", name);
    put_text(b, value);
}

static void put_number(struct buf *b, const char *name, uint64_t value)
{
    if (b->data[b->len - 1] != '{')
        buf_addc(b, ',');
    buf_addf(b, "\"%s\":%llu", name, (unsigned long long)value);
}

static void put_partition(struct buf *b, const struct volume *v)
{
    buf_addc(b, '{');
    put_member(b, "name", v->lv[0] ? v->lv : v->name);
    if (v->number)
        put_number(b, "number", (uint64_t)v->number);
    put_number(b, "size", v->size);
    if (v->entry.type[0])
        put_member(b, "type", v->entry.type);
    if (v->entry.name[0])
        put_member(b, "label", v->entry.name);
    if (v->fs.type)
        put_member(b, "fs", v->fs.type);
    if (v->fs.uuid[0])
        put_member(b, "fs_uuid", v->fs.uuid);
    if (v->fs.label[0])
        put_member(b, "fs_label", v->fs.label);
    buf_addc(b, '}');
}

static void put_mounts(struct buf *b, const struct slot *s, size_t prefix)
{
    buf_adds(b, ",\"mounts\":[");
    vec_foreach (const struct mounted *, m, &s->mounts) {
        struct statvfs fs;
        buf_adds(b, m == s->mounts.ptr ? "{" : ",{");
        put_member(b, "path", m->path[prefix] ? m->path + prefix : "/");
        put_member(b, "device", m->device);
        put_member(b, "fs", m->fs);
        if (statvfs(m->path, &fs) == 0) {
            put_number(b, "size", (uint64_t)fs.f_blocks * fs.f_frsize);
            put_number(b, "used", (uint64_t)(fs.f_blocks - fs.f_bfree) * fs.f_frsize);
        }
        buf_addc(b, '}');
    }
    buf_addc(b, ']');
}

static void put_release(struct buf *b, int root)
{
    static const char *const names[] = {"ID", "VERSION_ID", "VERSION_CODENAME", "PRETTY_NAME"};
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (sys_read_in(root, "etc/os-release", 64 * 1024, &text) < 0 &&
        sys_read_in(root, "usr/lib/os-release", 64 * 1024, &text) < 0)
        return;
    buf_adds(b, ",\"os\":{");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        AUTO_FREE char *value = os_release_get(buf_str(&text), names[i]);
        if (value)
            put_member(b, names[i], value);
    }
    buf_addc(b, '}');
}

int agent_os(struct agent *a, const struct request *rq, struct message *reply, struct error **err)
{
    CLEANUP(volumes_clear) struct volumes list = {0};
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    struct slot *s;
    const char *table;
    int number;
    if (agent_slot(a, rq, &s, &number, err) < 0 || disk_volumes(s->disk, &list, &table, err) < 0)
        return -1;
    buf_addc(&b, '{');
    put_member(&b, "table", table);
    put_number(&b, "size", disk_size(s->disk));
    buf_adds(&b, ",\"partitions\":[");
    const struct volumes *seen = s->volumes ? s->volumes : &list;
    vec_foreach (const struct volume *, v, seen) {
        if (v != seen->ptr)
            buf_addc(&b, ',');
        put_partition(&b, v);
    }
    buf_addc(&b, ']');
    if (s->mounts.len) {
        AUTO_CLOSE int root = tree_open(a, number, err);
        if (root < 0)
            return -1;
        put_mounts(&b, s, strlen(s->mounts.ptr[0].path));
        put_release(&b, root);
    }
    buf_addc(&b, '}');
    message_put(reply, AGENT_TAG_TEXT, b.data, b.len);
    return 0;
}

int agent_read(struct agent *a, const struct request *rq, struct message *reply, struct error **err)
{
    enum { PIECE = 16 * 1024 };
    AUTO_FREE char *path = NULL;
    struct slot *s;
    struct stat st;
    int number;
    if (agent_slot(a, rq, &s, &number, err) < 0 || agent_path(rq, AGENT_TAG_PATH, &path, err) < 0)
        return -1;
    AUTO_CLOSE int root = tree_open(a, number, err);
    if (root < 0)
        return -1;
    AUTO_CLOSE int fd = sys_open_in(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, "cannot read '%s' in the image", path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERR_USER, "'%s' is not a file in the image", path);
    uint64_t size = 0;
    char bytes[PIECE];
    for (ssize_t n; (n = read(fd, bytes, sizeof bytes)) != 0;) {
        if (n < 0)
            return error_errno(err, "cannot read '%s' in the image", path);
        agent_output(a, 1, bytes, (size_t)n);
        size += (uint64_t)n;
    }
    message_put_num(reply, AGENT_TAG_SIZE, size);
    return 0;
}
