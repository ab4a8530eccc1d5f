// SPDX-License-Identifier: MIT
#include "builder/agent/message.h"

#include "builder/agent/protocol.h"

#include <endian.h>

enum { FIELD_HEADER = 8 };

void message_clear(struct message *m)
{
    buf_clear(&m->bytes);
}

void message_put(struct message *m, unsigned tag, const void *bytes, size_t n)
{
    uint16_t head[2] = {htole16((uint16_t)tag), 0};
    uint32_t length = htole32((uint32_t)n);
    buf_add(&m->bytes, head, sizeof head);
    buf_add(&m->bytes, &length, sizeof length);
    buf_add(&m->bytes, bytes, n);
}

void message_puts(struct message *m, unsigned tag, const char *s)
{
    if (s)
        message_put(m, tag, s, strlen(s));
}

void message_put_num(struct message *m, unsigned tag, uint64_t value)
{
    value = htole64(value);
    message_put(m, tag, &value, sizeof value);
}

bool message_next(const struct message *m, struct field *f)
{
    size_t at = f->next, left = m->bytes.len - at;
    if (at > m->bytes.len || left < FIELD_HEADER)
        return false;
    uint16_t tag;
    uint32_t length;
    memcpy(&tag, m->bytes.data + at, sizeof tag);
    memcpy(&length, m->bytes.data + at + 4, sizeof length);
    length = le32toh(length);
    if (length > left - FIELD_HEADER)
        return false;
    f->tag = le16toh(tag);
    f->value = (struct str){m->bytes.data + at + FIELD_HEADER, length};
    f->next = at + FIELD_HEADER + length;
    return true;
}

bool message_valid(const struct message *m)
{
    struct field f = {0};
    while (message_next(m, &f))
        ;
    return f.next == m->bytes.len;
}

uint64_t field_num(const struct field *f)
{
    uint64_t v = 0;
    if (f->value.len == sizeof v)
        memcpy(&v, f->value.ptr, sizeof v);
    return le64toh(v);
}

bool message_get(const struct message *m, unsigned tag, struct str *ret)
{
    struct field f = {0};
    while (message_next(m, &f))
        if (f.tag == tag) {
            *ret = f.value;
            return true;
        }
    return false;
}

uint64_t message_num(const struct message *m, unsigned tag, uint64_t absent)
{
    struct field f = {0};
    while (message_next(m, &f))
        if (f.tag == tag)
            return field_num(&f);
    return absent;
}

void frame_encode(const struct frame *f, unsigned char out[12])
{
    uint32_t words[2] = {htole32(f->length), htole32(f->id)};
    uint16_t halves[2] = {htole16(f->type), 0};
    memcpy(out, words, 8);
    memcpy(out + 8, halves, 4);
}

bool frame_decode(const unsigned char in[12], struct frame *ret)
{
    uint32_t words[2];
    uint16_t halves[2];
    memcpy(words, in, 8);
    memcpy(halves, in + 8, 4);
    *ret = (struct frame){le32toh(words[0]), le32toh(words[1]), le16toh(halves[0])};
    return ret->length <= AGENT_REQUEST_MAX && ret->type && !halves[1];
}
