// SPDX-License-Identifier: MIT
//
// kiln libvirt define. All that can be wrong is looked for before the disk is copied; what fails then takes
// the disk, and the domain, back.
#include "base/alloc.h"
#include "base/file.h"
#include "base/working.h"
#include "builder/build/image_chain.h"
#include "cache/store.h"
#include "cli/build_ui.h"
#include "cli/libvirt_disk.h"
#include "cli/libvirt_options.h"
#include "cli/registry_options.h"
#include "cli/vm_image.h"
#include "libvirt/domain.h"
#include "vm/accel.h"
#include "vm/named.h"
#include "vm/qemu.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static const struct option_spec options[] = {
    LIBVIRT_CONNECT_OPTION,
    {"name", 0, "NAME", "Name of the domain [default: the image's]", NULL},
    LIBVIRT_DISK_OPTIONS,
    {"network", 0, "NETWORK",
     "default or another network of libvirt, user, or none [default: default; of a user's own "
     "libvirt: user]",
     NULL},
    {"cpus", 0, "N", "CPUs [default: 2, or 1 on a host with one]", NULL},
    {"memory", 'm', "SIZE", "Memory [default: 1GB]", NULL},
    {"uefi", 0, NULL, "Boot by UEFI firmware [default: as the image's label kiln.uefi says]", NULL},
    {"accel", 0, "auto|kvm|tcg", "Accelerator [default: KILN_ACCEL or auto]", NULL},
    {"start", 0, NULL, "Start the domain", NULL},
    {"print-xml", 0, NULL, "Print the XML, and define nothing", NULL},
    PULL_OPTION,
    REGISTRY_FETCH_OPTIONS,
    JSON_OPTION,
    {0},
};

struct defining {
    const struct session *session;
    const struct args *args;
    struct virsh virsh;
    struct libvirt_disk disk;
    struct image_chain chain;
    char *name, *layer; /* owned */
    char uuid[37];      /* ours alone: what failed is undone by it */
    const char *type;   /* of the domain */
    struct vm_spec spec;
};

static void defining_clear(struct defining *d)
{
    libvirt_disk_clear(&d->disk); // with virsh
    virsh_clear(&d->virsh);
    image_chain_clear(&d->chain);
    free(d->name);
    free(d->layer);
    vm_spec_clear(&d->spec);
}

static int take_spec(struct defining *d, struct error **err)
{
    const struct args *a = d->args;
    const char *accel = NULL;
    long long cpus = d->spec.cpus;
    if (args_num(a, "cpus", 1, 256, &cpus, err) < 0 ||
        args_memory(a, &d->spec.memory_mb, err) < 0 || args_accel(a, &accel, err) < 0)
        return -1;
    if (args_has(a, "pool") && args_has(a, "dir"))
        return error_set(err, ERR_USAGE, "argument --dir: not with --pool");
    if (args_has(a, "print-xml") && (args_has(a, "start") || args_has(a, "json")))
        return error_set(err, ERR_USAGE, "argument --print-xml: not with --%s",
                         args_has(a, "start") ? "start" : "json");
    d->spec.cpus = (unsigned)cpus;
    vm_spec_set(&d->spec.accel, accel);
    d->spec.uefi = args_has(a, "uefi");
    return 0;
}

