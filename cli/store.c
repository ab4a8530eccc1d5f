// SPDX-License-Identifier: MIT
#include "cli/store.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/printable.h"
#include "base/session.h"
#include "builder/build/cache_files.h"
#include "cache/prune.h"
#include "cache/store.h"
#include "cli/command.h"
#include "image/backend.h"
#include "qcow2/qcow2.h"

#include <dirent.h>
#include <errno.h>

/* If the disk's backing file is a layer of the backend, its id is added. */
static void add_root(const char *layers, const char *disk, struct strv *ids)
{
    CLEANUP(qcow2_info_clear) struct qcow2_info info = {0};
    if (qcow2_read(disk, QCOW2_OWN, &info, NULL) < 0 || !info.backing)
        return;
    AUTO_FREE char *dir = path_parent(disk), *named = path_join(dir, info.backing);
    AUTO_FREE char *path = realpath(named, NULL);
    size_t len = strlen(layers);
    if (!path || strncmp(path, layers, len) != 0 || path[len] != '/')
        return;
    const char *id = path + len + 1;
    strv_add_take(ids, xstrndup(id, strcspn(id, "/")));
}

static int add_vm(const char *layers, const char *folder, struct strv *ids, struct error **err)
{
    DIR *d = opendir(folder);
    if (!d)
        return errno == ENOENT || errno == ENOTDIR
                   ? 0
                   : error_errno(err, "cannot read folder '%s'", folder);
    for (struct dirent *e; (e = readdir(d));) {
        AUTO_FREE char *disk = path_join(folder, e->d_name);
        if (*e->d_name != '.')
            add_root(layers, disk, ids);
    }
    closedir(d);
    return 0;
}

static int add_vms(const struct session *s, struct strv *ids, struct error **err)
{
    AUTO_FREE char *named = path_join(s->backend, ".layers");
    AUTO_FREE char *layers = realpath(named, NULL);
    DIR *d = layers ? opendir(s->vmstore) : NULL;
    int rc = 0;
    if (!d)
        return errno == ENOENT ? 0 : error_errno(err, "cannot read folder '%s'", s->vmstore);
    for (struct dirent *e; rc == 0 && (e = readdir(d));) {
        AUTO_FREE char *folder = path_join(s->vmstore, e->d_name);
        if (*e->d_name != '.')
            rc = add_vm(layers, folder, ids, err);
    }
    closedir(d);
    return rc;
}

int cli_store_roots(void *session, struct strv *ids, struct error **err)
{
    const struct session *s = session;
    if (backend_roots(s->backend, ids, err) < 0)
        return -1;
    return add_vms(s, ids, err);
}

int cli_store_to_prune(const struct session *s, struct store **ret, struct error **err)
{
    return store_open_to_prune(s, s->backend, ret, err);
}

int cli_prune_to_limit(const struct session *s, unsigned long long max_size, struct error **err)
{
    const char *limit = getenv("KILN_CACHE_MAX_SIZE");
    if (!max_size && (!limit || !*limit))
        return 0;
    if (!max_size && !size_parse(limit, &max_size)) {
        error_set(err, ERR_USER, "KILN_CACHE_MAX_SIZE: '%s' is not a size", limit);
        return error_hint(err, "sizes are 500M or 20GB");
    }
    struct prune_options o = PRUNE_OPTIONS_INIT;
    struct prune_result r = {0};
    CLEANUP(store_freep) struct store *st = NULL;
    o.roots = cli_store_roots;
    o.roots_arg = (void *)s;
    o.max_size = max_size;
    CLEANUP(cache_files_freep) struct cache_files *files = NULL;
    if (cli_store_to_prune(s, &st, err) == 0) {
        files = cache_files_new(s, st);
        o.extra = cache_files_extra(files);
    }
    if (!files || store_prune(st, &o, &r, err) < 0)
        return error_wrap(err, "cannot make the cache smaller");
    CLEANUP(buf_clear) struct buf size = BUF_INIT;
    buf_add_size(&size, r.bytes);
    if (r.layers || r.extras)
        fprintf(stderr, "pruned %zu layers, %s freed\n", r.layers, size.data);
    prune_result_clear(&r);
    return 0;
}

void cli_print_size(unsigned long long bytes, int width)
{
    CLEANUP(buf_clear) struct buf size = BUF_INIT;
    buf_add_size(&size, bytes);
    printf("%*s", width, size.data);
}

void cli_print_text(const char *text, size_t max)
{
    size_t len = text ? strlen(text) : 0, n = max && len > max ? max : len;
    while (n && n < len && ((unsigned char)text[n] & 0xc0) == 0x80)
        n--; // not in the middle of a character
    CLEANUP(buf_clear) struct buf line = BUF_INIT;
    printable_add(&line, text ? text : "", n);
    for (size_t i = 0; i < line.len; i++)
        putchar(line.data[i] == '\n' || line.data[i] == '\t' ? ' ' : line.data[i]);
    if (n < len)
        fputs("…", stdout);
}

void cli_print_json(const json_t *value)
{
    AUTO_FREE char *text =
        json_dumps(value, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_REAL_PRECISION(15));
    puts(text ? text : "null");
}

int cli_width(const json_t *list, const char *field, int least)
{
    size_t i;
    json_t *v;
    json_array_foreach ((json_t *)list, i, v) {
        const char *text = json_str(v, field);
        if (text && (int)strlen(text) > least)
            least = (int)strlen(text);
    }
    return least;
}
