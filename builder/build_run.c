// SPDX-License-Identifier: MIT
//
// RUN: its key, its environment and mounts, and the EXEC request. Secrets go to the guest's memory
// only; their bytes are struck out of what the command prints before it reaches the log or the
// screen.
#include "base/alloc.h"
#include "base/process.h"
#include "base/session.h"
#include "base/terminal.h"
#include "builder/build_private.h"
#include "builder/cache_disk.h"
#include "builder/mask.h"
#include "builder/send.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A RUN once everything is expanded. */
struct run {
    struct strv argv;
    struct run_mount_value *mounts; /* step->run.n_mounts */
    size_t n_mounts;
    struct sender *sender; /* of the bind mount from the build directory */
    struct mask *mask;
    unsigned slots; /* bit mask: extra slots this step needs */
};

struct run_mount_value {
    char *target, *id, *source, *from;
    struct disk_state disk;      /* bind with from */
    struct selection *selection; /* bind of the build directory */
    const struct build_secret *secret;
    struct cache_disk *cache;
    int slot;
};

static void run_clear(struct run *r)
{
    sender_free(r->sender);
    mask_free(r->mask);
    strv_clear(&r->argv);
    for (size_t i = 0; i < r->n_mounts; i++) {
        struct run_mount_value *m = &r->mounts[i];
        selection_free(m->selection);
        cache_disk_free(m->cache);
        disk_state_clear(&m->disk);
        free(m->target);
        free(m->id);
        free(m->source);
        free(m->from);
    }
    free(r->mounts);
}

static const char *const default_path =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/* As in Dockerfile: taken from kiln's own environment, seen by RUN, no part of any key. */
static const char *const proxy_vars[] = {"http_proxy", "https_proxy", "ftp_proxy", "no_proxy",
                                         "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY"};

static void put_env(struct message *m, const char *name, const char *value)
{
    AUTO_FREE char *text = xasprintf("%s=%s", name, value);
    message_puts(m, AGENT_TAG_ENV, text);
}

void run_put_environment(const struct config *c, const struct settings *args, struct message *m)
{
    if (!settings_get(&c->env, "PATH"))
        put_env(m, "PATH", default_path);
    put_env(m, "SYSTEMD_OFFLINE", "1");
    for (size_t i = 0; i < sizeof proxy_vars / sizeof *proxy_vars; i++) {
        const char *v = getenv(proxy_vars[i]);
        if (v && *v && !settings_get(&c->env, proxy_vars[i]))
            put_env(m, proxy_vars[i], v);
    }
    for (size_t i = 0; args && i < args->len; i++)
        if (!settings_get(&c->env, args->ptr[i].name))
            put_env(m, args->ptr[i].name, args->ptr[i].value);
    for (size_t i = 0; i < c->env.len; i++)
        put_env(m, c->env.ptr[i].name, c->env.ptr[i].value);
    message_puts(m, AGENT_TAG_CWD, config_workdir(c));
    message_puts(m, AGENT_TAG_USER, c->user);
}

void run_put_shell(struct message *m)
{
    const char *term = getenv("TERM");
    message_puts(m, AGENT_TAG_ARG, "/bin/sh");
    message_put_num(m, AGENT_TAG_FLAGS, AGENT_TTY);
    message_puts(m, AGENT_TAG_TERM, term && *term ? term : "linux");
    unsigned columns, rows;
    terminal_size(STDIN_FILENO, &columns, &rows);
    message_put_num(m, AGENT_TAG_ROWS, rows);
    message_put_num(m, AGENT_TAG_COLUMNS, columns);
}

static const struct build_secret *find_secret(const struct build *b, const char *id)
{
    for (size_t i = 0; i < b->o->n_secrets; i++)
        if (!strcmp(b->o->secrets[i].id, id))
            return &b->o->secrets[i];
    return NULL;
}

static int select_bind(struct build *b, struct run_mount_value *v, struct error **err)
{
    struct context_source source = {.kind = SOURCE_PATH, .text = v->source ? v->source : "."};
    struct context_request r = {
        .instruction = "RUN --mount", .sources = &source, .n_sources = 1, .dest = v->target};
    if (build_context(b, err) < 0)
        return -1;
    return context_select(b->ctx, &r, &v->selection, err);
}

