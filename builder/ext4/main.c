// SPDX-License-Identifier: MIT
// kiln-ext4: reads its job, enters the sandbox, opens the chain, does it.
#include "base/alloc.h"
#include "base/file.h"
#include "builder/agent/message.h"
#include "builder/agent/passwd.h"
#include "builder/ext4/job.h"
#include "builder/ext4/place.h"
#include "builder/ext4/sandbox.h"

#include <endian.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define USERS_MAX (16u << 20) /* bytes of an /etc/passwd that is looked at */

void alloc_failed(void)
{
    static const char text[] = "out of memory";
    _exit(write(STDOUT_FILENO, text, sizeof text - 1) < 0 ? 2 : 1);
}

static int read_job(struct message *ret, struct error **err)
{
    uint32_t n;
    if (read_all(STDIN_FILENO, &n, sizeof n) != sizeof n || (n = le32toh(n)) > JOB_MAX)
        return error_set(err, ERR_SYSTEM, "there is no job");
    buf_reserve(&ret->bytes, n);
    if (read_all(STDIN_FILENO, ret->bytes.data, n) != (ssize_t)n)
        return error_set(err, ERR_SYSTEM, "the job is cut off");
    ret->bytes.len = n;
    return message_valid(ret) ? 0 : error_set(err, ERR_SYSTEM, "the job is damaged");
}

/* Owned; NULL: it has none. */
static char *text_of(const struct message *job, unsigned tag)
{
    struct str value;
    return message_get(job, tag, &value) ? str_dup(value) : NULL;
}

static struct qcow2_chain *open_chain(const struct message *job, struct error **err)
{
    struct field f = {0};
    AUTO_FREE int *fds = NULL;
    size_t n = 0;
    while (message_next(job, &f))
        if (f.tag == JOB_FILE) {
            fds = xreallocarray(fds, n + 1, sizeof *fds);
            fds[n++] = (int)field_num(&f);
        }
    return qcow2_chain_open(fds, n, err);
}

static int find_owner(struct tree *t, const char *owner, uid_t *ret_uid, gid_t *ret_gid,
                      struct error **err)
{
    CLEANUP(buf_clear) struct buf passwd = BUF_INIT, group = BUF_INIT;
    if (!owner)
        return 0;
    if (tree_read(t, "/etc/passwd", USERS_MAX, &passwd, err) < 0 ||
        tree_read(t, "/etc/group", USERS_MAX, &group, err) < 0)
        return -1;
    return owner_resolve(owner, buf_str(&passwd), buf_str(&group), ret_uid, ret_gid, err);
}

static int make_folder(struct tree *t, const char *path, const char *owner, struct error **err)
{
    CLEANUP(buf_clear) struct buf real = BUF_INIT;
    struct tree_as as = {0, 0, 0755};
    if (find_owner(t, owner, &as.uid, &as.gid, err) < 0 ||
        tree_resolve(t, path, NULL, &real, err) < 0 || !tree_folder(t, real.data, &as, err))
        return -1;
    return folders_finish(t->folders, err);
}

static int take_entries(struct place *p, struct tap *tap, struct error **err)
{
    for (;;) {
        struct entry e;
        if (tap_entry(tap, &e, err) < 0)
            return -1;
        if (e.head.type == STREAM_END)
            return 0;
        if (e.head.type == STREAM_ABORT)
            return error_set(err, ERR_GUEST, STR_FMT, STR_ARG(e.path));
        if (place_entry(p, tap, &e, err) < 0)
            return -1;
    }
}

static int receive(struct tree *t, const struct message *job, const char *path, const char *owner,
                   struct error **err)
{
    CLEANUP(tap_clear) struct tap tap = {.fd = STDIN_FILENO};
    AUTO_FREE char *chmod = text_of(job, JOB_MODE);
    struct place_spec spec = {.dest = path,
                              .folder = message_num(job, JOB_FOLDER, 0),
                              .has_owner = owner,
                              .chmod = chmod};
    if (find_owner(t, owner, &spec.uid, &spec.gid, err) < 0)
        return -1;
    CLEANUP(place_clear) struct place p;
    place_init(&p, t, &spec);
    return take_entries(&p, &tap, err) < 0 || folders_finish(t->folders, err) < 0 ||
                   place_finish(&p, err) < 0
               ? -1
               : 0;
}

static int change_tree(struct qcow2_chain *disk, const struct message *job, struct error **err)
{
    CLEANUP(volume_clear) struct volume v = {0};
    CLEANUP(tree_clear) struct tree t = {.v = &v};
    AUTO_FREE char *path = text_of(job, JOB_PATH), *owner = text_of(job, JOB_OWNER);
    struct field f = {0};
    while (message_next(job, &f))
        if (f.tag == JOB_MOUNT)
            strv_add_take(&t.mounts, str_dup(f.value));
    if (volume_open(&v, disk, (unsigned)message_num(job, JOB_PARTITION, 0), err) < 0)
        return -1;
    t.folders = folders_new(&v);
    int rc = message_num(job, JOB_KIND, 0) == JOB_MKDIR ? make_folder(&t, path, owner, err)
                                                        : receive(&t, job, path, owner, err);
    return rc < 0 ? -1 : volume_close(&v, err);
}

/* The parts of a file that hold data, to `start` of the disk. */
static int copy_part(struct qcow2_chain *disk, int fd, uint64_t start, struct error **err)
{
    enum { PIECE = 1 << 20 };
    AUTO_FREE char *piece = xmalloc(PIECE);
    off_t at = 0, hole;
    while ((at = lseek(fd, at, SEEK_DATA)) >= 0 && (hole = lseek(fd, at, SEEK_HOLE)) > at)
        while (at < hole) {
            size_t n = hole - at < PIECE ? (size_t)(hole - at) : PIECE;
            if (pread_all(fd, piece, n, at) != (ssize_t)n)
                return error_errno(err, "cannot read what mkfs made");
            if (qcow2_chain_write(disk, piece, n, start + (uint64_t)at, err) < 0)
                return -1;
            at += (off_t)n;
        }
    return errno == ENXIO ? 0 : error_errno(err, "cannot read what mkfs made");
}

static int build_disk(struct qcow2_chain *disk, const struct message *job, struct error **err)
{
    struct field f = {0};
    int fd = (int)message_num(job, JOB_TABLE, 0);
    if (copy_part(disk, fd, 0, err) < 0)
        return -1;
    while (message_next(job, &f)) {
        if (f.tag == JOB_PART)
            fd = (int)field_num(&f);
        else if (f.tag == JOB_PART_START && copy_part(disk, fd, field_num(&f), err) < 0)
            return -1;
    }
    return 0;
}

static int run(struct error **err)
{
    CLEANUP(message_clear) struct message job = MESSAGE_INIT;
    if (read_job(&job, err) < 0 || sandbox_enter(err) < 0)
        return -1;
    CLEANUP(qcow2_chain_freep) struct qcow2_chain *disk = open_chain(&job, err);
    if (!disk)
        return -1;
    int rc = message_num(&job, JOB_KIND, 0) == JOB_BUILD ? build_disk(disk, &job, err)
                                                         : change_tree(disk, &job, err);
    return rc < 0 ? -1 : qcow2_chain_finish(disk, err);
}

int main(void)
{
    CLEANUP(error_freep) struct error *err = NULL;
    if (run(&err) == 0)
        _exit(0);
    int status = err->kind == ERR_GUEST ? JOB_ABORTED : JOB_DECLINED;
    _exit(write_all(STDOUT_FILENO, err->message, strlen(err->message)) < 0 ? 3 : status);
}
