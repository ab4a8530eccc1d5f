// SPDX-License-Identifier: MIT
//
// qemu-img writes its progress as "    (12.34/100%)\r" when asked with -p; the numbers are read
// from its output and shown as bytes of the disk.
#include "image/convert.h"
#include "qcow2/nodes.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/process.h"
#include "base/working.h"
#include "image/backend.h"
#include "image/chain.h"
#include "image/export_temp.h"
#include "image/sink.h"
#include "qcow2/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    METADATA_IN_64K = 60000,
    GROWTH_MS = 200,
    LINES_SHOWN = 4,
    DISK_MIN = 64 * 1024
}; // what fits beside the header in a cluster of 64 KiB

/* The last percentage in what came, as part of total; what was read is dropped. */
static void show_progress(const struct session *s, struct buf *b, uint64_t total)
{
    double percent = -1;
    char *line = b->data, *end;
    while ((end = strpbrk(line, "\r\n"))) {
        (void)sscanf(line, " (%lf/100%%)", &percent);
        line = end + 1;
    }
    buf_consume(b, (size_t)(line - b->data));
    if (percent >= 0 && total)
        session_progress(s, "converting", (uint64_t)(percent / 100 * (double)total), total, false);
}

static bool drain(int fd, struct buf *b)
{
    char chunk[4096];
    ssize_t n = read(fd, chunk, sizeof chunk);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN;
    buf_add(b, chunk, (size_t)n);
    return n > 0;
}

/* A file that qemu-img writes, and how large it may become. */
struct growth {
    const char *path; /* NULL = no limit */
    uint64_t limit;   /* bytes on disk */
};

static int check_growth(const struct growth *g, struct error **err)
{
    struct stat st;
    if (!g->path || stat(g->path, &st) < 0 || (uint64_t)st.st_blocks * 512 <= g->limit)
        return 0;
    error_set(err, ERR_USER,
              "it expands to more than %llu bytes, which looks like a decompression bomb",
              (unsigned long long)g->limit);
    return error_hint(err, "raise the limit with --max-size");
}

static int watch(const struct session *s, struct process *q, uint64_t total, const struct growth *g,
                 struct buf *errors, struct error **err)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    bool out_open = true, errors_open = true;
    while (out_open || errors_open) {
        struct pollfd f[] = {{.fd = out_open ? q->out : -1, .events = POLLIN},
                             {.fd = errors_open ? q->errors : -1, .events = POLLIN},
                             {.fd = s->cancel_fd, .events = POLLIN}};
        if (poll(f, 3, g->path ? GROWTH_MS : -1) < 0)
            continue;
        if (check_growth(g, err) < 0)
            return -1;
        if (f[2].revents)
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (f[0].revents) {
            out_open = drain(q->out, &out);
            show_progress(s, &out, total);
        }
        if (f[1].revents)
            errors_open = drain(q->errors, errors);
        if (errors->len > 8000)
            buf_consume(errors, errors->len - 4000);
    }
    return process_wait(q, -1, err);
}

/* The last lines of what a program said. */
static void trim(struct buf *b)
{
    while (b->len && b->data[b->len - 1] == '\n')
        b->data[--b->len] = '\0';
    unsigned lines = 0;
    for (size_t i = b->len; i > 0; i--)
        if (b->data[i - 1] == '\n' && ++lines == LINES_SHOWN) {
            buf_consume(b, i);
            return;
        }
}

/* Runs qemu-img with a bar of `total` bytes. *ret_status gets its wait status, *errors what it
 * said. */
static int run_for_status(const struct session *s, char *const *argv, uint64_t total,
                          const struct growth *g, int *ret_status, struct buf *errors,
                          struct error **err)
{
    CLEANUP(process_clear) struct process q = PROCESS_INIT;
    struct process_spec spec = {
        .argv = argv, .in = PROCESS_NULL, .out = PROCESS_PIPE, .errors = PROCESS_PIPE};
    CLEANUP(buf_clear) struct buf line = BUF_INIT;
    for (char *const *a = argv; *a; a++)
        buf_addf(&line, " %s", *a);
    session_debug(s, 2, "run:%s", line.data);
    if (process_start(&q, &spec, err) < 0 || watch(s, &q, total, g, errors, err) < 0)
        return -1;
    trim(errors);
    *ret_status = q.status;
    return 0;
}

static int qemu_img_failed(int status, const struct buf *errors, struct error **err)
{
    AUTO_FREE char *how = process_failed_text(status);
    return error_set(err, ERR_SYSTEM, "qemu-img %s%s%s", how, errors->len ? ": " : "",
                     errors->data);
}

