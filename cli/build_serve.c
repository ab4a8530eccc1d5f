// SPDX-License-Identifier: MIT
//
// Copies lie in the cache as hosts/<id>/tree, beside an Imagefile that lies outside of the build
// directory; whoever uses one holds hosts/<id>.lock, whose time is that of its last use.
#include "cli/build_serve.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/lock.h"
#include "base/session.h"
#include "base/working.h"
#include "builder/context/context.h"
#include "builder/transfer/transfer.h"
#include "registry/reference.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A copy that no build used for so long goes. Seconds. */
enum { COPY_KEPT_S = 14 * 24 * 3600 };

extern const struct command cmd_image_build;

void build_serve_clear(struct build_serve *sv)
{
    for (int i = 1; i >= 0; i--) // closing [1] ends the watch
        if (sv->stop[i] >= 0) {
            close(sv->stop[i]);
            if (i == 1 && sv->watching)
                (void)pthread_join(sv->watch, NULL);
        }
    sv->watching = false;
    sv->stop[0] = sv->stop[1] = -1;
    if (sv->lock >= 0)
        close(sv->lock);
    sv->lock = -1;
    free(sv->file);
    sv->file = NULL;
    args_clear(&sv->args);
    build_request_clear(&sv->request);
}

static char *copies_folder(const struct session *s)
{
    return path_join(s->cache ? s->cache : "/tmp", "hosts");
}

/* Copies that nobody used for a while. What can't be removed is left to the next time. */
static void sweep(const char *folder)
{
    DIR *d = opendir(folder);
    const struct dirent *e;
    while (d && (e = readdir(d))) {
        size_t n = strlen(e->d_name);
        struct stat st;
        if (n != DIGEST_HEX + 5 || strcmp(e->d_name + DIGEST_HEX, ".lock") != 0 ||
            fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            st.st_mtime + COPY_KEPT_S > time(NULL))
            continue;
        AUTO_FREE char *path = path_join(folder, e->d_name);
        AUTO_FREE char *copy = xstrndup(path, strlen(path) - 5);
        AUTO_CLOSE int lock = lock_try(path, LOCK_EXCLUSIVE, NULL);
        if (lock >= 0 && remove_tree(copy, NULL) == 0)
            (void)unlink(path);
    }
    if (d)
        closedir(d);
}

static int lock_copy(const struct session *s, const char *dir, struct error **err)
{
    AUTO_FREE char *path = xasprintf("%s.lock", dir);
    CLEANUP(error_freep) struct error *why = NULL;
    int fd = lock_try(path, LOCK_EXCLUSIVE, &why);
    if (fd < 0 && why->kind != ERR_BUSY)
        return error_propagate(err, STEAL(why));
    if (fd < 0) {
        session_notice(s, "Waiting for another build of this directory");
        fd = lock_wait(path, LOCK_EXCLUSIVE, s->cancel_fd, err);
    }
    if (fd >= 0)
        (void)futimens(fd, NULL);
    return fd;
}

static int select_copy(const struct session *s, const char *tree, struct context **ret_ctx,
                       struct selection **ret, struct error **err)
{
    struct context_options o = {.dir = tree, .plain = true};
    return context_open(s, &o, ret_ctx, err) < 0 ? -1 : sync_select(*ret_ctx, ret, err);
}

static void print_event(const json_t *event)
{
    char *line = json_dumps(event, JSON_COMPACT);
    puts(line);
    (void)fflush(stdout);
    free(line);
}

static int is_right(const struct session *s, const char *tree, const struct build_request *r,
                    bool *ret, struct error **err)
{
    CLEANUP(context_freep) struct context *ctx = NULL;
    CLEANUP(selection_freep) struct selection *sel = NULL;
    if (select_copy(s, tree, &ctx, &sel, err) < 0)
        return -1;
    *ret = str_eq(selection_manifest(sel), buf_str(&r->manifest));
    return 0;
}

/* The copy becomes what the request's manifest says. */
static int bring_up_to_date(const struct session *s, const char *tree,
                            const struct build_request *r, struct error **err)
{
    CLEANUP(context_freep) struct context *ctx = NULL;
    CLEANUP(selection_freep) struct selection *has = NULL;
    CLEANUP(sync_plan_clear) struct sync_plan plan = {0};
    bool right = true;
    if (make_dirs(tree, 0700, err) < 0 || select_copy(s, tree, &ctx, &has, err) < 0 ||
        sync_compare(selection_manifest(has), buf_str(&r->manifest), &plan, err) < 0)
        return -1;
    json_auto_t *want = build_want_new(&plan);
    print_event(want);
    if (!plan.n_wanted && !plan.drop.len)
        return 0;
    if (sync_receive(s, &plan, tree, STDIN_FILENO, err) < 0 ||
        is_right(s, tree, r, &right, err) < 0)
        return -1;
    if (right)
        return 0;
    (void)remove_tree(tree, NULL); // whatever it was, the next build begins with nothing
    error_set(err, ERR_USER, "the build directory changed while it was sent");
    return error_hint(err, "build again");
}

