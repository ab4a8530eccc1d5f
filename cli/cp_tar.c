// SPDX-License-Identifier: MIT
#include "cli/cp_tar.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/vector.h"
#include "cli/command.h"

#include <archive.h>
#include <archive_entry.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { CHUNK = 64 * 1024, SET_IDS = S_ISUID | S_ISGID };

static void archive_freep(struct archive **a)
{
    if (*a)
        (void)archive_free(*a);
}

static int archive_failed(struct archive *a, const char *what, const char *name, struct error **err)
{
    const char *why = archive_error_string(a);
    int number = archive_errno(a);
    error_set(err, ERR_SYSTEM, "cannot %s '%s': %s", what, name, why ? why : "unknown error");
    if (err && *err)
        (*err)->errnum = number;
    return -1;
}

/* `name` with what comes after the first `skip` bytes of path; owned. */
static char *below(const char *name, const char *path, size_t skip)
{
    const char *rest = path + skip;
    rest += strspn(rest, "/");
    if (!*rest)
        return xstrdup(name);
    return strcmp(name, ".") != 0 ? xasprintf("%s/%s", name, rest) : xstrdup(rest);
}

struct writer {
    struct archive *disk, *tar;
    struct archive_entry_linkresolver *links;
    const char *path, *name;
};

static void writer_clear(struct writer *w)
{
    archive_entry_linkresolver_free(w->links);
    archive_freep(&w->disk);
    archive_freep(&w->tar);
}

static int send_data(struct writer *w, const char *path, struct error **err)
{
    char chunk[CHUNK];
    la_ssize_t n;
    while ((n = archive_read_data(w->disk, chunk, sizeof chunk)) > 0)
        if (archive_write_data(w->tar, chunk, (size_t)n) < 0)
            return archive_failed(w->tar, "send", path, err);
    return n < 0 ? archive_failed(w->disk, "read", path, err) : 0;
}

/* What the guest must not take over: it gets owners of its own. */
static void plain_owner(struct archive_entry *e)
{
    archive_entry_set_uid(e, 0);
    archive_entry_set_gid(e, 0);
    archive_entry_set_uname(e, NULL);
    archive_entry_set_gname(e, NULL);
}

static int send_entry(struct writer *w, struct archive_entry *e, struct error **err)
{
    AUTO_FREE char *path = xstrdup(archive_entry_pathname(e));
    AUTO_FREE char *name = below(w->name, path, strlen(w->path));
    struct archive_entry *spare = NULL;
    if (!strcmp(name, "."))
        return 0;
    if (archive_entry_filetype(e) == AE_IFSOCK) {
        AUTO_FREE char *text = xasprintf("the socket '%s' is left out", path);
        print_note("note: ", text);
        return 0;
    }
    archive_entry_copy_pathname(e, name);
    plain_owner(e);
    archive_entry_linkify(w->links, &e, &spare); // tar's strategy holds nothing back
    if (archive_write_header(w->tar, e) < ARCHIVE_WARN)
        return archive_failed(w->tar, "send", path, err);
    return archive_entry_size(e) > 0 ? send_data(w, path, err) : 0;
}

static int send_all(struct writer *w, struct error **err)
{
    struct archive_entry *e = archive_entry_new2(w->disk);
    int rc = 0;
    while (e && rc >= 0) {
        archive_entry_clear(e);
        int found = archive_read_next_header2(w->disk, e);
        if (found == ARCHIVE_EOF)
            break;
        if (found != ARCHIVE_OK)
            rc = archive_failed(w->disk, "read", w->path, err);
        else
            rc = send_entry(w, e, err);
        if (!rc && archive_read_disk_can_descend(w->disk))
            archive_read_disk_descend(w->disk);
    }
    archive_entry_free(e);
    return rc;
}

