/* SPDX-License-Identifier: MIT
 *
 * Domains of libvirt: the XML of those that kiln defines, and what is of interest in any.
 * (https://libvirt.org/formatdomain.html)
 *
 *     // given struct buf *xml;
 *     CLEANUP(domain_clear) struct domain d = {0};
 *     if (domain_read(buf_str(xml), &d, &err) == 0)
 *         vec_foreach (const struct domain_disk *, disk, &d.disks)
 *             puts(disk->target);
 *
 * A domain that kiln defined says so in its metadata, which libvirt keeps:
 *
 *   <kiln:image xmlns:kiln="https://kiln.example/libvirt/1" name="web" layer="6f0e…"/>
 */
#ifndef LIBVIRT_DOMAIN_H
#define LIBVIRT_DOMAIN_H

#include "base/buf.h"
#include "base/error.h"
#include "base/vector.h"

#include <stdbool.h>

#define DOMAIN_NAMESPACE "https://kiln.example/libvirt/1"

/* What is to be defined; all strings are borrowed UTF-8. */
struct domain_plan {
    const char *type;          /* "kvm", "qemu", "test" */
    const char *name;          /* as domain_name_check takes it */
    const char *uuid;          /* RFC 4122 */
    const char *image, *layer; /* for the metadata */
    const char *disk;          /* path of a qcow2, as the hypervisor's machine has it */
    const char *network;       /* of libvirt, or "user"; NULL = no device */
    unsigned memory_mb, cpus;
    bool uefi;
};
/* The XML. */
void domain_write(const struct domain_plan *p, struct buf *ret);
/* ERR_USAGE: libvirt has no domain of that name: '/', control characters, not UTF-8, empty, above 128 bytes. */
int domain_name_check(const char *name, struct error **err);

/* A disk, not a CD or floppy. All strings are owned; NULL = not told. */
struct domain_disk {
    char *target; /* "vda" */
    char *type;   /* "file", "block", "network", "volume"…; never NULL */
    char *source; /* file or device; of a network disk, "rbd:pool/name"; of a volume, its name */
    char *pool;   /* of a volume */
    char *format; /* "qcow2", "raw"… */
    bool sliced;  /* only a part of the file is the disk */
};
DEFINE_VECTOR(domain_disks, struct domain_disk);

struct domain {
    char *name;          /* never NULL */
    char *image, *layer; /* of kiln's metadata; NULL = none */
    bool uefi;
    struct domain_disks disks; /* in the order of the XML */
};
/* Takes any text; ERR_USER. */
int domain_read(struct str xml, struct domain *ret, struct error **err);
void domain_clear(struct domain *d);

/* What `virsh capabilities` says about domains of x86-64: whether they may be of the type ("kvm"). */
bool domain_type_is_known(struct str capabilities, const char *type);

/* Where a storage pool keeps its volumes. */
struct pool {
    char *type;   /* "dir", "logical"…; owned, never NULL */
    char *folder; /* owned; NULL = none */
};
int pool_read(struct str xml, struct pool *ret, struct error **err);
void pool_clear(struct pool *p);
/* Whether volumes are files. */
bool pool_has_files(const struct pool *p);

#endif
