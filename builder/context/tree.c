// SPDX-License-Identifier: MIT
//
// A scan is a stack of folders still to be read, worked off by the calling thread and, once there
// is enough to do, by helpers. A folder is opened by its path below the root (openat2), its names
// are collected and sorted, and then each is looked at with fstatat relative to the folder. Nodes
// and names lie in arenas, one a thread, so that nothing is allocated or locked a file.
#include "builder/context/tree.h"

#include "base/alloc.h"
#include "base/session.h"
#include "base/vector.h"
#include "builder/agent/manifest.h"
#include "builder/agent/stream.h"
#include "builder/context/xattr.h"
#include "image/export_temp.h"
#include "imagefile/ignore.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

enum {
    ARENA_CHUNK = 128 * 1024,
    NAMES_CHUNK = 64 * 1024,
    HELPERS_MAX = 3,
    FOLDERS_A_HELPER = 8, /* so many must wait before another thread is worth its start */
};

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, size;
    max_align_t bytes[];
};

struct arena {
    struct arena_chunk *chunk;
};

struct tree {
    const struct session *session;
    int root_fd;
    char *dir;
    const struct strv *hidden;
    const struct ignore *ignore;
    struct index *index;
    struct node root;
    struct arena arenas[1 + HELPERS_MAX];
    uint64_t count;
};

DEFINE_VECTOR(folders, struct node *);

/* One tree_scan. */
struct scan {
    struct tree *tree;
    bool deep;
    pthread_mutex_t lock; /* for all below */
    pthread_cond_t change;
    struct folders todo;
    size_t busy; /* threads that are reading a folder */
    bool stop;
    uint64_t count;
    struct error *error; /* the first */
    size_t n_helpers, max_helpers;
    pthread_t helpers[HELPERS_MAX];
};

struct name {
    const char *text;
    size_t len;
    bool hidden;
};
DEFINE_VECTOR(names, struct name);

/* What a thread needs and keeps from folder to folder. */
struct worker {
    struct scan *scan;
    struct arena *arena;
    struct buf path, xattrs;
    struct names names;
    char *dirents;
    struct folders found;
    uint64_t count;
};

static void *arena_alloc(struct arena *a, size_t size, size_t align)
{
    struct arena_chunk *c = a->chunk;
    size_t at = c ? (c->used + align - 1) & ~(align - 1) : 0;
    if (!c || at > c->size || size > c->size - at) {
        size_t room = size > ARENA_CHUNK ? size : ARENA_CHUNK;
        c = xmalloc(sizeof *c + room);
        *c = (struct arena_chunk){a->chunk, 0, room};
        a->chunk = c;
        at = 0;
    }
    c->used = at + size;
    return (char *)c->bytes + at;
}

static const char *arena_str(struct arena *a, const char *s, size_t len)
{
    char *copy = arena_alloc(a, len + 1, 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

static const struct digest *arena_digest(struct arena *a, struct digest d)
{
    struct digest *copy = arena_alloc(a, sizeof d, 1);
    *copy = d;
    return copy;
}

void *tree_alloc(struct tree *t, size_t size)
{
    return arena_alloc(&t->arenas[0], size, _Alignof(max_align_t));
}

void node_add_path(struct buf *b, const struct node *n, const struct node *from)
{
    const struct node *chain[PATH_MAX / 2 + 1]; // a path has no more parts (path_fits)
    size_t depth = 0;
    for (; n != from && n->parent; n = n->parent)
        chain[depth++] = n;
    while (depth--) {
        buf_adds(b, chain[depth]->name);
        if (depth)
            buf_addc(b, '/');
    }
}

static int open_beneath(int root_fd, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC | O_NOFOLLOW,
                           .resolve =
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root_fd, *path ? path : ".", &how, sizeof how);
}

int tree_open(const struct tree *t, const struct node *n)
{
    CLEANUP(buf_clear) struct buf path = BUF_INIT;
    node_add_path(&path, n, NULL);
    // O_NONBLOCK: a file that became a FIFO must not hold us up.
    return open_beneath(t->root_fd, path.data, O_RDONLY | O_NONBLOCK | O_NOCTTY);
}

bool tree_exists(const struct tree *t, const char *path)
{
    AUTO_CLOSE int fd = open_beneath(t->root_fd, path, O_PATH);
    return fd >= 0;
}

bool tree_has_program(const struct tree *t, const char *name)
{
    struct stat st;
    AUTO_CLOSE int fd = open_beneath(t->root_fd, name, O_PATH);
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & S_IXUSR);
}

