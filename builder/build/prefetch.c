// SPDX-License-Identifier: MIT
//
// A thread a download, a few at a time, each with a session of its own whose events are kept in the
// job. The build's thread hands them on: notices of the first job that is not over, and all bars. An
// error, or the user, interrupts all of the sessions.
#include "builder/build/prefetch.h"

#include "base/alloc.h"
#include "base/session.h"
#include "base/url.h"
#include "builder/build/private.h"
#include "builder/container/container.h"
#include "builder/context/remote.h"
#include "builder/transfer/transfer.h"
#include "cache/history.h"
#include "image/known.h"
#include "image/spec.h"
#include "registry/reference.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 4, WAKE_MS = 100 };

enum job_kind { JOB_IMAGE, JOB_FILE, JOB_CONTAINER };

struct jobs;

struct job {
    enum job_kind kind;
    const struct imagefile_step *step;
    char *text, *checksum; /* checksum NULL = none */
    char *platform;
    struct jobs *all;
    struct session session;
    struct remote_file file;
    // with the mutex of `all`:
    struct strv notices; /* "n" or "w", then the line */
    size_t told;
    uint64_t done, total;
    bool moving, shown, over, failed;
    struct error *error;
};
DEFINE_VECTOR(job_list, struct job *);

struct jobs {
    struct build *build;
    struct job_list list;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    size_t next, running;
    bool stop;
    struct interrupt interrupt;
    int wake[2];
};

struct prefetched {
    struct job_list files;
};

static void job_free(struct job *j)
{
    remote_file_clear(&j->file);
    strv_clear(&j->notices);
    error_free(j->error);
    free(j->text);
    free(j->checksum);
    free(j->platform);
    free(j);
}

void prefetched_free(struct prefetched *p)
{
    if (!p)
        return;
    vec_foreach (struct job **, j, &p->files)
        job_free(*j);
    job_list_clear(&p->files);
    free(p);
}

