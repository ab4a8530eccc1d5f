// SPDX-License-Identifier: MIT
// What a guest prints, in pieces as its bytes say. What must hold: nothing of it moves the cursor, and
// the same bytes in other pieces look the same.
#include "cli/columns.h"
#include "cli/guest_text.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *line, bool colours)
{
    for (const char *p = line; *p; p++) {
        assert((unsigned char)*p >= ' ' || *p == '\t' || (colours && *p == '\x1b'));
        if (*p == '\x1b')
            assert(p[1] == '[' && p[2 + strspn(p + 2, "0123456789:;")] == 'm');
    }
}

static void check_cut(const char *line)
{
    for (size_t width = 0; width < 20; width++) {
        CLEANUP(buf_clear) struct buf b = BUF_INIT;
        size_t used = columns_add(&b, line, width);
        assert(used <= width && used == columns_of(b.data));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(guest_text_clear) struct guest_text whole = GUEST_TEXT_INIT, pieces = GUEST_TEXT_INIT;
    CLEANUP(buf_clear) struct buf a = BUF_INIT, b = BUF_INIT;
    CLEANUP(strv_clear) struct strv last = {0};
    guest_text_add(&whole, (const char *)data, size);
    for (size_t i = 0; i < size; i++)
        guest_text_add(&pieces, (const char *)data + i, 1);
    size_t at = 0, other = 0;
    while (guest_text_next(&whole, &at, true, &a)) {
        assert(guest_text_next(&pieces, &other, true, &b) && str_eq(buf_str(&a), buf_str(&b)));
        check_line(a.data, true);
    }
    guest_text_last(&whole, 4, &last);
    assert(last.len <= 4);
    for (size_t i = 0; i < last.len; i++) {
        assert(!strpbrk(last.ptr[i], "\t\x1b"));
        check_line(last.ptr[i], false);
        check_cut(last.ptr[i]);
    }
    return 0;
}
