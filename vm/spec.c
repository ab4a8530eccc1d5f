// SPDX-License-Identifier: MIT
//
// JSON in both directions comes from one table of members, so what is written is what is read.
// Members with a structure of their own (nics) are handled beside it.
#include "vm/spec.h"

#include "base/alloc.h"
#include "base/json.h"

#include <assert.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

enum { FORMAT_VERSION = 1, PORT_MAX = 65535 };

enum member_type { TEXT, NUMBER, FLAG, CHOICE };

struct member {
    const char *object, *name; /* object: the member of the JSON that holds it; NULL = the top */
    enum member_type type;
    size_t offset;
    json_int_t min, max;        /* NUMBER */
    const char *const *choices; /* CHOICE: names by value, NULL-terminated */
};

static const char *const buses[] = {"virtio", "ide", "scsi", NULL};
static const char *const sessions[] = {"serial", "ssh", "command", NULL};

#define AT(member) offsetof(struct vm_spec, member)
static const struct member members[] = {
    {NULL, "memory_mb", NUMBER, AT(memory_mb), 1, 16 << 20, NULL},
    {NULL, "cpus", NUMBER, AT(cpus), 1, VM_CPUS_MAX, NULL},
    {NULL, "accel", TEXT, AT(accel), 0, 0, NULL},
    {NULL, "qemu", TEXT, AT(qemu), 0, 0, NULL},
    {NULL, "disk_bus", CHOICE, AT(disk_bus), 0, 0, buses},
    {NULL, "kernel", TEXT, AT(kernel), 0, 0, NULL},
    {NULL, "initrd", TEXT, AT(initrd), 0, 0, NULL},
    {NULL, "append", TEXT, AT(append), 0, 0, NULL},
    {NULL, "console_log", TEXT, AT(console_log), 0, 0, NULL},
    {NULL, "timeout_ms", NUMBER, AT(timeout_ms), 0, INT_MAX, NULL},
    {NULL, "session", CHOICE, AT(session), 0, 0, sessions},
    {NULL, "command", TEXT, AT(command), 0, 0, NULL},
    {NULL, "uefi", FLAG, AT(uefi), 0, 0, NULL},
    {NULL, "tty", FLAG, AT(tty), 0, 0, NULL},
    {NULL, "show_serial", FLAG, AT(show_serial), 0, 0, NULL},
    {"ssh", "user", TEXT, AT(ssh.user), 0, 0, NULL},
    {"ssh", "key", TEXT, AT(ssh.key), 0, 0, NULL},
    {"ssh", "port", NUMBER, AT(ssh.port), 0, PORT_MAX, NULL},
    {"ssh", "timeout_ms", NUMBER, AT(ssh.timeout_ms), -1, INT_MAX, NULL},
    {"ssh", "program", TEXT, AT(ssh.program), 0, 0, NULL},
    {"ssh", "sftp_server", TEXT, AT(ssh.sftp_server), 0, 0, NULL},
    {NULL, "shutdown_timeout_ms", NUMBER, AT(shutdown_timeout_ms), 0, INT_MAX, NULL},
    {NULL, "qmp_timeout_ms", NUMBER, AT(qmp_timeout_ms), 0, INT_MAX, NULL},
};
#undef AT
enum { N_MEMBERS = sizeof members / sizeof *members };

static struct vm_nic *add_nic(struct vm_spec *spec, const char *driver, const char *bridge)
{
    struct vm_nic *nic = vm_nics_push(&spec->nics);
    nic->driver = xstrdup(driver);
    nic->bridge = bridge ? xstrdup(bridge) : NULL;
    return nic;
}

void vm_spec_init(struct vm_spec *spec)
{
    *spec = (struct vm_spec){.memory_mb = 1024,
                             .cpus = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 2 : 1,
                             .ssh = {.timeout_ms = -1},
                             .shutdown_timeout_ms = 20000,
                             .qmp_timeout_ms = 10000};
    add_nic(spec, "virtio-net-pci", NULL);
}

