// SPDX-License-Identifier: MIT
//
// `image history` and `image log`: what the steps of an image were, what they cost, what they said.
// The steps come from the image's metadata; their layers' records add the rest. An image without
// such metadata (or a layer that is only a base) still shows its chain of layers.
#include "base/alloc.h"
#include "base/json.h"
#include "base/printable.h"
#include "base/source.h"
#include "base/terminal.h"
#include "cache/history.h"
#include "cache/store.h"
#include "cli/columns.h"
#include "cli/command.h"
#include "cli/layer_graph.h"
#include "cli/list.h"
#include "cli/store.h"
#include "cli/vm_find.h"
#include "image/backend.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct option_spec done_options[] = {JSON_OPTION, {0}};

static const struct option_spec history_options[] = {
    {"json", 0, NULL, "Print JSON", NULL},
    LIST_FORMAT_OPTION("{{.Step}}\\t{{.Instruction}}"),
    {"cost", 0, NULL, "The steps that took longest first", NULL},
    {"graph", 0, NULL,
     "All layers as a tree; with NAME, those its image is made of or is a base of", NULL},
    {"no-trunc", 0, NULL, "Print whole instructions and keys", NULL},
    {0},
};

struct row {
    json_int_t n; /* step as the build showed it; 0 = not known */
    const char *step;
    char key[DIGEST_HEX + 1]; /* "" = changes no disk */
    char id[DIGEST_HEX + 1];
    int64_t created;
    double seconds;
    uint64_t bytes;
};
DEFINE_VECTOR(rows, struct row);
DEFINE_VECTOR(layers, struct layer *);

struct history {
    json_t *metadata;
    struct rows rows;
    struct layers layers;
    struct store *store;
};

static void history_clear(struct history *h)
{
    json_decref(h->metadata);
    rows_clear(&h->rows);
    vec_foreach (struct layer **, l, &h->layers)
        layer_free(*l);
    layers_clear(&h->layers);
    store_free(h->store);
}

static struct layer *layer_by_id(const struct history *h, const char *id)
{
    vec_foreach (struct layer **, l, &h->layers)
        if (id && !strcmp((*l)->id, id))
            return *l;
    return NULL;
}

static void fill_from_layer(struct row *r, const struct layer *l)
{
    memcpy(r->key, l->key, sizeof r->key);
    memcpy(r->id, l->id, sizeof r->id);
    r->created = layer_created(l);
    r->seconds = layer_seconds(l);
    r->bytes = layer_bytes(l);
}

/* Rows by the metadata's steps; each layer stands at the step that made it. Layers below them (the
 * base's) come first. */
static void make_rows(struct history *h)
{
    const json_t *steps = json_object_get(h->metadata, "steps");
    AUTO_FREE bool *shown = xcalloc(h->layers.len + 1, sizeof *shown);
    size_t i;
    json_t *e;
    json_array_foreach ((json_t *)steps, i, e) {
        const struct layer *l = layer_by_id(h, json_str(e, "layer"));
        for (size_t k = 0; l && k < h->layers.len; k++)
            if (h->layers.ptr[k] == l)
                shown[k] = true;
    }
    for (size_t k = 0; k < h->layers.len; k++) {
        if (shown[k])
            continue;
        struct row *r = rows_push(&h->rows);
        r->step = layer_step(h->layers.ptr[k]);
        fill_from_layer(r, h->layers.ptr[k]);
    }
    const struct layer *before = NULL;
    json_array_foreach ((json_t *)steps, i, e) {
        struct row *r = rows_push(&h->rows);
        const struct layer *l = layer_by_id(h, json_str(e, "layer"));
        r->n = json_int(e, "n", 0);
        r->step = json_str(e, "step");
        if (l && l != before && !strcmp(layer_step(l), r->step ? r->step : ""))
            fill_from_layer(r, l);
        before = l;
    }
}

static int history_open(const struct session *s, const char *name, struct history *h,
                        struct error **err)
{
    struct backend_image image = {0};
    if (backend_find(s->backend, name, &image, err) < 0)
        return -1;
    int rc = store_open(s, s->backend, &h->store, err);
    CLEANUP(strv_clear) struct strv ids = {0};
    if (rc == 0 && image.thin)
        rc = store_chain_ids(h->store, image.layer, &ids, err);
    for (size_t i = 0; i < ids.len && rc == 0; i++)
        rc = store_get(h->store, ids.ptr[i], layers_push(&h->layers), err);
    h->metadata = json_parse_object(image.metadata);
    backend_image_clear(&image);
    if (rc == 0)
        make_rows(h);
    return rc;
}

static int by_cost(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return x->seconds < y->seconds ? 1 : x->seconds > y->seconds ? -1 : 0;
}

static void add_age(struct buf *b, int64_t created)
{
    long long s = (long long)time(NULL) - created;
    if (!created)
        buf_adds(b, "-");
    else if (s < 120)
        buf_addf(b, "%lld s", s < 0 ? 0 : s);
    else if (s < 2 * 3600)
        buf_addf(b, "%lld min", s / 60);
    else if (s < 2 * 86400)
        buf_addf(b, "%lld h", s / 3600);
    else
        buf_addf(b, "%lld days", s / 86400);
}

