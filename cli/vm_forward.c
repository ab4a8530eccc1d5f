// SPDX-License-Identifier: MIT
#include "cli/vm_forward.h"

#include "base/alloc.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

bool vm_forward_port(const char **at, unsigned *ret)
{
    char *end;
    unsigned long n = **at >= '0' && **at <= '9' ? strtoul(*at, &end, 10) : 0;
    if (n < 1 || n > 65535)
        return false;
    *ret = (unsigned)n;
    *at = end;
    return true;
}

static bool is_any(const char *address)
{
    return !strcmp(address, "0.0.0.0");
}

/* Whether both want one port of the host, which they named. */
static bool shares_port(const struct vm_forward *f, const struct vm_forward *g)
{
    return f->host_port && f->host_port == g->host_port && f->udp == g->udp &&
           (is_any(f->address) || is_any(g->address) || !strcmp(f->address, g->address));
}

/* "8080:80", "8080:80/tcp", "53:53/udp" or "0.0.0.0:8080:80". */
static int take_one(struct vm_spec *spec, const char *text, struct error **err)
{
    const char *last = strrchr(text, ':'), *at = text;
    const char *colon = last ? memrchr(text, ':', (size_t)(last - text)) : NULL;
    AUTO_FREE char *address = colon ? xstrndup(text, (size_t)(colon - text)) : xstrdup("127.0.0.1");
    struct in_addr ignored;
    unsigned host, guest;
    size_t n = strlen(text);
    bool udp = n > 4 && !strcmp(text + n - 4, "/udp");
    at = colon ? colon + 1 : text;
    if (inet_pton(AF_INET, address, &ignored) != 1 || !vm_forward_port(&at, &host) ||
        *at++ != ':' || !vm_forward_port(&at, &guest) || (*at && !udp && strcmp(at, "/tcp") != 0)) {
        error_set(err, ERR_USAGE, "argument --publish: '%s' is not [ADDRESS:]PORT:GUEST-PORT[/udp]",
                  text);
        return error_hint(err, "-p 8080:80 makes port 80 of the guest port 8080 of 127.0.0.1");
    }
    if (!vm_spec_has_user_network(spec))
        return error_set(err, ERR_USAGE, "argument --publish: needs --network user");
    struct vm_forward f = {address, host, guest, udp};
    vec_foreach (const struct vm_forward *, g, &spec->nics.ptr[0].forwards)
        if (shares_port(&f, g) && g->guest_port == guest && !strcmp(g->address, address))
            return 0; // said twice
    vm_spec_forward(spec, &f);
    return 0;
}

int vm_forwards_take(const struct args *a, struct vm_spec *spec, struct error **err)
{
    const char *text;
    for (size_t i = 0; (text = args_nth(a, "publish", i)); i++)
        if (take_one(spec, text, err) < 0)
            return -1;
    return 0;
}

int vm_forwards_check(const struct vm_spec *spec, struct error **err)
{
    if (!vm_spec_has_user_network(spec))
        return 0;
    const struct vm_forwards *all = &spec->nics.ptr[0].forwards;
    struct vm_forward ssh = {(char *)"127.0.0.1", spec->ssh.port, 22, false};
    vec_foreach (const struct vm_forward *, f, all) {
        const struct vm_forward *g = all->ptr;
        while (g < f && !shares_port(f, g))
            g++;
        if (g == f && shares_port(f, &ssh))
            g = &ssh;
        if (g == f)
            continue;
        error_set(err, ERR_USAGE, "argument --publish: port %u%s of %s leads to port %u already",
                  f->host_port, f->udp ? "/udp" : "", g->address, g->guest_port);
        return error_hint(err, "%s",
                          g == &ssh ? "--ssh-port or --publish: choose another port of the host"
                                    : "choose another port of the host");
    }
    return 0;
}