static bool same_checksum(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

static struct job *find(const struct job_list *list, enum job_kind kind, const char *text,
                        const char *checksum)
{
    vec_foreach (struct job *const *, j, list)
        if ((*j)->kind == kind && !strcmp((*j)->text, text) &&
            same_checksum((*j)->checksum, checksum))
            return *j;
    return NULL;
}

const struct remote_file *prefetched(const struct build *b, const char *url, const char *checksum)
{
    const struct job *j =
        b->prefetched ? find(&b->prefetched->files, JOB_FILE, url, checksum) : NULL;
    return j ? &j->file : NULL;
}

static void take_line(struct job *j, char kind, const char *text)
{
    (void)pthread_mutex_lock(&j->all->mutex);
    strv_addf(&j->notices, "%c%s", kind, text);
    (void)pthread_cond_signal(&j->all->changed);
    (void)pthread_mutex_unlock(&j->all->mutex);
}

static void on_notice(void *arg, const char *line)
{
    take_line(arg, 'n', line);
}

static void on_warning(void *arg, const char *text)
{
    take_line(arg, 'w', text);
}

static void on_progress(void *arg, const char *what, uint64_t done, uint64_t total, bool end)
{
    struct job *j = arg;
    (void)what;
    (void)pthread_mutex_lock(&j->all->mutex);
    j->done = done;
    j->total = total;
    j->moving = !end;
    (void)pthread_mutex_unlock(&j->all->mutex);
}

static struct job *add(struct jobs *all, enum job_kind kind, const struct imagefile_step *step,
                       const char *text, const char *checksum)
{
    if (find(&all->list, kind, text, checksum))
        return NULL;
    struct job *j = xcalloc(1, sizeof *j);
    *j = (struct job){.kind = kind, .step = step, .text = xstrdup(text), .all = all};
    j->checksum = checksum ? xstrdup(checksum) : NULL;
    j->file = (struct remote_file)REMOTE_FILE_INIT;
    j->session = *all->build->s;
    j->session.events = (struct session_events){
        .arg = j, .notice = on_notice, .warning = on_warning, .progress = on_progress};
    j->session.interrupt = &all->interrupt;
    j->session.cancel_fd = all->wake[0];
    *job_list_push(&all->list) = j;
    return j;
}

/* Whether there is anything to fetch; what is wrong with the name, its step says. */
static bool is_fetched(const struct build *b, const char *name)
{
    struct image_spec spec = {0};
    if (reference_is(name))
        return true;
    if (image_spec_parse(str_of(name), &spec, NULL) < 0)
        return false;
    CLEANUP(known_images_free) struct known_images known = {0};
    bool fetched = spec.kind == SPEC_HTTP || spec.kind == SPEC_VAGRANT ||
                   (spec.kind == SPEC_NAME && known_images_read(b->s, &known, NULL) == 0 &&
                    known_images_find(&known, spec.name));
    fetched = fetched && (b->o->pull != PULL_MISSING || !backend_has(b->s->backend, spec.name));
    image_spec_clear(&spec);
    return fetched;
}

/* FROM, --from: unless it is a stage, or here. */
static void add_image(struct jobs *all, const struct imagefile_step *step, const char *name,
                      bool from)
{
    const struct build *b = all->build;
    size_t at = (size_t)(step - b->file->steps);
    const struct named_context *named = name ? named_find(b, name) : NULL;
    name = named ? named->image : name;
    if (!name || !is_fetched(b, name) || imagefile_is_scratch(name) || b->o->pull == PULL_NEVER ||
        imagefile_find_stage(b->file, str_of(name), at, !from) != NO_STAGE ||
        (b->o->pull == PULL_MISSING && backend_has(b->s->backend, name)))
        return;
    (void)add(all, JOB_IMAGE, step, name, from ? b->o->checksum : NULL);
}

/* A first build has no layers: what an ADD unpacks is needed for sure. */
static bool is_first_build(const struct build *b)
{
    json_auto_t *history = history_read(b->store, b->name);
    return (b->o->no_cache || !history) && !b->o->n_cache_from && !b->o->require_cached;
}

static void add_sources(struct jobs *all, const struct imagefile_step *step, bool first)
{
    const struct copy_args *c = &step->copy;
    bool unclear =
        (word_given(&c->checksum) && !c->checksum_known) ||
        (word_given(&c->platform) && memchr(c->platform.raw.ptr, '$', c->platform.raw.len));
    for (size_t i = 0; i < c->n_sources && !unclear; i++) {
        const struct copy_source *s = &c->sources[i];
        if (s->heredoc || !s->known || imagefile_is_git(str_of(s->known)))
            continue;
        if (is_url(s->known))
            (void)add(all, JOB_FILE, step, s->known, c->checksum_known);
        else if (first && str_starts(str_of(s->known), "oci://") && !word_given(&c->platform))
            (void)add(all, JOB_CONTAINER, step, s->known, c->checksum_known);
    }
}

static void add_step(struct jobs *all, const struct imagefile_step *step, bool first)
{
    struct build *b = all->build;
    struct stage_run scope = {.args = b->global_args};
    AUTO_FREE char *name =
        step->op == OP_FROM ? expand_word(b, &scope, &step->from.image, NULL) : NULL;
    add_image(all, step, name, true);
    if (step->op == OP_COPY || step->op == OP_ADD)
        add_image(all, step, step->copy.from_name, false);
    if (step->op == OP_ADD && !word_given(&step->copy.from))
        add_sources(all, step, first);
    for (size_t m = 0; step->op == OP_RUN && m < step->run.n_mounts; m++)
        add_image(all, step, step->run.mounts[m].from_name, false);
}

static int fetch_image(const struct build *b, struct job *j, struct error **err)
{
    CLEANUP(backend_image_clear) struct backend_image image = {0};
    struct image_pull_options o = {
        .policy = b->o->pull, .checksum = j->checksum, .checksum_beside = true};
    return transfer_ensure(&j->session, j->text, &o, &b->o->transfer, &image, err);
}

static int fetch_container(const struct build *b, struct job *j, struct error **err)
{
    CLEANUP(container_freep) struct container *c = NULL;
    struct container_options o = {
        .text = j->text, .checksum = j->checksum, .transfer = &b->o->transfer};
    return container_open(&j->session, &o, &c, err) < 0 ? -1 : container_fetch(c, err);
}

static void run(const struct build *b, struct job *j)
{
    struct error *why = NULL;
    int rc = j->kind == JOB_IMAGE ? fetch_image(b, j, &why)
             : j->kind == JOB_CONTAINER
                 ? fetch_container(b, j, &why)
                 : remote_fetch(&j->session, j->text, j->checksum, &j->file, &why);
    (void)pthread_mutex_lock(&j->all->mutex);
    j->failed = rc < 0;
    j->error = why;
    j->over = true;
    (void)pthread_mutex_unlock(&j->all->mutex);
}

static void *work(void *arg)
{
    struct jobs *all = arg;
    (void)pthread_mutex_lock(&all->mutex);
    while (!all->stop && all->next < all->list.len) {
        struct job *j = all->list.ptr[all->next++];
        (void)pthread_mutex_unlock(&all->mutex);
        run(all->build, j);
        (void)pthread_mutex_lock(&all->mutex);
        all->stop = all->stop || j->failed;
    }
    all->running--;
    (void)pthread_cond_signal(&all->changed);
    (void)pthread_mutex_unlock(&all->mutex);
    return NULL;
}

/* What a person reads beside the bar. */
static const char *label(const struct job *j)
{
    const char *slash = strrchr(j->text, '/');
    return j->kind != JOB_IMAGE && slash && slash[1] ? slash + 1 : j->text;
}

/* The mutex is held: what this says goes to the build's own listener, which is another lock's matter. */
static void tell(struct jobs *all)
{
    const struct session *s = all->build->s;
    bool first = true; // of those that are not over: its lines may be said as they come
    vec_foreach (struct job **, at, &all->list) {
        struct job *j = *at;
        for (; first && j->told < j->notices.len; j->told++)
            if (j->notices.ptr[j->told][0] == 'n')
                session_notice(s, "%s", j->notices.ptr[j->told] + 1);
            else
                session_warning(s, j->notices.ptr[j->told] + 1);
        first = first && j->over;
        if (j->moving && !j->over)
            session_progress(s, label(j), j->done, j->total, false);
        else if (j->shown)
            session_progress(s, label(j), j->done, j->total, true);
        j->shown = j->moving && !j->over;
    }
}

static void interrupt_all(struct jobs *all)
{
    struct session any = *all->build->s;
    any.interrupt = &all->interrupt;
    all->stop = true;
    session_interrupt(&any, SIGTERM);
}

static void wait_for_all(struct jobs *all)
{
    (void)pthread_mutex_lock(&all->mutex);
    while (all->running) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += WAKE_MS * 1000000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        (void)pthread_cond_timedwait(&all->changed, &all->mutex, &until);
        tell(all);
        if (session_cancelled(all->build->s) || all->stop)
            interrupt_all(all);
    }
    tell(all);
    (void)pthread_mutex_unlock(&all->mutex);
}

