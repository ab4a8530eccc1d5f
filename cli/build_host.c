// SPDX-License-Identifier: MIT
//
// ssh is a process in a session of its own, so that Ctrl-C reaches kiln alone: it closes the stream,
// whereupon the other kiln interrupts its build, and hears that build's last words.
#include "cli/build_host.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/session.h"
#include "base/url.h"
#include "base/working.h"
#include "builder/build/imagefile_path.h"
#include "builder/context/context.h"
#include "builder/context/sync.h"
#include "builder/transfer/transfer.h"
#include "cli/build_events.h"
#include "cli/build_guard.h"
#include "cli/build_wire.h"
#include "image/name.h"
#include "imagefile/imagefile.h"
#include "registry/reference.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long an interrupted build has to say so, and ssh to end; what a line of the other kiln may have. */
enum { LAST_WORDS_MS = 3000, END_MS = 10000, LINE_MAX_BYTES = 64 << 20 };

/* Options that say something about this side alone, or that go another way. */
static const char *const not_sent[] = {
    "host",    "serve", "load",          "name",     "file",     "build-arg",
    "secret",  "ssh",   "cache-from",    "cache-to", "output",   "iidfile",
    "json",    "quiet", "metadata-file", "explain",  "progress", "rm",
    "verbose", "help",  "image-backend", "vmstore",  "check"};
static const char *const refused[] = {"local", "image-backend", "build-context"};

int build_host_check(const struct args *a, struct error **err)
{
    const char *on_error = args_get(a, "on-error");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (args_has(a, refused[i]))
            return error_set(err, ERR_USAGE, "--host and --%s: give one of them", refused[i]);
    if (on_error && !strcmp(on_error, "shell")) {
        error_set(err, ERR_USAGE, "--host and --on-error=shell: there is no terminal on the host");
        return error_hint(err, "--on-error=keep, and 'kiln shell NAME@failed' on the host");
    }
    if (args_has(a, "output") && !args_has(a, "load")) {
        error_set(err, ERR_USAGE, "--output: the image is on the host");
        return error_hint(err, "--load brings it here");
    }
    return 0;
}

/* What names a file of this side in a value that the host would look up there. */
static int check_values(const struct args *a, const struct build_options *o, struct error **err)
{
    const char *sum = args_get(a, "checksum");
    for (size_t i = 1; i < o->n_agents; i++)
        if (strcmp(o->agents[i].socket, o->agents[0].socket) != 0) {
            error_set(err, ERR_USER, "--ssh: with --host there is one ssh-agent");
            return error_hint(err, "--ssh %s=KEY,KEY is one with several keys", o->agents[0].id);
        }
    for (size_t i = 0; i <= o->n_cache_from; i++) {
        const char *cache = i < o->n_cache_from ? o->cache_from[i] : o->cache_to;
        if (cache && strncmp(cache, "oci://", 6) != 0)
            return error_set(err, ERR_USER, "cache '%s': with --host it is oci://HOST/REPOSITORY",
                             cache);
    }
    if (sum && strncmp(sum, "sha256:", 7) != 0 && strncmp(sum, "sha512:", 7) != 0 && !is_url(sum))
        return error_set(err, ERR_USER,
                         "--checksum '%s': with --host it is the sum itself or a URL", sum);
    return 0;
}

struct address {
    char *user, *host, *port, *program; /* user, port NULL = ssh's own choice */
};

static void address_clear(struct address *a)
{
    free(a->user);
    free(a->host);
    free(a->port);
    free(a->program);
}

static int no_address(const char *url, struct error **err)
{
    error_set(err, ERR_USAGE, "argument --host: '%s' is not ssh://[USER@]HOST[:PORT][/PATH]", url);
    return error_hint(err, "PATH is the kiln there, where 'kiln' alone does not find it");
}

