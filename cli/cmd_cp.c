// SPDX-License-Identifier: MIT
//
// kiln cp: the guest's tar through SSH at one end, libarchive at the other. The host's side works
// in a child, as the stream between is relayed here (cp_transfer.h).
#include "base/alloc.h"
#include "base/file.h"
#include "cli/cp_transfer.h"
#include "cli/vm_live.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* One of the two arguments. */
struct place {
    char *vm;         /* owned; NULL: on the host */
    const char *path; /* "-": a tar stream, on the host */
};

static void place_clear(struct place *p)
{
    free(p->vm);
}

static struct place place_parse(const char *arg)
{
    const char *colon = strchr(arg, ':');
    if (!colon || colon == arg || *arg == '/' || *arg == '.')
        return (struct place){NULL, arg};
    return (struct place){xasprintf("%.*s", (int)(colon - arg), arg), colon[1] ? colon + 1 : "."};
}

static bool is_stream(const struct place *p)
{
    return !p->vm && !strcmp(p->path, "-");
}

/* dir/name; name is "." when all that is in the folder is meant. */
struct split {
    char *dir, *name; /* owned */
};

static void split_clear(struct split *s)
{
    free(s->dir);
    free(s->name);
}

static struct split split_path(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    AUTO_FREE char *plain = xasprintf("%.*s", (int)end, path);
    const char *slash = strrchr(plain, '/'), *name = slash ? slash + 1 : plain;
    if (!*name || !strcmp(name, ".") || !strcmp(name, ".."))
        return (struct split){STEAL(plain), xstrdup(".")};
    return (struct split){path_parent(plain), xstrdup(name)};
}

static enum cp_kind look_here(const char *path, bool follow)
{
    struct stat st;
    if ((follow ? stat(path, &st) : lstat(path, &st)) < 0)
        return CP_NONE;
    return S_ISDIR(st.st_mode)                          ? CP_FOLDER
           : S_ISREG(st.st_mode) || S_ISLNK(st.st_mode) ? CP_FILE
                                                        : CP_OTHER;
}

/* Where a copy of `from` goes, by docker's rules; *to is the caller's to clear. */
static int find_target(enum cp_kind from, const char *name, const char *dest, enum cp_kind there,
                       struct split *to, struct error **err)
{
    if (there == CP_FOLDER) {
        *to = (struct split){xstrdup(dest), xstrdup(name)};
        return 0;
    }
    if (there == CP_OTHER)
        return error_set(err, ERR_USER, "'%s' is neither a file nor a folder", dest);
    if (there == CP_FILE && from == CP_FOLDER)
        return error_set(err, ERR_EXISTS, "cannot copy a folder to '%s', which is a file", dest);
    if (there == CP_NONE && from != CP_FOLDER && *dest && dest[strlen(dest) - 1] == '/') {
        error_set(err, ERR_NOT_FOUND, "there is no folder '%s'", dest);
        return error_hint(err, "make it first, or leave out the last '/'");
    }
    *to = split_path(dest);
    return 0;
}

static int no_such(const char *path, const char *where, struct error **err)
{
    return error_set(err, ERR_NOT_FOUND, "there is no file or folder '%s' %s", path, where);
}

static int copy_out(const struct cp_guest *g, const char *path, const char *dest, bool follow,
                    struct error **err)
{
    CLEANUP(split_clear) struct split to = {0};
    CLEANUP(buf_clear) struct buf command = BUF_INIT;
    AUTO_FREE char *real = NULL;
    enum cp_kind kind;
    if (cp_look(g, path, follow ? CP_REAL : CP_LINK, &kind, &real, err) < 0)
        return -1;
    if (kind == CP_NONE)
        return no_such(path, "in the VM", err);
    CLEANUP(split_clear) struct split from = split_path(real);
    buf_add_shell_words(&command, (const char *const[]){"tar", "-c", "-f", "-", "-C", from.dir,
                                                        "--", from.name, NULL});
    if (!strcmp(dest, "-"))
        return cp_stream(g, command.data, err);
    if (find_target(kind, from.name, dest, look_here(dest, true), &to, err) < 0)
        return -1;
    if (look_here(to.dir, true) != CP_FOLDER)
        return error_set(err, ERR_NOT_FOUND, "there is no folder '%s'", to.dir);
    struct cp_job job = {.receive = true, .from = from.name, .dir = to.dir, .name = to.name};
    return cp_transfer(g, command.data, &job, err);
}

