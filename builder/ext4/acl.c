// SPDX-License-Identifier: MIT
// posix_acl_valid and posix_acl_equiv_mode of the kernel's fs/posix_acl.c.
#include "builder/ext4/acl.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

enum {
    VERSION = 2,
    HEAD = 4,
    ENTRY = 8,
    USER_OBJ = 1,
    USER = 2,
    GROUP_OBJ = 4,
    GROUP = 8,
    MASK = 16,
    OTHER = 32
};

struct acl_entry {
    unsigned tag, perm;
};

bool acl_is_access(struct str name)
{
    return str_is(name, "system.posix_acl_access");
}

bool acl_is_default(struct str name)
{
    return str_is(name, "system.posix_acl_default");
}

static struct acl_entry entry_at(struct str value, size_t i)
{
    uint16_t pair[2];
    memcpy(pair, value.ptr + HEAD + i * ENTRY, sizeof pair);
    return (struct acl_entry){le16toh(pair[0]), le16toh(pair[1])};
}

static size_t count(struct str value)
{
    return (value.len - HEAD) / ENTRY;
}

bool acl_is_kept(struct str value)
{
    uint32_t version;
    unsigned seen = 0;
    if (value.len < HEAD || (value.len - HEAD) % ENTRY)
        return false;
    memcpy(&version, value.ptr, sizeof version);
    for (size_t i = 0; i < count(value); i++) {
        struct acl_entry e = entry_at(value, i);
        bool several = e.tag == USER || e.tag == GROUP;
        // tags grow; each but the named ones stands once
        if (!e.tag || e.tag & (e.tag - 1) || e.tag > OTHER || e.perm > 7 ||
            seen >= (several ? e.tag * 2 : e.tag))
            return false;
        seen |= e.tag;
    }
    return le32toh(version) == VERSION &&
           (seen & (USER_OBJ | GROUP_OBJ | MASK | OTHER)) == (USER_OBJ | GROUP_OBJ | MASK | OTHER);
}

mode_t acl_mode(struct str value, mode_t old)
{
    mode_t mode = old & ~(mode_t)0777;
    for (size_t i = 0; i < count(value); i++) {
        struct acl_entry e = entry_at(value, i);
        mode |= e.tag == USER_OBJ ? e.perm << 6
                : e.tag == MASK   ? e.perm << 3
                : e.tag == OTHER  ? e.perm
                                  : 0;
    }
    return mode;
}
