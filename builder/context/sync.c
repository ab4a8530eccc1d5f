// SPDX-License-Identifier: MIT
//
// A manifest's folders stand before what is in them, so one pass with the open folders as a stack finds
// the ancestors of all that changes: they are sent, too, for their modes and times, and made writable
// before. libarchive's reader of files takes an open descriptor and fills in stat, attributes and holes.
#include "builder/context/sync.h"

#include "base/alloc.h"
#include "base/session.h"
#include "builder/context/selection.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };

int sync_select(struct context *ctx, struct selection **ret, struct error **err)
{
    const struct context_source all = {.kind = SOURCE_PATH, .text = "."};
    return context_select(
        ctx,
        &(struct context_request){
            .instruction = "the build directory's", .sources = &all, .n_sources = 1, .dest = "/"},
        ret, err);
}

void sync_plan_clear(struct sync_plan *p)
{
    free(p->wanted);
    strv_clear(&p->drop);
    strv_clear(&p->open);
    *p = (struct sync_plan){0};
}

/* Something that goes, and the number of the entry that it stood before. */
struct gone {
    struct str path;
    size_t place;
};
DEFINE_VECTOR(gone_list, struct gone);
DEFINE_VECTOR(entries, struct manifest_entry);

struct comparing {
    struct sync_plan *plan;
    struct entries entries; /* of the new manifest */
    struct gone_list gone;
    struct folders {
        size_t *ptr; /* numbers of the folders that the current entry is in */
        size_t len;
    } folders;
};

static void comparing_clear(struct comparing *c)
{
    entries_clear(&c->entries);
    gone_list_clear(&c->gone);
    free(c->folders.ptr);
}

static void note_change(void *arg, const struct manifest_entry *was,
                        const struct manifest_entry *is, size_t place)
{
    struct comparing *c = arg;
    if (is)
        c->plan->wanted[place] = 1;
    bool stays = was && is && was->type == MANIFEST_DIR && is->type == MANIFEST_DIR;
    if (was && !stays)
        *gone_list_push(&c->gone) = (struct gone){was->path, place};
}

/* The build directory itself is "". */
static bool is_below(struct str path, struct str folder)
{
    return !folder.len || (path.len > folder.len && path.ptr[folder.len] == '/' &&
                           !memcmp(path.ptr, folder.ptr, folder.len));
}

/* The stack for a path: only the folders that it is in. */
static void leave_folders(struct comparing *c, struct str path)
{
    while (c->folders.len &&
           !is_below(path, c->entries.ptr[c->folders.ptr[c->folders.len - 1]].path))
        c->folders.len--;
}

static void want_folders(struct comparing *c)
{
    for (size_t i = 0; i < c->folders.len; i++)
        c->plan->wanted[c->folders.ptr[i]] = 1;
}

static void finish_plan(struct comparing *c)
{
    struct sync_plan *p = c->plan;
    size_t gone = 0;
    for (size_t i = 0; i <= c->entries.len; i++) {
        for (; gone < c->gone.len && c->gone.ptr[gone].place == i; gone++) {
            leave_folders(c, c->gone.ptr[gone].path);
            want_folders(c);
        }
        if (i == c->entries.len)
            break;
        const struct manifest_entry *e = &c->entries.ptr[i];
        leave_folders(c, e->path);
        if (p->wanted[i])
            want_folders(c);
        if (e->type == MANIFEST_DIR)
            c->folders.ptr[c->folders.len++] = i;
    }
    for (size_t i = 0; i < p->n; i++) {
        const struct manifest_entry *e = &c->entries.ptr[i];
        p->n_wanted += p->wanted[i];
        if (p->wanted[i] && e->type == MANIFEST_DIR)
            strv_add_take(&p->open, e->path.len ? str_dup(e->path) : xstrdup("."));
    }
    for (size_t i = c->gone.len; i > 0; i--) // the last in a folder first
        strv_add_take(&p->drop, xstrndup(c->gone.ptr[i - 1].path.ptr, c->gone.ptr[i - 1].path.len));
}

int sync_compare(struct str has, struct str manifest, struct sync_plan *ret, struct error **err)
{
    CLEANUP(comparing_clear) struct comparing c = {.plan = ret};
    struct manifest_entry e;
    for (size_t at = 0; manifest_next(manifest, &at, &e);)
        *entries_push(&c.entries) = e;
    ret->n = c.entries.len;
    ret->wanted = xcalloc(ret->n + 1, 1);
    c.folders.ptr = xcalloc(ret->n + 1, sizeof *c.folders.ptr);
    if (!manifest_changes(has, manifest, note_change, &c))
        return error_set(err, ERR_USER, "the list of the build directory's files is damaged");
    finish_plan(&c);
    return 0;
}

