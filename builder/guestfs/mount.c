// SPDX-License-Identifier: MIT
//
// Where nothing is known of a disk, libguestfs's inspection says what is mounted where. A disk without
// an operating system has its only file system at /.
#include "builder/guestfs/job.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

/* The daemon follows /dev/mapper/NAME to /dev/dm-N: a link where there is udev, which there is not here. */
static int link_mappings(struct job *j)
{
    char script[] =
        "for d in /sys/block/dm-*; do n=${d##*/}; read -r name <$d/dm/name; "
        "IFS=: read -r major minor <$d/dev; "
        "[ -b /dev/$n ] || mknod /dev/$n b $major $minor; "
        "ln -sfn ../$n /dev/mapper/$name; done";
    char *words[] = {script, NULL};
    char *said = guestfs_debug(j->g, "sh", words);
    free(said);
    return said ? 0 : -1;
}

/* Opens one device with the first key that fits. */
static bool unlock(struct job *j, const char *device, int number)
{
    char *name = xasprintf("kiln-luks%d", number);
    const json_t *key;
    size_t i;
    bool opened = false;
    json_array_foreach (json_object_get(j->request, "keys"), i, key)
        if (!opened)
            opened = guestfs_cryptsetup_open(j->g, device, json_string_value(key), name, -1) == 0 &&
                     link_mappings(j) == 0;
    free(name);
    return opened;
}

/* Opens those of a list, which it frees, that are encrypted. Returns how many, beginning with `number`. */
static int unlock_list(struct job *j, char **taken, int number, bool *ret_locked)
{
    AUTO_LIST list = taken;
    bool keys = json_array_size(json_object_get(j->request, "keys"));
    int opened = 0;
    for (size_t i = 0; list && list[i]; i++) {
        char *type = guestfs_vfs_type(j->g, list[i]);
        bool luks = type && !strcmp(type, "crypto_LUKS");
        free(type);
        if (!luks)
            continue;
        if (unlock(j, list[i], number + opened)) {
            opened++;
            continue;
        }
        *ret_locked = true;
        char *text = xasprintf(keys ? "the key does not open '%s', which is encrypted with LUKS"
                                    : "'%s' is encrypted with LUKS, and there is no key for it",
                               list[i]);
        job_warn(j, text);
        free(text);
    }
    return opened;
}

int job_unlock(struct job *j, bool *ret_locked)
{
    int opened = unlock_list(j, guestfs_list_devices(j->g), 0, ret_locked);
    opened += unlock_list(j, guestfs_list_partitions(j->g), opened, ret_locked);
    opened += unlock_list(j, guestfs_lvs(j->g), opened, ret_locked);
    return opened && (guestfs_lvm_scan(j->g, 1) < 0 || link_mappings(j) < 0)
               ? job_failed(j, NULL, NULL)
               : 0;
}

static int mount_one(struct job *j, const char *device, const char *path, bool read_only)
{
    return guestfs_mount_options(j->g, read_only ? "ro,noatime" : "noatime", device, path);
}

/* The reply's error once a device could not be mounted. Returns -1. */
static int mount_failed(struct job *j, const char *device)
{
    static const char unknown[] = "unknown filesystem type '";
    const char *why = guestfs_last_error(j->g), *type = why ? strstr(why, unknown) : NULL;
    if (!type)
        return job_failed(j, NULL, NULL);
    type += sizeof unknown - 1;
    char *text = xasprintf("the kernel of the builder VM has no file system '%.*s', which is on %s",
                           (int)strcspn(type, "'"), type, device);
    int rc =
        job_failed(j, text, "KILN_KERNEL=FILE chooses another kernel, with its modules beside it");
    free(text);
    return rc;
}

/* Pairs of mount point and device, shorter mount points first. */
static int by_length(const void *a, const void *b)
{
    size_t x = strlen(*(char *const *)a), y = strlen(*(char *const *)b);
    return (x > y) - (x < y);
}

static void note(struct job *j, const char *path, const char *device)
{
    json_t *list = json_object_get(j->reply, "mounts");
    if (!list)
        (void)json_object_set_new(j->reply, "mounts", list = json_array());
    (void)json_array_append_new(list, json_pack("[s, s]", path, device));
}

