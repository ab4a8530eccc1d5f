/* SPDX-License-Identifier: MIT
 *
 * VMFile.kdl: a file of VMs → checked values, or every mistake in it with its place. It takes
 * files of vmctl, and what kiln has beyond that. docs/man/vmfile.5.scd describes the language, and
 * how it differs from vmctl's.
 *
 *     struct fleet_given given = {.path = "VMFile.kdl", .dir = "/srv/lab", .home = "/home/me"};
 *     CLEANUP(fleet_freep) struct fleet *f = fleet_parse(&given, "vm \"a\" { image \"tiny\"; }", 25);
 *     if (f->doc->diags.errors) ...                        // print each with diag_format
 *     for (size_t i = 0; i < f->n_vms; i++) puts(f->vms[i].name);
 *
 * Files that are named must be there; nothing of them is read. All that is reached from a struct
 * fleet lives until fleet_free.
 */
#ifndef FLEET_FLEET_H
#define FLEET_FLEET_H

#include "kdl/kdl.h"

#include <stdbool.h>
#include <stddef.h>

/* What a VM is made from. */
enum fleet_source {
    FLEET_NAME,  /* an image of the backend, or one that is fetched by its name */
    FLEET_FILE,  /* a disk image: an absolute path */
    FLEET_URL,   /* http:// or https:// */
    FLEET_OCI,   /* oci://… */
    FLEET_BUILD, /* a build directory: an absolute path */
};

enum fleet_step_kind { FLEET_INLINE, FLEET_SCRIPT, FLEET_UPLOAD };

struct fleet_step {
    enum fleet_step_kind kind;
    const char *text;        /* of FLEET_INLINE the command, else an absolute path */
    const char *destination; /* of FLEET_UPLOAD: an absolute path in the guest */
    unsigned line, column;   /* of the node */
};

struct fleet_forward {
    const char *address;
    unsigned host, guest;
    bool udp;
    struct span span; /* of the host's port */
};

struct fleet_share {
    const char *host, *guest; /* absolute */
    bool read_only;
};

struct fleet_volume {
    const char *name;
    unsigned gigabytes;
};

struct fleet_vm {
    const char *name;
    struct span span;
    unsigned line, column;
    enum fleet_source source;
    const char *image;
    struct {
        const char *file, *target; /* file: an absolute path; NULL = not given */
        const char **args;         /* "name=value" */
        size_t n_args;
    } build;
    unsigned vcpus, memory_mb, disk_gb; /* disk_gb 0 = as the image's */
    bool no_grow;                       /* the guest is to grow its file system itself */
    bool user_network;                  /* the first NIC is on the user network: SSH, forwards */
    const char *bridge;    /* NULL = none; without the user network its NIC is the first */
    const char **networks; /* of this file */
    size_t n_networks;
    bool cloud_init, inject;                          /* not both */
    const char *hostname;                             /* NULL = the VM's name */
    const char *ssh_key, *user_data, *network_config; /* absolute paths; NULL = not given */
    bool ssh;
    const char *user, *private_key; /* user: "vm" if an ssh block names none; NULL = no ssh block */
    unsigned ssh_seconds;           /* how long a login is waited for; 0 = not given */
    struct fleet_step *steps;
    struct fleet_forward *forwards;
    struct fleet_share *shares;
    struct fleet_volume *volumes;
    const char **after, **qemu_args;
    size_t n_steps, n_forwards, n_shares, n_volumes, n_after, n_qemu_args;
    bool uefi;
    struct span *after_at; /* of each of after */
};

struct fleet {
    struct kdl_document *doc; /* its source, and the mistakes, sorted */
    struct fleet_vm *vms;     /* as in the file */
    size_t n_vms;
    void *by_name; /* fleet_find's */
};

struct fleet_given {
    const char *path; /* of the file, as it is to be printed */
    const char *dir;  /* its folder, absolute */
    const char *home; /* what '~' is; NULL = unknown */
};

struct fleet *fleet_parse(const struct fleet_given *given, const char *text, size_t len);
void fleet_free(struct fleet *f); /* NULL is fine */
DEFINE_CLEANUP(struct fleet, fleet_free);

/* NULL = none of this name. */
const struct fleet_vm *fleet_find(const struct fleet *f, const char *name);

#endif