/* HOST[:PORT] or [ADDRESS][:PORT]. */
static int parse_host(const char *text, const char *url, struct address *ret, struct error **err)
{
    size_t open = *text == '[', n = strcspn(text + open, open ? "]" : ":");
    const char *rest = text + open + n + open * (text[open + n] == ']');
    if (!n || (open && text[open + n] != ']') || (*rest && *rest != ':'))
        return no_address(url, err);
    ret->host = xstrndup(text + open, n);
    if (!*rest)
        return 0;
    if (!rest[1] || rest[1 + strspn(rest + 1, "0123456789")] || strlen(rest) > 6)
        return no_address(url, err);
    ret->port = xstrdup(rest + 1);
    return 0;
}

static int parse_url(const char *url, struct address *ret, struct error **err)
{
    if (strncmp(url, "ssh://", 6) != 0)
        return no_address(url, err);
    for (const char *p = url; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == 0x7f)
            return no_address(url, err);
    AUTO_FREE char *place = xstrndup(url + 6, strcspn(url + 6, "/"));
    const char *path = url + 6 + strlen(place), *at = strrchr(place, '@');
    ret->user = at ? xstrndup(place, (size_t)(at - place)) : NULL;
    ret->program = xstrdup(path[0] && path[1] ? path : "kiln");
    if (ret->user && (!*ret->user || *ret->user == '-'))
        return no_address(url, err);
    if (parse_host(at ? at + 1 : place, url, ret, err) < 0)
        return -1;
    return *ret->host == '-' ? no_address(url, err) : 0;
}

/* One connection: what we know of the other side. */
struct link {
    const struct session *s;
    const char *url;
    int url_len; /* of it without a path */
    struct address address;
    struct process ssh;
    struct buf line; /* bytes from there that are not a whole line yet */
    char *noise;     /* the first line that is no event: of a login script, or an error */
    bool heard;      /* an event has come */
    bool interrupted;
    long long deadline; /* once it is: when the other side is not waited for any more */
};

static void link_clear(struct link *l)
{
    process_clear(&l->ssh);
    address_clear(&l->address);
    buf_clear(&l->line);
    free(l->noise);
}

/* agent: a socket to be forwarded, or NULL. */
static int start(struct link *l, const char *agent, struct error **err)
{
    const struct address *a = &l->address;
    CLEANUP(buf_clear) struct buf command = BUF_INIT;
    CLEANUP(strv_clear) struct strv argv = {0};
    buf_add_shell_words(&command,
                        (const char *const[]){a->program, "image", "build", "--serve", NULL});
    strv_add(&argv, "ssh");
    if (a->port)
        strv_addf(&argv, "-p%s", a->port);
    if (a->user)
        strv_addf(&argv, "-l%s", a->user);
    if (agent)
        strv_addf(&argv, "-oForwardAgent=%s", agent);
    strv_add(&argv, "-T");
    strv_add(&argv, "--");
    strv_add(&argv, a->host);
    strv_add(&argv, command.data);
    struct process_spec spec = {.argv = argv.ptr,
                                .in = PROCESS_PIPE,
                                .out = PROCESS_PIPE,
                                .errors = PROCESS_INHERIT,
                                .own_session = true};
    if (process_start(&l->ssh, &spec, err) < 0)
        return error_hint(err, "apt-get install openssh-client");
    return 0;
}

static void close_stream(struct link *l)
{
    if (l->ssh.in >= 0)
        close(l->ssh.in);
    l->ssh.in = -1;
}

