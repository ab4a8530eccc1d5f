/* SPDX-License-Identifier: MIT
 *
 * The payload of a frame (protocol.h): a list of tagged fields, built and read in place. Used by
 * both ends; no I/O.
 *
 *     CLEANUP(message_clear) struct message m = MESSAGE_INIT;
 *     message_put(&m, 7, path, strlen(path));
 *
 *     struct field f = {0};
 *     while (message_next(&m, &f))        // false at the end and at the first damaged field
 *         switch (f.tag) { ... }
 */
#ifndef BUILDER_AGENT_MESSAGE_H
#define BUILDER_AGENT_MESSAGE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>

struct message {
    struct buf bytes;
};
#define MESSAGE_INIT \
    { \
        BUF_INIT \
    }

struct field {
    uint16_t tag;
    struct str value; /* a view into the message */
    size_t next;      /* where the search goes on; 0 to start */
};

void message_clear(struct message *m);
void message_put(struct message *m, unsigned tag, const void *bytes, size_t n);
void message_puts(struct message *m, unsigned tag, const char *s); /* NULL puts nothing */
void message_put_num(struct message *m, unsigned tag, uint64_t value);
bool message_next(const struct message *m, struct field *f);
bool message_valid(const struct message *m); /* every byte belongs to a whole field */
uint64_t field_num(const struct field *f);   /* 0 unless it is 8 bytes */
/* The first field with this tag. */
bool message_get(const struct message *m, unsigned tag, struct str *ret);
uint64_t message_num(const struct message *m, unsigned tag, uint64_t absent);

/* The 12 bytes before a payload. */
struct frame {
    uint32_t length, id;
    uint16_t type;
};
void frame_encode(const struct frame *f, unsigned char out[12]);
bool frame_decode(const unsigned char in[12], struct frame *ret); /* false: not a frame */

#endif
