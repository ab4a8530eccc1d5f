// SPDX-License-Identifier: MIT
#include "cli/build_extras.h"

#include "base/alloc.h"
#include "base/url.h"
#include "cli/command.h"
#include "imagefile/imagefile.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/stat.h>

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int take_context(struct build_extras *e, const char *text, struct error **err)
{
    static const char docker[] = "docker-image://", layout[] = "oci-layout://";
    const char *eq = strchr(text, '='), *value = eq ? eq + 1 : "";
    if (!eq || eq == text || !*value) {
        error_set(err, ERR_USAGE, "argument --build-context: '%s' is not NAME=FOLDER or NAME=IMAGE",
                  text);
        return -1;
    }
    if (is_url(value) || imagefile_is_git(str_of(value))) {
        error_set(err, ERR_USAGE, "argument --build-context: '%s' is a URL", value);
        return error_hint(err, "ADD takes URLs and git repositories");
    }
    struct named_context c = {0};
    strv_add_take(&e->texts, xstrndup(text, (size_t)(eq - text)));
    c.name = e->texts.ptr[e->texts.len - 1];
    bool image = !strncmp(value, docker, strlen(docker));
    if (!strncmp(value, layout, strlen(layout)))
        strv_addf(&e->texts, "oci-layout:%s", value + strlen(layout));
    else
        strv_add(&e->texts, image ? value + strlen(docker) : value);
    const char *kept = e->texts.ptr[e->texts.len - 1];
    c.dir = !image && is_folder(kept) ? kept : NULL;
    c.image = c.dir ? NULL : kept;
    if (!c.dir && (*kept == '/' || *kept == '.'))
        return error_set(err, ERR_USAGE, "argument --build-context: '%s' is not a folder", kept);
    e->contexts = xreallocarray(e->contexts, e->n_contexts + 1, sizeof *e->contexts);
    e->contexts[e->n_contexts++] = c;
    return 0;
}

static int take_host(struct buf *hosts, const char *text, struct error **err)
{
    size_t n = strcspn(text, "=");
    n = text[n] ? n : strcspn(text, ":");
    AUTO_FREE char *address = xstrdup(text[n] ? text + n + 1 : "");
    unsigned char bytes[16];
    size_t len = strlen(address);
    if (len > 2 && address[0] == '[' && address[len - 1] == ']') {
        memmove(address, address + 1, len - 2);
        address[len - 2] = '\0';
    }
    if (!strcmp(address, "host-gateway")) {
        error_set(err, ERR_USAGE, "argument --add-host: a RUN does not reach this machine");
        return error_hint(err, "give the address of another one");
    }
    bool good = n > 0;
    for (size_t i = 0; i < n; i++)
        good = good && (unsigned char)text[i] > ' ' && text[i] != '#' && text[i] != 0x7f;
    if (!good ||
        (inet_pton(AF_INET, address, bytes) != 1 && inet_pton(AF_INET6, address, bytes) != 1))
        return error_set(err, ERR_USAGE, "argument --add-host: '%s' is not NAME:ADDRESS", text);
    buf_addf(hosts, "%s\t%.*s\n", address, (int)n, text);
    return 0;
}

int build_extras_take(const struct args *a, struct build_extras *ret, struct error **err)
{
    const char *text;
    for (size_t i = 0; (text = args_nth(a, "build-context", i)); i++)
        if (take_context(ret, text, err) < 0)
            return -1;
    return 0;
}

int build_extras_hosts(const struct args *a, struct build_extras *ret, struct error **err)
{
    CLEANUP(buf_clear) struct buf hosts = BUF_INIT;
    const char *text;
    for (size_t i = 0; (text = args_nth(a, "add-host", i)); i++)
        if (take_host(&hosts, text, err) < 0)
            return -1;
    ret->hosts = hosts.len ? xstrdup(hosts.data) : NULL;
    return 0;
}

void build_extras_clear(struct build_extras *e)
{
    free(e->contexts);
    strv_clear(&e->texts);
    free(e->hosts);
}
