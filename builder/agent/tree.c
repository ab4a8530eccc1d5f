// SPDX-License-Identifier: MIT
// Freezing: ext3/4 and btrfs have FIFREEZE; the others (vfat, ext2 without a journal, and xfs,
// whose frozen log is left dirty on purpose) are made read-only instead, which leaves them clean.
#include "builder/agent/tree.h"

#include "builder/agent/fstab.h"
#include "builder/agent/sys.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUSY_WAIT_MS = 3000 };

static const struct {
    const char *fs, *data, *read_only_data;
} options[] = {
    {"ext4", "discard,noinit_itable,barrier=0,commit=300", "noload"},
    {"ext3", "discard,barrier=0,commit=300", "noload"},
    {"ext2", "discard", ""},
    {"xfs", "discard,nouuid", "norecovery,nouuid"},
    {"btrfs", "discard=sync,nobarrier", ""},
    {"vfat", "discard,umask=0022", "umask=0022"},
};

int tree_mount(struct slot *s, const struct tree_mount *m, struct error **err)
{
    CLEANUP(buf_clear) struct buf data = BUF_INIT;
    const char *type = m->fs;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (strcmp(options[i].fs, type) == 0)
            buf_adds(&data, m->read_only ? options[i].read_only_data : options[i].data);
    if (m->data && *m->data)
        buf_addf(&data, "%s%s", data.len ? "," : "", m->data);
    unsigned long flags = MS_NOATIME | (m->read_only ? MS_RDONLY : 0);
    if (mount(m->device, m->path, type, flags, data.data) < 0 &&
        // a file system that knows an option less than ours: its own choice then
        (errno != EINVAL || mount(m->device, m->path, type, flags, m->data ? m->data : "") < 0)) {
        error_errno(err, "cannot mount %s '%s' at '%s'", type, m->device, m->path);
        return errno == ENODEV
                   ? error_hint(err, "the builder VM's kernel has no driver for %s", type)
                   : -1;
    }
    struct mounted *r = mounted_list_push(&s->mounts);
    r->path = xstrdup(m->path);
    r->device = xstrdup(m->device);
    r->fs = xstrdup(type);
    r->read_only = m->read_only;
    return 0;
}

int tree_open(struct agent *a, int slot, struct error **err)
{
    AUTO_FREE char *path = xasprintf(AGENT_TREE "%d", slot);
    if (slot < 0 || slot >= AGENT_DISKS || !a->slots[slot].mounts.len)
        return error_set(err, ERR_GUEST, "nothing is mounted at '%s'", path);
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? error_errno(err, "cannot open '%s'", path) : fd;
}

static int read_users(struct agent *a, int slot, struct buf *passwd, struct buf *group,
                      struct error **err)
{
    AUTO_CLOSE int root = tree_open(a, slot, err);
    if (root < 0)
        return -1;
    (void)sys_read_in(root, "etc/passwd", 16 << 20, passwd);
    (void)sys_read_in(root, "etc/group", 16 << 20, group);
    return 0;
}

int tree_who(struct agent *a, int slot, const char *spec, struct who *ret, struct error **err)
{
    CLEANUP(buf_clear) struct buf passwd = BUF_INIT, group = BUF_INIT;
    if (read_users(a, slot, &passwd, &group, err) < 0)
        return -1;
    return who_resolve(spec, buf_str(&passwd), buf_str(&group), ret, err);
}

int tree_owner(struct agent *a, int slot, const char *spec, uid_t *ret_uid, gid_t *ret_gid,
               struct error **err)
{
    CLEANUP(buf_clear) struct buf passwd = BUF_INIT, group = BUF_INIT;
    if (read_users(a, slot, &passwd, &group, err) < 0)
        return -1;
    return owner_resolve(spec, buf_str(&passwd), buf_str(&group), ret_uid, ret_gid, err);
}

static bool freezes(const char *fs)
{
    return strcmp(fs, "ext4") == 0 || strcmp(fs, "ext3") == 0 || strcmp(fs, "btrfs") == 0;
}