/* Why the other side has gone, from how ssh ended. */
static int gone(struct link *l, struct error **err)
{
    const char *host = l->address.host;
    close_stream(l);
    if (l->interrupted || session_cancelled(l->s))
        return error_set(err, ERR_CANCELLED, "interrupted");
    if (process_wait(&l->ssh, END_MS, NULL) < 0)
        return error_set(err, ERR_SYSTEM, "the connection to '%s' broke", host);
    int status = WIFEXITED(l->ssh.status) ? WEXITSTATUS(l->ssh.status) : 255;
    if (status == 127 || status == 126) {
        error_set(err, ERR_USER, "there is no '%s' on '%s'", l->address.program, host);
        return error_hint(err, "install kiln there, or say where it is: --host %.*s/PATH/TO/kiln",
                          l->url_len, l->url);
    }
    if (status == 255) {
        error_set(err, ERR_USER, "cannot reach '%s' by ssh, or the connection broke", host);
        return error_hint(err, "'ssh %.*s true' must work without a password", l->url_len, l->url);
    }
    if (status == 2) {
        error_set(err, ERR_USER, "the kiln on '%s' does not know 'image build --serve'", host);
        return error_hint(err, "install kiln %s there", KILN_VERSION);
    }
    return error_set(err, ERR_SYSTEM, "the kiln on '%s' ended without a result%s%s", host,
                     l->noise ? ": " : "", l->noise ? l->noise : "");
}

/* Waits for bytes. 0: the other side has gone. */
static ssize_t more(struct link *l, struct error **err)
{
    char chunk[64 * 1024];
    for (;;) {
        struct pollfd p[2] = {{.fd = l->ssh.out, .events = POLLIN},
                              {.fd = l->interrupted ? -1 : l->s->cancel_fd, .events = POLLIN}};
        long long left = l->interrupted ? l->deadline - now_ms() : -1;
        if (l->interrupted && left <= 0)
            return error_set(err, ERR_CANCELLED, "interrupted");
        if (poll(p, 2, (int)left) < 0 && errno != EINTR)
            return error_errno(err, "cannot wait for '%s'", l->address.host);
        if (p[1].revents) {
            l->interrupted = true; // who has said nothing has nothing to end
            l->deadline = now_ms() + (l->heard ? LAST_WORDS_MS : 0);
            close_stream(l);
        }
        if (!p[0].revents)
            continue;
        ssize_t n = read(l->ssh.out, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "cannot read from '%s'", l->address.host);
        buf_add(&l->line, chunk, (size_t)n);
        return n;
    }
}

/* The next event; what else is printed there is passed over. NULL: *err says why none comes. */
static json_t *next_event(struct link *l, struct error **err)
{
    for (size_t seen = 0;;) {
        char *end =
            l->line.len > seen ? memchr(l->line.data + seen, '\n', l->line.len - seen) : NULL;
        if (!end) {
            seen = l->line.len;
            if (seen > LINE_MAX_BYTES) {
                error_set(err, ERR_SYSTEM, "'%s' sent a line without an end", l->address.host);
                return NULL;
            }
            ssize_t n = more(l, err);
            if (n == 0)
                gone(l, err);
            if (n <= 0)
                return NULL;
            continue;
        }
        json_t *event = json_loadb(l->line.data, (size_t)(end - l->line.data), 0, NULL);
        if (!json_str(event, "event") && !l->noise)
            l->noise = xstrndup(l->line.data, (size_t)(end - l->line.data));
        buf_consume(&l->line, (size_t)(end - l->line.data) + 1);
        seen = 0;
        if (json_str(event, "event")) {
            l->heard = true;
            return event;
        }
        json_decref(event);
    }
}

/* Which folder of which machine: its copy there is its own. */
static int name_copy(const char *dir, char ret[DIGEST_HEX + 1], struct error **err)
{
    AUTO_FREE char *real = realpath(dir, NULL);
    CLEANUP(buf_clear) struct buf id = BUF_INIT;
    if (!real)
        return error_errno(err, "build directory '%s'", dir);
    char host[256] = "";
    if (file_read("/etc/machine-id", 256, &id, NULL) < 0 && gethostname(host, sizeof host - 1) == 0)
        buf_adds(&id, host);
    buf_addf(&id, "\n%u\n%s", (unsigned)getuid(), real);
    struct digest d = digest_of(id.data, id.len);
    digest_hex(&d, ret);
    return 0;
}

