// SPDX-License-Identifier: MIT
// What the host end of the port could send: frames and their fields; and the texts of an image that
// the agent reads (fstab, passwd, file system signatures), chosen by the first byte.
#include "builder/agent/fstab.h"
#include "builder/agent/message.h"
#include "builder/agent/passwd.h"
#include "builder/agent/port.h"
#include "builder/agent/probe.h"
#include "builder/agent/sys.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void frames(struct str in)
{
    struct port p = PORT_INIT;
    struct message m = MESSAGE_INIT;
    struct frame f;
    buf_add_str(&p.in, in);
    while (port_next(&p, &f, &m)) {
        struct field one = {0};
        while (message_next(&m, &one))
            (void)field_num(&one);
        (void)message_valid(&m);
    }
    message_clear(&m);
    port_clear(&p);
}

static void users(struct str in)
{
    const char *nul = memchr(in.ptr, '\0', in.len);
    size_t n = nul ? (size_t)(nul - in.ptr) : in.len;
    char *spec = str_dup((struct str){in.ptr, n});
    struct str rest = nul ? (struct str){nul + 1, in.len - n - 1} : (struct str){"", 0};
    struct who w = {0};
    uid_t uid;
    gid_t gid;
    (void)who_resolve(spec, rest, rest, &w, NULL);
    (void)owner_resolve(spec, rest, rest, &uid, &gid, NULL);
    who_clear(&w);
    free(spec);
}

static void disks(struct str in)
{
    struct probed p;
    struct table_entries t = {0};
    (void)probe_fs((const unsigned char *)in.ptr, in.len, &p);
    (void)probe_table((const unsigned char *)in.ptr, in.len, &t);
    table_entries_clear(&t);
}

static void tables(struct str in)
{
    struct fstab f = {0};
    fstab_parse(in, &f);
    for (size_t i = 0; i < f.len; i++) {
        assert(f.ptr[i].file[0] == '/');
        free(fstab_option(&f.ptr[i], "subvol"));
        (void)fstab_is_local(&f.ptr[i]);
    }
    fstab_free(&f);
    free(os_release_get(in, "PRETTY_NAME"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(struct str) = {frames, users, disks, tables};
    if (!size)
        return 0;
    readers[data[0] % 4]((struct str){(const char *)data + 1, size - 1});
    return 0;
}
