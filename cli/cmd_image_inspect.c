// SPDX-License-Identifier: MIT
//
// What the files of the backend tell about an image, and what is on its disk. The latter takes a
// builder VM; its answer is kept in the cache under the layer or the digest of the disk, so it is
// asked once, and only on demand.
#include "base/alloc.h"
#include "base/buf.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/session.h"
#include "builder/build/shell.h"
#include "cli/command.h"
#include "cli/registry_options.h"
#include "cli/remote_image.h"
#include "cli/store.h"
#include "cli/vm_find.h"
#include "image/backend.h"
#include "image/source.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static const struct option_spec options[] = {
    {"json", 0, NULL, "Print everything as JSON", NULL},
    {"system", 0, NULL, "Look into the disk too: partitions, file systems, operating system", NULL},
    {"deep", 0, NULL, "Let libguestfs look: Windows too, applications, mount points", NULL},
    {"accel", 0, "auto|kvm|tcg", "Accelerator of the builder VM for --system and --deep", NULL},
    {"platform", 0, "OS/ARCH", "Which image of an index of several [default: linux/amd64]", NULL},
    REGISTRY_OPTIONS,
    {0},
};

static json_t *chain_list(const struct session *s, const char *name, struct error **err)
{
    CLEANUP(strv_clear) struct strv chain = {0};
    if (backend_image_chain(s->backend, name, &chain, err) < 0)
        return NULL;
    json_t *list = json_array();
    for (size_t i = chain.len; i-- > 0;)
        json_array_append_new(list, json_string(chain.ptr[i]));
    return list;
}

/* Ids of the layers below the image's own, from the top to the base, out of the files of its chain.
 */
static json_t *parent_list(const json_t *files, const char *own)
{
    json_t *list = json_array(), *file;
    size_t i;
    json_array_foreach ((json_t *)files, i, file) {
        AUTO_FREE char *folder = path_parent(json_string_value(file));
        const char *id = strrchr(folder, '/');
        AUTO_FREE char *above = path_parent(folder);
        size_t n = strlen(above);
        if (!id || n < 8 || strcmp(above + n - 8, "/.layers") || (own && !strcmp(id + 1, own)))
            continue;
        json_array_append_new(list, json_string(id + 1));
    }
    return list;
}

/* Fields of the image's metadata, which may come from a stranger: anything may be missing. */
static void add_metadata(json_t *o, const char *text)
{
    static const char *const own[] = {"kiln", "created", "steps"};
    json_auto_t *meta = json_parse_object(text);
    const char *key;
    json_t *value;
    json_object_foreach (json_object_get(meta, "config"), key, value)
        json_object_set(o, key, value);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (json_object_get(meta, own[i]))
            json_object_set(o, own[i], json_object_get(meta, own[i]));
}

/* A look into the disk: an option, and a field of the answer. */
struct look {
    const char *name;
    json_t *(*ask)(const struct session *s, const char *ref, const char *accel, struct error **err);
    const char *ending; /* of the file that keeps the answer */
};

static const struct look looks[] = {{"system", shell_inspect, "json"},
                                    {"deep", shell_inspect_deep, "deep.json"}};

/* Where the answer is kept, owned; NULL when the disk can't be told from others. */
static char *answer_path(const struct session *s, const struct backend_image *i,
                         const struct look *look)
{
    struct digest d;
    char hex[DIGEST_HEX + 1];
    if (i->thin)
        return xasprintf("%s/inspect/%s.%s", s->cache, i->layer, look->ending);
    if (backend_digest(s, i->path, &d, NULL) < 0)
        return NULL;
    digest_hex(&d, hex);
    return xasprintf("%s/inspect/%s.%s", s->cache, hex, look->ending);
}

static json_t *ask(const struct session *s, const struct look *look, const char *name,
                   const char *accel, struct error **err)
{
    struct session quiet = *s; // what is asked for is JSON or a table, and nothing else
    quiet.events = (struct session_events){0};
    return look->ask(&quiet, name, accel, err);
}

static int add_look(const struct session *s, const struct look *look, const struct backend_image *i,
                    const struct args *a, json_t *o, struct error **err)
{
    // a digest of a large disk takes time: what is not asked for is shown only if it is cheap
    bool asked = args_has(a, look->name);
    if (!asked && !i->thin)
        return 0;
    AUTO_FREE char *note = answer_path(s, i, look);
    json_t *seen = note ? json_read_file(note, NULL) : NULL;
    if (seen)
        (void)utimensat(AT_FDCWD, note, NULL, AT_SYMLINK_NOFOLLOW); // its last use, for pruning
    if (!seen && asked) {
        seen = ask(s, look, i->name, args_get(a, "accel"), err);
        if (!seen)
            return -1;
        AUTO_FREE char *dir = note ? path_parent(note) : NULL;
        if (note && make_dirs(dir, 0700, NULL) == 0)
            (void)json_write_file(note, 0644, seen, NULL);
    }
    if (seen)
        json_object_set_new(o, look->name, seen);
    return 0;
}