/* One row, cut to the columns there are (0 = all of it). */
static void print_row(struct str text, size_t columns)
{
    CLEANUP(buf_clear) struct buf line = BUF_INIT;
    columns_add(&line, text.ptr, columns ? columns : SIZE_MAX);
    puts(line.data);
}

/* The instruction as one line; max: bytes, 0 = all. */
static void add_instruction(struct buf *b, const char *step, size_t max)
{
    size_t len = step ? strlen(step) : 0, n = max && len > max ? max : len, from = b->len;
    while (n && n < len && ((unsigned char)step[n] & 0xc0) == 0x80)
        n--; // not in the middle of a character
    printable_add(b, step ? step : "", n);
    for (size_t i = from; i < b->len; i++)
        b->data[i] = b->data[i] == '\n' || b->data[i] == '\t' ? ' ' : b->data[i];
    if (n < len)
        buf_adds(b, "…");
}

/* On a terminal a row is a line: the narrower it is, the fewer columns, and the instruction is cut. */
static void print_rows(const struct history *h, bool whole)
{
    unsigned columns = 0, rows;
    if (isatty(STDOUT_FILENO) && !whole)
        terminal_size(STDOUT_FILENO, &columns, &rows);
    bool keys = !columns || columns >= 100, ages = !columns || columns >= 60;
    int key = whole ? DIGEST_HEX : 12;
    CLEANUP(buf_clear) struct buf line = BUF_INIT;
    buf_addf(&line, "%4s  ", "STEP");
    if (keys)
        buf_addf(&line, "%-12s  ", "KEY");
    if (ages)
        buf_addf(&line, "%8s  ", "AGE");
    buf_addf(&line, "%9s  %11s  INSTRUCTION", "SECONDS", "SIZE");
    print_row(buf_str(&line), columns ? columns - 1 : 0);
    vec_foreach (const struct row *, r, &h->rows) {
        CLEANUP(buf_clear) struct buf age = BUF_INIT, size = BUF_INIT;
        char n[24] = "", seconds[32] = "";
        if (r->n)
            snprintf(n, sizeof n, "%lld", (long long)r->n);
        if (*r->key) {
            add_age(&age, r->created);
            buf_add_size(&size, r->bytes);
            snprintf(seconds, sizeof seconds, "%.2f", r->seconds);
        }
        buf_reset(&line);
        buf_addf(&line, "%4s  ", n);
        if (keys)
            buf_addf(&line, "%-*.*s  ", key, key, r->key);
        if (ages)
            buf_addf(&line, "%8s  ", age.data);
        buf_addf(&line, "%9s  %11s  ", seconds, size.data);
        add_instruction(&line, r->step, whole || columns ? 0 : 60);
        print_row(buf_str(&line), columns ? columns - 1 : 0);
    }
}

/* New reference. */
static json_t *describe(const struct history *h)
{
    json_t *list = json_array();
    vec_foreach (const struct row *, r, &h->rows) {
        json_t *e = json_pack("{s:s?}", "step", r->step);
        if (!e)
            continue;
        if (r->n)
            (void)json_object_set_new(e, "n", json_integer(r->n));
        if (*r->key) {
            (void)json_object_set_new(e, "key", json_string(r->key));
            (void)json_object_set_new(e, "layer", json_string(r->id));
            (void)json_object_set_new(e, "created", json_integer((json_int_t)r->created));
            (void)json_object_set_new(e, "seconds",
                                      json_real((double)(int64_t)(r->seconds * 1000 + 0.5) / 1000));
            (void)json_object_set_new(e, "bytes", json_integer((json_int_t)r->bytes));
        }
        (void)json_array_append_new(list, e);
    }
    return list;
}

/* docker's .Comment: a step has none */
static void add_nothing(struct buf *b, const json_t *item, const char *key)
{
    (void)b, (void)item, (void)key;
}

static const struct list_column columns[] = {
    {.field = "Step", .key = "n", .head = "STEP"},
    {.field = "Key", .key = "key", .head = "KEY"},
    {LIST_AGE("created"), .alias = "CreatedSince", .head = "AGE"},
    {.field = "Created", .alias = "CreatedAt", .key = "created", .add = list_add_time},
    {.field = "Seconds", .key = "seconds", .head = "SECONDS", .right = true},
    {.field = "Size", .key = "bytes", .add = list_add_size, .head = "SIZE", .right = true},
    {.field = "Instruction", .alias = "CreatedBy", .key = "step", .head = "INSTRUCTION"},
    {.field = "Layer", .alias = "ID", .key = "layer"},
    {.field = "Comment", .key = "comment", .add = add_nothing, .text = true},
    {0},
};