int job_mount_root(struct job *j, const char *root, bool read_only)
{
    AUTO_LIST mounts = guestfs_inspect_get_mountpoints(j->g, root);
    size_t n = 0;
    if (!mounts)
        return job_failed(j, NULL, NULL);
    while (mounts[n])
        n++;
    qsort(mounts, n / 2, 2 * sizeof *mounts, by_length);
    for (size_t i = 0; i + 1 < n; i += 2) {
        if (mount_one(j, mounts[i + 1], mounts[i], read_only) == 0) {
            note(j, mounts[i], mounts[i + 1]);
            continue;
        }
        if (!strcmp(mounts[i], "/"))
            return mount_failed(j, mounts[i + 1]);
        char *text = xasprintf("cannot mount '%s' at '%s': %s", mounts[i + 1], mounts[i],
                               guestfs_last_error(j->g));
        job_warn(j, text);
        free(text);
    }
    return 0;
}

static void set_string(struct job *j, const char *name, char *value)
{
    if (value)
        (void)json_object_set_new(j->reply, name, json_string(value));
    free(value);
}

static int mount_system(struct job *j, const char *root, bool read_only)
{
    set_string(j, "type", guestfs_inspect_get_type(j->g, root));
    set_string(j, "arch", guestfs_inspect_get_arch(j->g, root));
    set_string(j, "product", guestfs_inspect_get_product_name(j->g, root));
    return job_mount_root(j, root, read_only);
}

static bool has_no_files(const char *type)
{
    return !strcmp(type, "unknown") || !strcmp(type, "swap") || !strcmp(type, "crypto_LUKS") ||
           !*type;
}

/* A disk that only holds files. */
static int mount_only(struct job *j, bool read_only, bool locked)
{
    AUTO_LIST list = guestfs_list_filesystems(j->g);
    const char *found = NULL;
    size_t n = 0;
    char *seen = xstrdup("");
    if (!list)
        return job_failed(j, NULL, NULL);
    for (size_t i = 0; list[i] && list[i + 1]; i += 2) {
        char *more = xasprintf("%s%s%s (%s)", seen, *seen ? ", " : "", list[i], list[i + 1]);
        free(seen);
        seen = more;
        if (has_no_files(list[i + 1]))
            continue;
        found = list[i];
        n++;
    }
    int rc = 0;
    if (n == 1 && mount_one(j, found, "/", read_only) == 0) {
        note(j, "/", found);
    } else if (n == 1) {
        rc = mount_failed(j, found);
    } else {
        char *text = xasprintf("libguestfs finds no operating system, and %s file system: %s",
                               n ? "more than one" : "no", *seen ? seen : "nothing at all");
        rc = job_failed(j, text,
                        locked ? "--secret id=disk-key,src=FILE is the key of a LUKS disk" : NULL);
        free(text);
    }
    free(seen);
    return rc;
}

static int mount_given(struct job *j, const json_t *given, bool read_only)
{
    size_t i, n = json_array_size(given);
    const json_t *pair;
    char **paths = xcalloc(2 * n + 1, sizeof *paths);
    json_array_foreach (given, i, pair) {
        const char *path = json_string_value(json_array_get(pair, 1));
        paths[2 * i] = xstrdup(path ? path : "/");
        paths[2 * i + 1] =
            xasprintf("/dev/sda%lld", (long long)json_integer_value(json_array_get(pair, 0)));
    }
    qsort(paths, n, 2 * sizeof *paths, by_length);
    int rc = 0;
    for (i = 0; i < n && rc == 0; i++) {
        const char *path = paths[2 * i], *device = paths[2 * i + 1];
        if (strcmp(path, "/") != 0)
            (void)guestfs_mkdir_p(j->g, path);
        if (mount_one(j, device, path, read_only) < 0)
            rc = mount_failed(j, device);
        else
            note(j, path, device);
    }
    list_free(paths);
    return rc;
}

int job_mount(struct job *j)
{
    const json_t *given = json_object_get(j->request, "mounts");
    bool read_only = json_is_true(json_object_get(j->request, "read_only"));
    if (json_array_size(given))
        return mount_given(j, given, read_only);
    bool locked = false;
    if (job_unlock(j, &locked) < 0)
        return -1;
    AUTO_LIST roots = guestfs_inspect_os(j->g);
    if (!roots)
        return job_failed(j, NULL, NULL);
    if (roots[0] && roots[1])
        return job_failed(j, "the disk has more than one operating system", NULL);
    return roots[0] ? mount_system(j, roots[0], read_only) : mount_only(j, read_only, locked);
}
