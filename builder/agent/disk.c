// SPDX-License-Identifier: MIT
// Disks are read with O_DIRECT where their content is judged: the page cache of a disk that was
// exchanged under us is not to be believed.
#include "builder/agent/disk.h"

#include "base/buf.h"
#include "builder/agent/sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { SIZE_WAIT_MS = 10000, SECTOR = 512 };

void disk_find_slots(struct agent *a)
{
    DIR *d = opendir("/sys/block");
    for (struct dirent *e; d && (e = readdir(d));) {
        CLEANUP(buf_clear) struct buf path = BUF_INIT;
        char serial[32];
        buf_addf(&path, "/sys/block/%s/serial", e->d_name);
        if (e->d_name[0] == '.' || sys_read(path.data, serial, sizeof serial) < 0 ||
            strncmp(serial, "kiln", 4) != 0 || serial[4] < '0' || serial[4] >= '0' + AGENT_DISKS ||
            serial[5])
            continue;
        struct slot *s = &a->slots[serial[4] - '0'];
        snprintf(s->disk, sizeof s->disk, "%.31s", e->d_name);
    }
    if (d)
        closedir(d);
}

uint64_t disk_size(const char *disk)
{
    char path[128];
    snprintf(path, sizeof path, "/sys/class/block/%s/size", disk);
    return sys_read_num(path, 0) * SECTOR;
}

int disk_reread(const char *disk, struct error **err)
{
    AUTO_FREE char *path = xasprintf("/dev/%s", disk);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot open '%s'", path);
    if (ioctl(fd, BLKRRPART) < 0)
        return error_errno(err, "cannot reread the partitions of '%s'", path);
    return 0;
}

// Whether the kernel knows partitions of the disk.
static bool has_partitions(const char *disk)
{
    AUTO_FREE char *folder = xasprintf("/sys/block/%s", disk);
    bool found = false;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && !found && (e = readdir(d));)
        found = strncmp(e->d_name, disk, strlen(disk)) == 0;
    if (d)
        closedir(d);
    return found;
}

int agent_disk(struct agent *a, const struct request *rq, struct message *reply, struct error **err)
{
    (void)reply;
    struct slot *s;
    uint64_t want = message_num(&rq->fields, AGENT_TAG_SIZE, 0);
    if (agent_slot(a, rq, &s, NULL, err) < 0)
        return -1;
    if (s->mounts.len)
        return error_set(err, ERR_GUEST, "the tree of disk '%s' is mounted", s->disk);
    int64_t end = sys_now_ms() + SIZE_WAIT_MS;
    uint64_t size;
    while ((size = disk_size(s->disk)) != want) {
        if (sys_now_ms() > end)
            return error_set(err, ERR_GUEST, "disk '%s' has %llu bytes and not %llu", s->disk,
                             (unsigned long long)size, (unsigned long long)want);
        sys_sleep_ms(1);
    }
    // the stream disk and empty slots have no table: nothing to look for, and every read costs,
    // unless a disk that was there before had one
    if ((want == AGENT_EMPTY_SIZE && !has_partitions(s->disk)) || s == &a->slots[AGENT_DISK_STREAM])
        return 0;
    return disk_reread(s->disk, err);
}

// The first n bytes of a device, fewer when it is smaller; owned, aligned. NULL with errno.
static unsigned char *read_head(const char *name, size_t n, size_t *ret_n)
{
    AUTO_FREE char *path = xasprintf("/dev/%s", name);
    AUTO_FREE void *bytes = NULL;
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (fd < 0 || posix_memalign(&bytes, 4096, (n + 4095) & ~(size_t)4095) != 0)
        return NULL;
    ssize_t got = pread(fd, bytes, (n + 4095) & ~(size_t)4095, 0);
    if (got < 0)
        return NULL;
    *ret_n = (size_t)got < n ? (size_t)got : n;
    return STEAL(bytes);
}

int disk_probe(struct volume *v, struct error **err)
{
    AUTO_FREE char *path = xasprintf("/dev/%s", v->name);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, BLKGETSIZE64, &v->size) < 0)
        return error_errno(err, "cannot open '%s'", path);
    size_t n = 0;
    AUTO_FREE unsigned char *head = read_head(v->name, PROBE_FS_BYTES, &n);
    if (!head)
        return error_errno(err, "cannot read '%s'", path);
    probe_fs(head, n, &v->fs);
    return 0;
}

static int by_number(const void *a, const void *b)
{
    const struct volume *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

// The kernel's view (which knows logical partitions too), with the table's types and names.
static int list_partitions(const char *disk, const struct table_entries *table, struct volumes *ret,
                           struct error **err)
{
    AUTO_FREE char *folder = xasprintf("/sys/block/%s", disk);
    DIR *d = opendir(folder);
    int result = 0;
    for (struct dirent *e; d && result == 0 && (e = readdir(d));) {
        CLEANUP(buf_clear) struct buf path = BUF_INIT;
        buf_addf(&path, "%s/%s/partition", folder, e->d_name);
        int number = e->d_name[0] == '.' ? 0 : (int)sys_read_num(path.data, 0);
        if (number <= 0)
            continue;
        struct volume *v = volumes_push(ret);
        snprintf(v->name, sizeof v->name, "%.63s", e->d_name);
        v->number = number;
        vec_foreach (const struct table_entry *, t, table)
            if (t->number == number)
                v->entry = *t;
        result = disk_probe(v, err);
    }
    if (d)
        closedir(d);
    if (ret->len)
        qsort(ret->ptr, ret->len, sizeof *ret->ptr, by_number);
    return result;
}

// The kernel looks for a table of sectors of its own size, and is told of one of larger ones.
static void add_partitions(const char *disk, const struct table_entries *table)
{
    AUTO_FREE char *path = xasprintf("/dev/%s", disk);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    vec_foreach (const struct table_entry *, t, table) {
        struct blkpg_partition part = {.start = (long long)(t->start * SECTOR),
                                       .length = (long long)(t->size * SECTOR),
                                       .pno = t->number};
        struct blkpg_ioctl_arg arg = {
            .op = BLKPG_ADD_PARTITION, .datalen = sizeof part, .data = &part};
        if (ioctl(fd, BLKPG, &arg) < 0 && errno != EBUSY) // EBUSY: it is there already
            sys_log("partition %d of '%s': %s", t->number, path, strerror(errno));
    }
}

int disk_volumes(const char *disk, struct volumes *ret, const char **ret_table, struct error **err)
{
    CLEANUP(table_entries_clear) struct table_entries table = {0};
    size_t n = 0;
    AUTO_FREE unsigned char *head = read_head(disk, PROBE_TABLE_BYTES, &n);
    if (!head)
        return error_errno(err, "cannot read disk '%s'", disk);
    const char *kind = probe_table(head, n, &table);
    *ret_table = kind ? kind : "none";
    if (kind && probe_sector(head, n) != SECTOR)
        add_partitions(disk, &table);
    if (kind)
        return list_partitions(disk, &table, ret, err);
    struct volume *v = volumes_push(ret);
    snprintf(v->name, sizeof v->name, "%s", disk);
    return disk_probe(v, err);
}

char *disk_describe(const struct volumes *list)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    vec_foreach (const struct volume *, v, list) {
        buf_addf(&b, "%s%s (%s, ", b.len ? ", " : "", v->name, v->fs.type ? v->fs.type : "unknown");
        buf_add_size(&b, v->size);
        buf_adds(&b, ")");
    }
    if (!b.len)
        buf_adds(&b, "no partitions");
    return buf_detach(&b, NULL);
}