static int expand_mount(struct build *b, struct stage_run *st, const struct run_mount *m,
                        struct run_mount_value *v, struct error **err)
{
    const struct {
        const struct word *word;
        char **value;
    } words[] = {
        {&m->target, &v->target}, {&m->id, &v->id}, {&m->source, &v->source}, {&m->from, &v->from}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (word_given(words[i].word) &&
            !(*words[i].value = expand_word(b, st, words[i].word, err)))
            return -1;
    if (v->target) {
        char *path = config_path(&st->config, v->target);
        free(v->target);
        v->target = path;
    }
    switch (m->type) {
    case MOUNT_SECRET:
        if (!v->target)
            v->target = xasprintf("/run/secrets/%s", v->id);
        v->secret = find_secret(b, v->id);
        if (v->secret || !m->required)
            return 0;
        error_set(err, ERR_USER, "secret '%s' is required and was not given", v->id);
        return error_hint(err, "--secret id=%s,src=FILE or id=%s,env=VARIABLE gives it", v->id,
                          v->id);
    case MOUNT_BIND:
        if (v->from)
            return stage_source(b, st, v->from, &v->disk, err);
        return select_bind(b, v, err);
    case MOUNT_CACHE:
    case MOUNT_TMPFS:
        break;
    }
    return 0;
}

static void add_argv(struct stage_run *st, const struct imagefile_step *step, struct run *r)
{
    const struct run_args *a = &step->run;
    if (step->json) {
        for (size_t i = 0; i < a->argv.len; i++)
            strv_add_take(&r->argv, str_dup(a->argv.ptr[i].raw));
        return;
    }
    if (a->shebang) {
        strv_add(&r->argv, AGENT_SCRIPT);
        return;
    }
    if (!st->config.shell.len) {
        strv_add(&r->argv, "/bin/sh");
        strv_add(&r->argv, "-c");
    }
    for (size_t i = 0; i < st->config.shell.len; i++)
        strv_add(&r->argv, st->config.shell.ptr[i]);
    strv_add_take(&r->argv, str_dup(a->script));
}

/* What two RUNs may differ in and still be the same step: secrets and cache mounts, the proxy, the
 * accelerator, memory. All else is in. */
static struct key *run_key(const struct stage_run *st, const struct imagefile_step *step,
                           const struct run *r)
{
    struct key *key = key_begin(st->disk.id);
    CLEANUP(buf_clear) struct buf argv = BUF_INIT;
    for (size_t i = 0; i < r->argv.len; i++) {
        buf_adds(&argv, r->argv.ptr[i]);
        buf_addc(&argv, '\0');
    }
    if (step->run.shebang)
        buf_add_str(&argv, step->run.script);
    key_field(key, "step", argv.data, argv.len);
    key_field(key, "WORKDIR", config_workdir(&st->config), strlen(config_workdir(&st->config)));
    if (st->config.user)
        key_field(key, "USER", st->config.user, strlen(st->config.user));
    for (size_t i = 0; i < st->config.env.len; i++) {
        AUTO_FREE char *name = xasprintf("ENV %s", st->config.env.ptr[i].name);
        key_field(key, name, st->config.env.ptr[i].value, strlen(st->config.env.ptr[i].value));
    }
    for (size_t i = 0; i < st->args.len; i++) {
        AUTO_FREE char *name = xasprintf("ARG %s", st->args.ptr[i].name);
        if (!settings_get(&st->config.env, st->args.ptr[i].name))
            key_field(key, name, st->args.ptr[i].value, strlen(st->args.ptr[i].value));
    }
    if (step->run.network == NETWORK_NONE)
        key_field(key, "--network", "none", 4);
    for (size_t i = 0; i < r->n_mounts; i++) {
        const struct run_mount_value *v = &r->mounts[i];
        const char *type = step->run.mounts[i].type == MOUNT_BIND    ? "bind"
                           : step->run.mounts[i].type == MOUNT_TMPFS ? "tmpfs"
                                                                     : NULL;
        if (!type)
            continue;
        AUTO_FREE char *name = xasprintf("--mount %s %s", type, v->target);
        char hex[ID_SIZE] = "";
        if (v->selection) {
            struct digest d = selection_digest(v->selection);
            digest_hex(&d, hex);
        }
        AUTO_FREE char *value =
            xasprintf("%s%s %s", v->disk.id, hex, v->selection || !v->source ? "" : v->source);
        key_field(key, name, value, strlen(value));
    }
    return key;
}

static int attach_cache(struct build *b, struct run *r, struct run_mount_value *v,
                        struct error **err)
{
    const char *id = v->id ? v->id : v->target;
    if (cache_disk_open(b->s, id, b->o->cache_mount_size, build_notice, b, &v->cache, err) < 0)
        return -1;
    v->slot = vm_free_slot(b, r->slots, err);
    if (v->slot < 0)
        return -1;
    r->slots |= 1u << v->slot;
    const char *const files[] = {cache_disk_path(v->cache)};
    struct builder_disk d = {files, 1, true, cache_disk_size(v->cache)};
    if (builder_vm_set_disk(b->vm, v->slot, &d, err) < 0)
        return -1;
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_SLOT, (uint64_t)v->slot);
    return builder_vm_call(b->vm, AGENT_FORMAT, &m, 120000, NULL, NULL, NULL, err);
}

