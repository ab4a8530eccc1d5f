// SPDX-License-Identifier: MIT
//
// kiln port: docker's, from the record of a VM that runs.
#include "base/json.h"
#include "cli/vm_forward.h"
#include "cli/vm_live.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *protocol(const json_t *forward)
{
    return json_flag(forward, "udp") ? "udp" : "tcp";
}

/* "80", "80/tcp" or "53/udp". */
static int parse(const char *text, unsigned *ret_port, bool *ret_udp, struct error **err)
{
    const char *at = text;
    bool good = vm_forward_port(&at, ret_port);
    *ret_udp = good && !strcmp(at, "/udp");
    if (!good || (*at && !*ret_udp && strcmp(at, "/tcp") != 0))
        return error_set(err, ERR_USAGE, "'%s' is not a port of the guest, such as 80 or 53/udp",
                         text);
    return 0;
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(vm_live_clear) struct vm_live live = VM_LIVE_INIT;
    unsigned port = 0;
    bool udp = false, found = false;
    size_t i;
    json_t *f;
    json_auto_t *ports = json_array();
    if ((a->n_pos > 1 && parse(a->pos[1], &port, &udp, err) < 0) ||
        vm_live_open(s, a->pos[0], &live, err) < 0)
        return -1;
    json_array_foreach (json_object_get(live.record, "ports"), i, f) {
        if (port && (json_int(f, "guest_port", 0) != port || json_flag(f, "udp") != udp))
            continue;
        found = true;
        (void)json_array_append(ports, f);
        if (a->result)
            continue;
        if (!port)
            printf("%d/%s -> ", (int)json_int(f, "guest_port", 0), protocol(f));
        printf("%s:%d\n", json_str(f, "address"), (int)json_int(f, "host_port", 0));
    }
    (void)json_object_set(a->result, "ports", ports);
    if (found || !port)
        return 0;
    error_set(err, ERR_NOT_FOUND, "port %u/%s of VM '%s' is not forwarded", port,
              udp ? "udp" : "tcp", live.vm.name);
    return error_hint(err, "'kiln run -P' and '-p' forward ports");
}

static const struct option_spec options[] = {JSON_OPTION, {0}};

const struct command cmd_port = {
    .name = "port",
    .summary = "Show which ports of the host lead to a VM that runs",
    .usage = "NAME [GUEST-PORT[/udp]]",
    .options = options,
    .min_args = 1,
    .max_args = 2,
    .flags = CMD_RESULT,
    .run = run,
};
