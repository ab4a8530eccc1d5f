// SPDX-License-Identifier: MIT
//
// The domain is the machine of `kiln run` as far as libvirt has it: q35, virtio, a serial console, no
// graphics. Which emulator and which firmware is left to the libvirt of the machine it runs on.
#include "base/utf8.h"
#include "libvirt/domain.h"

#include <string.h>

enum { NAME_MAX_BYTES = 128 };

/* A text or the value of an attribute. */
static void add_text(struct buf *b, const char *text)
{
    for (const char *p = text; *p; p++)
        switch (*p) {
        case '&':
            buf_adds(b, "&amp;");
            break;
        case '<':
            buf_adds(b, "&lt;");
            break;
        case '>':
            buf_adds(b, "&gt;");
            break;
        case '\'':
            buf_adds(b, "&apos;");
            break;
        case '"':
            buf_adds(b, "&quot;");
            break;
        case '\t':
        case '\n':
        case '\r':
            buf_addf(b, "&#%d;", *p); // else a parser makes a blank of it
            break;
        default:
            buf_addc(b, *p);
        }
}

static void add_value(struct buf *b, const char *before, const char *value, const char *after)
{
    buf_adds(b, before);
    add_text(b, value);
    buf_adds(b, after);
}

static void add_os(const struct domain_plan *p, struct buf *b)
{
    buf_addf(b, "  <os%s>\n", p->uefi ? " firmware='efi'" : "");
    buf_adds(b, "    <type arch='x86_64' machine='q35'>hvm</type>\n");
    if (p->uefi) // images of kiln are not signed
        buf_adds(b, "    <firmware><feature enabled='no' name='secure-boot'/></firmware>\n");
    buf_adds(b,
             "    <boot dev='hd'/>\n"
             "  </os>\n"
             "  <features><acpi/><apic/></features>\n");
}

static void add_network(const struct domain_plan *p, struct buf *b)
{
    if (!p->network)
        return;
    if (!strcmp(p->network, "user"))
        buf_adds(b, "    <interface type='user'>\n");
    else
        add_value(b, "    <interface type='network'>\n      <source network='", p->network,
                  "'/>\n");
    buf_adds(b, "      <model type='virtio'/>\n    </interface>\n");
}

static void add_devices(const struct domain_plan *p, struct buf *b)
{
    buf_adds(b,
             "  <devices>\n"
             "    <disk type='file' device='disk'>\n"
             "      <driver name='qemu' type='qcow2' discard='unmap'/>\n");
    add_value(b, "      <source file='", p->disk, "'/>\n");
    buf_adds(b,
             "      <target dev='vda' bus='virtio'/>\n"
             "    </disk>\n");
    add_network(p, b);
    buf_adds(b,
             "    <serial type='pty'><target port='0'/></serial>\n"
             "    <console type='pty'><target type='serial' port='0'/></console>\n"
             "    <channel type='unix'>"
             "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>\n"
             "    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>\n"
             "  </devices>\n");
}

void domain_write(const struct domain_plan *p, struct buf *b)
{
    add_value(b, "<domain type='", p->type, "'>\n");
    add_value(b, "  <name>", p->name, "</name>\n");
    add_value(b, "  <uuid>", p->uuid, "</uuid>\n");
    add_value(b, "  <metadata>\n    <kiln:image xmlns:kiln='" DOMAIN_NAMESPACE "' name='", p->image,
              "'");
    add_value(b, " layer='", p->layer, "'/>\n  </metadata>\n");
    buf_addf(b, "  <memory unit='MiB'>%u</memory>\n  <vcpu>%u</vcpu>\n", p->memory_mb, p->cpus);
    add_os(p, b);
    if (strcmp(p->type, "test") != 0) // the host's, or all that QEMU can emulate
        buf_addf(b, "  <cpu mode='%s'/>\n",
                 !strcmp(p->type, "kvm") ? "host-passthrough" : "maximum");
    buf_adds(b,
             "  <clock offset='utc'/>\n"
             "  <on_poweroff>destroy</on_poweroff>\n"
             "  <on_reboot>restart</on_reboot>\n"
             "  <on_crash>destroy</on_crash>\n");
    add_devices(p, b);
    buf_adds(b, "</domain>\n");
}

static bool is_utf8(const char *text, size_t n)
{
    uint32_t c;
    for (size_t at = 0, len; at < n; at += len)
        if (!(len = utf8_next(text + at, n - at, &c)))
            return false;
    return true;
}

int domain_name_check(const char *name, struct error **err)
{
    size_t n = strlen(name);
    const char *wrong = !n                   ? "is empty"
                        : n > NAME_MAX_BYTES ? "is longer than 128 bytes"
                        : strchr(name, '/')  ? "has a '/'"
                        : *name == '.'       ? "begins with '.'"
                        : !is_utf8(name, n)  ? "is not UTF-8"
                                             : NULL;
    for (const char *p = name; *p && !wrong; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            wrong = "has a control character";
    return wrong ? error_set(err, ERR_USAGE, "the name of the domain, '%s', %s", name, wrong) : 0;
}