static int detach_cache(struct build *b, struct run_mount_value *v, struct error **err)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_SLOT, (uint64_t)v->slot);
    if (builder_vm_call(b->vm, AGENT_UMOUNT, &m, 120000, NULL, NULL, NULL, err) < 0 ||
        builder_vm_set_disk(b->vm, v->slot, NULL, err) < 0)
        return -1;
    cache_disk_clean(v->cache);
    cache_disk_free(STEAL(v->cache));
    return 0;
}

static int put_mount(struct build *b, struct run *r, const struct run_mount *a,
                     struct run_mount_value *v, struct message *m, struct error **err)
{
    static const char *const names[] = {[MOUNT_CACHE] = "cache",
                                        [MOUNT_SECRET] = "secret",
                                        [MOUNT_BIND] = "bind",
                                        [MOUNT_TMPFS] = "tmpfs"};
    if (a->type == MOUNT_SECRET && !v->secret)
        return 0;
    if (a->type == MOUNT_CACHE && attach_cache(b, r, v, err) < 0)
        return -1;
    if (a->type == MOUNT_BIND && v->from) {
        v->slot = vm_attach(b, &v->disk, r->slots, err);
        if (v->slot < 0)
            return -1;
        r->slots |= 1u << v->slot;
    }
    message_puts(m, AGENT_TAG_MOUNT_TYPE, names[a->type]);
    message_puts(m, AGENT_TAG_MOUNT_TARGET, v->target);
    if (a->type == MOUNT_SECRET)
        message_put(m, AGENT_TAG_MOUNT_DATA, v->secret->bytes, v->secret->len);
    if (a->type == MOUNT_CACHE || (a->type == MOUNT_BIND && v->from))
        message_put_num(m, AGENT_TAG_MOUNT_SLOT, (uint64_t)v->slot);
    if (a->type == MOUNT_BIND) {
        message_put_num(m, AGENT_TAG_MOUNT_FLAGS, AGENT_READ_ONLY);
        if (v->from)
            message_puts(m, AGENT_TAG_MOUNT_SOURCE, v->source ? v->source : "/");
    }
    if (a->type == MOUNT_BIND && !v->from) {
        if (r->sender)
            return error_set(err, ERR_USER, "a RUN can bind the build directory once only");
        uint64_t offset;
        if (sender_new(b->s, v->selection, &r->sender, err) < 0 ||
            builder_vm_stream_begin(b->vm, sender_read, r->sender, &offset, err) < 0)
            return -1;
        message_put_num(m, AGENT_TAG_MOUNT_OFFSET, offset);
    }
    return 0;
}

