// SPDX-License-Identifier: MIT
//
// The top file is made whole as a layer is: its file systems are frozen and an overlay that nobody
// needs is put on top of it, so QEMU has written all of it and lets go of it.
#include "builder/build/offline.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/login_name.h"
#include "base/session.h"
#include "builder/build/environment.h"
#include "builder/context/context.h"
#include "builder/context/send.h"
#include "builder/worker/runner.h"
#include "qcow2/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct offline {
    const struct session *s;
    char *top, *scratch; /* files */
    const json_t *mounts;
    uint64_t size;
    struct runner *vm;
};

void offline_free(struct offline *off)
{
    if (!off)
        return;
    runner_free(off->vm);
    (void)unlink(off->scratch);
    free(off->top);
    free(off->scratch);
    free(off);
}

struct offline *offline_open(const struct session *s, const struct offline_options *o,
                             struct error **err)
{
    CLEANUP(offline_freep) struct offline *off = xcalloc(1, sizeof *off);
    struct runner_options vo = {.accel = o->accel, .target = {o->files, o->n_files, true, o->size}};
    off->s = s;
    off->size = o->size;
    off->mounts = o->mounts;
    off->top = xstrdup(o->files[o->n_files - 1]);
    off->scratch = path_join(o->scratch, "scratch.qcow2");
    if (builder_vm_runner.start(s, &vo, &off->vm, err) < 0 ||
        runner_mount(off->vm, RUNNER_TARGET, false, o->mounts, err) < 0)
        return NULL;
    return STEAL(off);
}

int offline_finish(struct offline *off, struct error **err)
{
    struct qcow2_overlay o = {.size = off->size, .backing = off->top};
    if (qcow2_create_overlay(off->scratch, &o, err) < 0 ||
        runner_next_overlay(off->vm, off->scratch, err) < 0)
        return -1;
    runner_free(STEAL(off->vm));
    AUTO_CLOSE int fd = open(off->top, O_RDWR | O_CLOEXEC);
    return fd < 0 || fsync(fd) < 0 ? error_errno(err, "cannot write '%s'", off->top) : 0;
}

int offline_grow(struct offline *off, struct error **err)
{
    if (runner_grow(off->vm, NULL, (struct runner_wait){-1, NULL, NULL}, err) < 0)
        return -1;
    return runner_mount(off->vm, RUNNER_TARGET, false, off->mounts,
                        err); // growing has unmounted it
}

int offline_shell(struct offline *off, const char *const *argv, struct runner_wait w,
                  int *ret_status, struct error **err)
{
    CLEANUP(runner_exec_clear) struct runner_exec e = {0};
    struct config none = {0};
    int status = 0;
    runner_exec_arg(&e, "/bin/sh");
    runner_exec_arg(&e, "-c");
    for (; *argv; argv++)
        runner_exec_arg(&e, *argv);
    e.flags = RUNNER_NO_NETWORK;
    environment_put(off->s, NULL, &none, NULL, &e);
    if (runner_exec(off->vm, &e, w, &status, NULL, err) < 0)
        return -1;
    *ret_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return 0;
}