static int fetch_all(struct jobs *all, struct error **err)
{
    pthread_t threads[THREADS];
    size_t n = 0, want = all->list.len < THREADS ? all->list.len : THREADS;
    (void)pthread_mutex_lock(&all->mutex);
    while (n < want && pthread_create(&threads[n], NULL, work, all) == 0)
        n++;
    all->running = n;
    (void)pthread_mutex_unlock(&all->mutex);
    if (!n)
        return error_set(err, ERR_SYSTEM, "cannot start a thread");
    wait_for_all(all);
    for (size_t i = 0; i < n; i++)
        (void)pthread_join(threads[i], NULL);
    if (session_cancelled(all->build->s))
        return error_set(err, ERR_CANCELLED, "interrupted");
    // one that an error of another has interrupted is not what went wrong
    vec_foreach (struct job **, j, &all->list)
        if ((*j)->failed && (*j)->error->kind != ERR_CANCELLED) {
            error_propagate(err, STEAL((*j)->error));
            error_at(err, all->build->file_path, (*j)->step->line, (*j)->step->column);
            return -1;
        }
    return 0;
}

/* What the steps take instead of fetching it again. */
static void keep(struct jobs *all)
{
    struct build *b = all->build;
    b->prefetched = xcalloc(1, sizeof *b->prefetched);
    vec_foreach (struct job **, at, &all->list) {
        if ((*at)->kind == JOB_IMAGE)
            note_pulled(b, (*at)->text);
        if ((*at)->kind == JOB_FILE)
            *job_list_push(&b->prefetched->files) = STEAL(*at);
    }
}

static int prefetch_jobs(struct jobs *all, struct error **err)
{
    struct build *b = all->build;
    bool first = is_first_build(b);
    for (size_t i = 0; i < b->file->n_steps; i++) {
        const struct imagefile_step *step = &b->file->steps[i];
        if (step->stage != NO_STAGE && b->stages[step->stage].needed)
            add_step(all, step, first);
    }
    if (all->list.len < 2)
        return 0;
    long long start = now_us();
    int rc = fetch_all(all, err);
    session_timing(b->s, "prefetch", now_us() - start);
    if (rc == 0)
        keep(all);
    return rc;
}

int prefetch(struct build *b, struct error **err)
{
    struct jobs all = {
        .build = b, .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    if (pipe2(all.wake, O_CLOEXEC | O_NONBLOCK) < 0)
        return error_errno(err, "cannot make a pipe");
    all.interrupt.wake_fd = all.wake[1];
    int rc = prefetch_jobs(&all, err);
    vec_foreach (struct job **, j, &all.list)
        if (*j)
            job_free(*j);
    job_list_clear(&all.list);
    (void)close(all.wake[0]);
    (void)close(all.wake[1]);
    return rc;
}