static int take_imagefile(struct context *ctx, const struct build_options *o, const char *path,
                          struct build_request *r, struct error **err)
{
    if (file_read(path, IMAGEFILE_MAX, &r->imagefile, err) < 0)
        return imagefile_hint(o->file, err);
    CLEANUP(strv_clear) struct strv below = {0};
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    bool standard_input = !strcmp(path, "/dev/stdin");
    if (!standard_input)
        context_hide(o->dir, path, &below);
    r->outside = !below.len || context_has(ctx, "the", below.ptr[0], NULL) < 0;
    if (r->outside)
        r->file = xstrdup(standard_input ? "Imagefile" : name);
    else
        r->file = xstrdup(o->file ? below.ptr[0] : "");
    return 0;
}

static void add_word(struct strv *words, const char *name, const char *value)
{
    strv_addf(words, "--%s=%s", name, value);
}

static bool is_sent(const struct option_spec *o)
{
    for (size_t i = 0; i < sizeof not_sent / sizeof *not_sent; i++)
        if (!strcmp(o->name, not_sent[i]))
            return false;
    return true;
}

/* All that was given, as options of image build on the other side. */
static int take_words(const struct args *a, const struct build_options *o, struct strv *words,
                      struct error **err)
{
    const char *v;
    for (const struct option_spec *spec = a->command->options; spec->name; spec++)
        for (size_t i = 0; is_sent(spec) && (v = args_nth(a, spec->name, i)); i++)
            if (!spec->value || (option_value_optional(spec) && !*v))
                strv_addf(words, "--%s", spec->name);
            else
                add_word(words, spec->name, v);
    for (size_t i = 0; i < o->n_build_args; i++) {
        const char *arg = o->build_args[i], *value = getenv(arg);
        if (strchr(arg, '='))
            add_word(words, "build-arg", arg);
        else if (value)
            strv_addf(words, "--build-arg=%s=%s", arg, value);
    }
    for (size_t i = 0; i < o->n_agents; i++)
        add_word(words, "ssh", o->agents[i].id);
    for (size_t i = 0; i < o->n_cache_from; i++)
        add_word(words, "cache-from", o->cache_from[i]);
    if (o->cache_to)
        strv_addf(words, "--cache-to=%s,mode=%s", o->cache_to, o->cache_all ? "all" : "min");
    AUTO_FREE char *real = o->name ? NULL : realpath(o->dir, NULL);
    const char *slash = real ? strrchr(real, '/') : NULL, *name = o->name             ? o->name
                                                                  : slash && slash[1] ? slash + 1
                                                                                      : "image";
    if (image_name_check(name, err) < 0)
        return error_hint(err, "--name gives the image another name");
    add_word(words, "name", name);
    return 0;
}

static void copy_secrets(const struct build_options *o, struct build_request *r)
{
    r->secrets = xcalloc(o->n_secrets + 1, sizeof *r->secrets);
    for (size_t i = 0; i < o->n_secrets; i++) {
        struct build_secret *to = &r->secrets[r->n_secrets++];
        to->id = xstrdup(o->secrets[i].id);
        to->bytes = xmalloc(o->secrets[i].len + 1);
        memcpy(to->bytes, o->secrets[i].bytes, o->secrets[i].len);
        to->len = o->secrets[i].len;
    }
}

/* Somebody who does not read any more says why, or ssh does. */
static int unless_gone(struct error **why, struct error **err)
{
    if ((*why)->errnum == EPIPE)
        return 0;
    return error_propagate(err, STEAL(*why));
}

static int send_wanted(struct link *l, const struct selection *all, const json_t *event,
                       struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    AUTO_FREE uint8_t *wanted = NULL;
    if (build_want_read(event, selection_entries(all), &wanted) < 0)
        return error_set(err, ERR_SYSTEM, "'%s' asked for files that are not there",
                         l->address.host);
    if (!json_flag(event, "stream"))
        return 0;
    struct build_guard g;
    build_guard_begin(&g, l->s, &l->ssh);
    int rc = sync_send(all, wanted, l->ssh.in, &why);
    build_guard_end(&g);
    return rc < 0 ? unless_gone(&why, err) : 0;
}

