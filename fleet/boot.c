// SPDX-License-Identifier: MIT
// What cloud-init, inject, ssh and provision hold.
#include "base/login_name.h"
#include "fleet/internal.h"

/* The braces are all there is. */
static bool only_body(struct fleet_reader *r, const struct kdl_node *node)
{
    if (!fleet_no_props(r, node))
        return false;
    if (node->n_args) {
        diag_help(fleet_error(r, node->args[0].span, "'%s' has no arguments", node->name.ptr),
                  "write: %s { … }", node->name.ptr);
        return false;
    }
    return true;
}

static void read_hostname(struct fleet_reader *r, const struct kdl_node *node)
{
    size_t most = r->vm->inject ? HOST_NAME_BYTES : HOST_NAME_BYTES_FULL;
    const char *name;
    if (!fleet_text(r, node, "\"NAME\"", &name))
        return;
    if (!is_host_name(name, most))
        diag_help(fleet_error(r, node->args[0].span, "'%.60s' can't be a host name", name),
                  HOST_NAME_RULE, most);
    else
        r->vm->hostname = name;
}

static void read_ssh_key(struct fleet_reader *r, const struct kdl_node *node)
{
    (void)fleet_path(r, node, "\"FILE.pub\"", "file", &r->vm->ssh_key);
}

static void read_user_data(struct fleet_reader *r, const struct kdl_node *node)
{
    (void)fleet_path(r, node, "\"FILE\"", "file", &r->vm->user_data);
}

static void read_network_config(struct fleet_reader *r, const struct kdl_node *node)
{
    (void)fleet_path(r, node, "\"FILE\"", "file", &r->vm->network_config);
}

void fleet_read_cloud_init(struct fleet_reader *r, const struct kdl_node *node)
{
    static const struct fleet_row rows[] = {{"hostname", false, read_hostname},
                                            {"ssh-key", false, read_ssh_key},
                                            {"user-data", false, read_user_data},
                                            {"network-config", false, read_network_config},
                                            {0}};
    r->vm->cloud_init = true;
    if (only_body(r, node))
        fleet_read_body(r, node, "in 'cloud-init'", rows, NULL);
}

void fleet_read_inject(struct fleet_reader *r, const struct kdl_node *node)
{
    static const struct fleet_row rows[] = {{"hostname", false, read_hostname}, {0}};
    r->vm->inject = true;
    if (only_body(r, node))
        fleet_read_body(r, node, "in 'inject'", rows, NULL);
}

static void read_user(struct fleet_reader *r, const struct kdl_node *node)
{
    if (fleet_text(r, node, "\"NAME\"", &r->vm->user) && !is_user_name(r->vm->user))
        diag_help(
            fleet_error(r, node->args[0].span, "'%.60s' can't be the name of a user", r->vm->user),
            "%s", USER_NAME_RULE);
}

static void read_private_key(struct fleet_reader *r, const struct kdl_node *node)
{
    (void)fleet_path(r, node, "\"FILE\"", "file", &r->vm->private_key);
}

static void read_timeout(struct fleet_reader *r, const struct kdl_node *node)
{
    (void)fleet_number(r, node, "SECONDS", 1, 86400, &r->vm->ssh_seconds);
}

void fleet_read_ssh(struct fleet_reader *r, const struct kdl_node *node)
{
    static const struct fleet_row rows[] = {{"user", false, read_user},
                                            {"private-key", false, read_private_key},
                                            {"timeout", false, read_timeout},
                                            {0}};
    r->vm->ssh = true;
    r->vm->user = "vm";
    if (!node->body)
        diag_help(fleet_error(r, node->span, "'ssh' lacks its braces"),
                  "write: ssh { user \"NAME\"; }");
    else if (only_body(r, node))
        fleet_read_body(r, node, "in 'ssh'", rows, NULL);
}

static struct fleet_step *last_step(const struct fleet_reader *r)
{
    return &r->vm->steps[r->vm->n_steps - 1];
}

/* A command may have several lines. */
static void read_inline(struct fleet_reader *r, const struct kdl_node *node)
{
    if (!fleet_plain(r, node, 1, 1, "\"COMMAND\""))
        return;
    const struct kdl_value *v = &node->args[0];
    if (v->type != KDL_STRING || !v->text.len || strlen(v->text.ptr) != v->text.len) {
        fleet_error(r, v->span, "'inline' takes a command as text");
        return;
    }
    last_step(r)->kind = FLEET_INLINE;
    last_step(r)->text = v->text.ptr;
}

static void read_script(struct fleet_reader *r, const struct kdl_node *node)
{
    last_step(r)->kind = FLEET_SCRIPT;
    (void)fleet_path(r, node, "\"FILE\"", "file", &last_step(r)->text);
}

static void read_source(struct fleet_reader *r, const struct kdl_node *node)
{
    (void)fleet_path(r, node, "\"FILE\"", "file", &last_step(r)->text);
}

static void read_destination(struct fleet_reader *r, const struct kdl_node *node)
{
    const char *path;
    if (!fleet_text(r, node, "\"/PATH\"", &path))
        return;
    if (*path != '/')
        diag_help(fleet_error(r, node->args[0].span, "'%.60s' is not an absolute path", path),
                  "paths in the guest begin with '/'");
    last_step(r)->destination = path;
}

static void read_shell(struct fleet_reader *r, const struct kdl_node *node)
{
    static const struct fleet_row rows[] = {
        {"inline", false, read_inline}, {"script", false, read_script}, {0}};
    unsigned seen;
    fleet_read_body(r, node, "in a shell's 'provision'", rows, &seen);
    if (seen == 3)
        diag_help(fleet_error(r, node->span, "'provision' has both 'inline' and 'script'"),
                  "use either, or make it two provisions");
    else if (!seen)
        diag_help(fleet_error(r, node->span, "this 'provision' does nothing"),
                  "write: provision \"shell\" { inline \"COMMAND\"; }");
}

static void read_upload(struct fleet_reader *r, const struct kdl_node *node)
{
    static const struct fleet_row rows[] = {
        {"source", false, read_source}, {"destination", false, read_destination}, {0}};
    unsigned seen;
    fleet_read_body(r, node, "in a file's 'provision'", rows, &seen);
    if (seen != 3)
        diag_help(fleet_error(r, node->span, "this 'provision' lacks its '%s'",
                              seen & 1 ? "destination" : "source"),
                  "write: provision \"file\" { source \"FILE\"; destination \"/PATH\"; }");
}

void fleet_read_provision(struct fleet_reader *r, const struct kdl_node *node)
{
    const char *type = "shell";
    if (!fleet_no_props(r, node) ||
        (node->n_args && !fleet_text_value(r, node, &node->args[0], &type)))
        return;
    bool file = !strcmp(type, "file");
    if (node->n_args > 1 || (!file && strcmp(type, "shell") != 0)) {
        diag_help(fleet_error(r, node->args[node->n_args > 1].span,
                              "'provision' is either "
                              "\"shell\" or \"file\""),
                  "write: provision \"shell\" { inline \"COMMAND\"; }");
        return;
    }
    struct fleet_step step = {.kind = file ? FLEET_UPLOAD : FLEET_INLINE};
    source_place(&r->fleet->doc->source, node->span.start, &step.line, &step.column);
    fleet_push(r, r->vm->steps, r->vm->n_steps, step);
    (file ? read_upload : read_shell)(r, node);
}