static int on_open(const char *path, unsigned long request)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -1 : ioctl(fd, request, 0);
}

static int remount(const struct mounted *m, bool read_only)
{
    unsigned long flags = MS_REMOUNT | MS_NOATIME | (read_only ? MS_RDONLY : 0);
    int64_t end = sys_now_ms() + BUSY_WAIT_MS;
    // files of what was just killed are closed a little later
    while (mount(NULL, m->path, NULL, flags, NULL) < 0) {
        if (errno != EBUSY || sys_now_ms() > end)
            return -1;
        sys_sleep_ms(2);
    }
    return 0;
}

// A file system that is mounted at several places (btrfs subvolumes) freezes once.
static int freeze_one(struct mounted *m, struct error **err)
{
    if (m->read_only || m->frozen)
        return 0;
    m->remounted = !freezes(m->fs);
    if (m->remounted ? remount(m, true) < 0 : on_open(m->path, FIFREEZE) < 0 && errno != EBUSY)
        return error_errno(err, "cannot freeze %s at '%s'", m->fs, m->path);
    m->frozen = true;
    return 0;
}

static int thaw_one(struct mounted *m, struct error **err)
{
    if (!m->frozen)
        return 0;
    // EINVAL: not frozen, which is what a second place of the same file system gives
    if (m->remounted ? remount(m, false) < 0 : on_open(m->path, FITHAW) < 0 && errno != EINVAL)
        return error_errno(err, "cannot thaw %s at '%s'", m->fs, m->path);
    m->frozen = false;
    return 0;
}

static int thaw_all(struct slot *s, struct error **err)
{
    int result = 0;
    vec_foreach (struct mounted *, m, &s->mounts)
        if (thaw_one(m, result ? NULL : err) < 0)
            result = -1;
    return result;
}

int agent_freeze(struct agent *a, const struct request *rq, struct message *reply,
                 struct error **err)
{
    (void)rq, (void)reply;
    struct slot *s = &a->slots[AGENT_DISK_TARGET];
    if (a->frozen)
        return 0;
    sync(); // also what was written past the file systems: boot sectors
    for (size_t i = s->mounts.len; i-- > 0;)
        if (freeze_one(&s->mounts.ptr[i], err) < 0) {
            thaw_all(s, NULL);
            return -1;
        }
    a->frozen = true;
    return 0;
}

int agent_thaw(struct agent *a, struct error **err)
{
    if (!a->frozen)
        return 0;
    if (thaw_all(&a->slots[AGENT_DISK_TARGET], err) < 0)
        return -1;
    a->frozen = false;
    return 0;
}

static int umount_one(const char *path)
{
    int64_t end = sys_now_ms() + BUSY_WAIT_MS;
    while (umount2(path, UMOUNT_NOFOLLOW) < 0) {
        if (errno != EBUSY || sys_now_ms() > end)
            return -1;
        sys_sleep_ms(2);
    }
    return 0;
}

static void forget_volumes(struct slot *s)
{
    if (s->volumes)
        volumes_clear(s->volumes);
    free(STEAL(s->volumes));
}

int tree_umount(struct agent *a, struct slot *s, struct error **err)
{
    if (thaw_all(s, err) < 0)
        return -1;
    if (s == &a->slots[AGENT_DISK_TARGET])
        a->frozen = false;
    while (s->mounts.len) {
        struct mounted *m = &s->mounts.ptr[s->mounts.len - 1];
        if (umount_one(m->path) < 0)
            return error_errno(err, "cannot unmount '%s'", m->path);
        free(m->path);
        free(m->device);
        free(m->fs);
        s->mounts.len--;
    }
    forget_volumes(s);
    return s->lvm ? lvm_deactivate(a, s, err) : 0;
}

int agent_umount(struct agent *a, const struct request *rq, struct message *reply,
                 struct error **err)
{
    (void)reply;
    struct slot *s;
    return agent_slot(a, rq, &s, NULL, err) < 0 ? -1 : tree_umount(a, s, err);
}