static int stream_in(const struct cp_guest *g, const char *dest, struct error **err)
{
    CLEANUP(buf_clear) struct buf command = BUF_INIT;
    AUTO_FREE char *real = NULL;
    enum cp_kind kind;
    if (cp_look(g, dest, CP_FOLLOW, &kind, &real, err) < 0)
        return -1;
    if (kind != CP_FOLDER)
        return error_set(err, ERR_NOT_FOUND, "there is no folder '%s' in the VM", dest);
    buf_add_shell_words(&command,
                        (const char *const[]){"tar", "-x", "-p", "-f", "-", "-C", dest, NULL});
    return cp_stream(g, command.data, err);
}

static int copy_in(const struct cp_guest *g, const char *path, const char *dest, bool follow,
                   struct error **err)
{
    CLEANUP(split_clear) struct split to = {0};
    CLEANUP(buf_clear) struct buf command = BUF_INIT;
    enum cp_kind there, kind = look_here(path, follow);
    AUTO_FREE char *real = follow ? realpath(path, NULL) : xstrdup(path), *unused = NULL;
    if (kind == CP_NONE || !real)
        return no_such(path, "on the host", err);
    if (kind == CP_OTHER)
        return error_set(err, ERR_USER, "'%s' is neither a file nor a folder", path);
    CLEANUP(split_clear) struct split from = split_path(real);
    if (cp_look(g, dest, CP_FOLLOW, &there, &unused, err) < 0 ||
        find_target(kind, from.name, dest, there, &to, err) < 0)
        return -1;
    // -o: the files become the user's, as those of any copy
    buf_add_shell_words(
        &command, (const char *const[]){"tar", "-x", "-p", "-o", "-f", "-", "-C", to.dir, NULL});
    struct cp_job job = {.from = real, .name = to.name};
    return cp_transfer(g, command.data, &job, err);
}

static int check(const struct place *from, const struct place *to, struct error **err)
{
    if (from->vm && to->vm) {
        error_set(err, ERR_USAGE, "cannot copy from one VM to another");
        return error_hint(err, "kiln cp %s:%s - | kiln cp - %s:%s", from->vm, from->path, to->vm,
                          to->path);
    }
    if (!from->vm && !to->vm) {
        error_set(err, ERR_USAGE, "neither of the two names a VM");
        return error_hint(err, "kiln cp %s NAME:%s", from->path, to->path);
    }
    if (is_stream(to) && isatty(STDOUT_FILENO))
        return error_set(err, ERR_USAGE, "a tar stream does not go to a terminal");
    return 0;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(place_clear) struct place from = place_parse(a->pos[0]);
    CLEANUP(place_clear) struct place to = place_parse(a->pos[1]);
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    bool follow = args_has(a, "follow-link");
    if (check(&from, &to, err) < 0 || vm_live_open(s, from.vm ? from.vm : to.vm, &live, err) < 0)
        return -1;
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = vm_live_login(s, a, &live, err);
    if (!ssh)
        return -1;
    struct cp_guest guest = {ssh, live.vm.name};
    if (from.vm)
        return copy_out(&guest, from.path, to.path, follow, err);
    return is_stream(&from) ? stream_in(&guest, to.path, err)
                            : copy_in(&guest, from.path, to.path, follow, err);
}

static const struct option_spec options[] = {
    LOGIN_OPTIONS, {"follow-link", 'L', NULL, "Copy what a symbolic link leads to", NULL}, {0}};

const struct command cmd_cp = {
    .name = "cp",
    .summary = "Copy files between the host and a VM that runs",
    .usage = "[options] NAME:PATH PATH|-\n       kiln cp [options] PATH|- NAME:PATH",
    .detail =
        "Files and folders, with their modes. - is a tar stream on stdin or stdout. A PATH of the\n"
        "host with ':' in it begins with / or ./.\n",
    .options = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