/* Where it was fetched from, if that is known. */
static void add_source(const struct session *s, const char *name, json_t *o)
{
    CLEANUP(image_source_clear) struct image_source x = {0};
    if (image_source_read(s->backend, name, &x))
        json_object_set_new(o, "source", json_string(x.from));
}

/* Everything known, as a new reference. */
static json_t *describe(const struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(backend_image_clear) struct backend_image i = {0};
    if (backend_find(s->backend, a->pos[0], &i, err) < 0)
        return NULL;
    json_t *chain = chain_list(s, i.name, err);
    if (!chain)
        return NULL;
    json_t *o = json_object();
    add_metadata(o, i.metadata);
    json_object_set_new(o, "name", json_string(i.name));
    json_object_set_new(o, "path", json_string(i.path));
    json_object_set_new(o, "type", json_string(i.thin ? "thin" : "standalone"));
    json_object_set_new(o, "layer", i.layer ? json_string(i.layer) : json_null());
    add_source(s, i.name, o);
    json_object_set_new(o, "virtual_size", json_integer((json_int_t)i.virtual_size));
    json_object_set_new(o, "real_size", json_integer((json_int_t)i.real_size));
    json_object_set_new(o, "modified", json_integer((json_int_t)i.mtime));
    json_object_set_new(o, "parents", parent_list(chain, i.layer));
    json_object_set_new(o, "files", chain);
    for (size_t n = 0; n < sizeof looks / sizeof *looks; n++)
        if (add_look(s, &looks[n], &i, a, o, err) < 0) {
            json_decref(o);
            return NULL;
        }
    return o;
}

static void print_line(const char *title, const char *text)
{
    if (!text || !*text)
        return;
    printf("%-14s ", title);
    cli_print_text(text, 0);
    putchar('\n');
}

static void print_size(const char *title, int64_t bytes)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    if (bytes < 0)
        return;
    buf_add_size(&b, (uint64_t)bytes);
    print_line(title, b.data);
}

static void print_time(const char *title, int64_t seconds)
{
    char when[64];
    time_t t = (time_t)seconds;
    struct tm tm;
    if (seconds && localtime_r(&t, &tm) && strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm))
        print_line(title, when);
}

static void print_map(const char *title, const json_t *map)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)map, key, value) {
        AUTO_FREE char *line =
            xasprintf("%s=%s", key, json_is_string(value) ? json_string_value(value) : "");
        print_line(title, line);
        title = "";
    }
}

/* A text, or a list as JSON has it. */
static void print_text_or_list(const char *title, const json_t *v)
{
    AUTO_FREE char *list = json_is_array(v) ? json_dumps(v, 0) : NULL;
    print_line(title, list ? list : json_string_value(v));
}

static void print_parents(const json_t *ids)
{
    size_t i;
    const json_t *id;
    json_array_foreach (ids, i, id)
        print_line(i ? "" : "parents", json_string_value(id));
}

static void print_steps(const json_t *steps)
{
    size_t i;
    const json_t *step;
    json_array_foreach (steps, i, step)
        print_line(i ? "" : "steps", json_str(step, "step"));
}

static void print_partition(const char *title, const json_t *p)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    const char *name = json_str(p, "name"), *fs = json_str(p, "fs"), *label = json_str(p, "label");
    buf_addf(&b, "%s  ", name ? name : "?");
    buf_add_size(&b, (uint64_t)json_int(p, "size", 0));
    buf_addf(&b, "  %s", fs ? fs : "-");
    if (label)
        buf_addf(&b, "  %s", label);
    print_line(title, b.data);
}

static void print_system(const json_t *seen)
{
    size_t i;
    const json_t *p;
    print_line("system", json_str(json_object_get(seen, "os"), "PRETTY_NAME"));
    print_line("table", json_str(seen, "table"));
    json_array_foreach (json_object_get(seen, "partitions"), i, p)
        print_partition(i ? "" : "partitions", p);
}

