// SPDX-License-Identifier: MIT
//
// The server takes any path of the host from its client, and that is the guest. So this process gives up
// all rights to files but those that are listed here, and the server inherits that.
#include "vm/sftp_server.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/process.h"
#include "vm/spec.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define READ_RIGHTS \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FILE_RIGHTS \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | \
     TRUNCATE)
#define TRUNCATE (1ULL << 14) /* LANDLOCK_ACCESS_FS_TRUNCATE, of ABI 3 */

char *sftp_server_find(const char *name, struct error **err)
{
    static const char *const places[] = {"/usr/lib/openssh/sftp-server",
                                         "/usr/libexec/openssh/sftp-server",
                                         "/usr/libexec/sftp-server", "/usr/lib/ssh/sftp-server"};
    for (size_t i = 0; !name && i < sizeof places / sizeof *places; i++)
        if (access(places[i], X_OK) == 0)
            return xstrdup(places[i]);
    char *path = process_find(name ? name : "sftp-server");
    if (path)
        return path;
    error_set(err, ERR_NOT_FOUND, "program '%s' not found", name ? name : "sftp-server");
    error_hint(err, name ? "--sftp-bin-name names the SFTP server to use"
                         : "apt-get install openssh-sftp-server, or name one with --sftp-bin-name");
    return NULL;
}

/* Landlock's version; 0 = the kernel has none. */
static int landlock_version(void)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return version < 0 ? 0 : (int)version;
}

bool sftp_server_confined(void)
{
    return landlock_version() > 0;
}

/* All rights of files that this version knows. */
static uint64_t all_rights(int version)
{
    uint64_t first = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1; // those of version 1
    return first | (version >= 2 ? LANDLOCK_ACCESS_FS_REFER : 0) | (version >= 3 ? TRUNCATE : 0);
}

/* What is not there is not missed. */
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

/* This process, and what it starts. */
static int confine(const char *program, const struct vm_share *share, struct error **err)
{
    static const char *const read_only[] = {"/usr",
                                            "/lib",
                                            "/lib64",
                                            "/etc/ld.so.cache",
                                            "/etc/ld.so.preload",
                                            "/etc/passwd",
                                            "/etc/group",
                                            "/etc/nsswitch.conf",
                                            "/etc/localtime",
                                            "/nix/store",
                                            "/gnu/store"};
    int version = landlock_version();
    if (!version)
        return 0;
    struct landlock_ruleset_attr attr = {.handled_access_fs = all_rights(version)};
    AUTO_CLOSE int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (rules < 0)
        return error_errno(err, "cannot make rules for the SFTP server");
    for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++)
        allow(rules, read_only[i], READ_RIGHTS);
    allow(rules, program, READ_RIGHTS);
    allow(rules, "/dev/null", LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
    allow(rules, share->host, share->read_only ? READ_RIGHTS : attr.handled_access_fs);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_landlock_restrict_self, rules, 0) < 0)
        return error_errno(err, "cannot confine the SFTP server to '%s'", share->host);
    return 0;
}

int sftp_server_start(struct process *p, const char *program, const struct vm_share *share,
                      struct error **err)
{
    char *const *both = ARGV(program, "-e"), *const *reading = ARGV(program, "-e", "-R");
    struct process_spec spec = {.argv = share->read_only ? reading : both,
                                .in = PROCESS_PIPE,
                                .out = PROCESS_PIPE,
                                .errors = PROCESS_NULL,
                                .own_session = true};
    return confine(program, share, err) < 0 ? -1 : process_start(p, &spec, err);
}
