// SPDX-License-Identifier: MIT
#include "builder/agent/exec_request.h"

#include "base/file.h"
#include "builder/agent/hostname.h"
#include "builder/agent/receive.h"
#include "builder/agent/resolver.h"
#include "builder/agent/sys.h"
#include "builder/agent/tree.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

// The sources of binds that come from the host: each unpacked to memory, in the agent's own mounts.
#define UNPACKED "/tmp/bind"

enum { HOSTS_MAX = 1 << 20 }; // of the image's /etc/hosts

int agent_unpack(struct agent *a, const struct request *rq, struct message *reply,
                 struct error **err)
{
    AUTO_FREE char *path = xasprintf(UNPACKED "%u", a->unpacked);
    mkdir(path, 0755);
    if (sys_mount("tmpfs", path, "tmpfs", 0, "mode=0755,size=75%", err) < 0)
        return -1;
    message_put_num(reply, AGENT_TAG_NUMBER, a->unpacked++);
    AUTO_CLOSE int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return error_errno(err, "cannot open '%s'", path);
    struct receive r = {
        .root = root, .offset = message_num(&rq->fields, AGENT_TAG_OFFSET, 0), .path = "/source"};
    return receive(a, &r, err);
}

void exec_drop_unpacked(struct agent *a)
{
    while (a->unpacked) {
        AUTO_FREE char *path = xasprintf(UNPACKED "%u", --a->unpacked);
        umount2(path, MNT_DETACH);
        rmdir(path);
    }
}

// The request's mounts.

static int add_mount(struct field *f, struct sandbox *s, struct error **err)
{
    struct sandbox_mount *m = sandbox_mounts_push(&s->mounts);
    m->slot = -1;
    if (str_is(f->value, "tmpfs"))
        m->kind = SANDBOX_TMPFS;
    else if (str_is(f->value, "secret"))
        m->kind = SANDBOX_SECRET;
    else if (str_is(f->value, "hosts"))
        *m = (struct sandbox_mount){.kind = SANDBOX_SECRET, .slot = -1, .hosts = true};
    else if (str_is(f->value, "bind") || str_is(f->value, "cache"))
        m->kind = SANDBOX_BIND;
    else if (str_is(f->value, "ssh")) {
        m->kind = SANDBOX_BIND;
        m->source = sockets_listen(&s->sockets, err);
        return m->source ? 0 : -1;
    } else
        return error_set(err, ERR_USER, "unknown mount type '" STR_FMT "'", STR_ARG(f->value));
    return 0;
}

static int set_mount_owner(struct agent *a, struct sandbox_mount *m, struct str spec,
                           struct error **err)
{
    AUTO_FREE char *text = str_dup(spec);
    m->has_owner = true;
    return tree_owner(a, AGENT_DISK_TARGET, text, &m->uid, &m->gid, err);
}

static int mount_field(struct agent *a, const struct field *f, struct sandbox_mount *m,
                       struct error **err)
{
    uint64_t number = field_num(f);
    switch (f->tag) {
    case AGENT_TAG_MOUNT_TARGET:
        free(m->target);
        m->target = str_dup(f->value);
        return 0;
    case AGENT_TAG_MOUNT_SOURCE:
        free(m->source);
        m->source = str_dup(f->value);
        return 0;
    case AGENT_TAG_MOUNT_SLOT:
        m->slot = number < AGENT_DISKS ? (int)number : -1;
        return 0;
    case AGENT_TAG_MOUNT_DATA:
        m->data = f->value;
        return 0;
    case AGENT_TAG_MOUNT_FLAGS:
        m->read_only = number & AGENT_READ_ONLY;
        m->discard = number & AGENT_DISCARD;
        return 0;
    case AGENT_TAG_MOUNT_SIZE:
        m->size = number;
        return 0;
    case AGENT_TAG_MOUNT_UNPACKED:
        if (number >= a->unpacked)
            return error_set(err, ERR_GUEST, "nothing was unpacked for a mount");
        free(m->source);
        m->source = xasprintf(UNPACKED "%u/source", (unsigned)number);
        return 0;
    case AGENT_TAG_MOUNT_OWNER:
        return set_mount_owner(a, m, f->value, err);
    case AGENT_TAG_MOUNT_MODE:
        m->has_mode = true;
        if (sys_parse_mode(f->value, &m->mode) < 0)
            return error_set(err, ERR_USER, "'" STR_FMT "' is not a mode", STR_ARG(f->value));
        return 0;
    default:
        return 0;
    }
}

static int check_mount(struct agent *a, const struct sandbox_mount *m, struct error **err)
{
    if (!m->target || m->target[0] != '/' || !m->target[1])
        return error_set(err, ERR_USER, "cannot mount on '%s'", m->target ? m->target : "");
    if (m->kind != SANDBOX_BIND)
        return 0;
    if (m->slot < 0 && !m->source)
        return error_set(err, ERR_GUEST, "the mount '%s' has no source", m->target);
    if (m->slot >= 0 && !a->slots[m->slot].mounts.len)
        return error_set(err, ERR_GUEST, "the source of the mount '%s' is not mounted", m->target);
    return 0;
}

