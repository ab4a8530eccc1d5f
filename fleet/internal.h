/* SPDX-License-Identifier: MIT
 *
 * What the parts of the reader share: the checks of one node's arguments. Each reports what is
 * wrong and returns false then.
 *
 *     // given struct fleet_reader reader; const struct kdl_node *node;
 *     const char *text;
 *     if (fleet_text(&reader, node, "NAME", &text)) ...
 */
#ifndef FLEET_INTERNAL_H
#define FLEET_INTERNAL_H

#include "fleet/fleet.h"

enum { DISK_GB_MAX = 8192 }; /* qcow2's limit here, 8 TiB */

struct fleet_reader {
    struct fleet *fleet;
    struct arena *arena;
    const struct fleet_given *given;
    struct fleet_vm *vm;
    bool user_named; /* the VM names the network "user" */
};

/* A node that may stand in some braces. */
struct fleet_row {
    const char *name;
    bool many; /* it may stand there more than once */
    void (*read)(struct fleet_reader *r, const struct kdl_node *node);
};

/* Reads the nodes in the braces by the table (its last name is NULL), `in` is what the braces are
 * of. *seen, if not NULL, gets a bit for each row that was there. */
void fleet_read_body(struct fleet_reader *r, const struct kdl_node *node, const char *in,
                     const struct fleet_row *rows, unsigned *seen);

/* Adds an error; the result takes diag_help. */
#define fleet_error(r, at, ...) \
    diag_add(&(r)->fleet->doc->diags, &(r)->fleet->doc->source, DIAG_ERROR, (at), __VA_ARGS__)

/* Neither properties nor braces, and so many arguments. `usage`: what follows the name. */
bool fleet_plain(struct fleet_reader *r, const struct kdl_node *node, size_t min, size_t max,
                 const char *usage);
/* Braces are fine: no properties. */
bool fleet_no_props(struct fleet_reader *r, const struct kdl_node *node);
/* One text that is not empty, holds no NUL and no line end. */
bool fleet_text(struct fleet_reader *r, const struct kdl_node *node, const char *usage,
                const char **ret);
bool fleet_text_value(struct fleet_reader *r, const struct kdl_node *node,
                      const struct kdl_value *v, const char **ret);
/* One whole number from min to max. */
bool fleet_number(struct fleet_reader *r, const struct kdl_node *node, const char *usage,
                  long long min, long long max, unsigned *ret);
bool fleet_number_value(struct fleet_reader *r, const struct kdl_node *node,
                        const struct kdl_value *v, long long min, long long max, unsigned *ret);
/* A path of the host, made absolute. what: "file", "folder" that must be there; NULL = any. */
bool fleet_path(struct fleet_reader *r, const struct kdl_node *node, const char *usage,
                const char *what, const char **ret);
bool fleet_path_value(struct fleet_reader *r, const struct kdl_node *node,
                      const struct kdl_value *v, const char *what, const char **ret);
/* The same without a look whether it is there. */
const char *fleet_absolute(struct fleet_reader *r, const char *path);

/* fleet/nodes.c: the nodes of a VM. fleet/boot.c: what cloud-init, inject, ssh and provision hold.
 * fleet/devices.c: network, forward, share, volume. */
void fleet_read_vm(struct fleet_reader *r, const struct kdl_node *node);
void fleet_read_cloud_init(struct fleet_reader *r, const struct kdl_node *node);
void fleet_read_inject(struct fleet_reader *r, const struct kdl_node *node);
void fleet_read_ssh(struct fleet_reader *r, const struct kdl_node *node);
void fleet_read_provision(struct fleet_reader *r, const struct kdl_node *node);
void fleet_read_network(struct fleet_reader *r, const struct kdl_node *node);
void fleet_read_forward(struct fleet_reader *r, const struct kdl_node *node);
void fleet_read_share(struct fleet_reader *r, const struct kdl_node *node);
void fleet_read_volume(struct fleet_reader *r, const struct kdl_node *node);

/* Adds a VM; one of the same name before it is the one that fleet_find finds. */
void fleet_add(struct fleet_reader *r, const struct fleet_vm *vm);

/* fleet/order.c: what the VMs say of each other. */
void fleet_check_order(struct fleet_reader *r);

/* Appends to an array of the arena. */
#define fleet_push(r, array, n, ...) \
    do { \
        (array) = arena_grow((r)->arena, (array), (n), sizeof *(array)); \
        (array)[(n)++] = (__VA_ARGS__); \
    } while (0)

#endif
