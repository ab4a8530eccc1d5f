// SPDX-License-Identifier: MIT
#include "cli/known_list.h"

#include "base/json.h"
#include "base/session.h"
#include "cli/store.h"
#include "image/backend.h"
#include "image/known.h"

#include <fnmatch.h>

static json_t *entry(const struct session *s, const struct known_image *k)
{
    json_t *also = json_array();
    for (size_t i = 0; i < k->also.len; i++)
        json_array_append_new(also, json_string(k->also.ptr[i]));
    return json_pack("{s:s, s:s?, s:s, s:s?, s:s?, s:o, s:s, s:b}", "name", k->name, "title",
                     k->title, "url", k->url, "checksum", k->checksum, "user", k->user, "also",
                     also, "table", k->table, "here", backend_has(s->backend, k->name));
}

static void print_table(const json_t *list)
{
    int name = cli_width(list, "name", 4), user = cli_width(list, "user", 4);
    size_t i;
    json_t *o;
    printf(" %-*s  %-*s  HERE  TITLE\n", name, "NAME", user, "USER");
    json_array_foreach ((json_t *)list, i, o) {
        const char *login = json_str(o, "user"), *title = json_str(o, "title");
        printf(" %-*s  %-*s  %-4s  ", name, json_str(o, "name"), user, login ? login : "",
               json_flag(o, "here") ? "yes" : "");
        cli_print_text(title ? title : json_str(o, "url"), 0);
        putchar('\n');
    }
}

int known_list(const struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(known_images_free) struct known_images known = {0};
    json_auto_t *list = json_array();
    if (known_images_read(s, &known, err) < 0)
        return -1;
    if (!known.len && s->tables.len)
        session_notice(s, "no image is known by name: kiln's images.d belongs in '%s'",
                       s->tables.ptr[s->tables.len - 1]);
    vec_foreach (const struct known_image *, k, &known)
        if (!a->n_pos || fnmatch(a->pos[0], k->name, 0) == 0)
            json_array_append_new(list, entry(s, k));
    if (a->result)
        (void)json_object_set(a->result, "images", list);
    else
        print_table(list);
    return 0;
}