static uint8_t type_of(mode_t mode)
{
    return S_ISSOCK(mode) ? NODE_SOCKET : (uint8_t)manifest_type_of(mode);
}

static void fill_node(struct node *n, const struct stat *st)
{
    n->id = file_id_of(st);
    n->mtime = st->st_mtim.tv_sec;
    n->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
    n->nlink = (uint32_t)st->st_nlink;
    n->mode = (uint16_t)(st->st_mode & 07777);
    n->type = type_of(st->st_mode);
    if (n->type == MANIFEST_CHAR || n->type == MANIFEST_BLOCK) {
        n->major = major(st->st_rdev);
        n->minor = minor(st->st_rdev);
    }
}

static int compare_names(const void *pa, const void *pb)
{
    const struct name *a = pa, *b = pb;
    return strcmp(a->text, b->text);
}

/* What the build itself writes, and what one that was killed left of it. */
static bool is_product(const struct worker *w, const char *name)
{
    const struct strv *hidden = w->scan->tree->hidden;
    size_t n = w->path.len;
    for (size_t i = 0; i < hidden->len; i++)
        if (!strncmp(hidden->ptr[i], w->path.data, n) && !strcmp(hidden->ptr[i] + n, name))
            return true;
    return !strncmp(name, EXPORT_TEMP, strlen(EXPORT_TEMP));
}