/* What libvirt can do, and of this machine what we know better: a KVM that is there may not work. */
static int choose_type(struct defining *d, struct error **err)
{
    CLEANUP(buf_clear) struct buf xml = BUF_INIT;
    CLEANUP(qemu_clear) struct qemu qemu = QEMU_INIT;
    enum accel accel;
    if (!strncmp(d->virsh.uri, "test:", 5)) {
        d->type = "test";
        return 0;
    }
    if (accel_parse(d->session, d->spec.accel, &accel, err) < 0 ||
        virsh_run(&d->virsh, ARGV("capabilities"), &xml, err) < 0)
        return -1;
    bool kvm = domain_type_is_known(buf_str(&xml), "kvm");
    if (!kvm && !domain_type_is_known(buf_str(&xml), "qemu"))
        return error_set(err, ERR_USER, "libvirt at '%s' has no QEMU for x86-64", d->virsh.uri);
    if (!kvm && accel == ACCEL_KVM)
        return error_set(err, ERR_USER, "libvirt at '%s' cannot use KVM", d->virsh.uri);
    if (kvm && accel == ACCEL_AUTO && !d->virsh.remote &&
        (qemu_find(d->session, NULL, &qemu, err) < 0 ||
         accel_choose(d->session, NULL, qemu.version, &accel, err) < 0))
        return -1;
    d->type = kvm && accel != ACCEL_TCG ? "kvm" : "qemu";
    return 0;
}

static int check_name(const struct defining *d, struct error **err)
{
    if (domain_name_check(d->name, err) < 0)
        return -1;
    int there = virsh_lists(&d->virsh, ARGV("list", "--all", "--name"), d->name, err);
    if (there <= 0)
        return there;
    error_set(err, ERR_EXISTS, "domain '%s' exists", d->name);
    return error_hint(err,
                      "--name gives this one another name; 'virsh -c %s undefine %s' removes "
                      "that one",
                      d->virsh.uri, d->name);
}

/* NULL = none. */
static const char *network_of(const struct defining *d)
{
    const char *given = args_get(d->args, "network");
    if (!given)
        return d->virsh.user ? "user" : "default";
    return strcmp(given, "none") != 0 ? given : NULL;
}

/* libvirt would say so when the domain starts. */
static int check_network(const struct defining *d, struct error **err)
{
    const char *network = network_of(d);
    if (!network || !strcmp(network, "user"))
        return 0;
    int there = virsh_lists(&d->virsh, ARGV("net-list", "--all", "--name"), network, err);
    if (there < 0)
        return -1;
    if (!there) {
        error_set(err, ERR_NOT_FOUND, "libvirt at '%s' has no network '%s'", d->virsh.uri, network);
        return error_hint(err, "--network user needs none");
    }
    int active = virsh_lists(&d->virsh, ARGV("net-list", "--name"), network, err);
    if (active || !args_has(d->args, "start"))
        return active < 0 ? -1 : 0;
    error_set(err, ERR_USER, "the network '%s' of libvirt is not active", network);
    return error_hint(err, "'virsh -c %s net-start %s' starts it", d->virsh.uri, network);
}

static int find_image(struct defining *d, struct error **err)
{
    struct image_request request = {.ref = d->args->pos[0]};
    if (args_pull(d->args, &request.pull, err) < 0 ||
        registry_options_take(d->args, &request.transfer, err) < 0 ||
        image_chain_open(d->session, &request, &d->chain, err) < 0)
        return -1;
    d->layer = image_chain_layer(d->session, d->chain.store, &d->chain, err);
    return d->layer ? vm_image_take_labels(d->chain.metadata, &d->spec, err) : -1;
}

static void write_xml(const struct defining *d, struct buf *xml)
{
    AUTO_FREE char *image = xstrndup(d->args->pos[0], strcspn(d->args->pos[0], ","));
    struct domain_plan plan = {.type = d->type,
                               .name = d->name,
                               .uuid = d->uuid,
                               .image = image,
                               .layer = d->layer,
                               .disk = d->disk.path,
                               .network = network_of(d),
                               .memory_mb = d->spec.memory_mb,
                               .cpus = d->spec.cpus,
                               .uefi = d->spec.uefi};
    domain_write(&plan, xml);
}

static int define_xml(const struct defining *d, const struct buf *xml, struct error **err)
{
    CLEANUP(working_clear) struct working w = WORKING_INIT;
    AUTO_FREE char *parent = path_join(d->session->cache, "work");
    working_sweep(parent);
    if (working_open(&w, parent, err) < 0)
        return -1;
    AUTO_FREE char *file = path_join(w.dir, "domain.xml");
    return file_write_whole(file, 0600, xml->data, xml->len, err) < 0
               ? -1
               : virsh_run(&d->virsh, ARGV("define", "--file", file), NULL, err);
}

