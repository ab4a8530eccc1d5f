// SPDX-License-Identifier: MIT
// The nodes of a VM, in a table.
#include "fleet/internal.h"

#include <sys/stat.h>

static void read_image(struct fleet_reader *r, const struct kdl_node *node)
{
    const char *text;
    struct stat st;
    if (!fleet_text(r, node, "\"NAME\"|\"FILE\"|\"oci://…\"", &text))
        return;
    const char *path = fleet_absolute(r, text), *dot = strrchr(text, '.');
    bool there = stat(path, &st) == 0, is_file = there && S_ISREG(st.st_mode);
    bool like_file =
        strchr("/.~", *text) ||
        (dot && (!strcmp(dot, ".qcow2") || !strcmp(dot, ".img") || !strcmp(dot, ".raw")));
    r->vm->image = text;
    if (!strncmp(text, "http://", 7) || !strncmp(text, "https://", 8)) {
        r->vm->source = FLEET_URL;
    } else if (strstr(text, "://")) {
        r->vm->source = FLEET_OCI;
    } else if (is_file || like_file) {
        r->vm->source = FLEET_FILE;
        (void)fleet_path(r, node, "\"FILE\"", "file", &r->vm->image);
    }
}

static void read_image_url(struct fleet_reader *r, const struct kdl_node *node)
{
    const char *url;
    if (!fleet_text(r, node, "\"URL\"", &url))
        return;
    r->vm->image = url;
    r->vm->source = !strncmp(url, "oci://", 6) ? FLEET_OCI : FLEET_URL;
    if (r->vm->source == FLEET_URL && strncmp(url, "http://", 7) != 0 &&
        strncmp(url, "https://", 8) != 0)
        diag_help(fleet_error(r, node->args[0].span, "'%.60s' is not an http or https URL", url),
                  "a file is given with: image \"PATH\"");
}

static void read_target(struct fleet_reader *r, const struct kdl_node *node)
{
    (void)fleet_text(r, node, "\"STAGE\"", &r->vm->build.target);
}

static void read_file(struct fleet_reader *r, const struct kdl_node *node)
{
    (void)fleet_path(r, node, "\"IMAGEFILE\"", "file", &r->vm->build.file);
}

static void read_arg(struct fleet_reader *r, const struct kdl_node *node)
{
    const char *name, *value;
    if (!fleet_plain(r, node, 2, 2, "\"NAME\" \"VALUE\"") ||
        !fleet_text_value(r, node, &node->args[0], &name))
        return;
    const struct kdl_value *v = &node->args[1];
    value = v->text.ptr;
    if (strlen(value) != v->text.len || strchr(name, '='))
        fleet_error(r, node->args[0].span, "'arg' takes a name and a value as two strings");
    else
        fleet_push(r, r->vm->build.args, r->vm->build.n_args,
                   arena_fmt(r->arena, "%s=%s", name, value).ptr);
}

static void read_build(struct fleet_reader *r, const struct kdl_node *node)
{
    static const struct fleet_row rows[] = {
        {"target", false, read_target}, {"file", false, read_file}, {"arg", true, read_arg}, {0}};
    struct kdl_node bare = *node;
    bare.body = false;
    r->vm->source = FLEET_BUILD;
    r->vm->image = "";
    if (fleet_plain(r, &bare, 1, 1, "\"FOLDER\" { … }"))
        (void)fleet_path_value(r, node, &node->args[0], "folder", &r->vm->image);
    fleet_read_body(r, node, "in 'build'", rows, NULL);
}

static void read_vcpus(struct fleet_reader *r, const struct kdl_node *node)
{
    (void)fleet_number(r, node, "N", 1, 255, &r->vm->vcpus);
}

static void read_memory(struct fleet_reader *r, const struct kdl_node *node)
{
    (void)fleet_number(r, node, "MEGABYTES", 16, 16 << 20, &r->vm->memory_mb);
}

/* disk 20 grow=#false */
static void read_disk(struct fleet_reader *r, const struct kdl_node *node)
{
    struct kdl_node bare = *node;
    bare.n_props = 0;
    for (size_t i = 0; i < node->n_props; i++) {
        const struct kdl_prop *p = &node->props[i];
        if (!str_is(p->name, "grow"))
            diag_help(fleet_error(r, p->span, "'disk' has no property '%.40s'", p->name.ptr),
                      "its property is grow=#false");
        else if (p->value.type != KDL_BOOL)
            fleet_error(r, p->value.span, "'grow' takes #true or #false");
        else
            r->vm->no_grow = !p->value.truth;
    }
    (void)fleet_number(r, &bare, "GIGABYTES", 1, DISK_GB_MAX, &r->vm->disk_gb);
}

/* A bare "uefi" means yes. */
static void read_uefi(struct fleet_reader *r, const struct kdl_node *node)
{
    r->vm->uefi = true;
    if (!fleet_plain(r, node, 0, 1, "") || !node->n_args)
        return;
    if (node->args[0].type == KDL_BOOL)
        r->vm->uefi = node->args[0].truth;
    else
        fleet_error(r, node->args[0].span, "'uefi' takes #true or #false");
}