static void clear_nics(struct vm_nics *nics)
{
    vec_foreach (struct vm_nic *, nic, nics) {
        vec_foreach (struct vm_forward *, f, &nic->forwards)
            free(f->address);
        vm_forwards_clear(&nic->forwards);
        free(nic->driver);
        free(nic->bridge);
        free(nic->group);
        free(nic->mac);
    }
    vm_nics_clear(nics);
}

static void clear_shares(struct vm_shares *shares)
{
    vec_foreach (struct vm_share *, s, shares) {
        free(s->host);
        free(s->guest);
    }
    vm_shares_clear(shares);
}

void vm_spec_clear(struct vm_spec *spec)
{
    for (size_t i = 0; i < N_MEMBERS; i++)
        if (members[i].type == TEXT)
            free(*(char **)((char *)spec + members[i].offset));
    clear_nics(&spec->nics);
    clear_shares(&spec->shares);
    strv_clear(&spec->qemu_args);
    strv_clear(&spec->ssh.options);
    *spec = (struct vm_spec){0};
}

void vm_spec_set(char **member, const char *text)
{
    char *copy = text ? xstrdup(text) : NULL; // text may be the member itself
    free(*member);
    *member = copy;
}

void vm_spec_no_network(struct vm_spec *spec)
{
    clear_nics(&spec->nics);
}

void vm_spec_user_nic(struct vm_spec *spec)
{
    add_nic(spec, "virtio-net-pci", NULL);
    struct vm_nic *nics = spec->nics.ptr, last = nics[spec->nics.len - 1];
    memmove(nics + 1, nics, (spec->nics.len - 1) * sizeof *nics);
    nics[0] = last;
}

void vm_spec_bridge(struct vm_spec *spec, const char *bridge, const char *mac)
{
    add_nic(spec, "virtio-net-pci", bridge)->mac = xstrdup(mac);
}

const struct vm_nic *vm_spec_bridged(const struct vm_spec *spec)
{
    vec_foreach (const struct vm_nic *, nic, &spec->nics)
        if (nic->bridge)
            return nic;
    return NULL;
}

bool vm_spec_has_user_network(const struct vm_spec *spec)
{
    return spec->nics.len && !spec->nics.ptr[0].bridge && !spec->nics.ptr[0].group;
}

void vm_spec_group(struct vm_spec *spec, const char *group, const char *mac)
{
    struct vm_nic *nic = add_nic(spec, "virtio-net-pci", NULL);
    nic->group = xstrdup(group);
    nic->mac = xstrdup(mac);
}

static void add_forward(struct vm_nic *nic, const struct vm_forward *forward)
{
    struct vm_forward *f = vm_forwards_push(&nic->forwards);
    *f = *forward;
    f->address = xstrdup(forward->address);
}

void vm_spec_forward(struct vm_spec *spec, const struct vm_forward *forward)
{
    assert(vm_spec_has_user_network(spec));
    add_forward(&spec->nics.ptr[0], forward);
}

void vm_spec_share(struct vm_spec *spec, const struct vm_share *share)
{
    *vm_shares_push(&spec->shares) =
        (struct vm_share){xstrdup(share->host), xstrdup(share->guest), share->read_only};
}

/* The member's value, new reference; NULL if it is a string that was not given or is not UTF-8. */
static json_t *member_value(const struct vm_spec *spec, const struct member *m)
{
    const void *at = (const char *)spec + m->offset;
    switch (m->type) {
    case TEXT: {
        const char *text = *(char *const *)at;
        return text ? json_string(text) : NULL;
    }
    case NUMBER:
        return json_integer(*(const int *)at);
    case FLAG:
        return json_boolean(*(const bool *)at);
    case CHOICE:
        return json_string(m->choices[*(const unsigned *)at]);
    }
    return NULL;
}