int cp_tar_write(const char *path, const char *name, int fd, struct error **err)
{
    CLEANUP(writer_clear)
    struct writer w = {.disk = archive_read_disk_new(),
                       .tar = archive_write_new(),
                       .links = archive_entry_linkresolver_new(),
                       .path = path,
                       .name = name};
    if (!w.disk || !w.tar || !w.links)
        alloc_failed();
    archive_read_disk_set_symlink_physical(w.disk);
    archive_read_disk_set_behavior(w.disk, ARCHIVE_READDISK_NO_ACL | ARCHIVE_READDISK_NO_XATTR |
                                               ARCHIVE_READDISK_NO_FFLAGS);
    archive_write_set_format_gnutar(w.tar);
    archive_entry_linkresolver_set_strategy(w.links, archive_format(w.tar));
    archive_write_set_bytes_per_block(w.tar, CHUNK);
    if (archive_write_open_fd(w.tar, fd) != ARCHIVE_OK)
        return archive_failed(w.tar, "send", path, err);
    if (archive_read_disk_open(w.disk, path) != ARCHIVE_OK)
        return archive_failed(w.disk, "read", path, err);
    if (send_all(&w, err) < 0) {
        (void)archive_write_fail(w.tar);
        return -1;
    }
    return archive_write_close(w.tar) != ARCHIVE_OK ? archive_failed(w.tar, "send", path, err) : 0;
}

struct reader {
    struct archive *tar, *disk;
    const char *sent, *name;
    size_t entries, left_out;
};

static void reader_clear(struct reader *r)
{
    archive_freep(&r->tar);
    archive_freep(&r->disk);
}

/* The name that the guest gave, as it is called here; owned. NULL: it was not asked for that. */
static char *name_here(const struct reader *r, const char *given, struct error **err)
{
    size_t n = strlen(r->sent);
    while (given[0] == '.' && given[1] == '/')
        given += 1 + strspn(given + 1, "/");
    if (!strcmp(r->sent, "."))
        return below(r->name, given, given[0] == '.' && !given[1] ? 1 : 0);
    if (!strncmp(given, r->sent, n) && (given[n] == '/' || !given[n]))
        return below(r->name, given, n);
    error_set(err, ERR_GUEST, "the guest sent '%s', which it was not asked for", given);
    return NULL;
}

/* A name that is not in our locale's characters comes as UTF-8 only. */
static const char *either(const char *bytes, const char *utf8)
{
    return bytes ? bytes : utf8 ? utf8 : "";
}

struct xattr {
    char *name;
    void *value;
    size_t n;
};
DEFINE_VECTOR(xattrs, struct xattr);

/* Of xattrs only those without a meaning to the system: security.capability would give rights. */
static void keep_user_xattrs(struct archive_entry *e)
{
    CLEANUP(xattrs_clear) struct xattrs kept = {0};
    const char *name;
    const void *value;
    size_t n;
    (void)archive_entry_xattr_reset(e);
    while (archive_entry_xattr_next(e, &name, &value, &n) == ARCHIVE_OK)
        if (!strncmp(name, "user.", 5))
            *xattrs_push(&kept) = (struct xattr){xstrdup(name), xmemdup(value, n), n};
    archive_entry_xattr_clear(e);
    vec_foreach (struct xattr *, x, &kept) {
        archive_entry_xattr_add_entry(e, x->name, x->value, x->n);
        free(x->name);
        free(x->value);
    }
}

/* Names as they are here, rights that a guest may give; 0: leave it out. */
static int admit(struct reader *r, struct archive_entry *e, struct error **err)
{
    AUTO_FREE char *name =
        name_here(r, either(archive_entry_pathname(e), archive_entry_pathname_utf8(e)), err);
    if (!name)
        return -1;
    archive_entry_copy_pathname(e, name);
    archive_entry_set_perm(e, archive_entry_perm(e) & (mode_t)~SET_IDS);
    const char *link = archive_entry_hardlink(e), *link8 = archive_entry_hardlink_utf8(e);
    if (link || link8) {
        AUTO_FREE char *target = name_here(r, either(link, link8), err);
        if (!target)
            return -1;
        archive_entry_copy_hardlink(e, target);
        return 1;
    }
    mode_t type = archive_entry_filetype(e);
    keep_user_xattrs(e);
    if (type == AE_IFLNK)
        archive_entry_copy_symlink(e,
                                   either(archive_entry_symlink(e), archive_entry_symlink_utf8(e)));
    else if (type != AE_IFREG && type != AE_IFDIR) {
        r->left_out++;
        return 0;
    }
    return strcmp(name, ".") != 0; // the folder that is there keeps its mode
}

