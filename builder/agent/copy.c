// SPDX-License-Identifier: MIT
// COPY --from and WORKDIR. The source tree is walked with open descriptors that follow no link
// (only what the user names may be one); each file becomes an entry as a stream would hold it, so
// that what place.c does is the same for both. Contents go in large pieces and past the page cache
// when they are large; holes stay holes.
#include "base/file.h"
#include "builder/agent/agent.h"
#include "builder/agent/place.h"
#include "builder/agent/source.h"
#include "builder/agent/sys.h"
#include "builder/agent/tree.h"
#include "imagefile/ignore.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { PIECE = 1 << 20 };

struct hard_link {
    dev_t dev;
    ino_t ino;
    char *path; /* where the first one went, relative to the destination */
};
DEFINE_VECTOR(hard_links, struct hard_link);

struct copy {
    struct agent *agent;
    struct place place;
    struct source source;
    struct hard_links links;
    bool keep_owner;
    char *above; /* --parents: the folder of what was copied last, with its own */
    char *piece; /* PIECE bytes, aligned */
    uint64_t size;
    unsigned polled, sockets;
};

static void copy_clear(struct copy *c)
{
    place_clear(&c->place);
    source_clear(&c->source);
    vec_foreach (struct hard_link *, l, &c->links)
        free(l->path);
    hard_links_clear(&c->links);
    free(c->above);
    free(c->piece);
}

// What is to be copied, open with O_PATH.
struct item {
    int fd;
    const char *path; /* relative to the destination; "" = itself */
    const char *seen; /* as the excludes see it: relative to the source */
    const char *name; /* base name of a single file; NULL = none */
    bool named;       /* by the user, and without a pattern */
};

static struct entry make_entry(const struct copy *c, const struct item *it, const struct stat *st)
{
    return (struct entry){.head = {.type = (uint8_t)source_type(st->st_mode),
                                   .mode = st->st_mode & 07777,
                                   .uid = c->keep_owner ? st->st_uid : 0,
                                   .gid = c->keep_owner ? st->st_gid : 0,
                                   .rdev_major = major(st->st_rdev),
                                   .rdev_minor = minor(st->st_rdev),
                                   .mtime = st->st_mtim.tv_sec,
                                   .mtime_ns = (uint32_t)st->st_mtim.tv_nsec,
                                   .size = (uint64_t)st->st_size},
                          .path = str_of(it->path),
                          .link = it->name ? str_of(it->name) : (struct str){"", 0}};
}

// Where a file with several names went first; NULL for the first one, which is remembered.
static const char *linked(struct copy *c, const struct item *it, const struct stat *st)
{
    if (st->st_nlink < 2 || S_ISDIR(st->st_mode) || !*it->path)
        return NULL;
    vec_foreach (const struct hard_link *, l, &c->links)
        if (l->ino == st->st_ino && l->dev == st->st_dev)
            return l->path;
    *hard_links_push(&c->links) = (struct hard_link){st->st_dev, st->st_ino, xstrdup(it->path)};
    return NULL;
}

// From here on, n bytes at `at` in both files.
static int copy_range(struct copy *c, int in, int out, off_t at, off_t n, struct error **err)
{
    while (n) {
        size_t want = n < PIECE ? (size_t)n : PIECE;
        ssize_t got = pread_all(in, c->piece, want, at);
        if (got <= 0)
            return got < 0 ? place_error(&c->place, "read the source of", err) : 0;
        size_t whole = (size_t)got & ~(size_t)4095;
        bool direct = whole == (size_t)got && at % 4096 == 0 && fcntl(out, F_SETFL, O_DIRECT) == 0;
        int done = pwrite_all(out, c->piece, (size_t)got, at);
        if (direct)
            (void)fcntl(out, F_SETFL, 0);
        if (done < 0 &&
            !(direct && errno == EINVAL && pwrite_all(out, c->piece, (size_t)got, at) == 0))
            return place_error(&c->place, "write", err);
        at += got;
        n -= got;
        c->size += (uint64_t)got;
        agent_poll(c->agent, NULL, NULL);
    }
    return 0;
}

static int copy_content(struct copy *c, int in, int out, off_t size, struct error **err)
{
    if (ftruncate(out, size) < 0)
        return place_error(&c->place, "set the size of", err);
    for (off_t at = 0; at < size;) {
        off_t data = lseek(in, at, SEEK_DATA);
        if (data < 0)
            return errno == ENXIO ? 0 : place_error(&c->place, "read the source of", err);
        off_t hole = lseek(in, data, SEEK_HOLE);
        if (hole < 0 || hole > size)
            hole = size;
        if (copy_range(c, in, out, data, hole - data, err) < 0)
            return -1;
        at = hole;
    }
    return 0;
}