static json_t *nics_to_json(const struct vm_nics *nics)
{
    json_t *list = json_array();
    vec_foreach (const struct vm_nic *, nic, nics) {
        json_t *forwards = json_array();
        vec_foreach (const struct vm_forward *, f, &nic->forwards)
            json_array_append_new(forwards, json_pack("{s:s, s:i, s:i, s:b}", "address", f->address,
                                                      "host_port", (int)f->host_port, "guest_port",
                                                      (int)f->guest_port, "udp", f->udp));
        json_array_append_new(list, json_pack("{s:s, s:s*, s:s*, s:s*, s:o}", "driver", nic->driver,
                                              "bridge", nic->bridge, "group", nic->group, "mac",
                                              nic->mac, "forwards", forwards));
    }
    return list;
}

static json_t *shares_to_json(const struct vm_shares *shares)
{
    json_t *list = json_array();
    vec_foreach (const struct vm_share *, s, shares)
        json_array_append_new(list, json_pack("{s:s, s:s, s:b}", "host", s->host, "guest", s->guest,
                                              "read_only", s->read_only));
    return list;
}

/* NULL: one is not UTF-8. */
static json_t *texts_to_json(const struct strv *texts)
{
    json_auto_t *list = json_array();
    vec_foreach (char **, text, texts)
        if (json_array_append_new(list, json_string(*text)) < 0)
            return NULL;
    return json_incref(list);
}

json_t *vm_spec_to_json(const struct vm_spec *spec)
{
    json_auto_t *v = json_object(), *ssh = json_object();
    json_auto_t *args = texts_to_json(&spec->qemu_args);
    json_auto_t *options = texts_to_json(&spec->ssh.options);
    if (!args || !options)
        return NULL;
    for (size_t i = 0; i < N_MEMBERS; i++) {
        const struct member *m = &members[i];
        json_t *value = member_value(spec, m);
        bool absent = m->type == TEXT && !*(char *const *)((const char *)spec + m->offset);
        if (!absent && json_object_set_new(m->object ? ssh : v, m->name, value) < 0)
            return NULL;
    }
    if (spec->ssh.options.len)
        (void)json_object_set(ssh, "options", options);
    json_t *nics = nics_to_json(&spec->nics);
    if (json_array_size(nics) != spec->nics.len) {
        json_decref(nics);
        return NULL;
    }
    (void)json_object_set_new(v, "nics", nics);
    json_t *shares = shares_to_json(&spec->shares);
    bool whole = json_array_size(shares) == spec->shares.len;
    if (json_object_set_new(v, "shares", shares) < 0 || !whole)
        return NULL;
    (void)json_object_set(v, "ssh", ssh);
    (void)json_object_set(v, "qemu_args", args);
    (void)json_object_set_new(v, "version", json_integer(FORMAT_VERSION));
    return STEAL(v);
}

static int bad(const char *name, const char *what, struct error **err)
{
    return error_set(err, ERR_USER, "member '%s' of the VM's definition is not %s", name, what);
}

static int choice(const struct member *m, const json_t *value, unsigned *ret, struct error **err)
{
    const char *text = json_string_value(value);
    for (unsigned i = 0; text && m->choices[i]; i++) {
        if (strcmp(text, m->choices[i]))
            continue;
        *ret = i;
        return 0;
    }
    return bad(m->name, "one of the known values", err);
}

static int take_member(struct vm_spec *spec, const struct member *m, const json_t *value,
                       struct error **err)
{
    void *at = (char *)spec + m->offset;
    switch (m->type) {
    case TEXT:
        if (!json_is_string(value))
            return bad(m->name, "a string", err);
        vm_spec_set(at, json_string_value(value));
        return 0;
    case NUMBER: {
        json_int_t n = json_integer_value(value);
        if (!json_is_integer(value) || n < m->min || n > m->max)
            return bad(m->name, "a number in range", err);
        *(int *)at = (int)n;
        return 0;
    }
    case FLAG:
        if (!json_is_boolean(value))
            return bad(m->name, "true or false", err);
        *(bool *)at = json_is_true(value);
        return 0;
    case CHOICE:
        return choice(m, value, at, err);
    }
    return 0;
}

