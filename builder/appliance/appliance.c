// SPDX-License-Identifier: MIT
//
// The index holds the names that were looked up (kernel, programs) with what was found, and a
// fingerprint of every file that went in. It is trusted only when all of it is still so; else the
// initramfs is made again under an exclusive lock, hashed, and put in place by a rename.
#include "builder/appliance/appliance.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/process.h"
#include "base/session.h"
#include "base/working.h"
#include "builder/appliance/cpio.h"
#include "builder/appliance/modules.h"
#include "builder/appliance/programs.h"
#include "builder/appliance/unpack.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Raised when the layout of the initramfs or of the index changes. */
#define FORMAT 1

extern const char agent_blob[], agent_blob_end[];

/* Without the first ones nothing works; the rest is there when the kernel has it. */
static const char *const modules_needed[] = {"virtio_pci", "virtio_blk", "virtio_console", "ext4",
                                             NULL};
static const char *const modules_wanted[] = {"virtio_net",
                                             "virtio_rng",
                                             "crc32c_generic",
                                             "libcrc32c",
                                             "xxhash_generic",
                                             "blake2b_generic",
                                             "sha256_generic",
                                             "xfs",
                                             "btrfs",
                                             "vfat",
                                             "nls_cp437",
                                             "nls_iso8859_1",
                                             "nls_ascii",
                                             "nls_utf8",
                                             "dm_mod",
                                             "overlay",
                                             "loop",
                                             "isofs",
                                             "squashfs",
                                             "fuse",
                                             "tun",
                                             "dm_snapshot",
                                             "dm_thin_pool",
                                             NULL};

static const struct program {
    const char *name, *package, *links; /* links: further names, separated by blanks */
} programs[] = {
    {"sfdisk", "fdisk", NULL},
    {"mke2fs", "e2fsprogs", "mkfs.ext2 mkfs.ext3 mkfs.ext4"},
    {"mkfs.xfs", "xfsprogs", NULL},
    {"mkfs.btrfs", "btrfs-progs", NULL},
    {"mkfs.vfat", "dosfstools", "mkfs.fat"},
    {"mkswap", "util-linux", NULL},
    {"blkid", "util-linux", NULL},
    {"lvm", "lvm2", NULL},
};
enum { N_PROGRAMS = sizeof programs / sizeof *programs };

