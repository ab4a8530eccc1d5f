// SPDX-License-Identifier: MIT
//
// The tree is a tmpfs that is put over /tmp, filled with bind mounts of what was opened before, and made
// the root. Landlock forbids mounting, so it comes second.
#include "vm/confine.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define READ_RIGHTS \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FILE_RIGHTS \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | \
     TRUNCATE)
#define TRUNCATE (1ULL << 14) /* LANDLOCK_ACCESS_FS_TRUNCATE, of ABI 3 */

/* What programs need to start, and to know their user; what is not there is not missed. */
static const char *const needed[] = {"/usr",
                                     "/bin",
                                     "/lib",
                                     "/lib64",
                                     "/etc/ld.so.cache",
                                     "/etc/ld.so.preload",
                                     "/etc/passwd",
                                     "/etc/group",
                                     "/etc/nsswitch.conf",
                                     "/etc/localtime",
                                     "/run/nscd",
                                     "/run/systemd/userdb",
                                     "/var/lib/sss/mc",
                                     "/var/lib/sss/pipes",
                                     "/nix/store",
                                     "/gnu/store",
                                     "/dev/null"};

enum { NEEDED = sizeof needed / sizeof *needed, PLACES = NEEDED + 2 };

/* --- a tree of its own --- */

struct place {
    const char *path;
    int fd;
    bool writable;
};

struct places {
    struct place list[PLACES];
    size_t n;
};

static void places_clear(struct places *p)
{
    for (size_t i = 0; i < p->n; i++)
        close(p->list[i].fd);
}

static bool is_below(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    return !strncmp(path, folder, n) && (!path[n] || path[n] == '/' || (n && folder[n - 1] == '/'));
}

static void open_place(struct places *p, const char *path, bool writable)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd >= 0)
        p->list[p->n++] = (struct place){path, fd, writable};
}

/* The folder comes last, as it may be below another place. */
static void open_places(struct places *p, const struct confine *c)
{
    for (size_t i = 0; i < NEEDED; i++)
        if (!is_below(needed[i], c->folder))
            open_place(p, needed[i], !strcmp(needed[i], "/dev/null"));
    bool there = is_below(c->program, c->folder);
    for (size_t i = 0; i < NEEDED; i++)
        there = there || is_below(c->program, needed[i]);
    if (!there)
        open_place(p, c->program, false);
    open_place(p, c->folder, !c->read_only);
}

static int write_file(const char *path, const char *text)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -1 : write_all(fd, text, strlen(text));
}

/* A mount namespace; root's own needs no user namespace, which would hide the other owners. */
static int enter_namespaces(void)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (!uid)
        return unshare(CLONE_NEWNS);
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return -1;
    AUTO_FREE char *users = xasprintf("%u %u 1\n", uid, uid);
    AUTO_FREE char *groups = xasprintf("%u %u 1\n", gid, gid);
    return write_file("/proc/self/setgroups", "deny") < 0 ||
                   write_file("/proc/self/uid_map", users) < 0 ||
                   write_file("/proc/self/gid_map", groups) < 0
               ? -1
               : 0;
}

static int make_file(const char *path)
{
    AUTO_FREE char *folder = path_parent(path);
    if (make_dirs(folder, 0755, NULL) < 0)
        return -1;
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    return fd < 0 ? -1 : 0;
}

/* Puts a place below the working directory, the new root. */
static int bind_place(const struct place *p)
{
    struct stat st;
    AUTO_FREE char *from = xasprintf("/proc/self/fd/%d", p->fd);
    AUTO_FREE char *to = xasprintf(".%s", p->path);
    if (fstat(p->fd, &st) < 0)
        return -1;
    if (S_ISDIR(st.st_mode) ? make_dirs(to, 0755, NULL) < 0 : make_file(to) < 0)
        return -1;
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
        return -1;
    return p->writable ? 0 : mount_setattr(AT_FDCWD, to, AT_RECURSIVE, &attr, sizeof attr);
}

static int fill_tree(const struct places *p)
{
    if (chdir("/tmp") < 0)
        return -1;
    for (size_t i = 0; i < p->n; i++)
        if (bind_place(&p->list[i]) < 0)
            return -1;
    // the old root goes on top of the new one, and away (pivot_root(2))
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0)
        return -1;
    return chdir("/");
}

/* 0, or -1: the files are as they were. A folder that holds all of the host needs no tree. */
static int own_tree(const struct confine *c)
{
    CLEANUP(places_clear) struct places p = {0};
    if (!strcmp(c->folder, "/") || enter_namespaces() < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -1;
    open_places(&p, c); // what was opened in another namespace cannot be mounted
    if (mount("kiln", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=1m") < 0)
        return -1;
    if (fill_tree(&p) == 0)
        return 0;
    (void)chdir("/");
    (void)umount2("/tmp", MNT_DETACH);
    return -1;
}

/* --- rules --- */

/* Landlock's version; 0 = the kernel has none. */
static int landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return version < 0 ? 0 : (int)version;
}

/* All rights of files that this version knows. */
static uint64_t all_rights(int version)
{
    uint64_t first = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1; // those of version 1
    return first | (version >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0) | (version >= 3 ? TRUNCATE : 0);
}

static void allow(int rules, const char *path, uint64_t rights)
{
    struct stat st;
    AUTO_CLOSE int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    struct landlock_path_beneath_attr rule = {
        .allowed_access = S_ISDIR(st.st_mode) ? rights : rights & FILE_RIGHTS, .parent_fd = fd};
    (void)syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

static int set_rules(const struct confine *c, int version, struct error **err)
{
    struct landlock_ruleset_attr attr = {.handled_access_fs = all_rights(version)};
    AUTO_CLOSE int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0)
        return error_errno(err, "cannot make Landlock rules");
    for (size_t i = 0; i < NEEDED; i++)
        allow(rules, needed[i], READ_RIGHTS);
    allow(rules, c->program, READ_RIGHTS);
    allow(rules, "/dev/null", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
    allow(rules, c->folder, c->read_only ? READ_RIGHTS : attr.handled_access_fs);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        return error_errno(err, "cannot confine this process to '%s'", c->folder);
    return 0;
}

int confine(const struct confine *c, enum confined *ret, struct error **err)
{
    int version = landlock_version();
    *ret = own_tree(c) == 0 ? CONFINED_TREE : version ? CONFINED_RULES : CONFINED_NOT;
    return version ? set_rules(c, version, err) : 0;
}

enum confined confine_possible(const struct confine *c)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        _exit(own_tree(c) == 0 ? 0 : 1); // library-clean: in a process of its own
    if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && !WEXITSTATUS(status))
        return CONFINED_TREE;
    return landlock_version() ? CONFINED_RULES : CONFINED_NOT;
}
