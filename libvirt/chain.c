// SPDX-License-Identifier: MIT
#include "libvirt/chain.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/session.h"
#include "qcow2/qcow2.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 256 };

void chain_clear(struct chain *c)
{
    vec_foreach (struct chain_file *, f, &c->files) {
        free(f->path);
        free(f->local);
        free(f->format);
        free(f->backing);
        free(f->metadata);
        auto_closep(&f->fd);
    }
    chain_files_clear(&c->files);
}

/* A QEMU that writes has locked byte 101; one that wants to looks at 201, and to resize at 203. */
static int lock(int fd, const char *path, struct error **err)
{
    static const off_t unshared[] = {201, 203};
    for (size_t i = 0; i < sizeof unshared / sizeof *unshared; i++) {
        struct flock l = {
            .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = unshared[i], .l_len = 1};
        if (fcntl(fd, F_OFD_SETLK, &l) < 0 && errno != EAGAIN && errno != EACCES)
            return 0; // a file system without locks
    }
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1};
    if (fcntl(fd, F_OFD_GETLK, &l) < 0 || l.l_type == F_UNLCK)
        return 0;
    return error_set(err, ERR_BUSY, "'%s' is in use by a running VM", path);
}

/* By libvirt, which may read what we may not. */
static int download(const struct virsh *v, struct chain_file *f, const char *folder, size_t n,
                    int errnum, struct error **err)
{
    AUTO_FREE char *local = xasprintf("%s/download-%zu", folder, n);
    session_notice(v->session, "Copying '%s' through libvirt", f->path);
    if (virsh_run(v, ARGV("vol-download", "--vol", f->path, "--file", local, "--sparse"), NULL,
                  err) == 0) {
        f->local = STEAL(local);
        return 0;
    }
    error_wrap(err, "cannot read '%s': %s", f->path,
               errnum ? strerror(errnum) : "it is on another machine");
    return error_hint(err, errnum ? "run kiln as root, or make its folder a storage pool of libvirt"
                                  : "libvirt copies it if its folder is a storage pool there");
}

static int open_file(const struct virsh *v, struct chain_file *f, const char *folder, size_t n,
                     struct error **err)
{
    struct stat st;
    if (v->remote)
        return download(v, f, folder, n, 0, err);
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (f->fd < 0 && errno == EACCES)
        return download(v, f, folder, n, errno, err);
    if (f->fd < 0 && errno == ENOENT)
        return error_set(err, ERR_NOT_FOUND, "the file '%s' does not exist", f->path);
    if (f->fd < 0 || fstat(f->fd, &st) < 0)
        return error_errno(err, "cannot read '%s'", f->path);
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERR_USER, "'%s' is not a regular file", f->path);
    f->local = realpath(f->path, NULL);
    return f->local ? lock(f->fd, f->path, err) : error_errno(err, "cannot find '%s'", f->path);
}

/* "json:{…}", "nbd://…", "rbd:pool/name". */
static bool is_protocol(const char *name)
{
    size_t n = 0;
    while (isalnum((unsigned char)name[n]) || (name[n] && strchr("+-.", name[n])))
        n++;
    return n && name[n] == ':';
}

/* The path of the file below; owned. */
static char *path_below(const struct chain_file *f, struct error **err)
{
    if (is_protocol(f->backing)) {
        error_set(err, ERR_USER, "'%s' stands on '%s', which is not a file", f->path, f->backing);
        error_hint(err, "'qemu-img convert' makes one file of the chain");
        return NULL;
    }
    AUTO_FREE char *dir = path_parent(f->path);
    return path_join(dir, f->backing);
}

/* What is below a file that says it is a qcow2; others are judged when they are taken. */
static int read_header(struct chain_file *f, char **ret_format, struct error **err)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    if (!f->format || strcmp(f->format, "qcow2") != 0)
        return 0;
    if (qcow2_read(f->local, QCOW2_OWN, &info, err) < 0)
        return -1;
    f->backing = STEAL(info.backing);
    f->metadata = STEAL(info.metadata);
    *ret_format = STEAL(info.backing_format);
    return 0;
}

static int refuse_kind(const struct domain_disk *d, struct error **err)
{
    const char *where = d->source ? d->source : "nothing";
    if (!strcmp(d->type, "block")) {
        error_set(err, ERR_USER, "it is the block device '%s', not a file", where);
        return error_hint(err,
                          "'qemu-img convert -O qcow2 %s FILE' copies it, and 'kiln image import "
                          "FILE NAME' takes "
                          "the copy",
                          where);
    }
    error_set(err, ERR_USER, "it is a disk of type '%s' ('%s'), not a file", d->type, where);
    return error_hint(err, "'qemu-img convert' copies it to a file for 'kiln image import'");
}

/* The path of the file the disk is; owned. */
static char *path_of(const struct virsh *v, const struct domain_disk *d, struct error **err)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    if (!strcmp(d->type, "file") && d->source && *d->source == '/')
        return xstrdup(d->source);
    if (strcmp(d->type, "volume") != 0 || !d->pool || !d->source) {
        refuse_kind(d, err);
        return NULL;
    }
    if (virsh_run(v, ARGV("vol-path", "--pool", d->pool, "--vol", d->source), &out, err) < 0)
        return NULL;
    return xstrndup(out.data, strcspn(out.data, "\n"));
}

int chain_open(const struct virsh *v, const struct domain_disk *d, const char *folder,
               struct chain *ret, struct error **err)
{
    AUTO_FREE char *path = path_of(v, d, err), *format = d->format ? xstrdup(d->format) : NULL;
    if (path && d->sliced)
        return error_set(err, ERR_USER, "it is only a part of '%s'", path);
    while (path) {
        if (ret->files.len == FILES_MAX)
            return error_set(err, ERR_USER, "'%s' stands on more than %d files",
                             ret->files.ptr[0].path, FILES_MAX);
        struct chain_file *f = chain_files_push(&ret->files);
        *f = (struct chain_file){.path = STEAL(path), .format = STEAL(format), .fd = -1};
        if (open_file(v, f, folder, ret->files.len, err) < 0 || read_header(f, &format, err) < 0)
            return -1;
        if (!f->backing)
            return 0;
        path = path_below(f, err);
    }
    return -1;
}