static int write_imagefile(const char *dir, struct build_serve *sv, struct error **err)
{
    const struct build_request *r = &sv->request;
    if (!r->outside) {
        sv->file = *r->file ? xstrdup(r->file) : NULL;
        return 0;
    }
    if (strchr(r->file, '/') || r->file[0] == '.' || !strcmp(r->file, "tree") || !*r->file) {
        sv->file = xstrdup("../Imagefile");
    } else
        sv->file = xasprintf("../%s", r->file);
    AUTO_FREE char *path = path_join(dir, sv->file + 3);
    return file_write_whole(path, 0600, r->imagefile.data, r->imagefile.len, err);
}

struct watching {
    struct session *s;
    int stop;
};

/* The end of the stream: whoever asked for the build has gone, or was interrupted. What is left of a
 * tar stream behind its last entry is passed over. */
static void *watch_input(void *arg)
{
    struct watching *w = arg;
    struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                          {.fd = w->stop, .events = POLLIN}};
    char padding[4096];
    ssize_t n = 1;
    while (!p[1].revents && n > 0)
        if (poll(p, 2, -1) > 0 && p[0].revents && !p[1].revents)
            n = read(STDIN_FILENO, padding, sizeof padding);
    if (!p[1].revents)
        session_interrupt(w->s, SIGINT);
    free(w);
    return NULL;
}

static int start_watch(struct session *s, struct build_serve *sv, struct error **err)
{
    if (pipe2(sv->stop, O_CLOEXEC) < 0)
        return error_errno(err, "cannot make a pipe");
    struct watching *w = xmalloc(sizeof *w);
    *w = (struct watching){s, sv->stop[0]};
    if (pthread_create(&sv->watch, NULL, watch_input, w) != 0) {
        free(w);
        return error_set(err, ERR_SYSTEM, "cannot start a thread");
    }
    sv->watching = true;
    return 0;
}

static void end_watch(struct build_serve *sv)
{
    if (!sv->watching)
        return;
    close(sv->stop[1]);
    sv->stop[1] = -1;
    (void)pthread_join(sv->watch, NULL);
    sv->watching = false;
}

int build_serve_open(struct session *s, struct build_serve *sv, struct error **err)
{
    AUTO_FREE char *folder = copies_folder(s);
    if (isatty(STDIN_FILENO))
        return error_set(err, ERR_USAGE, "--serve is for the kiln of a --host, on standard input");
    if (build_request_read(STDIN_FILENO, &sv->request, err) < 0 ||
        args_parse(&cmd_image_build, (int)sv->request.words.len, sv->request.words.ptr, &sv->args,
                   err) < 0 ||
        make_dirs(folder, 0700, err) < 0)
        return -1;
    sweep(folder);
    AUTO_FREE char *dir = path_join(folder, sv->request.copy), *tree = path_join(dir, "tree");
    if ((sv->lock = lock_copy(s, dir, err)) < 0)
        return -1;
    if (bring_up_to_date(s, tree, &sv->request, err) < 0 || write_imagefile(dir, sv, err) < 0)
        return -1;
    if (chdir(tree) < 0)
        return error_errno(err, "cannot enter '%s'", tree);
    return start_watch(s, sv, err);
}

/* The image as an OCI layout in a folder, which goes as a tar stream once it is asked for. */
static int send_image(struct session *s, const char *name, struct error **err)
{
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    CLEANUP(reference_clear) struct reference ref = {0};
    CLEANUP(context_freep) struct context *ctx = NULL;
    CLEANUP(selection_freep) struct selection *all = NULL;
    AUTO_FREE char *parent = copies_folder(s);
    char digest[DIGEST_HEX + 1], go;
    struct transfer_options o = {0};
    working_sweep(parent);
    if (working_open(&w, parent, err) < 0)
        return -1;
    AUTO_FREE char *text = xasprintf("oci-layout:%s/", w.dir);
    if (reference_parse(text, &ref, err) < 0 || transfer_push(s, name, &ref, &o, digest, err) < 0 ||
        select_copy(s, w.dir, &ctx, &all, err) < 0)
        return -1;
    json_auto_t *event = json_pack("{s:s}", "event", "layout");
    print_event(event);
    do // there may be padding of the first stream
        if (read_all(STDIN_FILENO, &go, 1) != 1)
            return error_set(err, ERR_CANCELLED, "interrupted");
    while (go != 'g');
    AUTO_FREE uint8_t *wanted = xmalloc(selection_entries(all) + 1);
    memset(wanted, 1, selection_entries(all));
    s->events = (struct session_events){0}; // standard output is the stream's from here
    return sync_send(all, wanted, STDOUT_FILENO, err);
}

int build_serve_close(struct session *s, struct build_serve *sv, const char *name,
                      struct error **err)
{
    end_watch(sv);
    return sv->request.load ? send_image(s, name, err) : 0;
}