static int define_and_start(struct defining *d, const struct buf *xml, struct error **err)
{
    AUTO_FREE char *metadata =
        d->chain.metadata ? json_dumps(d->chain.metadata, JSON_COMPACT) : NULL;
    struct image_content content = {&d->chain.files, d->chain.size, metadata};
    if (libvirt_disk_make(&d->disk, &content, err) < 0)
        return -1;
    int rc = define_xml(d, xml, err);
    if (rc == 0 && args_has(d->args, "start")) {
        rc = virsh_run(&d->virsh, ARGV("start", "--domain", d->uuid), NULL, err);
        if (rc < 0)
            error_wrap(err, "domain '%s' does not start, and is not kept", d->name);
    }
    if (rc < 0) { // also what was interrupted may have been done
        virsh_undo(&d->virsh, ARGV("destroy", "--domain", d->uuid));
        virsh_undo(&d->virsh, ARGV("undefine", "--domain", d->uuid, "--nvram"));
        return -1;
    }
    d->disk.made = false; // it is the domain's
    return 0;
}

/* Random, version 4. */
static int make_uuid(char uuid[37], struct error **err)
{
    unsigned char b[16];
    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b)
        return error_errno(err, "no random numbers");
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    (void)snprintf(uuid, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                   b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12],
                   b[13], b[14], b[15]);
    return 0;
}

static int define(struct defining *d, struct error **err)
{
    CLEANUP(buf_clear) struct buf xml = BUF_INIT;
    bool print = args_has(d->args, "print-xml");
    if (take_spec(d, err) < 0 ||
        virsh_open(d->session, args_get(d->args, "connect"), &d->virsh, err) < 0)
        return -1;
    d->disk.virsh = &d->virsh;
    if (choose_type(d, err) < 0 || check_name(d, err) < 0 ||
        libvirt_disk_choose(&d->disk, d->args, d->name, err) < 0 || check_network(d, err) < 0 ||
        find_image(d, err) < 0)
        return -1;
    if (make_uuid(d->uuid, err) < 0)
        return -1;
    write_xml(d, &xml);
    if (print) {
        fputs(xml.data, stdout);
        return 0;
    }
    return define_and_start(d, &xml, err);
}

static int run(struct session *s, const struct args *a, struct error **err)
{
    CLEANUP(defining_clear) struct defining d = {.session = s, .args = a};
    CLEANUP(build_shown_clear) struct build_shown shown = {0};
    AUTO_FREE char *image = xstrndup(a->pos[0], strcspn(a->pos[0], ","));
    vm_spec_init(&d.spec);
    d.name = args_has(a, "name") ? xstrdup(args_get(a, "name")) : named_vm_name(image);
    if (build_shown_init(&shown, s, NULL, err) < 0)
        return -1;
    progress_init(&shown.bar, stderr, PROGRESS_AUTO);
    if (define(&d, err) < 0)
        return -1;
    (void)json_object_set_new(a->result, "name", json_string(d.name));
    (void)json_object_set_new(a->result, "file", json_string(d.disk.path));
    if (!a->result && !args_has(a, "print-xml"))
        puts(d.name);
    return 0;
}

const struct command cmd_libvirt_define = {
    .name = "libvirt define",
    .summary = "Make a domain of libvirt from an image",
    .usage = "[options] IMAGE",
    .detail =
        "The image's layers become one disk of the domain's own. Prints the domain's name, for\n"
        "virsh: virsh start \"$(kiln libvirt define web)\". Needs virsh (apt-get install\n"
        "libvirt-clients).\n",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .flags = CMD_RESULT,
    .run = run,
};
