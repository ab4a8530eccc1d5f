// SPDX-License-Identifier: MIT
//
// The guest's tar at one end, libarchive at the other. The host's side works in a child, as the
// stream between is relayed here (cp_transfer.h).
#include "cli/cp_copy.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

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
        error_set(err, ERR_NOT_FOUND, "no folder '%s'", dest);
        return error_hint(err, "make it first, or leave out the last '/'");
    }
    *to = split_path(dest);
    return 0;
}

static int no_such(const char *path, const char *where, struct error **err)
{
    error_set(err, ERR_NOT_FOUND, "no file or folder '%s' %s", path, where);
    if (err && *err)
        (*err)->errnum = ENOENT;
    return -1;
}

/* busybox's tar knows no attributes. */
static void add_tar(struct buf *command, bool attributes)
{
    if (attributes)
        buf_addf(command,
                 "set -f; a='-S --acls --xattrs --xattrs-include=user.*'; "
                 "tar $a --version >/dev/null 2>&1 || a=; ");
    buf_addf(command, "tar %s", attributes ? "$a " : "");
}

int cp_copy_out(const struct cp_guest *g, const char *path, const char *dest, bool follow,
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
    add_tar(&command, g->attributes);
    buf_add_shell_words(
        &command, (const char *const[]){"-c", "-f", "-", "-C", from.dir, "--", from.name, NULL});
    if (!strcmp(dest, "-"))
        return cp_stream(g, command.data, err);
    if (find_target(kind, from.name, dest, look_here(dest, true), &to, err) < 0)
        return -1;
    if (look_here(to.dir, true) != CP_FOLDER)
        return error_set(err, ERR_NOT_FOUND, "no folder '%s'", to.dir);
    struct cp_job job = {.receive = true,
                         .attributes = g->attributes,
                         .from = from.name,
                         .dir = to.dir,
                         .name = to.name};
    return cp_transfer(g, command.data, &job, err);
}

int cp_copy_stream_in(const struct cp_guest *g, const char *dest, struct error **err)
{
    CLEANUP(buf_clear) struct buf command = BUF_INIT;
    AUTO_FREE char *real = NULL;
    enum cp_kind kind;
    if (cp_look(g, dest, CP_FOLLOW, &kind, &real, err) < 0)
        return -1;
    if (kind != CP_FOLDER)
        return error_set(err, ERR_NOT_FOUND, "no folder '%s' in the VM", dest);
    buf_add_shell_words(&command,
                        (const char *const[]){"tar", "-x", "-p", "-f", "-", "-C", dest, NULL});
    return cp_stream(g, command.data, err);
}

int cp_copy_in(const struct cp_guest *g, const char *path, const char *dest, bool follow,
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