struct pair {
    uint64_t index;
    struct str path;
};
DEFINE_VECTOR(pairs, struct pair);

static int by_path(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    return (x->path.len > y->path.len) - (x->path.len < y->path.len);
}

static void make_parents(char *path)
{
    for (char *c = strchr(path + sizeof AGENT_TREE, '/'); c; c = strchr(c + 1, '/')) {
        *c = '\0';
        mkdir(path, 0755);
        *c = '/';
    }
}

static int mount_pair(struct slot *s, int number, const struct pair *p, bool read_only,
                      struct error **err)
{
    const struct volume *found = NULL;
    vec_foreach (const struct volume *, v, s->volumes)
        if ((uint64_t)v->number == p->index)
            found = v;
    if (!found || !found->fs.type)
        return error_set(err, ERR_GUEST, "no file system on partition %llu of '%s'",
                         (unsigned long long)p->index, s->disk);
    AUTO_FREE char *device = xasprintf("/dev/%s", found->name);
    AUTO_FREE char *path = xasprintf(AGENT_TREE "%d" STR_FMT, number, STR_ARG(p->path));
    if (p->path.len == 1)
        path[strlen(path) - 1] = '\0';
    make_parents(path);
    mkdir(path, 0755);
    struct tree_mount m = {
        .device = device, .fs = found->fs.type, .path = path, .read_only = read_only};
    return tree_mount(s, &m, err);
}

// The mounts of a disk that kiln partitioned. A shorter path never lies below a longer one.
static int mount_pairs(struct slot *s, int number, struct pairs *list, bool read_only,
                       struct error **err)
{
    const char *table;
    s->volumes = xcalloc(1, sizeof *s->volumes);
    if (disk_volumes(s->disk, s->volumes, &table, err) < 0)
        return -1;
    qsort(list->ptr, list->len, sizeof *list->ptr, by_path);
    vec_foreach (const struct pair *, p, list)
        if (mount_pair(s, number, p, read_only, err) < 0)
            return -1;
    return 0;
}

static int read_pairs(const struct request *rq, struct pairs *ret, struct error **err)
{
    struct field f = {0};
    while (message_next(&rq->fields, &f)) {
        if (f.tag == AGENT_TAG_DEVICE_INDEX)
            pairs_push(ret)->index = field_num(&f);
        else if (f.tag == AGENT_TAG_PATH && ret->len)
            ret->ptr[ret->len - 1].path = f.value;
    }
    vec_foreach (const struct pair *, p, ret)
        if (!p->path.len || *p->path.ptr != '/' || memchr(p->path.ptr, '\0', p->path.len) ||
            memmem(p->path.ptr, p->path.len, "/..", 3))
            return error_set(err, ERR_USER, "'" STR_FMT "' is not a mount point", STR_ARG(p->path));
    return 0;
}

int agent_mount(struct agent *a, const struct request *rq, struct message *reply,
                struct error **err)
{
    CLEANUP(pairs_clear) struct pairs list = {0};
    AUTO_FREE char *want = NULL;
    struct slot *s;
    int number;
    bool read_only = message_num(&rq->fields, AGENT_TAG_FLAGS, 0) & AGENT_READ_ONLY;
    if (agent_slot(a, rq, &s, &number, err) < 0 || read_pairs(rq, &list, err) < 0 ||
        agent_string(rq, AGENT_TAG_DEVICE, &want, err) < 0)
        return -1;
    if (s->mounts.len)
        return error_set(err, ERR_GUEST, "disk '%s' is mounted already", s->disk);
    int done = list.len ? mount_pairs(s, number, &list, read_only, err)
                        : root_mount(a, s, number, want, read_only, err);
    if (done < 0) {
        tree_umount(a, s, NULL);
        return -1;
    }
    message_puts(reply, AGENT_TAG_DEVICE, s->mounts.ptr[0].device);
    message_puts(reply, AGENT_TAG_FS, s->mounts.ptr[0].fs);
    return 0;
}
