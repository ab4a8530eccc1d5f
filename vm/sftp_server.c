// SPDX-License-Identifier: MIT
//
// The server takes any path of the host from its client, and that is the guest. So the process that starts
// it is confined first.
#include "vm/sftp_server.h"

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/process.h"
#include "vm/confine.h"
#include "vm/spec.h"

#include <unistd.h>

char *sftp_server_find(const char *name, struct error **err)
{
    static const char *const places[] = {"/usr/lib/openssh/sftp-server",
                                         "/usr/libexec/openssh/sftp-server",
                                         "/usr/libexec/sftp-server", "/usr/lib/ssh/sftp-server"};
    for (size_t i = 0; !name && i < sizeof places / sizeof *places; i++)
        if (access(places[i], X_OK) == 0)
            return xstrdup(places[i]);
    AUTO_FREE char *found = process_find(name ? name : "sftp-server");
    char *path = found ? realpath(found, NULL) : NULL; // its directory will be another one
    if (path)
        return path;
    error_set(err, ERR_NOT_FOUND, "program '%s' not found", name ? name : "sftp-server");
    error_hint(err, name ? "--sftp-bin-name names the SFTP server to use"
                         : "apt-get install openssh-sftp-server, or name one with --sftp-bin-name");
    return NULL;
}

static struct confine fence(const char *program, const struct vm_share *share)
{
    return (struct confine){
        .program = program, .folder = share->host, .read_only = share->read_only};
}

enum confined sftp_server_confined(const char *program, const struct vm_share *share)
{
    struct confine c = fence(program, share);
    return confine_possible(&c);
}

int sftp_server_start(struct process *p, const char *program, const struct vm_share *share,
                      struct error **err)
{
    struct confine c = fence(program, share);
    enum confined got;
    if (confine(&c, &got, err) < 0)
        return -1;
    // changes by path that the rules alone would let through anywhere
    char *const *argv = share->read_only        ? ARGV(program, "-e", "-R")
                        : got == CONFINED_RULES ? ARGV(program, "-e", "-P", "setstat,lsetstat")
                                                : ARGV(program, "-e");
    struct process_spec spec = {.argv = argv,
                                .in = PROCESS_PIPE,
                                .out = PROCESS_PIPE,
                                .errors = PROCESS_NULL,
                                .own_session = true};
    return process_start(p, &spec, err);
}
