// SPDX-License-Identifier: MIT
#include "vm/name.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/utf8.h"

#include <ctype.h>
#include <string.h>

enum { NAME_MAX_LEN = 128, FOLDER_MAX = 240, PLAIN_MAX = 64 };

static bool stays(char c)
{
    return (isascii((unsigned char)c) && isalnum((unsigned char)c)) || c == '.' || c == '_' ||
           c == '-';
}

char *vm_name_encode(const char *name)
{
    struct buf b = BUF_INIT;
    for (const char *p = name; *p; p++) {
        if (stays(*p))
            buf_addc(&b, *p);
        else
            buf_addf(&b, "%%%02X", (unsigned char)*p);
    }
    return buf_detach(&b, NULL);
}

static const char *fault(const char *name)
{
    size_t left = strlen(name);
    if (!left)
        return "is empty";
    if (*name == '-')
        return "begins with '-', like an option";
    if (*name == '.' || *name == ':')
        return *name == '.' ? "begins with '.'" : "begins with ':'";
    AUTO_FREE char *folder = vm_name_encode(name);
    if (left > NAME_MAX_LEN || strlen(folder) > FOLDER_MAX)
        return "is too long";
    for (uint32_t c; left;) {
        size_t n = utf8_next(name, left, &c);
        if (!n)
            return "is not UTF-8";
        if (c < ' ' || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029)
            return "has a control character in it";
        name += n;
        left -= n;
    }
    return NULL;
}

int vm_name_check(const char *name, struct error **err)
{
    const char *why = fault(name);
    if (!why)
        return 0;
    error_set(err, ERR_USER, "'%s' can't be the name of a VM: it %s", name, why);
    return error_hint(err, "any text of up to %d bytes is a name, without '.', ':' or '-' in front",
                      NAME_MAX_LEN);
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *vm_name_decode(const char *folder)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    for (const char *p = folder; *p; p++) {
        int high = *p == '%' ? hex_value(p[1]) : 0,
            low = *p == '%' && high >= 0 ? hex_value(p[2]) : 0;
        if (high < 0 || low < 0 || (*p == '%' && !high && !low))
            return NULL;
        buf_addc(&b, *p == '%' ? (char)(high << 4 | low) : *p);
        p += *p == '%' ? 2 : 0;
    }
    if (!b.len || fault(b.data))
        return NULL;
    // only what encode makes: else two folders would have one name
    AUTO_FREE char *again = vm_name_encode(b.data);
    return strcmp(again, folder) ? NULL : buf_detach(&b, NULL);
}

char *vm_name_plain(const char *text)
{
    char *name = xstrndup(text, PLAIN_MAX);
    for (char *p = name; *p; p++)
        if (!stays(*p) || (p == name && (*p == '.' || *p == '-')))
            *p = p == name ? '_' : '-';
    return name;
}
