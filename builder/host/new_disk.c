// SPDX-License-Identifier: MIT
//
// A file for the table, as large as the disk, and one for each file system, as large as its
// partition: mke2fs then needs no offset, and makes what it would make on a device of that size.
// OPTIONS are the Imagefile's, which may be a stranger's: in the builder VM they can do no harm, but
// here "-d /etc" or a device would, so only options that take a plain value pass.
#include "builder/host/internal.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/process.h"
#include "base/session.h"
#include "builder/agent/layout.h"
#include "builder/agent/probe.h"
#include "builder/ext4/job.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Nothing of the caller's changes what is made (MKE2FS_CONFIG): it is the same for the same key. */
#define ENVIRONMENT ARGV("LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")

enum { SECTOR = 512, MKFS_MS = 10 * 60 * 1000 };

void new_disk_clear(struct new_disk *d)
{
    for (size_t i = 0; i < d->n_fds; i++)
        close(d->fds[i]);
    for (size_t i = 0; i < d->paths.len; i++)
        unlink(d->paths.ptr[i]);
    free(d->fds);
    strv_clear(&d->paths);
}

/* A sparse file; its path, borrowed, or NULL. */
static const char *add_file(struct new_disk *d, uint64_t size, struct error **err)
{
    AUTO_FREE char *path = xasprintf("%s-part%zu", d->beside, d->n_fds);
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        error_errno(err, "cannot make '%s'", path);
        return NULL;
    }
    strv_add(&d->paths, path);
    d->fds = xreallocarray(d->fds, d->n_fds + 1, sizeof *d->fds);
    if (ftruncate(fd, (off_t)size) < 0) {
        error_errno(err, "cannot make '%s' %llu bytes long", path, (unsigned long long)size);
        return NULL;
    }
    d->fds[d->n_fds++] = STEAL_FD(fd);
    return d->paths.ptr[d->paths.len - 1];
}

/* sfdisk reads its script from its standard input. */
static int run_sfdisk(const char *path, const struct buf *script, struct error **err)
{
    CLEANUP(process_clear) struct process p = PROCESS_INIT;
    char *const *argv =
        ARGV("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never", path);
    struct process_spec spec = {.argv = argv,
                                .env = ENVIRONMENT,
                                .in = PROCESS_PIPE,
                                .out = PROCESS_NULL,
                                .errors = PROCESS_NULL};
    if (process_start(&p, &spec, err) < 0)
        return -1;
    if (write_all(p.in, script->data, script->len) < 0)
        return error_errno(err, "cannot write to sfdisk");
    close(STEAL_FD(p.in));
    if (process_wait(&p, MKFS_MS, err) < 0)
        return -1;
    AUTO_FREE char *text = process_failed_text(p.status);
    return p.status ? error_set(err, ERR_SYSTEM, "sfdisk %s", text) : 0;
}

/* Whether all words of an OPTIONS text are options whose value is only a value. */
static bool harmless(struct str options)
{
    CLEANUP(strv_clear) struct strv words = {0};
    layout_words(options, &words);
    for (size_t i = 0; i < words.len; i++) {
        const char *w = words.ptr[i];
        if (w[0] != '-' || !w[1] || !strchr("bGgIiLmNOU", w[1]))
            return false;
        if (w[2])
            continue;
        const char *value = i + 1 < words.len ? words.ptr[++i] : NULL;
        if (!value || *value == '-')
            return false;
    }
    return true;
}

static int check_parts(const struct part_list *parts, struct error **err)
{
    size_t mounted = 0;
    vec_foreach (const struct part *, p, parts) {
        if (p->fs.len && !str_is(p->fs, "ext2") && !str_is(p->fs, "ext3") && !str_is(p->fs, "ext4"))
            return error_set(err, ERR_USER, "a partition is to have " STR_FMT, STR_ARG(p->fs));
        if (!harmless(p->options))
            return error_set(err, ERR_USER, "OPTIONS of a partition are unusual");
        mounted += p->fs.len && p->mount.len;
    }
    return mounted == 1 ? 0 : error_set(err, ERR_USER, "not just one partition is mounted");
}

static int run_mkfs(struct new_disk *d, const struct part *p, const char *path, struct error **err)
{
    for (int prezeroed = 1;; prezeroed--) {
        CLEANUP(strv_clear) struct strv argv = {0};
        CLEANUP(error_freep) struct error *first = NULL;
        (void)layout_mkfs(p, prezeroed, &argv); // what it is was checked
        strv_add(&argv, path);
        if (process_run_env(d->s, argv.ptr, ENVIRONMENT, NULL, &first) == 0)
            return 0;
        if (!prezeroed || !strstr(first->message, "assume_storage_prezeroed"))
            return error_propagate(err, STEAL(first));
    }
}

/* The file systems, where sfdisk has made room for them. */
static int make_file_systems(struct new_disk *d, const struct part_list *parts, int table,
                             struct message *ret, struct error **err)
{
    unsigned char head[PROBE_TABLE_BYTES];
    CLEANUP(table_entries_clear) struct table_entries list = {0};
    ssize_t n = pread_all(table, head, sizeof head, 0);
    if (n < 0 || !probe_table(head, (size_t)n, &list) || list.len != parts->len)
        return error_set(err, ERR_USER, "sfdisk made another partition table");
    for (size_t i = 0; i < parts->len; i++) {
        const struct part *p = &parts->ptr[i];
        const struct table_entry *e = &list.ptr[i];
        if (!p->fs.len)
            continue;
        const char *path = add_file(d, e->size * SECTOR, err);
        if (!path || run_mkfs(d, p, path, err) < 0)
            return -1;
        message_put_num(ret, JOB_PART, (uint64_t)d->fds[d->n_fds - 1]);
        message_put_num(ret, JOB_PART_START, e->start * SECTOR);
    }
    return 0;
}

static struct str text(const char *s)
{
    return str_of(s ? s : "");
}

int new_disk_make(struct new_disk *d, const char *table, const struct runner_partition *parts,
                  size_t n, struct message *ret, struct error **err)
{
    CLEANUP(part_list_clear) struct part_list list = {0};
    CLEANUP(buf_clear) struct buf script = BUF_INIT;
    for (size_t i = 0; i < n; i++)
        *part_list_push(&list) =
            (struct part){parts[i].size, text(parts[i].fs), text(parts[i].options),
                          text(parts[i].mount), text(parts[i].flags)};
    if (check_parts(&list, err) < 0)
        return -1;
    layout_script(&list, strcmp(table, "mbr") != 0, &script);
    const char *path = add_file(d, d->size, err);
    if (!path || run_sfdisk(path, &script, err) < 0)
        return -1;
    message_put_num(ret, JOB_KIND, JOB_BUILD);
    message_put_num(ret, JOB_TABLE, (uint64_t)d->fds[0]);
    return make_file_systems(d, &list, d->fds[0], ret, err);
}
