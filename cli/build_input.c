// SPDX-License-Identifier: MIT
//
// libarchive tells a tar archive from a text: what it knows as neither is "raw", one entry that holds
// all bytes, decompressed. Links in the archive may lead anywhere: the build directory is read as if
// it were a root of its own (builder/context), and nothing is written through them here.
#include "cli/build_input.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/session.h"
#include "builder/build/imagefile_path.h"
#include "imagefile/imagefile.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024 };

struct unpacking {
    struct archive *in, *out;
};

static void unpacking_clear(struct unpacking *u)
{
    (void)archive_free(u->in);
    (void)archive_free(u->out);
}

static int failed(struct archive *a, struct error **err)
{
    const char *why = archive_error_string(a);
    return error_set(err, ERR_USER, "cannot unpack standard input: %s",
                     why ? why : "unknown error");
}

static int copy_data(struct unpacking *u, struct error **err)
{
    const void *bytes;
    size_t n;
    la_int64_t at;
    int rc;
    while ((rc = archive_read_data_block(u->in, &bytes, &n, &at)) == ARCHIVE_OK)
        if (archive_write_data_block(u->out, bytes, n, at) < ARCHIVE_WARN)
            return failed(u->out, err);
    return rc == ARCHIVE_EOF ? 0 : failed(u->in, err);
}

static int take_entry(struct unpacking *u, struct archive_entry *e, struct error **err)
{
    mode_t type = archive_entry_filetype(e);
    bool link = archive_entry_hardlink(e);
    if (!link && type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK)
        return 0;
    if (archive_write_header(u->out, e) < ARCHIVE_WARN)
        return failed(u->out, err);
    if (!link && type == AE_IFREG && copy_data(u, err) < 0)
        return -1;
    return archive_write_finish_entry(u->out) < ARCHIVE_WARN ? failed(u->out, err) : 0;
}

/* What is not an archive: the Imagefile itself. */
static int take_text(struct unpacking *u, struct error **err)
{
    AUTO_CLOSE int fd = open("Imagefile", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, "cannot write 'Imagefile'");
    char chunk[CHUNK];
    la_ssize_t n;
    size_t total = 0;
    while ((n = archive_read_data(u->in, chunk, sizeof chunk)) > 0) {
        total += (size_t)n;
        if (memchr(chunk, '\0', (size_t)n) || total > IMAGEFILE_MAX)
            return error_set(err, ERR_USER,
                             "standard input is neither a tar archive nor an Imagefile");
        if (write_all(fd, chunk, (size_t)n) < 0)
            return error_errno(err, "cannot write 'Imagefile'");
    }
    return n < 0 ? failed(u->in, err) : 0;
}

static int is_empty(struct error **err)
{
    error_set(err, ERR_USER, "standard input is empty");
    return error_hint(err,
                      "it is to be a tar archive or an Imagefile: tar c . | kiln image build "
                      "-t NAME -");
}

static int unpack_here(bool *ret_text, struct error **err)
{
    CLEANUP(unpacking_clear)
    struct unpacking u = {archive_read_new(), archive_write_disk_new()};
    if (!u.in || !u.out)
        alloc_failed();
    archive_read_support_filter_all(u.in);
    archive_read_support_format_tar(u.in);
    archive_read_support_format_raw(u.in);
    archive_read_support_format_empty(u.in);
    archive_write_disk_set_options(
        u.out, ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_SECURE_SYMLINKS |
                   ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS);
    if (archive_read_open_fd(u.in, STDIN_FILENO, CHUNK) != ARCHIVE_OK)
        return failed(u.in, err);
    struct archive_entry *e;
    int rc;
    while ((rc = archive_read_next_header(u.in, &e)) == ARCHIVE_OK || rc == ARCHIVE_WARN) {
        *ret_text = archive_format(u.in) == ARCHIVE_FORMAT_RAW;
        if (*ret_text)
            return take_text(&u, err);
        if (take_entry(&u, e, err) < 0)
            return -1;
    }
    if (rc != ARCHIVE_EOF)
        return failed(u.in, err);
    if (archive_format(u.in) == ARCHIVE_FORMAT_EMPTY)
        return is_empty(err);
    fd_drain(STDIN_FILENO); // what a tar adds after the end, or its writer would fail
    return archive_write_close(u.out) < ARCHIVE_WARN ? failed(u.out, err) : 0;
}

/* The names in the archive are held against the secure flags from the working folder. */
static int unpack(const char *dir, bool *ret_text, struct error **err)
{
    AUTO_CLOSE int before = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (chdir(dir) < 0)
        return error_errno(err, "cannot write to '%s'", dir);
    int rc = unpack_here(ret_text, err);
    if (before >= 0 && fchdir(before) < 0 && rc == 0)
        return error_errno(err, "cannot go back to the current folder");
    return rc;
}

int build_input_open(const struct session *s, const char *arg, struct build_input *ret,
                     struct error **err)
{
    ret->dir = arg ? arg : ".";
    if (strcmp(ret->dir, "-") != 0)
        return 0;
    if (isatty(STDIN_FILENO)) {
        error_set(err, ERR_USAGE, "the build directory '-' is standard input, a terminal here");
        return error_hint(err, "tar c . | kiln image build -t NAME -");
    }
    const char *parent = s->cache ? s->cache : "/tmp";
    AUTO_FREE char *folder = path_join(parent, "stdin");
    if (s->cache && make_dirs(s->cache, 0700, err) < 0)
        return -1;
    bool text = false;
    working_sweep(folder);
    if (working_open(&ret->unpacked, folder, err) < 0 || unpack(ret->unpacked.dir, &text, err) < 0)
        return -1;
    ret->shown_dir = "standard input";
    ret->shown_file = text ? "stdin" : NULL;
    ret->dir = ret->unpacked.dir;
    return 0;
}

int build_input_check(const struct build_input *in, const char *file, struct error **err)
{
    if (file || !in->shown_dir)
        return 0;
    AUTO_FREE char *path = imagefile_path(in->dir, NULL);
    if (access(path, F_OK) == 0 || errno != ENOENT)
        return 0;
    error_set(err, ERR_NOT_FOUND, "the archive on standard input has no Imagefile at its top");
    return error_hint(err, "'tar tf' lists what is in it; --file names an Imagefile outside of it");
}

const char *build_input_file(const struct build_input *in, const char *file)
{
    if (file)
        return !strcmp(file, "-") ? "stdin" : NULL;
    if (!in->shown_dir || in->shown_file)
        return in->shown_file;
    AUTO_FREE char *path = path_join(in->dir, "Imagefile");
    return access(path, F_OK) == 0 ? "Imagefile" : "Dockerfile";
}

void build_input_clear(struct build_input *in)
{
    working_clear(&in->unpacked);
}
