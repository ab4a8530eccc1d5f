// SPDX-License-Identifier: MIT
// What is done holds no links; of what is to do, one part after the other is moved over, and a link
// is replaced by its target. While the target of a link of `made` is worked off, nothing may go
// above the floor.
#include "builder/agent/resolve.h"

#include "builder/agent/sys.h"

#include <fcntl.h>
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

static bool is_made(const struct resolve *r, const struct resolve_seen *seen)
{
    for (size_t i = 0; r->made && *r->within && i < r->made->len; i++)
        if (r->made->ptr[i].ino == seen->ino && r->made->ptr[i].dev == seen->dev)
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

// A resolve_look_fn of a folder's descriptor.
static int look(const struct resolve *r, const char *path, struct resolve_seen *ret)
{
    struct stat st;
    AUTO_CLOSE int fd = sys_open_in(r->root, path, O_PATH | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
    if (fstat(fd, &st) < 0)
        return -1;
    ret->dev = st.st_dev;
    ret->ino = st.st_ino;
    ret->is_link = S_ISLNK(st.st_mode);
    ssize_t n = ret->is_link ? readlinkat(fd, "", ret->target, sizeof ret->target - 1) : 0;
    if (n < 0)
        return -1;
    ret->target[n] = '\0';
    return 1;
}

// The link at the end of `done` is replaced by its target.
static int follow(struct walk *w, const struct resolve_seen *seen)
{
    const char *target = seen->target;
    if (++w->links > LINKS_MAX) {
        errno = ELOOP;
        return -1;
    }
    cut(w->done, (size_t)(strrchr(w->done->data, '/') - w->done->data));
    bool inside = is_below(w->done, w->r->within);
    w->fenced = is_made(w->r, seen);
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
    struct resolve_seen seen;
    if (!part.len || str_is(part, "."))
        return 0;
    if (str_is(part, ".."))
        return go_up(w);
    buf_addc(w->done, '/');
    buf_add_str(w->done, part);
    int got =
        w->r->look ? w->r->look(w->r->arg, w->done->data, &seen) : look(w->r, w->done->data, &seen);
    return got <= 0 ? got : seen.is_link ? follow(w, &seen) : 0;
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
