// SPDX-License-Identifier: MIT
#include "vm/qemu.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/session.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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
        return error_set(err, ERR_SYSTEM, "cannot read the version of '%s'", q->path);
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
    const char *env = session_setting(s, "KILN_QEMU");
    const char *name = wish && *wish ? wish : env ? env : "qemu-system-x86_64";
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

void qemu_add_identity(struct buf *b, const struct qemu *q)
{
    struct stat st = {0};
    (void)stat(q->path, &st);
    buf_addf(b, "qemu %s\n%s\n%llx:%llx %lld %lld.%09ld\n", q->path, q->build,
             (unsigned long long)st.st_dev, (unsigned long long)st.st_ino, (long long)st.st_size,
             (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
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