static int copy_file(struct copy *c, const struct item *it, struct entry *e, struct error **err)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", it->fd);
    AUTO_CLOSE int in = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME);
    AUTO_CLOSE int out = place_file(&c->place, e, err);
    if (out < 0)
        return -1;
    if (in < 0)
        return place_error(&c->place, "read the source of", err);
    if (copy_content(c, in, out, (off_t)e->head.size, err) < 0)
        return -1;
    return place_file_done(&c->place, e, STEAL_FD(out), err);
}

static int copy_item(struct copy *c, const struct item *it, struct error **err);

static int copy_children(struct copy *c, const struct item *it, struct error **err)
{
    CLEANUP(strv_clear) struct strv names = {0};
    if (source_list(it->fd, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.len; i++) {
        const char *name = names.ptr[i];
        AUTO_FREE char *path = xasprintf("%s%s%s", it->path, *it->path ? "/" : "", name);
        AUTO_FREE char *seen = xasprintf("%s%s%s", it->seen, *it->seen ? "/" : "", name);
        AUTO_CLOSE int fd = openat(it->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            return error_errno(err, "cannot open '%s' of the source", seen);
        struct item child = {fd, path, seen, NULL, false};
        if (copy_item(c, &child, err) < 0)
            return -1;
    }
    return 0;
}

// One that is named can't be what was meant; those in folders are reported once.
static int socket_found(struct copy *c, const struct item *it, struct error **err)
{
    if (it->named)
        return source_is_socket(it->seen, err);
    if (!c->sockets++)
        agent_warn(c->agent, "'%s' is left out: a socket can't be copied", it->seen);
    return 0;
}

static int copy_item(struct copy *c, const struct item *it, struct error **err)
{
    struct stat st;
    char target[4096];
    CLEANUP(buf_clear) struct buf xattrs = BUF_INIT;
    bool hidden = *it->seen && ignore_hides(c->source.excludes, it->seen);
    if (hidden && ignore_prunes(c->source.excludes, it->seen))
        return 0;
    if (fstat(it->fd, &st) < 0)
        return error_errno(err, "cannot read '%s' of the source", it->seen);
    if (c->polled++ % 64 == 0)
        agent_poll(c->agent, NULL, NULL);
    // a hidden folder with something below it that is not: made when that comes
    if (hidden)
        return S_ISDIR(st.st_mode) ? copy_children(c, it, err) : 0;
    struct entry e = make_entry(c, it, &st);
    // a folder stands for its content: what it goes into is not its own (BuildKit's rule)
    if (S_ISDIR(st.st_mode) && !*it->path)
        e.head.uid = e.head.gid = 0;
    const char *first = linked(c, it, &st);
    if (first) {
        e.head.type = STREAM_HARDLINK;
        e.link = str_of(first);
        return place_other(&c->place, &e, err);
    }
    if (e.head.type == STREAM_SYMLINK) {
        ssize_t n = readlinkat(it->fd, "", target, sizeof target);
        if (n < 0)
            return error_errno(err, "cannot read the link '%s' of the source", it->seen);
        e.link = (struct str){target, (size_t)n};
    } else if (e.head.type) {
        source_xattrs(it->fd, &xattrs);
        e.xattrs = buf_str(&xattrs);
    }
    if (!e.head.type)
        return socket_found(c, it, err);
    if (e.head.type == STREAM_FILE)
        return copy_file(c, it, &e, err);
    if (place_other(&c->place, &e, err) < 0)
        return -1;
    return e.head.type == STREAM_DIR ? copy_children(c, it, err) : 0;
}

// A folder above what --parents copies, without its content.
static int copy_folder(struct copy *c, const char *source, const char *path, struct error **err)
{
    struct stat st;
    CLEANUP(buf_clear) struct buf xattrs = BUF_INIT;
    AUTO_CLOSE int fd = sys_open_in(c->source.root, source, O_PATH | O_DIRECTORY);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, "cannot open the source '%s'", source);
    struct item it = {fd, path, path, NULL, false};
    struct entry e = make_entry(c, &it, &st);
    source_xattrs(fd, &xattrs);
    e.xattrs = buf_str(&xattrs);
    return place_other(&c->place, &e, err);
}

// Makes the folders on the way to a source's place that the one before it did not need.
static int copy_folders(struct copy *c, const char *source, const char *place, struct error **err)
{
    const char *end = strrchr(place, '/');
    AUTO_FREE char *above = end ? xasprintf("%.*s/", (int)(end - place), place) : xstrdup("");
    for (const char *p = place; (p = strchr(p, '/')); p++) {
        AUTO_FREE char *path = xstrndup(place, (size_t)(p - place));
        AUTO_FREE char *from = xstrndup(source, (size_t)(p - source));
        if (c->above && !strncmp(c->above, place, (size_t)(p - place) + 1))
            continue;
        if (copy_folder(c, from, path, err) < 0)
            return -1;
    }
    free(c->above);
    c->above = STEAL(above);
    return 0;
}

// One thing the user named, with the folders that it is in.
static int copy_with_parents(struct copy *c, const char *source, struct error **err)
{
    struct stat st;
    const char *cut = strstr(source, "/./"), *place = cut ? cut + 3 : source + strspn(source, "/");
    AUTO_CLOSE int fd = sys_open_in(c->source.root, *source ? source : "/", O_PATH);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, "cannot open the source '%s'", source);
    if (ignore_hides(c->source.excludes, place) &&
        (!S_ISDIR(st.st_mode) || ignore_prunes(c->source.excludes, place)))
        return 0;
    if (copy_folders(c, source, place, err) < 0)
        return -1;
    struct item it = {fd, place, place, NULL, !S_ISDIR(st.st_mode) && !c->source.globs};
    return copy_item(c, &it, err);
}

