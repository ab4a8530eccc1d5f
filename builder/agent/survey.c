// SPDX-License-Identifier: MIT
// What COPY --from would copy, as a manifest (manifest.h), in the order in which copy.c goes:
// the same words, excludes and links of one file's names. A file's digest is over its parts that
// hold data, each with its place and length, and its size, so that no hole is read.
#include "base/file.h"
#include "builder/agent/agent.h"
#include "builder/agent/manifest.h"
#include "builder/agent/sha256.h"
#include "builder/agent/source.h"
#include "builder/agent/sys.h"
#include "imagefile/ignore.h"

#include <endian.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum {
    PIECE = 1 << 20,
    FLUSH = 64 * 1024,
    ENTRY_COST = 4096, // what an entry counts as, beside its content
};

struct first_name {
    dev_t dev;
    ino_t ino;
    char *path;
};
DEFINE_VECTOR(first_names, struct first_name);

struct survey {
    struct agent *agent;
    struct source source;
    struct first_names names; /* of files with several */
    bool owners, top_owner;
    struct buf out; /* of the manifest, not yet sent */
    char *piece;
    unsigned polled;
    bool measuring; // the walk before the one that reads
    uint64_t cost;
};

static void survey_clear(struct survey *s)
{
    source_clear(&s->source);
    vec_foreach (struct first_name *, n, &s->names)
        free(n->path);
    first_names_clear(&s->names);
    buf_clear(&s->out);
    free(s->piece);
}

// What is looked at, open with O_PATH.
struct thing {
    int fd;
    const char *path; // in the source's tree
    const char *seen; // as the excludes see it; "" = a folder that the user named
    bool named;       // by the user, and without a pattern
};

static void flush(struct survey *s)
{
    agent_output(s->agent, 1, s->out.data, s->out.len);
    buf_reset(&s->out);
}

static void put_number(struct agent_sha256 *h, uint64_t n)
{
    n = htole64(n);
    agent_sha256_add(h, &n, sizeof n);
}

static int read_part(struct survey *s, int fd, off_t at, off_t end, struct agent_sha256 *h)
{
    put_number(h, (uint64_t)at);
    put_number(h, (uint64_t)(end - at));
    while (at < end) {
        size_t want = end - at < PIECE ? (size_t)(end - at) : PIECE;
        ssize_t got = pread_all(fd, s->piece, want, at);
        if (got != (ssize_t)want) {
            errno = got < 0 ? errno : EIO;
            return -1;
        }
        agent_sha256_add(h, s->piece, want);
        at += got;
        agent_poll(s->agent, NULL, NULL);
    }
    return 0;
}

static int read_content(struct survey *s, const struct thing *t, off_t size, struct digest *ret,
                        struct error **err)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", t->fd);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME);
    struct agent_sha256 h;
    agent_sha256_init(&h);
    for (off_t at = 0; fd >= 0 && at < size;) {
        off_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
        if (hole < 0 || read_part(s, fd, data, hole < size ? hole : size, &h) < 0)
            return error_errno(err, "cannot read '%s' of the source", t->path);
        at = hole;
    }
    if (fd < 0)
        return error_errno(err, "cannot read '%s' of the source", t->path);
    put_number(&h, (uint64_t)size);
    agent_sha256_end(&h, ret->byte);
    return 0;
}

// Where a file with several names was first; NULL for the first one, which is remembered.
static const char *first_of(struct survey *s, const struct thing *t, const struct stat *st)
{
    if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
        return NULL;
    vec_foreach (const struct first_name *, n, &s->names)
        if (n->ino == st->st_ino && n->dev == st->st_dev)
            return n->path;
    *first_names_push(&s->names) = (struct first_name){st->st_dev, st->st_ino, xstrdup(t->path)};
    return NULL;
}

static void take_xattrs(const struct thing *t, struct manifest_entry *e)
{
    CLEANUP(buf_clear) struct buf xattrs = BUF_INIT;
    struct agent_sha256 h;
    source_xattrs(t->fd, &xattrs);
    e->has_xattrs = xattrs.len;
    agent_sha256_init(&h);
    agent_sha256_add(&h, xattrs.data, xattrs.len);
    agent_sha256_end(&h, e->xattrs.byte);
}