/* $1 user, $2 key, $3 host name. */
static const char inject_script[] =
    "set -e; set -f; user=$1 key=$2 host=$3\n"
    "entry() { while IFS= read -r line; do case $line in \"$user\":*) echo \"$line\"; return 0;; "
    "esac; "
    "done </etc/passwd; return 1; }\n"
    "if [ -n \"$user\" ]; then\n"
    "  if ! entry >/dev/null; then\n"
    "    if [ -x /usr/sbin/useradd ]; then\n"
    "      /usr/sbin/useradd -m -s /bin/sh \"$user\"\n"
    "      sed -i \"s/^$user:!*:/$user:*:/\" /etc/shadow\n" // not locked: sshd would refuse
    "    else\n"
    "      uid=1000; while grep -q \"^[^:]*:[^:]*:$uid:\" /etc/passwd /etc/group; do uid=$((uid + "
    "1)); done\n"
    "      echo \"$user:x:$uid:$uid::/home/$user:/bin/sh\" >>/etc/passwd\n"
    "      echo \"$user:x:$uid:\" >>/etc/group\n"
    "      [ ! -e /etc/shadow ] || echo \"$user:*:::::::\" >>/etc/shadow\n"
    "      mkdir -p \"/home/$user\"; chown \"$uid:$uid\" \"/home/$user\"\n"
    "    fi\n"
    "    [ ! -d /etc/sudoers.d ] || { echo \"$user ALL=(ALL) NOPASSWD:ALL\" "
    ">/etc/sudoers.d/90-kiln\n"
    "      chmod 440 /etc/sudoers.d/90-kiln; }\n"
    "  fi\n"
    "  fields=$(entry); old=$IFS; IFS=:; set -- $fields; IFS=$old\n"
    "  dir=$6/.ssh file=$6/.ssh/authorized_keys\n"
    "  mkdir -p \"$dir\"; chmod 700 \"$dir\"\n"
    "  if [ -s \"$file\" ] && [ -n \"$(tail -c 1 \"$file\")\" ]; then echo >>\"$file\"; fi\n"
    "  echo \"$key\" >>\"$file\"; chmod 600 \"$file\"; chown \"$3:$4\" \"$dir\" \"$file\"\n"
    "fi\n"
    "if [ -n \"$host\" ]; then\n"
    "  echo \"$host\" >/etc/hostname\n"
    "  [ -e /etc/hosts ] || echo '127.0.0.1 localhost' >/etc/hosts\n"
    "  sed -i '/^127\\.0\\.1\\.1[[:blank:]]/d' /etc/hosts\n"
    "  echo \"127.0.1.1 $host\" >>/etc/hosts\n"
    "  [ ! -d /etc/cloud/cloud.cfg.d ] || "
    "echo 'preserve_hostname: true' >/etc/cloud/cloud.cfg.d/99-kiln.cfg\n"
    "fi\n"
    "[ ! -e /etc/selinux/config ] || : >/.autorelabel\n";

/* What useradd of any distribution takes. */
static bool good_user(const char *name)
{
    enum { MOST = 32 };
    return is_user_name(name) && strlen(name) <= MOST && !strpbrk(name, "+@\\");
}

/* a runner_output_fn */
static void take_text(void *text, int stream, const char *bytes, size_t n)
{
    enum { LIMIT = 4096 };
    struct buf *b = text;
    (void)stream;
    if (b->len < LIMIT)
        buf_add(b, bytes, n);
}

int offline_inject(struct offline *off, const struct offline_login *l, struct error **err)
{
    enum { PATIENCE_MS = 120000 };
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    const char *argv[] = {inject_script,
                          "sh",
                          l->user ? l->user : "",
                          l->public_key ? l->public_key : "",
                          l->hostname ? l->hostname : "",
                          NULL};
    struct runner_wait w = {PATIENCE_MS, take_text, &said};
    int status;
    if (l->user && !good_user(l->user))
        return error_set(err, ERR_USER, "'%s' can't be the name of a user", l->user);
    if (l->hostname && !is_host_name(l->hostname, HOST_NAME_BYTES))
        return error_set(err, ERR_USER, "'%s' can't be the name of a host", l->hostname);
    if (offline_shell(off, argv, w, &status, err) < 0)
        return -1;
    while (said.len && said.data[said.len - 1] == '\n')
        said.data[--said.len] = '\0';
    return status
               ? error_set(err, ERR_GUEST, "cannot prepare the guest's disk (exit status %d)%s%s",
                           status, said.len ? ":\n" : "", said.data)
               : 0;
}

/* A file's own name is not a pattern. Owned. */
static char *plain_pattern(const char *name)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    for (; *name; name++) {
        if (strchr("*?[\\", *name))
            buf_addc(&out, '\\');
        buf_addc(&out, *name);
    }
    return buf_detach(&out, NULL);
}