// One thing the user named. What it leads to is copied when it is a link, as COPY does.
static int copy_source(struct copy *c, const char *source, struct error **err)
{
    struct stat st;
    const char *slash = strrchr(source, '/'), *name = slash ? slash + 1 : source;
    AUTO_CLOSE int fd = sys_open_in(c->source.root, *source ? source : "/", O_PATH);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, "cannot open the source '%s'", source);
    if (S_ISDIR(st.st_mode)) {
        struct item it = {fd, "", "", NULL, false};
        return copy_item(c, &it, err);
    }
    struct item it = {fd, c->place.dest_dir ? name : "", name, name, !c->source.globs};
    if (c->place.dest_dir)
        it.name = NULL;
    return copy_item(c, &it, err);
}

static int set_attrs(struct agent *a, const struct request *rq, struct place *p, struct error **err)
{
    AUTO_FREE char *owner = NULL;
    if (agent_string(rq, AGENT_TAG_OWNER, &owner, err) < 0 || agent_mode(rq, &p->chmod, err) < 0)
        return -1;
    p->has_owner = owner;
    if (owner && tree_owner(a, AGENT_DISK_TARGET, owner, &p->uid, &p->gid, err) < 0)
        return -1;
    return 0;
}

int agent_copy(struct agent *a, const struct request *rq, struct message *reply, struct error **err)
{
    CLEANUP(copy_clear)
    struct copy c = {.agent = a, .place = {.parent = -1}, .source = SOURCE_INIT};
    AUTO_FREE char *path = NULL;
    uint64_t flags = message_num(&rq->fields, AGENT_TAG_FLAGS, 0);
    AUTO_CLOSE int target = tree_open(a, AGENT_DISK_TARGET, err);
    if (target < 0 || agent_path(rq, AGENT_TAG_PATH, &path, err) < 0 ||
        source_open(a, rq, &c.source, err) < 0)
        return -1;
    c.keep_owner = flags & AGENT_KEEP_OWNER;
    place_init(&c.place, target, path, flags & AGENT_DEST_DIR || c.source.paths.len > 1);
    if (posix_memalign((void **)&c.piece, 4096, PIECE) != 0)
        alloc_failed();
    if (set_attrs(a, rq, &c.place, err) < 0)
        return -1;
    for (size_t i = 0; i < c.source.paths.len; i++)
        if (c.source.parents ? copy_with_parents(&c, c.source.paths.ptr[i], err) < 0
                             : copy_source(&c, c.source.paths.ptr[i], err) < 0)
            return -1;
    if (place_finish(&c.place, err) < 0)
        return -1;
    message_put_num(reply, AGENT_TAG_COUNT, c.place.count);
    message_put_num(reply, AGENT_TAG_SIZE, c.size);
    return 0;
}

int agent_mkdir(struct agent *a, const struct request *rq, struct message *reply,
                struct error **err)
{
    (void)reply;
    AUTO_FREE char *path = NULL, *owner = NULL;
    uid_t uid = 0;
    gid_t gid = 0;
    AUTO_CLOSE int root = tree_open(a, AGENT_DISK_TARGET, err);
    if (root < 0 || agent_path(rq, AGENT_TAG_PATH, &path, err) < 0 ||
        agent_string(rq, AGENT_TAG_OWNER, &owner, err) < 0 ||
        (owner && tree_owner(a, AGENT_DISK_TARGET, owner, &uid, &gid, err) < 0))
        return -1;
    for (size_t n = strlen(path); n > 1 && path[n - 1] == '/'; n--)
        path[n - 1] = '\0';
    AUTO_CLOSE int made = place_folder(root, path, &(struct place_as){uid, gid, 0755}, err);
    return made < 0 ? -1 : 0;
}