static int take_data(struct reader *r, const char *name, struct error **err)
{
    const void *bytes;
    size_t n;
    la_int64_t at;
    int rc;
    while ((rc = archive_read_data_block(r->tar, &bytes, &n, &at)) == ARCHIVE_OK)
        if (archive_write_data_block(r->disk, bytes, n, at) < ARCHIVE_WARN)
            return archive_failed(r->disk, "write", name, err);
    return rc == ARCHIVE_EOF ? 0 : archive_failed(r->tar, "receive", name, err);
}

static int take_entry(struct reader *r, struct archive_entry *e, struct error **err)
{
    int taken = admit(r, e, err);
    r->entries++;
    if (taken <= 0)
        return taken;
    AUTO_FREE char *name = xstrdup(archive_entry_pathname(e));
    bool has_data = archive_entry_size(e) > 0 && archive_entry_filetype(e) == AE_IFREG;
    if (archive_write_header(r->disk, e) < ARCHIVE_WARN)
        return archive_failed(r->disk, "write", name, err);
    if (has_data && take_data(r, name, err) < 0) {
        (void)archive_write_finish_entry(r->disk);
        (void)unlink(name); // its folders are no links: the header was written
        return -1;
    }
    return archive_write_finish_entry(r->disk) < ARCHIVE_WARN
               ? archive_failed(r->disk, "write", name, err)
               : 0;
}

static int take_all(struct reader *r, struct error **err)
{
    struct archive_entry *e;
    int rc;
    while ((rc = archive_read_next_header(r->tar, &e)) == ARCHIVE_OK || rc == ARCHIVE_WARN)
        if (take_entry(r, e, err) < 0)
            return -1;
    if (rc != ARCHIVE_EOF)
        return archive_failed(r->tar, "receive", r->sent, err);
    if (archive_write_close(r->disk) < ARCHIVE_WARN)
        return archive_failed(r->disk, "write", r->name, err);
    if (!r->entries)
        return error_set(err, ERR_GUEST, "the guest sent nothing");
    if (r->left_out) {
        AUTO_FREE char *text = xasprintf("left out: devices, pipes and sockets (%zu)", r->left_out);
        print_note("note: ", text);
    }
    return 0;
}

int cp_tar_read(int fd, const char *sent, const char *dir, const char *name, bool attributes,
                struct error **err)
{
    CLEANUP(reader_clear)
    struct reader r = {
        .tar = archive_read_new(), .disk = archive_write_disk_new(), .sent = sent, .name = name};
    if (!r.tar || !r.disk)
        alloc_failed();
    // names are held against the secure flags from here: dir itself may lead through links
    if (chdir(dir) < 0)
        return error_errno(err, "cannot write to '%s'", dir);
    archive_read_support_format_tar(r.tar);
    archive_read_support_format_empty(r.tar);
    int more =
        attributes ? ARCHIVE_EXTRACT_XATTR | ARCHIVE_EXTRACT_ACL | ARCHIVE_EXTRACT_SPARSE : 0;
    archive_write_disk_set_options(r.disk, more | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME |
                                               ARCHIVE_EXTRACT_SECURE_SYMLINKS |
                                               ARCHIVE_EXTRACT_SECURE_NODOTDOT |
                                               ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS);
    if (archive_read_open_fd(r.tar, fd, CHUNK) != ARCHIVE_OK)
        return archive_failed(r.tar, "receive", sent, err);
    if (take_all(&r, err) < 0)
        return -1;
    fd_drain(fd); // what a tar adds after the end, or its writer would fail
    return 0;
}
