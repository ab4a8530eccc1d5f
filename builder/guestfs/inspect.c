// SPDX-License-Identifier: MIT
//
// `kiln image inspect --deep`: all that libguestfs's inspection knows. What it does not know is not in
// the answer.
#include "builder/guestfs/job.h"

#include <stdlib.h>
#include <string.h>

static void set_known(json_t *o, const char *name, char *value)
{
    if (value && *value && strcmp(value, "unknown") != 0)
        (void)json_object_set_new(o, name, json_string(value));
    free(value);
}

static void set_number(json_t *o, const char *name, int value)
{
    if (value >= 0)
        (void)json_object_set_new(o, name, json_integer(value));
}

static void add_applications(struct job *j, const char *root, json_t *o)
{
    struct guestfs_application2_list *list = guestfs_inspect_list_applications2(j->g, root);
    json_t *all = list ? json_array() : NULL;
    for (uint32_t i = 0; list && i < list->len; i++) {
        const struct guestfs_application2 *a = &list->val[i];
        json_t *one = json_pack("{s:s}", "name", a->app2_name);
        if (*a->app2_version)
            (void)json_object_set_new(one, "version", json_string(a->app2_version));
        if (*a->app2_release)
            (void)json_object_set_new(one, "release", json_string(a->app2_release));
        if (*a->app2_arch)
            (void)json_object_set_new(one, "arch", json_string(a->app2_arch));
        if (a->app2_epoch)
            (void)json_object_set_new(one, "epoch", json_integer(a->app2_epoch));
        (void)json_array_append_new(all, one);
    }
    if (list)
        guestfs_free_application2_list(list);
    if (all)
        (void)json_object_set_new(o, "applications", all);
}

static json_t *system_of(struct job *j, const char *root)
{
    static const struct {
        const char *name;
        char *(*get)(guestfs_h *g, const char *root);
    } texts[] = {
        {"type", guestfs_inspect_get_type},
        {"distro", guestfs_inspect_get_distro},
        {"product", guestfs_inspect_get_product_name},
        {"variant", guestfs_inspect_get_product_variant},
        {"arch", guestfs_inspect_get_arch},
        {"hostname", guestfs_inspect_get_hostname},
        {"osinfo", guestfs_inspect_get_osinfo},
        {"package_format", guestfs_inspect_get_package_format},
        {"package_management", guestfs_inspect_get_package_management},
        {"systemroot", guestfs_inspect_get_windows_systemroot},
    };
    json_t *o = json_pack("{s:s}", "root", root);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        set_known(o, texts[i].name, texts[i].get(j->g, root));
    set_number(o, "major", guestfs_inspect_get_major_version(j->g, root));
    set_number(o, "minor", guestfs_inspect_get_minor_version(j->g, root));
    (void)json_object_del(j->reply, "mounts");
    if (job_mount_root(j, root, true) == 0)
        add_applications(j, root, o);
    if (json_object_get(j->reply, "mounts"))
        (void)json_object_set(o, "mounts", json_object_get(j->reply, "mounts"));
    (void)json_object_del(j->reply, "mounts");
    (void)guestfs_umount_all(j->g);
    return o;
}

static int add_file_systems(struct job *j)
{
    AUTO_LIST list = guestfs_list_filesystems(j->g);
    json_t *all = json_array();
    if (!list)
        return job_failed(j, NULL, NULL);
    for (size_t i = 0; list[i] && list[i + 1]; i += 2) {
        json_t *one = json_pack("{s:s}", "device", list[i]);
        set_known(one, "type", strdup(list[i + 1]));
        set_known(one, "label", guestfs_vfs_label(j->g, list[i]));
        set_known(one, "uuid", guestfs_vfs_uuid(j->g, list[i]));
        int64_t size = guestfs_blockdev_getsize64(j->g, list[i]);
        if (size >= 0)
            (void)json_object_set_new(one, "size", json_integer(size));
        (void)json_array_append_new(all, one);
    }
    (void)json_object_set_new(j->reply, "filesystems", all);
    return 0;
}

int job_inspect(struct job *j)
{
    bool locked = false; // there are warnings of it
    if (job_unlock(j, &locked) < 0)
        return -1;
    AUTO_LIST roots = guestfs_inspect_os(j->g);
    if (!roots)
        return job_failed(j, NULL, NULL);
    json_t *systems = json_array();
    for (size_t i = 0; roots[i]; i++)
        (void)json_array_append_new(systems, system_of(j, roots[i]));
    (void)json_object_set_new(j->reply, "systems", systems);
    return add_file_systems(j);
}
