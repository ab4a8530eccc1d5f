// SPDX-License-Identifier: MIT
// What is done holds no links; of what is to do, one part after the other is moved over, and a link
// is replaced by its target. While the target of a link of `made` is worked off, nothing may go
// above the floor.
#include "builder/agent/resolve.h"

#include "builder/agent/sys.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 40 }; // as the kernel's

struct walk {
    const struct resolve *r;
    struct buf *done, todo;
    bool fenced;  // the target of a link of `made` is being worked off
    size_t floor; // length of `done` that must stay
    size_t rest;  // what is to do after that target, bytes
    unsigned links;
};

static bool is_made(const struct resolve *r, const struct stat *st)
{
    for (size_t i = 0; r->made && *r->within && i < r->made->len; i++)
        if (r->made->ptr[i].ino == st->st_ino && r->made->ptr[i].dev == st->st_dev)
            return true;
    return false;
}

static bool is_below(const struct buf *done, const char *within)
{
    size_t n = strlen(within);
    return done->len >= n && !memcmp(done->data, within, n) &&
           (done->len == n || done->data[n] == '/');
}

static void cut(struct buf *b, size_t len)
{
    b->len = len;
    b->data[len] = '\0';
}

static int go_up(struct walk *w)
{
    if (w->fenced && w->done->len <= w->floor) {
        errno = EXDEV;
        return -1;
    }
    const char *slash = strrchr(w->done->data, '/');
    if (slash)
        cut(w->done, (size_t)(slash - w->done->data));
    return 0;
}

// The link at the end of `done` is replaced by its target.
static int follow(struct walk *w, int fd, const struct stat *st)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(fd, "", target, sizeof target - 1);
    if (n < 0 || ++w->links > LINKS_MAX) {
        errno = n < 0 ? errno : ELOOP;
        return -1;
    }
    target[n] = '\0';
    cut(w->done, (size_t)(strrchr(w->done->data, '/') - w->done->data));
    bool inside = is_below(w->done, w->r->within);
    w->fenced = is_made(w->r, st);
    if (w->fenced && !inside && *target == '/') {
        errno = EXDEV;
        return -1;
    }
    w->floor = w->fenced && inside ? strlen(w->r->within) : w->done->len;
    if (*target == '/')
        cut(w->done, w->fenced ? w->floor : 0);
    CLEANUP(buf_clear) struct buf rest = w->todo;
    buf_init(&w->todo);
    buf_addf(&w->todo, "%s/%s", target, rest.data);
    w->rest = rest.len;
    return 0;
}

static int take_part(struct walk *w, struct str part)
{
    struct stat st;
    if (!part.len || str_is(part, "."))
        return 0;
    if (str_is(part, ".."))
        return go_up(w);
    buf_addc(w->done, '/');
    buf_add_str(w->done, part);
    AUTO_CLOSE int fd = sys_open_in(w->r->root, w->done->data, O_PATH | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
    if (fstat(fd, &st) < 0)
        return -1;
    return S_ISLNK(st.st_mode) ? follow(w, fd, &st) : 0;
}

int resolve_path(const struct resolve *r, const char *path, struct buf *ret)
{
    struct walk w = {.r = r, .done = ret, .todo = BUF_INIT};
    int got = 0;
    buf_reset(ret);
    buf_adds(&w.todo, path);
    while (got == 0 && w.todo.len) {
        size_t n = strcspn(w.todo.data, "/"), all = n + (w.todo.data[n] == '/');
        AUTO_FREE char *part = xstrndup(w.todo.data, n);
        memmove(w.todo.data, w.todo.data + all, w.todo.len - all + 1);
        w.todo.len -= all;
        got = take_part(&w, str_of(part));
        w.fenced = w.fenced && w.todo.len > w.rest;
    }
    buf_clear(&w.todo);
    return got;
}
