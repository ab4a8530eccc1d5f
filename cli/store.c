// SPDX-License-Identifier: MIT
#include "cli/store.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/session.h"
#include "cache/prune.h"
#include "cache/store.h"
#include "cli/command.h"
#include "image/backend.h"

int cli_store_roots(void *session, struct strv *ids, struct error **err)
{
    const struct session *s = session;
    return backend_roots(s->backend, ids, err);
}

static void to_stderr(void *arg, const char *line)
{
    (void)arg;
    fprintf(stderr, "%s\n", line);
}

int cli_store_open(const struct session *s, struct store **ret, struct error **err)
{
    if (store_open(s, s->backend, ret, err) < 0)
        return -1;
    store_set_notice(*ret, to_stderr, NULL);
    return 0;
}

int cli_prune_to_limit(const struct session *s, struct store *st, unsigned long long max_size,
                       struct error **err)
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
    o.roots = cli_store_roots;
    o.roots_arg = (void *)s;
    o.max_size = max_size;
    if (store_prune(st, &o, &r, err) < 0)
        return error_wrap(err, "cannot make the cache smaller");
    CLEANUP(buf_clear) struct buf size = BUF_INIT;
    buf_add_size(&size, r.bytes);
    if (r.layers)
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

void cli_print_json(const json_t *value)
{
    AUTO_FREE char *text = json_dumps(value, JSON_INDENT(2) | JSON_SORT_KEYS);
    puts(text ? text : "null");
}