static void read_after(struct fleet_reader *r, const struct kdl_node *node)
{
    const char *name;
    if (!fleet_plain(r, node, 1, SIZE_MAX, "\"VM\""))
        return;
    for (size_t i = 0; i < node->n_args; i++) {
        size_t n = r->vm->n_after;
        if (!fleet_text_value(r, node, &node->args[i], &name))
            continue;
        fleet_push(r, r->vm->after_at, n, node->args[i].span);
        fleet_push(r, r->vm->after, r->vm->n_after, name);
    }
}

static void read_qemu_args(struct fleet_reader *r, const struct kdl_node *node)
{
    const char *word;
    if (!fleet_plain(r, node, 1, SIZE_MAX, "\"-device\" \"…\""))
        return;
    for (size_t i = 0; i < node->n_args; i++)
        if (fleet_text_value(r, node, &node->args[i], &word))
            fleet_push(r, r->vm->qemu_args, r->vm->n_qemu_args, word);
}

enum { IMAGE, IMAGE_URL, BUILD }; /* the rows below */
static const struct fleet_row vm_rows[] = {
    {"image", false, read_image},
    {"image-url", false, read_image_url},
    {"build", false, read_build},
    {"vcpus", false, read_vcpus},
    {"memory", false, read_memory},
    {"disk", false, read_disk},
    {"network", true, fleet_read_network},
    {"cloud-init", false, fleet_read_cloud_init},
    {"inject", false, fleet_read_inject},
    {"ssh", false, fleet_read_ssh},
    {"provision", true, fleet_read_provision},
    {"forward", true, fleet_read_forward},
    {"share", true, fleet_read_share},
    {"volume", true, fleet_read_volume},
    {"after", true, read_after},
    {"uefi", false, read_uefi},
    {"qemu-args", true, read_qemu_args},
    {0},
};

static void check_source(struct fleet_reader *r, const struct kdl_node *node, unsigned seen)
{
    unsigned sources = seen & (1U << IMAGE | 1U << IMAGE_URL | 1U << BUILD);
    if (!sources)
        diag_help(fleet_error(r, node->span, "VM '%s' has no image", r->vm->name),
                  "add one of: image \"NAME\", image-url \"URL\", build \"FOLDER\"");
    else if (sources & (sources - 1))
        diag_help(fleet_error(r, node->span, "VM '%s' has more than one image", r->vm->name),
                  "use one of image, image-url and build");
}

static void check_together(struct fleet_reader *r, const struct kdl_node *node)
{
    struct fleet_vm *vm = r->vm;
    const char *needs = vm->n_steps      ? "provision"
                        : vm->n_forwards ? "forward"
                        : vm->n_shares   ? "share"
                                         : NULL;
    if (vm->bridge && vm->n_forwards) // QEMU forwards to its user network
        vm->user_network = true;
    if (vm->n_steps && !vm->ssh)
        diag_help(fleet_error(r, node->span, "VM '%s' has provisions, but no ssh block", vm->name),
                  "add: ssh { user \"NAME\"; }");
    if (needs && !vm->user_network && !vm->bridge)
        diag_help(fleet_error(r, node->span,
                              "VM '%s' is not on the user network, which its %s needs", vm->name,
                              needs),
                  "add: network \"user\"");
    if (vm->inject && vm->cloud_init)
        diag_help(fleet_error(r, node->span, "VM '%s' has both inject and cloud-init", vm->name),
                  "inject is for guests without cloud-init: remove one of the two");
    if (vm->inject && vm->private_key)
        diag_help(fleet_error(r, node->span, "VM '%s' has both inject and private-key", vm->name),
                  "inject lets in the VM's own key: remove one of the two");
    if (vm->user_data && vm->ssh_key)
        diag_help(fleet_error(r, node->span, "VM '%s' has both user-data and ssh-key", vm->name),
                  "user-data is taken as it is: write the key into it");
}

/* The name, "" if it has none. */
static void read_name(struct fleet_reader *r, const struct kdl_node *node)
{
    struct kdl_node bare = *node;
    bare.body = false;
    r->vm->name = "";
    if (!node->n_args || !node->body)
        diag_help(fleet_error(r, node->span,
                              node->n_args ? "a vm without braces" : "a vm without a name"),
                  "write: vm \"my-server\" { … }");
    if (!node->n_args)
        return;
    r->vm->span = node->args[0].span;
    if (fleet_plain(r, &bare, 1, 1, "\"NAME\" { … }"))
        (void)fleet_text_value(r, node, &node->args[0], &r->vm->name);
    if (*r->vm->name && fleet_find(r->fleet, r->vm->name))
        diag_help(fleet_error(r, r->vm->span, "a second VM '%s'", r->vm->name),
                  "VMs have different names");
}

void fleet_read_vm(struct fleet_reader *r, const struct kdl_node *node)
{
    unsigned seen;
    r->vm = arena_alloc(r->arena, sizeof *r->vm);
    r->user_named = false;
    *r->vm =
        (struct fleet_vm){.span = node->span, .vcpus = 1, .memory_mb = 1024, .user_network = true};
    source_place(&r->fleet->doc->source, node->span.start, &r->vm->line, &r->vm->column);
    read_name(r, node);
    fleet_read_body(r, node, "in a vm", vm_rows, &seen);
    if (node->body) {
        check_source(r, node, seen);
        check_together(r, node);
    }
    fleet_add(r, r->vm);
}
