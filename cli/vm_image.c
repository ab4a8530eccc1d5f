// SPDX-License-Identifier: MIT
#include "cli/vm_image.h"
#include "cli/vm_forward.h"
#include "image/pull.h"

#include "base/json.h"
#include "base/login_name.h"

#include <string.h>

enum { PORTS_MAX = 256 };

static bool is_published(const struct vm_spec *spec, unsigned port, bool udp)
{
    vec_foreach (const struct vm_forward *, f, &spec->nics.ptr[0].forwards)
        if (f->guest_port == port && f->udp == udp)
            return true;
    return false;
}

/* "80/tcp", "7000-7010/udp"; a stranger's text. */
static int publish(struct vm_spec *spec, const char *text, struct error **err)
{
    unsigned first = 0, last = 0;
    const char *at = text;
    bool good = vm_forward_port(&at, &first);
    last = first;
    if (good && *at == '-') {
        at++;
        good = vm_forward_port(&at, &last);
    }
    bool udp = !strcmp(at, "/udp");
    if (!good || last < first || (!udp && *at && strcmp(at, "/tcp") != 0))
        return error_set(err, ERR_USER, "the image exposes '%s', which cannot be forwarded", text);
    for (unsigned port = first; port <= last; port++) {
        if (is_published(spec, port, udp))
            continue;
        if (spec->nics.ptr[0].forwards.len >= PORTS_MAX) {
            error_set(err, ERR_USER, "the image exposes more than %d ports", PORTS_MAX);
            return error_hint(err, "name the ones you need with --publish");
        }
        vm_spec_forward(spec, &(struct vm_forward){(char *)"127.0.0.1", 0, port, udp});
    }
    return 0;
}

int vm_image_take_labels(const json_t *metadata, struct vm_spec *spec, struct error **err)
{
    const json_t *labels = json_object_get(json_object_get(metadata, "config"), "labels");
    const char *user = json_str(labels, IMAGE_LABEL_SSH_USER);
    const char *uefi = json_str(labels, IMAGE_LABEL_UEFI);
    spec->uefi |= uefi && !strcmp(uefi, "yes");
    if (spec->ssh.user || !user || !*user)
        return 0;
    if (!is_user_name(user)) {
        error_set(err, ERR_USER,
                  "the image's label " IMAGE_LABEL_SSH_USER
                  " is '%.60s', which "
                  "can't be the name of a user",
                  user);
        return error_hint(err, "--ssh-user names another; %s", USER_NAME_RULE);
    }
    vm_spec_set(&spec->ssh.user, user);
    return 0;
}

int vm_image_take(const struct args *a, const json_t *metadata, struct vm_spec *spec,
                  struct error **err)
{
    const json_t *config = json_object_get(metadata, "config"), *port;
    const json_t *exposed = json_object_get(config, "expose");
    size_t i;
    if (vm_image_take_labels(metadata, spec, err) < 0)
        return -1;
    if (!args_has(a, "publish-all"))
        return 0;
    if (!vm_spec_has_user_network(spec))
        return error_set(err, ERR_USAGE, "argument --publish-all: needs --network user");
    if (!json_array_size(exposed)) {
        error_set(err, ERR_USER, "argument --publish-all: the image exposes no port");
        return error_hint(err, "-p 8080:80 forwards one; EXPOSE in the Imagefile names them");
    }
    json_array_foreach ((json_t *)exposed, i, port)
        if (json_is_string(port) && publish(spec, json_string_value(port), err) < 0)
            return -1;
    return 0;
}
