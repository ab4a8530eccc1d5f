// SPDX-License-Identifier: MIT
#include "base/alloc.h"
#include "libvirt/domain.h"
#include "libvirt/xml.h"

#include <libxml/tree.h>
#include <string.h>

static void disk_clear(struct domain_disk *d)
{
    free(d->target);
    free(d->type);
    free(d->source);
    free(d->pool);
    free(d->format);
}

void domain_clear(struct domain *d)
{
    vec_foreach (struct domain_disk *, disk, &d->disks)
        disk_clear(disk);
    domain_disks_clear(&d->disks);
    free(d->name);
    free(d->image);
    free(d->layer);
    *d = (struct domain){0};
}

/* Where the disk's bytes are; owned, NULL = nowhere. */
static char *source_of(const xmlNode *source, const char *type)
{
    static const struct {
        const char *type, *attribute;
    } where[] = {{"file", "file"}, {"block", "dev"}, {"volume", "volume"}, {"dir", "dir"}};
    for (size_t i = 0; i < sizeof where / sizeof *where; i++)
        if (!strcmp(type, where[i].type))
            return xml_attr(source, where[i].attribute);
    AUTO_FREE char *protocol = xml_attr(source, "protocol"), *name = xml_attr(source, "name");
    return protocol ? xasprintf("%s:%s", protocol, name ? name : "") : NULL;
}

static void add_disk(struct domain *d, const xmlNode *n)
{
    AUTO_FREE char *device = xml_attr(n, "device");
    if (device && strcmp(device, "disk") != 0 && strcmp(device, "lun") != 0)
        return;
    const xmlNode *source = xml_child(n, "source", NULL);
    struct domain_disk *disk = domain_disks_push(&d->disks);
    disk->type = xml_attr(n, "type");
    if (!disk->type)
        disk->type = xstrdup("file");
    disk->target = xml_attr(xml_child(n, "target", NULL), "dev");
    disk->format = xml_attr(xml_child(n, "driver", NULL), "type");
    disk->source = source_of(source, disk->type);
    disk->pool = xml_attr(source, "pool");
    disk->sliced = xml_child(source, "slices", NULL) != NULL;
}

static bool has_uefi(const xmlNode *os)
{
    const xmlNode *loader = xml_child(os, "loader", NULL);
    AUTO_FREE char *firmware = xml_attr(os, "firmware"), *type = xml_attr(loader, "type");
    return (firmware && !strcmp(firmware, "efi")) || (type && !strcmp(type, "pflash")) ||
           xml_child(os, "nvram", NULL);
}

static void take_metadata(struct domain *d, const xmlNode *metadata)
{
    for (const xmlNode *n = NULL; (n = xml_child(metadata, "image", n));) {
        if (!n->ns || strcmp((const char *)n->ns->href, DOMAIN_NAMESPACE) != 0)
            continue;
        d->image = xml_attr(n, "name");
        d->layer = xml_attr(n, "layer");
        return;
    }
}

int domain_read(struct str xml, struct domain *ret, struct error **err)
{
    CLEANUP(xml_freep) xmlDoc *doc = xml_parse(xml, "domain", err);
    CLEANUP(domain_clear) struct domain d = {0};
    if (!doc)
        return -1;
    const xmlNode *top = xml_root(doc), *devices = xml_child(top, "devices", NULL);
    d.name = xml_text(xml_child(top, "name", NULL));
    if (!d.name || !*d.name)
        return error_set(err, ERR_USER, "XML of a domain without a name");
    d.uefi = has_uefi(xml_child(top, "os", NULL));
    take_metadata(&d, xml_child(top, "metadata", NULL));
    for (const xmlNode *n = NULL; (n = xml_child(devices, "disk", n));)
        add_disk(&d, n);
    *ret = d;
    d = (struct domain){0};
    return 0;
}

static bool arch_has(const xmlNode *guest, const char *type)
{
    const xmlNode *arch = xml_child(guest, "arch", NULL);
    AUTO_FREE char *name = xml_attr(arch, "name");
    if (!name || strcmp(name, "x86_64") != 0)
        return false;
    for (const xmlNode *n = NULL; (n = xml_child(arch, "domain", n));) {
        AUTO_FREE char *known = xml_attr(n, "type");
        if (known && !strcmp(known, type))
            return true;
    }
    return false;
}

bool domain_type_is_known(struct str capabilities, const char *type)
{
    CLEANUP(xml_freep) xmlDoc *doc = xml_parse(capabilities, "capabilities", NULL);
    const xmlNode *top = doc ? xml_root(doc) : NULL;
    bool known = false;
    for (const xmlNode *n = NULL; !known && (n = xml_child(top, "guest", n));)
        known = arch_has(n, type);
    return known;
}

void pool_clear(struct pool *p)
{
    free(p->type);
    free(p->folder);
    *p = (struct pool){0};
}

int pool_read(struct str xml, struct pool *ret, struct error **err)
{
    CLEANUP(xml_freep) xmlDoc *doc = xml_parse(xml, "pool", err);
    if (!doc)
        return -1;
    const xmlNode *top = xml_root(doc);
    char *type = xml_attr(top, "type");
    ret->type = type ? type : xstrdup("");
    ret->folder = xml_text(xml_child(xml_child(top, "target", NULL), "path", NULL));
    return 0;
}

bool pool_has_files(const struct pool *p)
{
    static const char *const types[] = {"dir", "fs", "netfs"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(p->type, types[i]))
            return p->folder != NULL;
    return false;
}