struct sending {
    const struct selection *sel;
    struct archive *disk, *tar;
    char *chunk;
    uint64_t done, total; /* bytes of files */
};

static void tell_progress(const struct sending *s, bool end)
{
    session_progress(s->sel->ctx->session, "sending", s->done, s->total, end);
}

static void sending_clear(struct sending *s)
{
    if (s->disk)
        (void)archive_free(s->disk);
    if (s->tar)
        (void)archive_free(s->tar);
    free(s->chunk);
}

static int failed(struct archive *a, const char *what, const char *path, struct error **err)
{
    const char *why = archive_error_string(a);
    error_set(err, ERR_SYSTEM, "cannot %s '%s': %s", what, path, why ? why : "unknown error");
    if (err)
        (*err)->errnum = archive_errno(a);
    return -1;
}

static int changed(const char *path, struct error **err)
{
    error_set(err, ERR_USER, "'%s' changed while it was sent", path);
    return error_hint(err, "build again when it is finished");
}

/* As many bytes as the header says, no less: what changed otherwise shows in the manifests. */
static int send_bytes(struct sending *s, int fd, uint64_t size, const char *path,
                      struct error **err)
{
    for (uint64_t done = 0; done < size;) {
        ssize_t n = read(fd, s->chunk, size - done < CHUNK ? (size_t)(size - done) : CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "cannot read '%s'", path);
        if (n == 0)
            return changed(path, err);
        if (archive_write_data(s->tar, s->chunk, (size_t)n) < 0)
            return failed(s->tar, "send", path, err);
        done += (uint64_t)n;
        s->done += (uint64_t)n;
        tell_progress(s, false);
        if (session_cancelled(s->sel->ctx->session))
            return error_set(err, ERR_CANCELLED, "interrupted");
    }
    return 0;
}

/* Those of the host's own (SELinux, IMA) stay here, as with COPY. */
static void keep_xattrs(struct archive_entry *e)
{
    struct archive_entry *all = archive_entry_clone(e);
    const char *name;
    const void *value;
    size_t n;
    if (!all)
        alloc_failed();
    archive_entry_xattr_clear(e);
    archive_entry_xattr_reset(all);
    while (archive_entry_xattr_next(all, &name, &value, &n) == ARCHIVE_OK)
        if (!strncmp(name, "user.", 5) || !strcmp(name, "security.capability"))
            archive_entry_xattr_add_entry(e, name, value, n);
    archive_entry_free(all);
}

static int send_opened(struct sending *s, struct archive_entry *e, const struct node *n, int fd,
                       const char *path, struct error **err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, "cannot read '%s'", path);
    if (n->type == MANIFEST_FILE && (uint64_t)st.st_size != n->id.size)
        return changed(path, err);
    if (archive_read_disk_entry_from_file(s->disk, e, fd, &st) < ARCHIVE_WARN)
        return failed(s->disk, "read", path, err);
    keep_xattrs(e);
    archive_entry_copy_pathname(e, path);
    archive_entry_set_uid(e, 0);
    archive_entry_set_gid(e, 0);
    archive_entry_set_uname(e, NULL);
    archive_entry_set_gname(e, NULL);
    if (archive_write_header(s->tar, e) < ARCHIVE_WARN)
        return failed(s->tar, "send", path, err);
    return n->type == MANIFEST_FILE ? send_bytes(s, fd, n->id.size, path, err) : 0;
}

/* What has no content: the node says all. */
static int send_header(struct sending *s, struct archive_entry *e, const struct picked *p,
                       const char *path, struct error **err)
{
    const struct node *n = p->node;
    CLEANUP(buf_clear) struct buf first = BUF_INIT;
    archive_entry_copy_pathname(e, path);
    archive_entry_set_mtime(e, n->mtime, n->mtime_ns);
    archive_entry_set_perm(e, n->mode);
    if (p->first) {
        const struct picked *f = &s->sel->picks.ptr[p->first - 1];
        picked_add_dest(&first, &s->sel->parts.ptr[f->part], f->node);
        archive_entry_set_filetype(e, AE_IFREG);
        archive_entry_copy_hardlink(e, first.data);
    } else if (n->type == MANIFEST_SYMLINK) {
        archive_entry_set_filetype(e, AE_IFLNK);
        archive_entry_copy_symlink(e, n->link);
    } else {
        archive_entry_set_filetype(e, n->type == MANIFEST_FIFO   ? AE_IFIFO
                                      : n->type == MANIFEST_CHAR ? AE_IFCHR
                                                                 : AE_IFBLK);
        archive_entry_set_rdev(e, makedev(n->major, n->minor));
    }
    return archive_write_header(s->tar, e) < ARCHIVE_WARN ? failed(s->tar, "send", path, err) : 0;
}

