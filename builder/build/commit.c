// SPDX-License-Identifier: MIT
//
// The layer's key has a random field: no step of a build is ever looked up by it.
#include "builder/build/commit.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/session.h"
#include "cache/key.h"
#include "cache/store.h"
#include "image/backend.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* qemu-img writes another backing name into the header; it opens no other file. */
static int rename_backing(const char *file, const char *backing, struct error **err)
{
    enum { PATIENCE_MS = 60000 };
    CLEANUP(process_clear) struct process p = PROCESS_INIT;
    char said[500] = "";
    struct process_spec ps = {.argv = ARGV("qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F",
                                           "qcow2", "-b", backing, file),
                              .in = PROCESS_NULL,
                              .out = PROCESS_NULL,
                              .errors = PROCESS_PIPE,
                              .own_session = true};
    if (process_start(&p, &ps, err) < 0)
        return error_hint(err, "apt-get install qemu-utils");
    (void)read_all(p.errors, said, sizeof said - 1);
    if (process_wait(&p, PATIENCE_MS, err) < 0)
        return -1;
    return p.status ? error_set(err, ERR_SYSTEM, "cannot write '%s': %.*s", file,
                                (int)strcspn(said, "\n"), said)
                    : 0;
}

int commit_copy_file(void *path, const char *to, const char *backing, struct error **err)
{
    AUTO_CLOSE int in = open(path, O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (in < 0 || out < 0)
        return error_errno(err, "cannot copy '%s'", (const char *)path);
    return file_copy(in, out, err) < 0 ? -1 : rename_backing(to, backing, err);
}

static int make_key(const struct commit_request *r, char hex[DIGEST_HEX + 1], json_t **inputs,
                    struct error **err)
{
    unsigned char nonce[16];
    char text[2 * sizeof nonce + 1];
    if (getrandom(nonce, sizeof nonce, 0) != (ssize_t)sizeof nonce)
        return error_errno(err, "no random numbers");
    hex_write(nonce, sizeof nonce, text);
    struct key *key = key_begin(r->parent);
    key_field(key, "step", r->step, strlen(r->step));
    key_field(key, "commit", text, strlen(text));
    key_finish(key, hex, inputs);
    return 0;
}

static int make_layer(struct store *st, const struct commit_request *r, struct layer **ret,
                      struct error **err)
{
    CLEANUP(draft_freep) struct draft *draft = NULL;
    char hex[DIGEST_HEX + 1];
    json_t *inputs_owned = NULL;
    if (make_key(r, hex, &inputs_owned, err) < 0)
        return -1;
    json_auto_t *inputs = inputs_owned;
    struct draft_request request = {.key = hex, .parent = r->parent, .step = r->step};
    if (store_build_begin(st, &request, ret, &draft, err) < 0 ||
        r->copy(r->arg, draft_disk(draft), draft_backing(draft), err) < 0)
        return -1;
    json_auto_t *fields = json_pack("{s:O, s:s}", "inputs", inputs, "step", r->step);
    return store_commit(draft, fields, ret, err);
}

/* As builder/build/build.c writes it, with one step more. */
static char *make_metadata(const struct commit_request *r, const struct layer *layer)
{
    json_auto_t *m = r->metadata ? json_deep_copy(r->metadata) : json_object();
    json_t *steps = json_object_get(m, "steps");
    if (!json_is_array(steps)) {
        steps = json_array();
        (void)json_object_set_new(m, "steps", steps);
    }
    int64_t last = json_int(json_array_get(steps, json_array_size(steps) - 1), "n", 0);
    (void)json_array_append_new(steps, json_pack("{s:I, s:s, s:s}", "n", (json_int_t)last + 1,
                                                 "step", r->step, "layer", layer->id));
    (void)json_object_set_new(m, "created", json_integer((json_int_t)time(NULL)));
    (void)json_object_set_new(m, "name", json_string(r->image));
    return json_text(m);
}

int commit_image(const struct session *s, struct store *st, const struct commit_request *r,
                 struct error **err)
{
    struct layer *layer = NULL;
    if (!r->replace && backend_has(s->backend, r->image)) {
        error_set(err, ERR_EXISTS, "image '%s' exists", r->image);
        AUTO_FREE char *word = shell_word(r->image);
        return error_hint(err, "choose another name, or 'kiln image rm %s' first", word);
    }
    if (make_layer(st, r, &layer, err) < 0)
        return -1;
    AUTO_FREE char *metadata = make_metadata(r, layer);
    struct backend_thin thin = {.layer = layer->id, .metadata = metadata};
    int rc = backend_register_thin(s->backend, r->image, &thin, err);
    layer_free(layer);
    return rc;
}
