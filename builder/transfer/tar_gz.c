// SPDX-License-Identifier: MIT
//
// libarchive makes the tar and ISA-L packs it, as the digest of what is between them is needed.
#include "builder/transfer/tar_gz.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20 };

struct packer {
    struct isal_zstream z;
    unsigned char *level, *out, *in;
    struct sha256 *sha, *raw;
    uint64_t size;
    int to;
};

static void packer_clear(struct packer *p)
{
    sha256_free(p->sha);
    sha256_free(p->raw);
    free(p->level);
    free(p->out);
    free(p->in);
}

static void packer_init(struct packer *p, int to)
{
    *p = (struct packer){.level = xmalloc(ISAL_DEF_LVL1_DEFAULT),
                         .out = xmalloc(CHUNK),
                         .in = xmalloc(CHUNK),
                         .sha = sha256_new(),
                         .raw = sha256_new(),
                         .to = to};
    isal_deflate_init(&p->z);
    p->z.level = 1;
    p->z.level_buf = p->level;
    p->z.level_buf_size = ISAL_DEF_LVL1_DEFAULT;
    p->z.gzip_flag = IGZIP_GZIP;
}

/* -1 with errno. */
static int pack(struct packer *p, const void *bytes, size_t n, bool last)
{
    sha256_add(p->raw, bytes, n);
    p->z.next_in = (uint8_t *)bytes;
    p->z.avail_in = (uint32_t)n;
    p->z.end_of_stream = last;
    do {
        p->z.next_out = p->out;
        p->z.avail_out = CHUNK;
        (void)isal_deflate(&p->z);
        size_t made = CHUNK - p->z.avail_out;
        sha256_add(p->sha, p->out, made);
        p->size += made;
        if (write_all(p->to, p->out, made) < 0)
            return -1;
    } while (p->z.avail_in || !p->z.avail_out || (last && p->z.internal_state.state != ZSTATE_END));
    return 0;
}

static la_ssize_t on_write(struct archive *a, void *arg, const void *bytes, size_t n)
{
    if (pack(arg, bytes, n, false) == 0)
        return (la_ssize_t)n;
    archive_set_error(a, errno, "%s", strerror(errno));
    return -1;
}

static int put_header(struct archive *a, const char *name, unsigned type, uint64_t size,
                      const struct tar_gz_file *as)
{
    struct archive_entry *e = archive_entry_new();
    if (!e)
        alloc_failed();
    archive_entry_set_pathname(e, name);
    archive_entry_set_filetype(e, type);
    archive_entry_set_perm(e, type == AE_IFDIR ? 0755 : as->mode);
    archive_entry_set_uid(e, as->owner);
    archive_entry_set_gid(e, as->owner);
    archive_entry_set_mtime(e, 0, 0);
    archive_entry_set_size(e, (la_int64_t)size);
    int rc = archive_write_header(a, e);
    archive_entry_free(e);
    return rc == ARCHIVE_OK ? 0 : -1;
}

static int failed(struct archive *a, struct error **err)
{
    const char *why = archive_error_string(a);
    return error_set(err, ERR_SYSTEM, "cannot write a layer: %s", why ? why : "out of memory");
}

static int write_tar(struct archive *a, struct packer *p, int from, uint64_t size,
                     const struct tar_gz_file *as, struct error **err)
{
    AUTO_FREE char *folder = path_parent(as->name), *dir = xasprintf("%s/", folder);
    if (put_header(a, dir, AE_IFDIR, 0, as) < 0 || put_header(a, as->name, AE_IFREG, size, as) < 0)
        return failed(a, err);
    for (uint64_t at = 0; at < size;) {
        size_t n = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        if (pread_all(from, p->in, n, (off_t)at) != (ssize_t)n)
            return error_errno(err, "cannot read a disk");
        if (archive_write_data(a, p->in, n) != (la_ssize_t)n)
            return failed(a, err);
        at += n;
    }
    return archive_write_close(a) == ARCHIVE_OK ? 0 : failed(a, err);
}

static int write_all_of(struct packer *p, const char *path, const struct tar_gz_file *as,
                        struct error **err)
{
    AUTO_CLOSE int from = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (from < 0 || fstat(from, &st) < 0)
        return error_errno(err, "cannot read '%s'", path);
    struct archive *a = archive_write_new();
    if (!a)
        alloc_failed();
    int rc = archive_write_set_format_pax_restricted(a) == ARCHIVE_OK &&
                     archive_write_open(a, p, NULL, on_write, NULL) == ARCHIVE_OK
                 ? write_tar(a, p, from, (uint64_t)st.st_size, as, err)
                 : failed(a, err);
    archive_write_free(a);
    if (rc == 0 && pack(p, "", 0, true) < 0)
        return error_errno(err, "cannot write a layer");
    return rc;
}

int tar_gz_write(const char *path, const struct tar_gz_file *as, int to, struct tar_gz *ret,
                 struct error **err)
{
    CLEANUP(packer_clear) struct packer p;
    packer_init(&p, to);
    if (write_all_of(&p, path, as, err) < 0)
        return -1;
    struct digest d = sha256_finish(STEAL(p.sha)), raw = sha256_finish(STEAL(p.raw));
    digest_hex(&d, ret->hex);
    digest_hex(&raw, ret->raw_hex);
    ret->size = p.size;
    return 0;
}