static int send_one(struct sending *s, const struct picked *p, struct error **err)
{
    struct context *ctx = s->sel->ctx;
    CLEANUP(buf_clear) struct buf path = BUF_INIT;
    picked_add_dest(&path, &s->sel->parts.ptr[p->part], p->node);
    if (!path.len) // the build directory itself
        buf_adds(&path, ".");
    struct archive_entry *e = archive_entry_new();
    int rc;
    if (!e)
        alloc_failed();
    if (!p->first && (p->node->type == MANIFEST_FILE || p->node->type == MANIFEST_DIR)) {
        AUTO_CLOSE int fd = tree_open(ctx->tree, p->node);
        rc = fd >= 0           ? send_opened(s, e, p->node, fd, path.data, err)
             : errno == ENOENT ? changed(path.data, err)
                               : error_errno(err, "cannot read '%s'", path.data);
    } else
        rc = send_header(s, e, p, path.data, err);
    archive_entry_free(e);
    return rc;
}

static bool is_wanted(const struct picked *p, const uint8_t *wanted, size_t i)
{
    return wanted[i] || (p->first && wanted[p->first - 1]);
}

static int send_all(struct sending *s, const uint8_t *wanted, struct error **err)
{
    const struct picks *picks = &s->sel->picks;
    for (size_t i = 0; i < picks->len; i++)
        if (wanted[i] && !picks->ptr[i].first && picks->ptr[i].node->type == MANIFEST_FILE)
            s->total += picks->ptr[i].node->id.size;
    for (size_t i = 0; i < picks->len; i++)
        if (is_wanted(&picks->ptr[i], wanted, i) && send_one(s, &picks->ptr[i], err) < 0)
            return -1;
    return 0;
}

int sync_send(const struct selection *sel, const uint8_t *wanted, int fd, struct error **err)
{
    CLEANUP(sending_clear)
    struct sending s = {.sel = sel,
                        .disk = archive_read_disk_new(),
                        .tar = archive_write_new(),
                        .chunk = xmalloc(CHUNK)};
    if (!s.disk || !s.tar)
        alloc_failed();
    archive_read_disk_set_behavior(s.disk, ARCHIVE_READDISK_NO_FFLAGS);
    archive_write_set_format_pax_restricted(s.tar);
    archive_write_set_bytes_per_block(s.tar, CHUNK);
    archive_write_set_bytes_in_last_block(s.tar, 512);
    if (archive_write_open_fd(s.tar, fd) != ARCHIVE_OK)
        return failed(s.tar, "send", "the build directory", err);
    int rc = send_all(&s, wanted, err);
    tell_progress(&s, true);
    if (rc < 0) {
        (void)archive_write_fail(s.tar);
        return -1;
    }
    return archive_write_close(s.tar) != ARCHIVE_OK
               ? failed(s.tar, "send", "the build directory", err)
               : 0;
}

struct receiving {
    struct archive *tar, *disk;
    int back; /* the folder we were in */
    const struct session *s;
    int fd;
    char *chunk;
};

static void receiving_clear(struct receiving *r)
{
    if (r->tar)
        (void)archive_free(r->tar);
    if (r->disk)
        (void)archive_free(r->disk);
    if (r->back >= 0 && fchdir(r->back) < 0) {
        // the next use of a relative path fails
    }
    if (r->back >= 0)
        close(r->back);
    free(r->chunk);
}

