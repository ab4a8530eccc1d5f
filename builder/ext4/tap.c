// SPDX-License-Identifier: MIT
#include "builder/ext4/tap.h"

#include "base/alloc.h"
#include "base/file.h"

#include <string.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024 };

void tap_clear(struct tap *t)
{
    free(STEAL(t->bytes));
    buf_clear(&t->entry);
}

static int ended(struct error **err)
{
    return error_set(err, ERR_SYSTEM, "the stream of files is cut off");
}

int tap_read(struct tap *t, void *to, size_t n, struct error **err)
{
    if (!t->bytes)
        t->bytes = xmalloc(BUFFER);
    t->taken += n;
    while (n) {
        size_t have = t->end - t->start, take = have < n ? have : n;
        memcpy(to, t->bytes + t->start, take);
        t->start += take;
        to = (char *)to + take;
        n -= take;
        if (n >= BUFFER) // past the buffer
            return read_all(t->fd, to, n) == (ssize_t)n ? 0 : ended(err);
        if (!n)
            return 0;
        ssize_t got = read(t->fd, t->bytes, BUFFER);
        if (got <= 0)
            return ended(err);
        t->start = 0;
        t->end = (size_t)got;
    }
    return 0;
}

int tap_align(struct tap *t, struct error **err)
{
    char zeros[STREAM_ALIGN];
    size_t over = t->taken % STREAM_ALIGN;
    return over ? tap_read(t, zeros, STREAM_ALIGN - over, err) : 0;
}

int tap_entry(struct tap *t, struct entry *ret, struct error **err)
{
    struct stream_entry head;
    if (tap_read(t, &head, sizeof head, err) < 0)
        return -1;
    size_t n = entry_size(&head, err);
    if (!n)
        return -1;
    buf_reset(&t->entry);
    buf_reserve(&t->entry, n);
    memcpy(t->entry.data, &head, sizeof head);
    if (tap_read(t, t->entry.data + sizeof head, n - sizeof head, err) < 0)
        return -1;
    t->entry.len = n;
    return entry_decode(t->entry.data, n, ret, err);
}