/* Output through the mask that strikes out secrets. */
struct masked {
    struct build *b;
    struct mask *mask;
};

static void masked_output(void *arg, int stream, const char *bytes, size_t n)
{
    struct masked *m = arg;
    CLEANUP(buf_clear) struct buf clean = BUF_INIT;
    mask_add(m->mask, stream, bytes, n, &clean);
    if (clean.len)
        build_output(m->b, stream, clean.data, clean.len);
}

static void flush_mask(struct masked *m)
{
    for (int stream = 1; stream <= 2; stream++) {
        CLEANUP(buf_clear) struct buf rest = BUF_INIT;
        mask_flush(m->mask, stream, &rest);
        if (rest.len)
            build_output(m->b, stream, rest.data, rest.len);
    }
}

static int exec(struct build *b, struct run *r, const struct message *m, int *status,
                struct error **err)
{
    CLEANUP(message_clear) struct message reply = MESSAGE_INIT;
    struct masked out = {b, r->mask};
    int rc = r->mask ? builder_vm_call(b->vm, AGENT_EXEC, m, -1, masked_output, &out, &reply, err)
                     : vm_call(b, AGENT_EXEC, m, &reply, err);
    if (r->mask)
        flush_mask(&out);
    *status = (int)message_num(&reply, AGENT_TAG_STATUS, 0);
    return rc;
}

static int run_work(struct build *b, struct stage_run *st, const struct imagefile_step *step,
                    void *arg, struct error **err)
{
    struct run *r = arg;
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    for (size_t i = 0; i < r->argv.len; i++)
        message_puts(&m, AGENT_TAG_ARG, r->argv.ptr[i]);
    run_put_environment(&st->config, &st->args, &m);
    for (size_t i = 0; i < b->o->n_nameservers; i++)
        message_puts(&m, AGENT_TAG_NAMESERVER, b->o->nameservers[i]);
    if (step->run.shebang)
        message_put(&m, AGENT_TAG_SCRIPT, step->run.script.ptr, step->run.script.len);
    if (step->run.network == NETWORK_NONE)
        message_put_num(&m, AGENT_TAG_FLAGS, AGENT_NO_NETWORK);
    int rc = 0, status = 0;
    long long start = now_us();
    for (size_t i = 0; i < r->n_mounts && rc == 0; i++)
        rc = put_mount(b, r, &step->run.mounts[i], &r->mounts[i], &m, err);
    if (rc == 0)
        rc = exec(b, r, &m, &status, err);
    if (r->sender)
        builder_vm_stream_end(b->vm);
    build_timing(b, "exec", start);
    if (rc < 0)
        return -1;
    if (r->sender && sender_result(r->sender, err) < 0)
        return -1;
    for (size_t i = 0; i < r->n_mounts; i++)
        if (r->mounts[i].cache && detach_cache(b, &r->mounts[i], err) < 0)
            return -1;
    if (status == 0)
        return 0;
    AUTO_FREE char *how = process_status_text(status);
    return error_set(err, ERR_GUEST, "step %zu (" STR_FMT ") failed with %s", b->step,
                     STR_ARG(step->text), how);
}

int step_run(struct build *b, struct stage_run *st, const struct imagefile_step *step,
             struct error **err)
{
    CLEANUP(run_clear) struct run r = {0};
    add_argv(st, step, &r);
    r.n_mounts = step->run.n_mounts;
    r.mounts = xcalloc(r.n_mounts, sizeof *r.mounts);
    for (size_t i = 0; i < r.n_mounts; i++) {
        if (expand_mount(b, st, &step->run.mounts[i], &r.mounts[i], err) < 0)
            return -1;
        if (r.mounts[i].secret) {
            r.mask = r.mask ? r.mask : mask_new();
            mask_secret(r.mask, r.mounts[i].secret->bytes, r.mounts[i].secret->len);
        }
    }
    struct key *key = run_key(st, step, &r);
    return step_layer(b, st, step, key, (struct str){"", 0}, run_work, &r, err);
}
