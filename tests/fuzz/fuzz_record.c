// SPDX-License-Identifier: MIT
//
// A layer's record, a disk's header and the inputs of keys, from any bytes.
#include "base/json.h"
#include "cache/key.h"
#include "cache/record.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void reseal(const char *text, size_t n)
{
    // Give the text the check it would need, so that the fields behind it are read too
    json_auto_t *record = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(record))
        return;
    json_object_del(record, "check");
    AUTO_FREE char *canonical = json_text(record);
    char hex[DIGEST_HEX + 1];
    struct digest d = digest_of(canonical, strlen(canonical));
    digest_hex(&d, hex);
    json_object_set_new(record, "check", json_string(hex));
    AUTO_FREE char *sealed = json_text(record);
    CLEANUP(layer_freep) struct layer *l = record_parse(sealed, strlen(sealed), NULL);
    if (!l)
        return;
    assert(is_id(l->id) && is_id(l->key) && is_id(layer_digest(l)));
    assert(!*l->parent == (l->depth == 1));
    assert(layer_step(l) && layer_created(l) >= 0);
    free(key_explain(json_object_get(l->record, "inputs"), json_object_get(record, "inputs"), NULL,
                     0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcow2_head head;
    if (qcow2_head_parse(data, size, &head, NULL) == 0)
        assert(strlen(head.backing) < sizeof head.backing);
    CLEANUP(layer_freep) struct layer *l = record_parse((const char *)data, size, NULL);
    if (!l)
        reseal((const char *)data, size);
    json_auto_t *inputs = json_loadb((const char *)data, size, 0, NULL);
    free(key_explain(inputs, inputs, NULL, 1));
    return 0;
}