/* The same file has the same text; owned. "-" for one that is not there. */
static char *fingerprint(const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return xstrdup("-");
    return xasprintf("%llx:%llx:%lld:%lld.%09ld:%lld.%09ld", (unsigned long long)st.st_dev,
                     (unsigned long long)st.st_ino, (long long)st.st_size,
                     (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec,
                     st.st_ctim.tv_nsec);
}

/* What a search on this host finds now: new reference, compared as a whole with the index. */
static json_t *choices(const struct kernel *k)
{
    json_t *found = json_array();
    for (size_t i = 0; i < N_PROGRAMS; i++) {
        AUTO_FREE char *path = process_find(programs[i].name);
        json_array_append_new(found, path ? json_string(path) : json_null());
    }
    return json_pack("{s:i, s:s, s:s, s:o}", "format", FORMAT, "kernel", k->path, "modules",
                     k->modules, "programs", found);
}

static void note_input(json_t *files, const char *path)
{
    AUTO_FREE char *print = fingerprint(path);
    json_object_set_new(files, path, json_string(print));
}

static bool inputs_unchanged(const json_t *files)
{
    const char *path;
    json_t *value;
    json_object_foreach ((json_t *)files, path, value) {
        AUTO_FREE char *now = fingerprint(path);
        if (!json_is_string(value) || strcmp(json_string_value(value), now) != 0)
            return false;
    }
    return json_object_size(files) > 0;
}

static void tell_absent(struct appliance *a)
{
    for (size_t i = 0; i < N_PROGRAMS; i++) {
        AUTO_FREE char *path = process_find(programs[i].name);
        if (!path)
            strv_addf(&a->absent, "%s (package %s)", programs[i].name, programs[i].package);
    }
}

/* True if the index is about just this host as it is now; fills initrd and digest. */
static bool load_index(const char *store, struct appliance *a)
{
    AUTO_FREE char *path = path_join(store, "index.json");
    json_auto_t *index = json_read_file(path, NULL);
    json_auto_t *now = choices(&a->kernel);
    if (!index || !now || !json_equal(json_object_get(index, "choices"), now) ||
        !inputs_unchanged(json_object_get(index, "files")))
        return false;
    const char *name = json_str(index, "initrd"), *digest = json_str(index, "digest");
    if (!name || !digest || strlen(digest) != DIGEST_HEX || strchr(name, '/'))
        return false;
    AUTO_FREE char *dir = path_join(store, name);
    AUTO_FREE char *initrd = path_join(dir, "initrd.img");
    struct stat st;
    if (stat(initrd, &st) < 0 || st.st_size != json_int(index, "size", -1))
        return false;
    a->initrd = STEAL(initrd);
    memcpy(a->digest, digest, DIGEST_HEX + 1);
    return true;
}

static int add_module(struct cpio *c, const char *path, struct buf *list, struct error **err)
{
    const char *base = strrchr(path, '/') + 1;
    const char *end = strstr(base, ".ko");
    AUTO_FREE char *dest = xasprintf("lib/modules/%.*s.ko", (int)(end - base), base);
    buf_addf(list, "/%s\n", dest);
    if (end[3] == '\0')
        return cpio_copy(c, dest, 0644, path, err);
    CLEANUP(buf_clear) struct buf plain = BUF_INIT;
    if (unpack_file(path, &plain, err) < 0)
        return -1;
    return cpio_file(c, dest, 0644, plain.data, plain.len, err);
}

static int add_modules(struct cpio *c, const struct kernel *k, json_t *files, struct error **err)
{
    CLEANUP(strv_clear) struct strv paths = {0}, missing = {0};
    CLEANUP(buf_clear) struct buf list = BUF_INIT;
    if (modules_resolve(k->modules, modules_needed, &paths, &missing, err) < 0)
        return -1;
    if (missing.len) {
        error_set(err, ERR_NOT_FOUND, "kernel %s has no module '%s'", k->version, missing.ptr[0]);
        return error_hint(err,
                          "install the distribution's standard or cloud kernel, or set "
                          "KILN_KERNEL");
    }
    if (modules_resolve(k->modules, modules_wanted, &paths, NULL, err) < 0)
        return -1;
    for (size_t i = 0; i < paths.len; i++) {
        note_input(files, paths.ptr[i]);
        if (add_module(c, paths.ptr[i], &list, err) < 0)
            return -1;
    }
    return cpio_file(c, "lib/modules.list", 0644, list.data, list.len, err);
}

static int add_links(struct cpio *c, const struct program *p, struct error **err)
{
    AUTO_FREE char *names = xstrdup(p->links ? p->links : "");
    for (char *save = NULL, *n = strtok_r(names, " ", &save); n; n = strtok_r(NULL, " ", &save)) {
        AUTO_FREE char *path = xasprintf("sbin/%s", n);
        if (cpio_symlink(c, path, p->name, err) < 0)
            return -1;
    }
    return 0;
}

static int add_programs(const struct session *s, struct cpio *c, json_t *files, struct error **err)
{
    CLEANUP(strv_clear) struct strv libraries = {0};
    for (size_t i = 0; i < N_PROGRAMS; i++) {
        AUTO_FREE char *path = process_find(programs[i].name);
        AUTO_FREE char *dest = xasprintf("sbin/%s", programs[i].name);
        if (!path)
            continue;
        note_input(files, path);
        if (program_libraries(s, path, &libraries, err) < 0 ||
            cpio_copy(c, dest, 0755, path, err) < 0 || add_links(c, &programs[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < libraries.len; i++) {
        note_input(files, libraries.ptr[i]);
        if (cpio_copy(c, libraries.ptr[i] + 1, 0755, libraries.ptr[i], err) < 0)
            return -1;
    }
    return 0;
}

static int add_config(struct cpio *c, json_t *files, struct error **err)
{
    static const char config[] = "/etc/mke2fs.conf";
    note_input(files, config);
    return access(config, R_OK) == 0 ? cpio_copy(c, config + 1, 0644, config, err) : 0;
}

static int write_initrd(const struct session *s, int fd, const struct kernel *k, json_t *files,
                        struct error **err)
{
    CLEANUP(cpio_clear) struct cpio c;
    cpio_init(&c, fd);
    static const char *const dirs[] = {"dev", "proc", "sys", "run", "tmp", "tree"};
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        if (cpio_dir(&c, dirs[i], 0755, err) < 0)
            return -1;
    // the kernel opens it before the agent can mount devtmpfs
    if (cpio_device(&c, "dev/console", 0600, 5, 1, err) < 0 ||
        cpio_file(&c, "init", 0755, agent_blob, (size_t)(agent_blob_end - agent_blob), err) < 0 ||
        add_modules(&c, k, files, err) < 0 || add_programs(s, &c, files, err) < 0 ||
        add_config(&c, files, err) < 0)
        return -1;
    return cpio_finish(&c, err);
}

/* The name under which templates are kept: kernel and initramfs together. */
static int both_digests(const char *kernel, const struct digest *initrd, char hex[DIGEST_HEX + 1],
                        struct error **err)
{
    struct digest of_kernel;
    AUTO_CLOSE int fd = open(kernel, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot read kernel '%s'", kernel);
    if (digest_of_fd(fd, &of_kernel, err) < 0)
        return -1;
    struct digest both[2] = {of_kernel, *initrd}, sum = digest_of(both, sizeof both);
    digest_hex(&sum, hex);
    return 0;
}

/* Renames the finished folder into the store; one of the same name has the same content. */
static int put_in_place(const char *store, const char *from, const char *name, int64_t size,
                        char **ret, struct error **err)
{
    AUTO_FREE char *dir = path_join(store, name);
    AUTO_FREE char *initrd = path_join(dir, "initrd.img");
    struct stat st;
    if (stat(initrd, &st) < 0 || st.st_size != size) {
        if (remove_tree(dir, err) < 0)
            return -1;
        if (rename(from, dir) < 0)
            return error_errno(err, "cannot make '%s'", dir);
    }
    *ret = STEAL(initrd);
    return 0;
}

/* Removes initramfs that nobody has made or used for a while; the exclusive lock is held, but a
 * build that has just read the index may be about to start QEMU on an older one. */
static void prune(const char *store, const char *current)
{
    enum { KEEP_SECONDS = 7 * 24 * 3600 };
    DIR *d = opendir(store);
    for (struct dirent *e; d && (e = readdir(d));) {
        AUTO_FREE char *dir = path_join(store, e->d_name);
        struct stat st;
        if (strlen(e->d_name) == DIGEST_HEX && strcmp(e->d_name, current) != 0 &&
            stat(dir, &st) == 0 && st.st_mtime < time(NULL) - KEEP_SECONDS)
            (void)remove_tree(dir, NULL);
    }
    if (d)
        closedir(d);
}

static int make(const struct session *s, const char *store, struct appliance *a, struct error **err)
{
    AUTO_FREE char *parent = path_join(store, ".working");
    working_sweep(parent);
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    if (working_open(&w, parent, err) < 0)
        return -1;
    AUTO_FREE char *dir = path_join(w.dir, "new");
    AUTO_FREE char *temp = path_join(dir, "initrd.img");
    if (make_dirs(dir, 0700, err) < 0)
        return -1;
    AUTO_CLOSE int fd = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return error_errno(err, "cannot make '%s'", temp);
    json_auto_t *files = json_object();
    note_input(files, "/proc/self/exe");
    note_input(files, a->kernel.path);
    AUTO_FREE char *dep = path_join(a->kernel.modules, "modules.dep");
    note_input(files, dep);
    struct digest digest;
    struct stat st;
    if (write_initrd(s, fd, &a->kernel, files, err) < 0 || digest_of_fd(fd, &digest, err) < 0)
        return -1;
    if (fstat(fd, &st) < 0 || fsync(fd) < 0)
        return error_errno(err, "cannot write '%s'", temp);
    char name[DIGEST_HEX + 1];
    digest_hex(&digest, name);
    if (both_digests(a->kernel.path, &digest, a->digest, err) < 0 ||
        put_in_place(store, dir, name, st.st_size, &a->initrd, err) < 0)
        return -1;
    prune(store, name);
    AUTO_FREE char *path = path_join(store, "index.json");
    json_auto_t *index =
        json_pack("{s:o, s:O, s:s, s:I, s:s}", "choices", choices(&a->kernel), "files", files,
                  "initrd", name, "size", (json_int_t)st.st_size, "digest", a->digest);
    if (!index)
        return error_set(err, ERR_USER, "a path of the host's programs is not UTF-8");
    return json_write_file(path, 0644, index, err);
}

int appliance_get(const struct session *s, struct appliance *ret, struct error **err)
{
    CLEANUP(appliance_clear) struct appliance a = APPLIANCE_INIT;
    AUTO_FREE char *store = path_join(s->cache, "appliance");
    AUTO_FREE char *lock_path = path_join(store, "lock");
    if (kernel_find(s, &a.kernel, err) < 0)
        return -1;
    if (!load_index(store, &a)) {
        if (make_dirs(store, 0700, err) < 0)
            return -1;
        AUTO_CLOSE int lock = lock_wait(lock_path, LOCK_EXCLUSIVE, s->cancel_fd, err);
        if (lock < 0)
            return -1;
        if (!load_index(store, &a) && make(s, store, &a, err) < 0)
            return error_wrap(err, "cannot make the builder VM's initramfs");
    }
    tell_absent(&a);
    *ret = a;
    a = (struct appliance)APPLIANCE_INIT;
    return 0;
}

static bool is_whole(const struct appliance *a)
{
    char hex[DIGEST_HEX + 1];
    struct digest initrd;
    AUTO_CLOSE int fd = open(a->initrd, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && digest_of_fd(fd, &initrd, NULL) == 0 &&
           both_digests(a->kernel.path, &initrd, hex, NULL) == 0 && !strcmp(hex, a->digest);
}

int appliance_check(const struct session *s, struct appliance *a, struct error **err)
{
    if (is_whole(a))
        return 0;
    AUTO_FREE char *index = xasprintf("%s/appliance/index.json", s->cache);
    session_notice(s, "the builder VM's initramfs is damaged: rebuilding it");
    (void)unlink(a->initrd);
    (void)unlink(index);
    appliance_clear(a);
    return appliance_get(s, a, err);
}

void appliance_clear(struct appliance *a)
{
    kernel_clear(&a->kernel);
    free(a->initrd);
    strv_clear(&a->absent);
    *a = (struct appliance)APPLIANCE_INIT;
}