static int add_thing(struct survey *s, const struct thing *t, const struct stat *st,
                     struct error **err)
{
    char target[4096];
    struct manifest_entry e = {.type = manifest_type_of(st->st_mode), .path = str_of(t->path)};
    const char *first = first_of(s, t, st);
    if (first) {
        e.type = MANIFEST_HARDLINK;
        e.link = str_of(first);
        manifest_add(&s->out, &e);
        return 0;
    }
    // a folder's own owner is not copied when it stands for its content
    e.has_owner = s->owners && (s->top_owner || *t->seen);
    e.uid = e.has_owner ? st->st_uid : 0;
    e.gid = e.has_owner ? st->st_gid : 0;
    e.mode = S_ISLNK(st->st_mode) ? 0777 : st->st_mode & 07777;
    if (e.type == MANIFEST_SYMLINK) {
        ssize_t n = readlinkat(t->fd, "", target, sizeof target);
        if (n < 0)
            return error_errno(err, "cannot read the link '%s' of the source", t->path);
        e.link = (struct str){target, (size_t)n};
    } else {
        take_xattrs(t, &e);
    }
    e.has_device = e.type == MANIFEST_CHAR || e.type == MANIFEST_BLOCK;
    e.major = e.has_device ? major(st->st_rdev) : 0;
    e.minor = e.has_device ? minor(st->st_rdev) : 0;
    e.has_content = e.type == MANIFEST_FILE;
    if (e.has_content && read_content(s, t, st->st_size, &e.content, err) < 0)
        return -1;
    manifest_add(&s->out, &e);
    if (s->out.len >= FLUSH)
        flush(s);
    return 0;
}

static int look_at(struct survey *s, const struct thing *t, struct error **err);

static int look_into(struct survey *s, const struct thing *t, struct error **err)
{
    CLEANUP(strv_clear) struct strv names = {0};
    if (source_list(t->fd, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.len; i++) {
        const char *name = names.ptr[i];
        AUTO_FREE char *path = xasprintf("%s/%s", t->path, name);
        AUTO_FREE char *seen = xasprintf("%s%s%s", t->seen, *t->seen ? "/" : "", name);
        AUTO_CLOSE int fd = openat(t->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            return error_errno(err, "cannot open '%s' of the source", path);
        struct thing child = {fd, path, seen, false};
        if (look_at(s, &child, err) < 0)
            return -1;
    }
    return 0;
}

static int look_at(struct survey *s, const struct thing *t, struct error **err)
{
    struct stat st;
    const struct ignore *excludes = s->source.excludes;
    bool hidden = *t->seen && ignore_hides(excludes, t->seen);
    if (hidden && ignore_prunes(excludes, t->seen))
        return 0;
    if (fstat(t->fd, &st) < 0)
        return error_errno(err, "cannot read '%s' of the source", t->path);
    if (s->polled++ % 64 == 0)
        agent_poll(s->agent, NULL, NULL);
    s->cost += ENTRY_COST + (uint64_t)st.st_blocks * 512;
    if (s->measuring && s->cost > SURVEY_COST_MAX)
        return 0;
    if (!hidden && !source_type(st.st_mode))
        return t->named ? source_is_socket(t->path, err) : 0;
    if (!hidden && !s->measuring && add_thing(s, t, &st, err) < 0)
        return -1;
    return S_ISDIR(st.st_mode) ? look_into(s, t, err) : 0;
}

static int walk(struct survey *s, struct error **err)
{
    s->cost = 0;
    for (size_t i = 0; i < s->source.paths.len; i++) {
        struct stat st;
        const char *path = s->source.paths.ptr[i], *slash = strrchr(path, '/');
        AUTO_CLOSE int fd = sys_open_in(s->source.root, *path ? path : "/", O_PATH);
        if (fd < 0 || fstat(fd, &st) < 0)
            return error_errno(err, "cannot open the source '%s'", path);
        const char *name = S_ISDIR(st.st_mode) || !slash ? "" : slash + 1;
        struct thing t = {fd, path, name, !s->source.globs};
        if (look_at(s, &t, err) < 0)
            return -1;
    }
    return 0;
}

int agent_survey(struct agent *a, const struct request *rq, struct message *reply,
                 struct error **err)
{
    uint64_t flags = message_num(&rq->fields, AGENT_TAG_FLAGS, 0);
    CLEANUP(survey_clear)
    struct survey s = {.agent = a,
                       .source = SOURCE_INIT,
                       .owners = flags & AGENT_KEEP_OWNER,
                       .top_owner = flags & AGENT_TOP_OWNER,
                       .out = BUF_INIT,
                       .piece = xmalloc(PIECE),
                       .measuring = true};
    if (source_open(a, rq, &s.source, err) < 0 || walk(&s, err) < 0)
        return -1;
    if (s.cost > SURVEY_COST_MAX)
        return 0;
    s.measuring = false;
    message_put_num(reply, AGENT_TAG_FLAGS, 1);
    manifest_begin(&s.out);
    if (walk(&s, err) < 0)
        return -1;
    flush(&s);
    return 0;
}