// The request's lines, and those of the image's own file.
static void join_hosts(int root, struct sandbox_mount *m)
{
    CLEANUP(buf_clear) struct buf own = BUF_INIT;
    if (sys_read_in(root, "/etc/hosts", HOSTS_MAX, &own) < 0)
        buf_reset(&own);
    free(m->source);
    m->source =
        xasprintf(STR_FMT "%s", STR_ARG(m->data), own.len ? own.data : "127.0.0.1 localhost\n");
    m->data = str_of(m->source);
}

static int read_mounts(struct agent *a, const struct request *rq, int root, struct sandbox *s,
                       struct error **err)
{
    struct field f = {0};
    while (message_next(&rq->fields, &f)) {
        if (f.tag == AGENT_TAG_MOUNT_TYPE && add_mount(&f, s, err) < 0)
            return -1;
        if (f.tag > AGENT_TAG_MOUNT_TYPE && f.tag <= AGENT_TAG_MOUNT_UNPACKED && s->mounts.len &&
            mount_field(a, &f, &s->mounts.ptr[s->mounts.len - 1], err) < 0)
            return -1;
    }
    vec_foreach (struct sandbox_mount *, m, &s->mounts) {
        if (check_mount(a, m, err) < 0)
            return -1;
        if (m->hosts)
            join_hosts(root, m);
    }
    return 0;
}

// The rest of the request.

// A later value of a name replaces an earlier one.
static void set_env(struct strv *env, struct str entry)
{
    const char *eq = memchr(entry.ptr, '=', entry.len);
    size_t n = eq ? (size_t)(eq + 1 - entry.ptr) : entry.len;
    for (size_t i = 0; eq && i < env->len; i++) {
        if (strncmp(env->ptr[i], entry.ptr, n) != 0)
            continue;
        free(env->ptr[i]);
        env->ptr[i] = str_dup(entry);
        return;
    }
    strv_add_take(env, str_dup(entry));
}

static void read_words(const struct request *rq, struct sandbox *s)
{
    struct field f = {0};
    while (message_next(&rq->fields, &f)) {
        if (f.tag == AGENT_TAG_ARG)
            strv_add_take(&s->argv, str_dup(f.value));
        else if (f.tag == AGENT_TAG_ENV)
            set_env(&s->env, f.value);
    }
}

static int use_name_server(struct agent *a, const struct request *rq, struct error **err)
{
    AUTO_FREE char *given = NULL;
    if (agent_string(rq, AGENT_TAG_NAMESERVER, &given, err) < 0)
        return -1;
    const char *address = given ? given : RESOLVER_DEFAULT;
    if (strcmp(a->name_server, address) == 0)
        return 0;
    if (resolver_use(address, err) < 0)
        return -1;
    snprintf(a->name_server, sizeof a->name_server, "%s", address);
    return 0;
}

static bool has_env(const struct strv *env, const char *prefix)
{
    for (size_t i = 0; i < env->len; i++)
        if (strncmp(env->ptr[i], prefix, strlen(prefix)) == 0)
            return true;
    return false;
}

int exec_read_request(struct agent *a, const struct request *rq, int root, struct sandbox *s,
                      char **ret_cwd, char **ret_host, struct error **err)
{
    AUTO_FREE char *user = NULL, *term = NULL;
    uint64_t flags = message_num(&rq->fields, AGENT_TAG_FLAGS, 0);
    s->tty = flags & AGENT_TTY;
    s->no_network = flags & AGENT_NO_NETWORK;
    s->insecure = flags & AGENT_INSECURE;
    s->rows = (unsigned)message_num(&rq->fields, AGENT_TAG_ROWS, 0);
    s->columns = (unsigned)message_num(&rq->fields, AGENT_TAG_COLUMNS, 0);
    message_get(&rq->fields, AGENT_TAG_SCRIPT, &s->script);
    read_words(rq, s);
    if (!s->argv.len)
        return error_set(err, ERR_GUEST, "no command to run");
    if (agent_string(rq, AGENT_TAG_CWD, ret_cwd, err) < 0 ||
        agent_string(rq, AGENT_TAG_HOSTNAME, ret_host, err) < 0 ||
        agent_string(rq, AGENT_TAG_TERM, &term, err) < 0 ||
        agent_string(rq, AGENT_TAG_USER, &user, err) < 0 ||
        tree_who(a, AGENT_DISK_TARGET, user ? user : "0", &s->who, err) < 0)
        return -1;
    s->cwd = *ret_cwd ? *ret_cwd : "/";
    s->hostname = *ret_host = *ret_host ? *ret_host : hostname_of_image(root);
    if (!has_env(&s->env, "HOME="))
        strv_addf(&s->env, "HOME=%s", s->who.home);
    if (s->tty && term)
        strv_addf(&s->env, "TERM=%s", term);
    if (read_mounts(a, rq, root, s, err) < 0)
        return -1;
    return s->no_network ? 0 : use_name_server(a, rq, err);
}