static int run(const struct session *s, char *const *argv, uint64_t total, const struct growth *g,
               struct error **err)
{
    CLEANUP(buf_clear) struct buf errors = BUF_INIT;
    int status;
    if (run_for_status(s, argv, total, g, &status, &errors, err) < 0)
        return -1;
    if (status)
        return qemu_img_failed(status, &errors, err);
    if (total)
        session_progress(s, "converting", total, total, true);
    return 0;
}

/* One file in one format with nothing below it, whatever its header says. Owned. */
static char *file_json(enum format f, const char *path)
{
    json_t *node =
        f == FORMAT_VMDK || f == FORMAT_QCOW2
            ? json_pack("{s:s, s:b, s:n, s:{s:s, s:s}}", "driver", format_name(f), "read-only", 1,
                        "backing", "file", "driver", "file", "filename", path)
            : json_pack("{s:s, s:b, s:{s:s, s:s}}", "driver", format_name(f), "read-only", 1,
                        "file", "driver", "file", "filename", path);
    if (!node)
        return NULL; // a path that is not UTF-8
    AUTO_FREE char *text = json_dumps(node, JSON_COMPACT);
    json_decref(node);
    return xasprintf("json:%s", text);
}

static int judge_qcow2(const struct session *s, const char *file, int flags, struct qcow2_info *ret,
                       struct error **err)
{
    if (qcow2_read(file, flags, ret, err) < 0)
        return -1;
    AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? error_errno(err, "cannot open '%s'", file)
                  : qcow2_check_tables(s, fd, ret, err);
}

static int run_check(const struct session *s, char *const *argv, struct error **err)
{
    enum { LEAKS = 3 }; // clusters that nothing uses: they do no harm
    static const struct growth unlimited;
    CLEANUP(buf_clear) struct buf errors = BUF_INIT;
    int status;
    if (run_for_status(s, argv, 0, &unlimited, &status, &errors, err) < 0)
        return -1;
    if (status == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == LEAKS))
        return 0;
    qemu_img_failed(status, &errors, err);
    return error_wrap(err, "the qcow2 image is damaged");
}

static int check_qcow2(const struct session *s, const char *file, struct error **err)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    if (judge_qcow2(s, file, 0, &info, err) < 0)
        return -1;
    char *const *argv = info.dirty
                            ? ARGV("qemu-img", "check", "-q", "-f", "qcow2", "-r", "all", file)
                            : ARGV("qemu-img", "check", "-q", "-f", "qcow2", file);
    return run_check(s, argv, err);
}

/* Virtual size as QEMU sees it, for formats whose header we don't read in full. */
static int virtual_size(const struct session *s, const char *node, uint64_t *ret,
                        struct error **err)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    if (process_run(s, ARGV("qemu-img", "measure", "--output=json", "-O", "raw", node), &out, err) <
        0)
        return -1;
    json_auto_t *j = json_loadb(out.data, out.len, 0, NULL);
    json_int_t n = json_integer_value(json_object_get(j, "fully-allocated"));
    if (n <= 0 || (uint64_t)n > QCOW2_SIZE_MAX)
        return error_set(err, ERR_USER, "invalid disk size of %lld bytes (the limit is 8 TiB)",
                         (long long)n);
    *ret = (uint64_t)n;
    return 0;
}

static uint64_t bytes_on_disk(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static int to_qcow2(const struct session *s, const char *file, enum format f, uint64_t max_size,
                    struct error **err)
{
    AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", file);
    if (format_check(f, fd, err) < 0)
        return -1;
    AUTO_FREE char *node = file_json(f, file);
    AUTO_FREE char *made = xasprintf("%s.converted", file);
    uint64_t size = 0;
    if (!node)
        return error_set(err, ERR_USER, "the path '%s' is not UTF-8", file);
    if (virtual_size(s, node, &size, err) < 0)
        return error_wrap(err, "cannot read the %s", format_name(f));
    (void)unlink(made);
    struct growth g = {made, max_size ? max_size : sink_data_limit(bytes_on_disk(fd))};
    if (run(s, ARGV("qemu-img", "convert", "-p", "-O", "qcow2", node, made), size, &g, err) < 0) {
        (void)unlink(made);
        return error_wrap(err, "cannot convert the %s", format_name(f));
    }
    if (rename(made, file) < 0)
        return error_errno(err, "cannot rename '%s'", made);
    return 0;
}

static int check_disk_size(const char *file, struct error **err)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    if (qcow2_read(file, 0, &info, err) < 0)
        return -1;
    return info.size >= DISK_MIN
               ? 0
               : error_set(err, ERR_USER, "a disk of %llu bytes is too small to be useful",
                           (unsigned long long)info.size);
}

