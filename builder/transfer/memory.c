// SPDX-License-Identifier: MIT
//
// The file is not synced: one that a crash spoiled is as good as none.
#include "builder/transfer/memory.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "cache/store.h"
#include "registry/reference.h"

#include <string.h>

enum { PLACES_MAX = 8 };

json_t *memory_read(const struct layer *l)
{
    AUTO_FREE char *path = path_join(l->folder, "blobs.json");
    return json_read_file(path, NULL);
}

const json_t *memory_blobs(const json_t *memory)
{
    return json_is_array(memory) ? memory : json_object_get(memory, "blobs");
}

const char *memory_repo(const json_t *memory, size_t i, const struct reference *ref)
{
    const json_t *places = json_object_get(memory, "at");
    size_t host = ref->host ? strlen(ref->host) : 0;
    for (size_t n = 0; host && n < json_array_size(places); n++) {
        const char *place = json_string_value(json_array_get(places, n));
        if (!place || strncmp(place, ref->host, host) != 0 || place[host] != '/' ||
            !strcmp(place + host + 1, ref->repo))
            continue;
        if (!i--)
            return place + host + 1;
    }
    return NULL;
}

/* The place, and those of the old memory if that is of the same blobs. */
static json_t *new_places(const json_t *old, const json_t *blobs, const char *place)
{
    json_t *places = place ? json_pack("[s]", place) : json_array();
    const json_t *before = json_object_get(old, "at");
    if (!json_equal(memory_blobs(old), blobs))
        return places;
    for (size_t i = 0; i < json_array_size(before) && json_array_size(places) < PLACES_MAX; i++) {
        const char *at = json_string_value(json_array_get(before, i));
        if (at && (!place || strcmp(at, place) != 0))
            json_array_append_new(places, json_string(at));
    }
    return places;
}

void memory_write(const struct layer *l, const json_t *blobs, const struct reference *seen_at)
{
    AUTO_FREE char *path = path_join(l->folder, "blobs.json");
    AUTO_FREE char *place = seen_at->host ? xasprintf("%s/%s", seen_at->host, seen_at->repo) : NULL;
    json_auto_t *old = memory_read(l);
    json_auto_t *fresh =
        json_pack("{s:O,s:o}", "blobs", blobs, "at", new_places(old, blobs, place));
    AUTO_FREE char *text = json_equal(old, fresh) ? NULL : json_text(fresh);
    if (text)
        (void)file_write_unsynced(path, 0644, text, strlen(text), NULL);
}