static int run_history(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(history_clear) struct history h = {0};
    if (list_check(a, columns, err) < 0)
        return -1;
    if (args_has(a, "graph"))
        return layer_graph_print(s, a->n_pos ? a->pos[0] : NULL, err);
    if (!a->n_pos) {
        error_set(err, ERR_USAGE, "an argument is missing: NAME");
        return error_hint(err, "'kiln image ls' lists the images, --graph needs none");
    }
    if (history_open(s, a->pos[0], &h, err) < 0)
        return vm_find_instead(s, a->pos[0], "'kiln logs %s' shows its console", err);
    if (args_has(a, "cost") && h.rows.len)
        qsort(h.rows.ptr, h.rows.len, sizeof *h.rows.ptr, by_cost);
    if (args_has(a, "json") || args_has(a, "format")) {
        json_auto_t *list = describe(&h);
        return list_print(a, columns, list, err);
    }
    print_rows(&h, args_has(a, "no-trunc"));
    return 0;
}

const struct command cmd_image_history = {
    .name = "image history",
    .summary = "Show the steps an image was made by, and what they cost",
    .usage = "[--json | --format TEMPLATE] [--cost] [--no-trunc] NAME | --graph [NAME]",
    .detail =
        "Fields of --format are .Step, .Key, .Age, .Created, .Seconds, .Size, .Instruction, "
        ".Layer, .Comment.\n",
    .options = history_options,
    .max_args = 1,
    .run = run_history,
};

/* The layer that step n of the name's last build made; -1 with *err. */
static int find_step_layer(struct store *st, const char *name, const char *text, struct layer **ret,
                           struct error **err)
{
    char *end;
    long n = strtol(text, &end, 10);
    json_auto_t *steps = history_read(st, name);
    size_t i;
    json_t *e;
    if (!steps) {
        error_set(err, ERR_NOT_FOUND, "nothing is known of a build of '%s'", name);
        return error_hint(err, "'kiln image ls' lists the images");
    }
    json_array_foreach (steps, i, e)
        if (!*end && end != text && json_int(e, "n", 0) == n)
            return store_get(st, json_str(e, "id"), ret, err);
    error_set(err, ERR_NOT_FOUND, "'%s' has no step '%s' that made a layer", name, text);
    AUTO_FREE char *word = shell_word(name);
    return error_hint(err, "'kiln image history %s' lists the steps", word);
}

/* What `kiln image log NAME failed` or the number of the failed step is about: its descriptor, -1
 * if it is another step, or with *err. */
static int open_failed_log(struct store *st, const char *name, const char *text, struct error **err)
{
    size_t n = 0;
    bool by_word = !strcmp(text, "failed");
    AUTO_CLOSE int fd = history_failed(st, name, &n, by_word ? err : NULL);
    AUTO_FREE char *number = xasprintf("%zu", n);
    if (fd < 0 && by_word) {
        AUTO_FREE char *word = shell_word(name);
        return error_hint(err, "a step that succeeded has a number: 'kiln image history %s'", word);
    }
    return fd >= 0 && (by_word || !strcmp(text, number)) ? STEAL_FD(fd) : -1;
}

/* The log of a step of the last build; -1: it printed nothing, or with *err. */
static int open_log(struct store *st, const char *name, const char *text, struct error **err)
{
    CLEANUP(layer_freep) struct layer *l = NULL;
    struct error *why = NULL;
    int fd = open_failed_log(st, name, text, &why);
    if (fd >= 0 || why)
        return why ? error_propagate(err, why) : fd;
    if (find_step_layer(st, name, text, &l, err) < 0)
        return -1;
    AUTO_FREE char *path = layer_log_path(l);
    return path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

enum { LOG_CHUNK = 64 * 1024 };

static int run_log(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(store_freep) struct store *st = NULL;
    if (store_open(s, s->backend, &st, err) < 0)
        return -1;
    struct error *why = NULL;
    if (a->n_pos < 2) {
        AUTO_FREE char *word = shell_word(a->pos[0]);
        error_set(err, ERR_USAGE, "an argument is missing: which step of '%s'", a->pos[0]);
        return error_hint(
            err,
            "'kiln image history %s' lists the steps; 'failed' is the one that the last "
            "build failed at",
            word);
    }
    AUTO_CLOSE int fd = open_log(st, a->pos[0], a->pos[1], &why);
    if (why)
        return error_propagate(err, why);
    AUTO_FREE char *chunk = xmalloc(LOG_CHUNK);
    ssize_t n = 0;
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    while (fd >= 0 && (n = read(fd, chunk, LOG_CHUNK)) > 0)
        if (a->result)
            source_add_utf8(&text, (struct str){chunk, (size_t)n});
        else if (fwrite(chunk, 1, (size_t)n, stdout) != (size_t)n)
            return error_errno(err, "cannot write to standard output");
    (void)json_object_set_new(a->result, "name", json_string(a->pos[0]));
    (void)json_object_set_new(a->result, "log", json_stringn(text.data, text.len));
    return n < 0 ? error_errno(err, "cannot read the log") : 0;
}

const struct command cmd_image_log = {
    .name = "image log",
    .summary = "Print a step's whole output",
    .usage = "NAME STEP|failed",
    .detail =
        "STEP is a number as the build shows it. 'failed', or its number, is the step that the\n"
        "last build failed at.\n",
    .min_args = 1,
    .max_args = 2,
    .options = done_options,
    .flags = CMD_RESULT,
    .run = run_log,
};
