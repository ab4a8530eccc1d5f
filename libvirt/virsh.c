// SPDX-License-Identifier: MIT
#include "libvirt/virsh.h"

#include "base/alloc.h"
#include "base/session.h"

#include <string.h>

void virsh_clear(struct virsh *v)
{
    free(v->uri);
    strv_clear(&v->env);
    *v = (struct virsh){0};
}

/* In English, as its words are read: "shut off". */
static void take_environment(struct virsh *v)
{
    for (char *const *e = v->session->env; e && *e; e++)
        if (strncmp(*e, "LC_", 3) != 0 && strncmp(*e, "LANG", 4) != 0)
            strv_add(&v->env, *e);
    strv_add(&v->env, "LC_ALL=C.UTF-8");
}

/* Of "virsh failed…: error: what virsh could not do\nerror: why", the last. */
static int say_why(struct error *why, struct error **err)
{
    static const char mark[] = "error: ";
    const char *text = NULL;
    for (const char *p = why->message; (p = strstr(p, mark)); text = p)
        p += sizeof mark - 1;
    if (why->kind == ERR_SYSTEM && text) {
        error_set(err, ERR_SYSTEM, "libvirt: %.*s", (int)strcspn(text, "\n"), text);
        error_free(why);
        return -1;
    }
    return error_propagate(err, why);
}

static int run_in(const struct session *s, const struct virsh *v, char *const *words,
                  struct buf *out, struct error **err)
{
    CLEANUP(strv_clear) struct strv argv = {0};
    struct error *why = NULL;
    strv_add(&argv, "virsh");
    strv_add(&argv, "-q");
    if (v->uri) {
        strv_add(&argv, "-c");
        strv_add(&argv, v->uri);
    }
    for (; *words; words++)
        strv_add(&argv, *words);
    return process_run_env(s, argv.ptr, v->env.ptr, out, &why) < 0 ? say_why(why, err) : 0;
}

int virsh_run(const struct virsh *v, char *const *words, struct buf *out, struct error **err)
{
    return run_in(v->session, v, words, out, err);
}

void virsh_undo(const struct virsh *v, char *const *words)
{
    struct session calm = *v->session;
    calm.cancel_fd = -1;
    calm.interrupt = NULL;
    (void)run_in(&calm, v, words, NULL, NULL);
}

/* What stands between "://" and the next '/'. */
static bool names_a_host(const char *uri)
{
    const char *at = strstr(uri, "://");
    return at && at[3] && at[3] != '/' && at[3] != '?';
}

int virsh_open(const struct session *s, const char *uri, struct virsh *ret, struct error **err)
{
    CLEANUP(virsh_clear) struct virsh v = {.session = s, .uri = uri ? xstrdup(uri) : NULL};
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    AUTO_FREE char *program = process_find("virsh");
    if (!program) {
        error_set(err, ERR_NOT_FOUND, "virsh, libvirt's program, is not installed");
        return error_hint(err, "apt-get install libvirt-clients");
    }
    take_environment(&v);
    if (virsh_run(&v, ARGV("uri"), &out, err) < 0) {
        error_wrap(err, uri ? "cannot connect to '%s'" : "cannot connect", uri);
        return error_hint(err,
                          "'virsh%s%s list' must work: qemu:///system needs libvirtd (apt-get "
                          "install libvirt-daemon-system) and you in the group libvirt",
                          uri ? " -c " : "", uri ? uri : "");
    }
    free(v.uri);
    v.uri = xstrndup(out.data, strcspn(out.data, "\n"));
    v.remote = names_a_host(v.uri);
    v.user = strstr(v.uri, "/session") != NULL;
    *ret = v;
    v = (struct virsh){0};
    return 0;
}

int virsh_lists(const struct virsh *v, char *const *words, const char *name, struct error **err)
{
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    size_t n = strlen(name);
    if (virsh_run(v, words, &out, err) < 0)
        return -1;
    for (const char *line = out.data; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, name, n) != 0)
            continue;
        size_t blanks = strspn(line + n, " "); // names of pools are padded
        if (line[n + blanks] == '\n' || !line[n + blanks])
            return 1;
    }
    return 0;
}