/* "debian 12.5, x86_64, host name web, 160 applications", and where it is mounted. */
static void print_found(const char *title, const json_t *one)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    const char *product = json_str(one, "product"), *arch = json_str(one, "arch"),
               *host = json_str(one, "hostname");
    size_t n = json_array_size(json_object_get(one, "applications")), i;
    const json_t *mount;
    const char *distro = json_str(one, "distro"), *type = json_str(one, "type");
    if (distro && (!product || !strcasestr(product, distro)))
        buf_addf(&b, "%s%s", distro, product ? " " : "");
    buf_adds(&b, product ? product : distro ? "" : type ? type : "?");
    if (arch)
        buf_addf(&b, ", %s", arch);
    if (host)
        buf_addf(&b, ", host name %s", host);
    if (n)
        buf_addf(&b, ", %zu application%s", n, n == 1 ? "" : "s");
    print_line(title, b.data);
    json_array_foreach (json_object_get(one, "mounts"), i, mount) {
        const char *path = json_string_value(json_array_get(mount, 0)),
                   *device = json_string_value(json_array_get(mount, 1));
        AUTO_FREE char *line = xasprintf("%s on %s", device ? device : "?", path ? path : "?");
        print_line(i ? "" : "mounts", line);
    }
}

static void print_deep(const json_t *seen)
{
    size_t i;
    const json_t *one;
    json_array_foreach (json_object_get(seen, "systems"), i, one)
        print_found(i ? "" : "found", one);
    json_array_foreach (json_object_get(seen, "filesystems"), i, one) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT;
        const char *device = json_str(one, "device"), *type = json_str(one, "type"),
                   *label = json_str(one, "label");
        buf_addf(&b, "%s  ", device ? device : "?");
        buf_add_size(&b, (uint64_t)json_int(one, "size", 0));
        buf_addf(&b, "  %s%s%s", type ? type : "-", label ? "  " : "", label ? label : "");
        print_line(i ? "" : "file systems", b.data);
    }
}

static void print_text(const json_t *o)
{
    const json_t *files = json_object_get(o, "files");
    size_t n = json_array_size(files);
    AUTO_FREE char *chain = files ? xasprintf("%zu file%s", n, n == 1 ? "" : "s") : NULL;
    print_line("name", json_str(o, "name"));
    print_line("file", json_str(o, "path"));
    print_line("digest", json_str(o, "digest"));
    print_line("type", json_str(o, "type"));
    print_line("layer", json_str(o, "layer"));
    print_line("source", json_str(o, "source"));
    print_parents(json_object_get(o, "parents"));
    print_line("chain", chain);
    print_size("transfer size", json_int(o, "size", -1));
    print_size("virtual size", json_int(o, "virtual_size", -1));
    print_size("real size", json_int(o, "real_size", -1));
    print_time("modified", json_int(o, "modified", 0));
    print_time("created", json_int(o, "created", 0));
    print_line("user", json_str(o, "user"));
    print_line("workdir", json_str(o, "workdir"));
    print_text_or_list("cmd", json_object_get(o, "cmd"));
    print_text_or_list("entrypoint", json_object_get(o, "entrypoint"));
    print_text_or_list("ports", json_object_get(o, "expose"));
    print_text_or_list("volumes", json_object_get(o, "volumes"));
    print_text_or_list("healthcheck", json_object_get(o, "healthcheck"));
    print_text_or_list("stop signal", json_object_get(o, "stopsignal"));
    print_map("env", json_object_get(o, "env"));
    print_map("labels", json_object_get(o, "labels"));
    print_steps(json_object_get(o, "steps"));
    print_system(json_object_get(o, "system"));
    print_deep(json_object_get(o, "deep"));
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    const char *accel;
    if (args_accel(a, &accel, err) < 0)
        return -1;
    json_auto_t *o =
        reference_is(a->pos[0]) ? remote_image_describe(s, a, a->pos[0], err) : describe(s, a, err);
    if (!o)
        return vm_find_instead(s, a->pos[0], "'kiln ls --json' and 'kiln ps --json' tell of %s",
                               err);
    if (args_has(a, "json"))
        cli_print_json(o);
    else
        print_text(o);
    return 0;
}

const struct command cmd_image_inspect = {
    .name = "image inspect",
    .summary = "Show what is known about an image",
    .usage =
        "[--json] [--system] [--deep] [--accel ACCEL] NAME | oci://HOST/REPOSITORY[:TAG] |\n"
        "                          oci-layout:DIR[:TAG]",
    .detail =
        "--system starts a builder VM that looks into the disk; --deep lets libguestfs look, which "
        "knows\nmore of it. The answers are kept, and later shown without them, as long as the "
        "disk "
        "is the same.\nOf an image of a registry, the "
        "manifest and "
        "config are\nshown; no layer is fetched.\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