/* libarchive's reader, which an interruption ends. */
static la_ssize_t read_more(struct archive *a, void *arg, const void **ret)
{
    struct receiving *r = arg;
    for (;;) {
        struct pollfd p[2] = {{.fd = r->fd, .events = POLLIN},
                              {.fd = r->s->cancel_fd, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            break;
        if (session_cancelled(r->s)) {
            archive_set_error(a, EINTR, "interrupted");
            return -1;
        }
        ssize_t n = p[0].revents ? read(r->fd, r->chunk, CHUNK) : -1;
        if (n >= 0) {
            *ret = r->chunk;
            return n;
        }
        if (p[0].revents && errno != EINTR)
            break;
    }
    archive_set_error(a, errno, "%s", strerrordesc_np(errno));
    return -1;
}

/* The copy's own paths: its manifest was made a moment ago, and only we write there. */
static int make_room(const struct sync_plan *plan, struct error **err)
{
    struct stat st;
    for (size_t i = 0; i < plan->open.len; i++)
        if (lstat(plan->open.ptr[i], &st) == 0 && S_ISDIR(st.st_mode))
            (void)chmod(plan->open.ptr[i], (st.st_mode & 07777) | 0700);
    for (size_t i = 0; i < plan->drop.len; i++)
        if (unlink(plan->drop.ptr[i]) < 0 && (errno != EISDIR || rmdir(plan->drop.ptr[i]) < 0))
            return error_errno(err, "cannot remove '%s'", plan->drop.ptr[i]);
    return 0;
}

static int take_entry(struct receiving *r, struct archive_entry *e, struct error **err)
{
    AUTO_FREE char *path = xstrdup(archive_entry_pathname(e) ? archive_entry_pathname(e) : "");
    const void *bytes;
    size_t n;
    la_int64_t at;
    int rc = ARCHIVE_EOF;
    archive_entry_set_uid(e, geteuid()); // else libarchive leaves set-id bits out
    archive_entry_set_gid(e, getegid());
    if (archive_write_header(r->disk, e) < ARCHIVE_WARN)
        return failed(r->disk, "write", path, err);
    while (archive_entry_size(e) > 0 &&
           (rc = archive_read_data_block(r->tar, &bytes, &n, &at)) == ARCHIVE_OK)
        if (archive_write_data_block(r->disk, bytes, n, at) < ARCHIVE_WARN)
            return failed(r->disk, "write", path, err);
    if (rc != ARCHIVE_EOF)
        return failed(r->tar, "receive", path, err);
    rc = archive_write_finish_entry(r->disk);
    bool more = archive_entry_xattr_count(e) > 0 ||
                archive_entry_acl_count(e, ARCHIVE_ENTRY_ACL_TYPE_POSIX1E) > 0;
    if (rc < ARCHIVE_WARN)
        return failed(r->disk, "write", path, err);
    if (rc == ARCHIVE_WARN && more) { // the copy would never be right
        failed(r->disk, "give", path, err);
        return error_hint(err,
                          "its attributes cannot be kept there: name it in the ignore file, "
                          "or build as root on another file system");
    }
    return 0;
}

int sync_receive(const struct session *s, const struct sync_plan *plan, const char *dir, int fd,
                 struct error **err)
{
    CLEANUP(receiving_clear)
    struct receiving r = {.tar = archive_read_new(),
                          .disk = archive_write_disk_new(),
                          .back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC),
                          .s = s,
                          .fd = fd,
                          .chunk = xmalloc(CHUNK)};
    if (!r.tar || !r.disk)
        alloc_failed();
    if (chdir(dir) < 0)
        return error_errno(err, "cannot write to '%s'", dir);
    if (make_room(plan, err) < 0)
        return -1;
    archive_read_support_format_tar(r.tar);
    archive_read_support_format_empty(r.tar);
    archive_write_disk_set_options(
        r.disk, ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_ACL |
                    ARCHIVE_EXTRACT_XATTR | ARCHIVE_EXTRACT_SECURE_SYMLINKS |
                    ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS);
    if (archive_read_open(r.tar, &r, NULL, read_more, NULL) != ARCHIVE_OK)
        return failed(r.tar, "receive", "the build directory", err);
    struct archive_entry *e;
    int rc;
    while ((rc = archive_read_next_header(r.tar, &e)) == ARCHIVE_OK || rc == ARCHIVE_WARN)
        if (take_entry(&r, e, err) < 0)
            return -1;
    if (session_cancelled(s))
        return error_set(err, ERR_CANCELLED, "interrupted");
    if (rc != ARCHIVE_EOF)
        return failed(r.tar, "receive", "the build directory", err);
    return archive_write_close(r.disk) < ARCHIVE_WARN
               ? failed(r.disk, "write", "the build directory", err)
               : 0;
}