static int send(struct offline *off, struct selection *sel, const char *to, int timeout_ms,
                struct error **err)
{
    CLEANUP(sender_freep) struct sender *sender = sender_new(off->s, sel);
    CLEANUP(error_freep) struct error *why = NULL;
    struct runner_place place = {.dest = to, .folder = to[strlen(to) - 1] == '/'};
    struct runner_wait w = {timeout_ms, NULL, NULL};
    struct runner_stream stream = {sender_read, sender};
    int rc = runner_receive(off->vm, &stream, &place, w, &why);
    if (sender_result(sender, err) < 0) // the agent's failure only repeats it
        return -1;
    return rc < 0 ? error_propagate(err, STEAL(why)) : 0;
}

/* Where a folder goes: into one that is there. Owned. */
static char *folder_place(struct offline *off, const char *name, const char *to, struct error **err)
{
    const char *argv[] = {"[ -d \"$1\" ]", "sh", to, NULL};
    int status;
    if (offline_shell(off, argv, (struct runner_wait){-1, NULL, NULL}, &status, err) < 0)
        return NULL;
    return status ? xasprintf("%s/", to) : xasprintf("%s/%s/", to, name);
}

static int copy_link(struct offline *off, const char *from, const char *target, const char *to,
                     struct error **err)
{
    const char *slash = strrchr(from, '/');
    const char *argv[] = {
        "case $1 in */) mkdir -p \"$1\" ;; *) mkdir -p \"${1%/*}/\" ;; esac && "
        "if [ -d \"$1\" ]; then set -- \"$1/$3\" \"$2\"; fi && "
        "ln -sfn -- \"$2\" \"$1\"",
        "sh",
        to,
        target,
        slash ? slash + 1 : from,
        NULL};
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    struct runner_wait w = {-1, take_text, &said};
    int status;
    if (offline_shell(off, argv, w, &status, err) < 0)
        return -1;
    return status ? error_set(err, ERR_GUEST, "cannot make the link '%s' in the guest:\n%s", to,
                              said.len ? said.data : "(nothing)")
                  : 0;
}

int offline_copy_in(struct offline *off, const char *from, const char *to, bool link,
                    int timeout_ms, struct error **err)
{
    char target[PATH_MAX];
    ssize_t n = link ? readlink(from, target, sizeof target - 1) : -1;
    if (n >= 0) {
        target[n] = '\0';
        return copy_link(off, from, target, to, err);
    }
    AUTO_FREE char *real = realpath(from, NULL);
    struct stat st;
    if (!real || stat(real, &st) < 0)
        return error_errno(err, "cannot copy '%s'", from);
    if (!strcmp(real, "/"))
        return error_set(err, ERR_USER, "cannot copy '/'");
    AUTO_FREE char *dir = path_parent(real);
    AUTO_FREE char *name = plain_pattern(strrchr(real, '/') + 1);
    AUTO_FREE char *place =
        S_ISDIR(st.st_mode) ? folder_place(off, strrchr(real, '/') + 1, to, err) : xstrdup(to);
    struct context_source source = {.kind = SOURCE_PATH, .text = name};
    struct context_request r = {
        .instruction = "copy of", .sources = &source, .n_sources = 1, .dest = place};
    CLEANUP(context_freep) struct context *ctx = NULL;
    CLEANUP(selection_freep) struct selection *sel = NULL;
    if (!place ||
        context_open(off->s, &(struct context_options){.dir = dir, .plain = true}, &ctx, err) < 0)
        return -1;
    int rc = context_select(ctx, &r, &sel, err);
    if (rc == 0)
        rc = send(off, sel, place, timeout_ms, err);
    selection_free(STEAL(sel)); // before its context
    return rc < 0 ? error_wrap(err, "copy of '%s' to '%s' of the guest", from, to) : 0;
}