static int to_sound_qcow2(const struct session *s, const char *file, enum format f,
                          uint64_t max_size, struct error **err)
{
    switch (f) {
    case FORMAT_RAW:
        return 0;
    case FORMAT_QCOW2:
        return check_qcow2(s, file, err);
    case FORMAT_VMDK:
    case FORMAT_VHDX:
    case FORMAT_VDI:
        return to_qcow2(s, file, f, max_size, err);
    case FORMAT_UNKNOWN:
        break;
    }
    return error_set(err, ERR_USER, "not a disk image");
}

int convert_in(const struct session *s, const char *file, enum format f, uint64_t max_size,
               struct error **err)
{
    return to_sound_qcow2(s, file, f, max_size, err) < 0 ? -1 : check_disk_size(file, err);
}

int convert_overlay(const struct session *s, const char *file, const char *backing,
                    const char *below, struct error **err)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    if (judge_qcow2(s, file, QCOW2_OWN, &info, err) < 0)
        return -1;
    if (!info.backing || strcmp(info.backing, backing) != 0)
        return error_set(err, ERR_USER, "its backing file is '%s', not '%s'",
                         info.backing ? info.backing : "nothing", backing);
    if (info.dirty)
        return error_set(err, ERR_USER, "the qcow2 image was not closed cleanly");
    AUTO_FREE char *alone = file_json(FORMAT_QCOW2, file);
    if (!alone)
        return error_set(err, ERR_USER, "the path '%s' is not UTF-8", file);
    // -u writes the header alone, and opens no backing file
    static const struct growth unlimited;
    return run_check(s, ARGV("qemu-img", "check", "-q", alone), err) < 0
               ? -1
               : run(s,
                     ARGV("qemu-img", "rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", below,
                          file),
                     0, &unlimited, err);
}

/* Options of the output format, owned or NULL; sets *compress when -c is needed. */
static int output_options(const struct image_export *o, char **ret, bool *compress,
                          struct error **err)
{
    *ret = NULL;
    *compress = o->compress != NULL;
    if (!o->compress)
        return 0;
    bool zstd = !strcmp(o->compress, "zstd"), zlib = !strcmp(o->compress, "zlib");
    if (o->format == FORMAT_QCOW2 && (zstd || zlib))
        *ret = xasprintf("compression_type=%s", o->compress);
    else if (o->format == FORMAT_VMDK && zlib)
        *ret = xstrdup("subformat=streamOptimized");
    else
        return error_set(err, ERR_USER, "%s can't be compressed with '%s'", format_name(o->format),
                         o->compress);
    return 0;
}

/* Chain → one file at `made`. */
static int write_chain(const struct session *s, const struct image_content *c, const char *made,
                       const struct image_export *o, struct error **err)
{
    CLEANUP(strv_clear) struct strv argv = {0};
    AUTO_FREE char *options = NULL;
    bool compress;
    if (output_options(o, &options, &compress, err) < 0)
        return -1;
    AUTO_FREE char *node = qcow2_chain_json(c->chain);
    if (c->metadata && strlen(c->metadata) > METADATA_IN_64K && !options)
        options = o->format == FORMAT_QCOW2 ? xstrdup("cluster_size=2M") : NULL;
    static const char *const fixed[] = {"qemu-img", "convert", "-p", "-O"};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        strv_add(&argv, fixed[i]);
    strv_add(&argv, format_name(o->format));
    if (options) {
        strv_add(&argv, "-o");
        strv_add(&argv, options);
    }
    if (compress)
        strv_add(&argv, "-c");
    strv_add(&argv, node);
    strv_add(&argv, made);
    static const struct growth unlimited;
    if (run(s, argv.ptr, c->size, &unlimited, err) < 0)
        return -1;
    return o->format == FORMAT_QCOW2 && c->metadata
               ? qcow2_set_metadata(made, c->metadata, strlen(c->metadata), err)
               : 0;
}

static int write_out(const struct session *s, const char *name, const char *made,
                     const struct image_export *o, struct error **err)
{
    CLEANUP(backend_image_clear) struct backend_image image = {0};
    CLEANUP(strv_clear) struct strv chain = {0};
    if (backend_find(s->backend, name, &image, err) < 0 ||
        backend_image_chain(s->backend, name, &chain, err) < 0)
        return -1;
    struct image_content c = {&chain, image.virtual_size, image.metadata};
    return write_chain(s, &c, made, o, err);
}

