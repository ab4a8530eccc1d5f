// SPDX-License-Identifier: MIT
#include "base/alloc.h"
#include "base/json.h"
#include "builder/transfer/foreign.h"
#include "image/pull.h"

#include <ctype.h>
#include <string.h>

enum { USER_MAX = 32, SERVICES_MAX = 64 };

/* As useradd takes it. */
static bool is_user(const char *name)
{
    size_t n = name ? strlen(name) : 0;
    if (!n || n > USER_MAX || isdigit((unsigned char)*name) || *name == '-')
        return false;
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("_-.", *p))
            return false;
    return true;
}

static json_t *ports_of(const json_t *services)
{
    json_t *ports = json_array(), *one;
    size_t i;
    json_array_foreach ((json_t *)services, i, one) {
        const char *protocol = json_str(one, "protocol");
        int64_t port = json_int(one, "port", 0);
        bool udp = protocol && !strcmp(protocol, "udp");
        if (i == SERVICES_MAX)
            break;
        if (port < 1 || port > 65535 || (protocol && !udp && strcmp(protocol, "tcp") != 0))
            continue;
        AUTO_FREE char *text = xasprintf("%d/%s", (int)port, udp ? "udp" : "tcp");
        json_array_append_new(ports, json_string(text));
    }
    return ports;
}

char *foreign_metadata(struct str text)
{
    json_auto_t *about = json_loadb(text.ptr, text.len, JSON_REJECT_DUPLICATES, NULL);
    json_auto_t *config = json_object(), *ports = ports_of(json_object_get(about, "services"));
    const char *user = json_str(json_array_get(json_object_get(about, "users"), 0), "username");
    if (is_user(user))
        json_object_set_new(config, "labels", json_pack("{s:s}", IMAGE_LABEL_SSH_USER, user));
    if (json_array_size(ports))
        json_object_set(config, "expose", ports);
    json_auto_t *all = json_pack("{s:O}", "config", config);
    return json_object_size(config) ? json_text(all) : NULL;
}