/* The image's layers, as an OCI layout in a tar stream, become an image here. */
static int take_image(struct link *l, const char *name, struct error **err)
{
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    CLEANUP(reference_clear) struct reference ref = {0};
    const struct sync_plan everything = {0};
    AUTO_FREE char *parent = path_join(l->s->cache ? l->s->cache : "/tmp", "hosts");
    working_sweep(parent);
    if (working_open(&w, parent, err) < 0)
        return -1;
    AUTO_FREE char *text = xasprintf("oci-layout:%s/", w.dir);
    struct transfer_options o = {.replace = true};
    if (write_all(l->ssh.in, "g", 1) < 0)
        return gone(l, err);
    if (sync_receive(l->s, &everything, w.dir, l->ssh.out, err) < 0)
        return session_cancelled(l->s) ? -1 : error_wrap(err, "the image of '%s'", l->address.host);
    if (reference_parse(text, &ref, err) < 0)
        return -1;
    return transfer_pull(l->s, &ref, name, &o, err) < 0 ? -1 : 0;
}

/* Until the result: what the other side says is told here. */
static int follow(struct link *l, const struct build_host *h, const struct selection *all,
                  const struct build_ui *ui, struct build_result *ret, struct error **err)
{
    for (;;) {
        json_auto_t *event = next_event(l, err);
        const char *kind = json_str(event, "event");
        if (!event)
            return -1;
        int other = build_event_tell(l->s, ui, event, ret, err);
        if (other < 0)
            return -1;
        if (other && !strcmp(kind, "want") && send_wanted(l, all, event, err) < 0)
            return -1;
        if (!strcmp(kind, "layout"))
            return take_image(l, ret->name ? ret->name : "", err);
        if (ret->name && !h->load)
            return 0;
    }
}

int build_on_host(const struct session *s, const struct build_host *h, const struct args *a,
                  const struct build_options *o, const struct build_ui *ui,
                  struct build_result *ret, struct error **err)
{
    CLEANUP(link_clear)
    struct link l = {.s = s, .ssh = PROCESS_INIT, .line = BUF_INIT, .url = h->url};
    CLEANUP(build_request_clear) struct build_request r = BUILD_REQUEST_INIT;
    CLEANUP(context_freep) struct context *ctx = NULL;
    CLEANUP(selection_freep) struct selection *all = NULL;
    CLEANUP(error_freep) struct error *why = NULL;
    AUTO_FREE char *path = imagefile_path(o->dir, o->file);
    char copy[DIGEST_HEX + 1];
    CLEANUP(strv_clear) struct strv hidden = {0};
    struct context_options options = {.dir = o->dir, .imagefile = path, .hidden = &hidden};
    for (size_t i = 0; i < o->n_products; i++)
        context_hide(o->dir, o->products[i], &hidden);
    if (parse_url(h->url, &l.address, err) < 0 || check_values(a, o, err) < 0 ||
        context_open(s, &options, &ctx, err) < 0 || take_imagefile(ctx, o, path, &r, err) < 0 ||
        take_words(a, o, &r.words, err) < 0 || name_copy(o->dir, copy, err) < 0 ||
        sync_select(ctx, &all, err) < 0)
        return -1;
    l.url_len = (int)(strlen("ssh://") + strcspn(h->url + strlen("ssh://"), "/"));
    if (start(&l, o->n_agents ? o->agents[0].socket : NULL, err) < 0)
        return -1;
    buf_add_str(&r.manifest, selection_manifest(all));
    r.copy = xstrdup(copy);
    r.load = h->load;
    copy_secrets(o, &r);
    struct build_guard g;
    build_guard_begin(&g, s, &l.ssh);
    int rc = build_request_write(l.ssh.in, &r, &why);
    build_guard_end(&g);
    if (rc < 0 && unless_gone(&why, err) < 0)
        return -1;
    return follow(&l, h, all, ui, ret, err);
}