/* Gives it the name, and flushes it. */
static int appear(const char *made, const char *file, bool exclusive, struct error **err)
{
    AUTO_CLOSE int fd = open(made, O_RDONLY | O_CLOEXEC);
    int (*rename_to)(const char *from, const char *to) = exclusive ? rename_new : rename;
    if (fd < 0 || (exclusive && fchmod(fd, 0600) < 0) || fsync(fd) < 0 || rename_to(made, file) < 0)
        return errno == EEXIST ? error_set(err, ERR_EXISTS, "'%s' exists", file)
                               : error_errno(err, "cannot write '%s'", file);
    return 0;
}

int image_export_chain(const struct session *s, const struct image_content *c, const char *file,
                       const struct image_export *o, struct error **err)
{
    CLEANUP(export_temp_clear) struct export_temp temp = EXPORT_TEMP_INIT;
    AUTO_FREE char *dir = path_parent(file);
    struct stat st;
    if (stat(file, &st) == 0 && !S_ISREG(st.st_mode))
        return error_set(err, ERR_USER, "'%s' exists and is not a regular file", file);
    if (export_temp_open(&temp, dir, err) < 0 || write_chain(s, c, temp.file, o, err) < 0 ||
        appear(temp.file, file, o->exclusive, err) < 0)
        return -1;
    return fsync_dir(dir, err);
}

int image_export(const struct session *s, const char *name, const char *file,
                 const struct image_export *o, struct error **err)
{
    CLEANUP(backend_image_clear) struct backend_image image = {0};
    CLEANUP(strv_clear) struct strv chain = {0};
    if (backend_find(s->backend, name, &image, err) < 0 ||
        backend_image_chain(s->backend, name, &chain, err) < 0)
        return error_wrap(err, "cannot export image '%s'", name);
    struct image_content c = {&chain, image.virtual_size, image.metadata};
    return image_export_chain(s, &c, file, o, err) < 0
               ? error_wrap(err, "cannot export image '%s'", name)
               : 0;
}

static int copy_out(const struct session *s, const char *made, int to, struct error **err)
{
    enum { CHUNK = 1 << 20 };
    AUTO_FREE char *chunk = xmalloc(CHUNK);
    AUTO_CLOSE int from = open(made, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return error_errno(err, "cannot read '%s'", made);
    for (ssize_t n; (n = read_all(from, chunk, CHUNK)) != 0;) {
        if (n < 0)
            return error_errno(err, "cannot read '%s'", made);
        bool written = write_all(to, chunk, (size_t)n) == 0;
        if (!written && errno == EPIPE)
            session_interrupt(s, SIGPIPE);
        else if (!written)
            return error_errno(err, "cannot write to standard output");
        if (session_cancelled(s))
            return error_set(err, ERR_CANCELLED, "interrupted");
    }
    return 0;
}

int image_export_to(const struct session *s, const char *name, int fd, const struct image_export *o,
                    struct error **err)
{
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    AUTO_FREE char *parent = path_join(s->cache, "work");
    if (working_open(&w, parent, err) < 0)
        return -1;
    AUTO_FREE char *made = path_join(w.dir, "disk");
    if (write_out(s, name, made, o, err) < 0 || copy_out(s, made, fd, err) < 0)
        return error_wrap(err, "cannot export image '%s'", name);
    return 0;
}

int convert_describe(const struct session *s, const char *file, const char *metadata,
                     struct error **err)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    CLEANUP(error_freep) struct error *why = NULL;
    if (qcow2_read(file, 0, &info, err) < 0)
        return -1;
    if (!info.metadata && qcow2_set_metadata(file, metadata, strlen(metadata), &why) < 0)
        session_notice(s, "What is known of the image, such as who logs in, is not recorded: %s",
                       why->message);
    return 0;
}

int image_flatten(const struct session *s, const char *name, struct error **err)
{
    CLEANUP(backend_image_clear) struct backend_image image = {0};
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    if (backend_find(s->backend, name, &image, err) < 0)
        return -1;
    if (!image.thin)
        return 0;
    AUTO_FREE char *parent = path_join(s->backend, WORKING);
    if (working_open(&w, parent, err) < 0)
        return -1;
    AUTO_FREE char *made = path_join(w.dir, "disk");
    struct image_export o = {.format = FORMAT_QCOW2};
    if (write_out(s, name, made, &o, err) < 0)
        return error_wrap(err, "cannot flatten image '%s'", name);
    return backend_register_file(s->backend, name, made, err);
}