/* Adds a name, unless nothing of it is to be seen. w->path is the folder's, with a final '/'. */
static void add_name(struct worker *w, const char *name)
{
    size_t len = strlen(name);
    if ((name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'))) || is_product(w, name))
        return;
    bool hidden = false;
    const struct ignore *ig = w->scan->tree->ignore;
    if (ig) {
        size_t keep = w->path.len;
        buf_add(&w->path, name, len);
        hidden = ignore_hides(ig, w->path.data);
        bool pruned = hidden && ignore_prunes(ig, w->path.data);
        w->path.len = keep;
        w->path.data[keep] = '\0';
        if (pruned)
            return;
    }
    *names_push(&w->names) = (struct name){arena_str(w->arena, name, len), len, hidden};
}

static int read_names(struct worker *w, int fd, struct error **err)
{
    w->names.len = 0;
    for (;;) {
        ssize_t n = getdents64(fd, w->dirents, NAMES_CHUNK);
        if (n < 0)
            return error_errno(err, "cannot read the folder '%s'", w->path.data);
        if (n == 0)
            break;
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *d = (const void *)(w->dirents + at);
            at += d->d_reclen;
            add_name(w, d->d_name);
        }
    }
    if (w->names.len)
        qsort(w->names.ptr, w->names.len, sizeof *w->names.ptr, compare_names);
    return 0;
}

static int read_link(struct worker *w, int fd, struct node *n, struct error **err)
{
    char target[PATH_MAX];
    ssize_t len = readlinkat(fd, n->name, target, sizeof target);
    if (len < 0)
        return error_errno(err, "cannot read the link '%s%s'", w->path.data, n->name);
    n->link = arena_str(w->arena, target, (size_t)len);
    return 0;
}

static void know_digest(struct worker *w, struct node *n)
{
    const struct index *ix = w->scan->tree->index;
    const struct index_entry *e = ix ? index_find(ix, &n->id) : NULL;
    if (!e)
        return;
    n->content = &e->content;
    n->xattrs = e->has_xattrs ? &e->xattrs : NULL;
}

/* Fills the next child. 1, or 0 if the name is gone meanwhile or not wanted. */
static int look_at(struct worker *w, int fd, const struct name *name, struct node *n,
                   struct error **err)
{
    struct stat st;
    if (fstatat(fd, name->text, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        if (errno == ENOENT)
            return 0;
        return error_errno(err, "cannot stat '%s%s'", w->path.data, name->text);
    }
    if (!type_of(st.st_mode))
        return 0;
    if (w->path.len + name->len >= STREAM_PATH_MAX)
        return error_set(err, ERR_USER, "the path '%s%s' is too long", w->path.data, name->text);
    n->name = name->text;
    fill_node(n, &st);
    n->hidden = name->hidden;
    if (n->hidden && n->type != MANIFEST_DIR)
        return 0;
    if (n->type == MANIFEST_FILE)
        know_digest(w, n);
    if (n->type == MANIFEST_SYMLINK && read_link(w, fd, n, err) < 0)
        return -1;
    return 1;
}

static int read_folder_xattrs(struct worker *w, int fd, struct node *folder, struct error **err)
{
    if (xattrs_read(fd, &w->xattrs) < 0)
        return error_errno(err, "cannot read the attributes of '%s'", w->path.data);
    if (w->xattrs.len)
        folder->xattrs = arena_digest(w->arena, digest_of(w->xattrs.data, w->xattrs.len));
    return 0;
}

/* Reads one folder; the folders in it go to w->found. */
static int read_folder(struct worker *w, struct node *folder, struct error **err)
{
    buf_reset(&w->path);
    node_add_path(&w->path, folder, NULL);
    AUTO_CLOSE int fd = open_beneath(w->scan->tree->root_fd, w->path.data, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        bool may_not = errno == EACCES;
        error_errno(err, "cannot open the folder '%s'",
                    w->path.len ? w->path.data : w->scan->tree->dir);
        return may_not ? error_hint(err, UNREADABLE_HINT) : -1;
    }
    if (w->path.len)
        buf_addc(&w->path, '/');
    if (read_folder_xattrs(w, fd, folder, err) < 0 || read_names(w, fd, err) < 0)
        return -1;
    struct node *children =
        arena_alloc(w->arena, w->names.len * sizeof *children, _Alignof(struct node));
    uint32_t n = 0;
    vec_foreach (struct name *, name, &w->names) {
        children[n] = (struct node){.parent = folder};
        int got = look_at(w, fd, name, &children[n], err);
        if (got < 0)
            return -1;
        if (got && children[n].type == MANIFEST_DIR)
            *folders_push(&w->found) = &children[n];
        n += (uint32_t)got;
    }
    folder->children = children;
    folder->n_children = n;
    folder->scanned = true;
    w->count += n;
    return 0;
}

static struct node *next_folder(struct scan *s)
{
    while (!s->stop && !s->todo.len && s->busy)
        (void)pthread_cond_wait(&s->change, &s->lock);
    if (s->stop || !s->todo.len)
        return NULL;
    s->busy++;
    return s->todo.ptr[--s->todo.len];
}

static void *help(void *arg);

static void take_result(struct scan *s, struct worker *w, struct error *error)
{
    s->busy--;
    vec_foreach (struct node **, f, &w->found)
        *folders_push(&s->todo) = *f;
    w->found.len = 0;
    if (error || session_cancelled(s->tree->session)) {
        s->stop = true;
        if (!s->error)
            s->error = error;
        else
            error_free(error);
    }
    while (s->n_helpers < s->max_helpers && s->todo.len >= FOLDERS_A_HELPER * (s->n_helpers + 1)) {
        if (pthread_create(&s->helpers[s->n_helpers], NULL, help, s))
            s->max_helpers = s->n_helpers;
        else
            s->n_helpers++;
    }
    (void)pthread_cond_broadcast(&s->change);
}

static void work(struct scan *s, struct arena *arena)
{
    struct worker w = {.scan = s, .arena = arena, .path = BUF_INIT, .xattrs = BUF_INIT};
    w.dirents = xmalloc(NAMES_CHUNK);
    (void)pthread_mutex_lock(&s->lock);
    for (struct node *folder; (folder = next_folder(s));) {
        (void)pthread_mutex_unlock(&s->lock);
        struct error *error = NULL;
        // A folder that was read before still has unread ones below it.
        if (!folder->scanned)
            (void)read_folder(&w, folder, &error);
        else
            for (uint32_t i = 0; i < folder->n_children; i++)
                if (folder->children[i].type == MANIFEST_DIR)
                    *folders_push(&w.found) = &folder->children[i];
        if (!s->deep)
            w.found.len = 0;
        (void)pthread_mutex_lock(&s->lock);
        take_result(s, &w, error);
    }
    s->count += w.count;
    (void)pthread_mutex_unlock(&s->lock);
    buf_clear(&w.path);
    buf_clear(&w.xattrs);
    names_clear(&w.names);
    folders_clear(&w.found);
    free(w.dirents);
}

static void *help(void *arg)
{
    struct scan *s = arg;
    (void)pthread_mutex_lock(&s->lock);
    size_t mine = 0;
    while (!pthread_equal(s->helpers[mine], pthread_self()))
        mine++;
    (void)pthread_mutex_unlock(&s->lock);
    work(s, &s->tree->arenas[1 + mine]);
    return NULL;
}

int tree_scan(struct tree *t, struct node *folder, bool deep, struct error **err)
{
    if (folder->type != MANIFEST_DIR || folder->scanned_deep || (folder->scanned && !deep))
        return 0;
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    struct scan s = {.tree = t,
                     .deep = deep,
                     .lock = PTHREAD_MUTEX_INITIALIZER,
                     .change = PTHREAD_COND_INITIALIZER};
    s.max_helpers = cpus > HELPERS_MAX ? HELPERS_MAX : cpus > 1 ? (size_t)cpus - 1 : 0;
    *folders_push(&s.todo) = folder;
    work(&s, &t->arenas[0]);
    for (size_t i = 0; i < s.n_helpers; i++)
        (void)pthread_join(s.helpers[i], NULL);
    folders_clear(&s.todo);
    t->count += s.count;
    if (s.error)
        return error_propagate(err, s.error);
    if (s.stop)
        return error_set(err, ERR_CANCELLED, "interrupted");
    if (deep)
        folder->scanned_deep = true;
    return 0;
}

struct node *tree_child(struct node *folder, struct str name)
{
    size_t low = 0, high = folder->n_children;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        struct node *n = &folder->children[mid];
        int c = strncmp(n->name, name.ptr, name.len);
        if (!c)
            c = n->name[name.len] != '\0';
        if (!c)
            return n;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static bool shows_something(const struct node *n)
{
    if (!n->hidden)
        return true;
    for (uint32_t i = 0; i < n->n_children; i++)
        if (shows_something(&n->children[i]))
            return true;
    return false;
}

int tree_is_visible(struct tree *t, struct node *n, bool *ret, struct error **err)
{
    if (n->hidden && tree_scan(t, n, true, err) < 0)
        return -1;
    *ret = shows_something(n);
    return 0;
}

struct node *tree_root(struct tree *t)
{
    return &t->root;
}

const char *tree_dir(const struct tree *t)
{
    return t->dir;
}

uint64_t tree_count(const struct tree *t)
{
    return t->count;
}

int tree_new(const struct session *s, const struct tree_options *o, struct tree **ret,
             struct error **err)
{
    struct stat st;
    if (fstat(o->root_fd, &st) < 0) {
        (void)error_errno(err, "cannot stat '%s'", o->dir);
        (void)close(o->root_fd);
        return -1;
    }
    struct tree *t = xcalloc(1, sizeof *t);
    t->session = s;
    t->root_fd = o->root_fd;
    t->dir = xstrdup(o->dir);
    t->ignore = o->ignore;
    t->hidden = o->hidden;
    t->index = o->index;
    t->root.name = "";
    fill_node(&t->root, &st);
    *ret = t;
    return 0;
}

void tree_free(struct tree *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < sizeof t->arenas / sizeof *t->arenas; i++)
        for (struct arena_chunk *c = t->arenas[i].chunk, *next; c; c = next) {
            next = c->next;
            free(c);
        }
    (void)close(t->root_fd);
    free(t->dir);
    free(t);
}