static bool is_port(int64_t n, int64_t least)
{
    return n >= least && n <= PORT_MAX;
}

static int take_forward(struct vm_nic *nic, const json_t *v, struct error **err)
{
    const char *address = json_str(v, "address");
    int64_t host = json_int(v, "host_port", 0), guest = json_int(v, "guest_port", 0);
    if (!is_port(host, 0) || !is_port(guest, 1))
        return bad("forwards", "a list of ports", err);
    struct vm_forward f = {.address = (char *)(address ? address : "127.0.0.1"),
                           .host_port = (unsigned)host,
                           .guest_port = (unsigned)guest,
                           .udp = json_flag(v, "udp")};
    add_forward(nic, &f);
    return 0;
}

static int take_nics(struct vm_spec *spec, const json_t *list, struct error **err)
{
    if (!json_is_array(list))
        return bad("nics", "an array", err);
    clear_nics(&spec->nics);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        const json_t *forwards = json_object_get(v, "forwards");
        const char *driver = json_str(v, "driver");
        struct vm_nic *nic =
            add_nic(spec, driver ? driver : "virtio-net-pci", json_str(v, "bridge"));
        vm_spec_set(&nic->group, json_str(v, "group"));
        vm_spec_set(&nic->mac, json_str(v, "mac"));
        for (size_t k = 0; k < json_array_size(forwards); k++)
            if (take_forward(nic, json_array_get(forwards, k), err) < 0)
                return -1;
    }
    return 0;
}

static int take_shares(struct vm_spec *spec, const json_t *list, struct error **err)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        const char *host = json_str(v, "host"), *guest = json_str(v, "guest");
        if (!host || !guest || *host != '/' || *guest != '/')
            return bad("shares", "a list of absolute paths", err);
        vm_spec_share(spec,
                      &(struct vm_share){(char *)host, (char *)guest, json_flag(v, "read_only")});
    }
    return json_is_array(list) ? 0 : bad("shares", "an array", err);
}

/* NULL = it is not there. */
static int take_texts(struct strv *to, const char *name, const json_t *list, struct error **err)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *word = json_string_value(json_array_get(list, i));
        if (!word)
            return bad(name, "an array of strings", err);
        strv_add(to, word);
    }
    return !list || json_is_array(list) ? 0 : bad(name, "an array of strings", err);
}

int vm_spec_from_json(const json_t *v, struct vm_spec *ret, struct error **err)
{
    CLEANUP(vm_spec_clear) struct vm_spec spec;
    vm_spec_init(&spec);
    if (!json_is_object(v))
        return error_set(err, ERR_USER, "the VM's definition is not a JSON object");
    int64_t version = json_int(v, "version", 0);
    if (version < 1 || version > FORMAT_VERSION)
        return error_set(err, ERR_USER, "the VM's definition has version %lld, this kiln reads %d",
                         (long long)version, FORMAT_VERSION);
    for (size_t i = 0; i < N_MEMBERS; i++) {
        const struct member *m = &members[i];
        const json_t *from = m->object ? json_object_get(v, m->object) : v;
        const json_t *value = json_object_get(from, m->name);
        if (value && take_member(&spec, m, value, err) < 0)
            return -1;
    }
    const json_t *nics = json_object_get(v, "nics"), *shares = json_object_get(v, "shares");
    const json_t *options = json_object_get(json_object_get(v, "ssh"), "options");
    if ((nics && take_nics(&spec, nics, err) < 0) ||
        (shares && take_shares(&spec, shares, err) < 0) ||
        take_texts(&spec.qemu_args, "qemu_args", json_object_get(v, "qemu_args"), err) < 0 ||
        take_texts(&spec.ssh.options, "options", options, err) < 0)
        return -1;
    vm_spec_clear(ret);
    *ret = spec;
    spec = (struct vm_spec){0};
    return 0;
}
