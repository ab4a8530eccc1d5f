// SPDX-License-Identifier: MIT
//
// What a QEMU could send, in pieces of two sizes. The first byte chooses where to cut.
#include "base/error.h"
#include "vm/console.h"
#include "vm/qmp.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_event(void *arg, const char *event, const json_t *data)
{
    (void)arg, (void)data;
    if (!*event)
        return;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    CLEANUP(qmp_freep) struct qmp *q = qmp_new_take(-1, NULL);
    qmp_on_event(q, on_event, NULL);
    size_t step = (size_t)data[0] + 1, n = size - 1;
    const uint8_t *p = data + 1;
    while (n) {
        size_t piece = n < step ? n : step;
        CLEANUP(error_freep) struct error *err = NULL;
        if (qmp_feed(q, p, piece, &err) < 0 && !err)
            abort();
        p += piece;
        n -= piece;
    }
    // the other reader of a guest's bytes in this module
    CLEANUP(console_clear) struct console c = CONSOLE_INIT;
    console_add(&c, data, size);
    AUTO_FREE char *text = console_last_lines(&c, 10);
    for (const char *t = text; *t; t++)
        if ((unsigned char)*t < 0x20 && *t != '\n')
            abort();
    return 0;
}
