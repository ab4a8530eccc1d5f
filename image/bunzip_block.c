// SPDX-License-Identifier: MIT
//
// A code is looked up by the next LOOKUP bits; the few that are longer are found by their length's
// largest code. Bits behind the end read as zeros and are counted, so nothing is checked until all
// is read: every loop ends by the block's size, by the number of selectors or at a zero.
//
// Inverting Burrows and Wheeler's transform is a walk through a table of 3.6 MB in which each step
// says where the next one is, so the processor waits for one load after the other. Two walks that
// take turns cost little more than one.
#include "image/bunzip_block.h"

#include "base/endian.h"

#include <isa-l/crc.h>
#include <string.h>

enum {
    HEADER_BITS = 48 + 32, // mark and CRC
    LOOKUP = 10,
    CODE_MAX = 20,
    SYMBOLS_MAX = 258,
    TABLES_MAX = 6,
    SELECTORS_MAX = 32768,
    GROUP = 50,
    LEN_SHIFT = 9, // of an entry: symbol below, length of its code above
};

struct bits {
    const unsigned char *bytes;
    size_t len, at;  /* bytes; at may go beyond len: zeros */
    uint64_t window; /* the next `have` bits at its top */
    unsigned have;
};

struct code {
    uint16_t entry[1 << LOOKUP];
    uint64_t limit[CODE_MAX + 2]; /* by length: first window that is beyond its codes */
    int32_t base[CODE_MAX + 1];   /* by length: index of its first symbol minus its first code */
    uint16_t symbol[SYMBOLS_MAX]; /* by code */
    unsigned symbols;
};

struct reader {
    struct bits bits;
    struct code code[TABLES_MAX];
    unsigned char selector[SELECTORS_MAX];
    unsigned char order[256]; /* move-to-front list */
    unsigned used, tables, selectors;
    uint32_t count[256];
};

/* At least 56 bits in the window. */
static inline void refill(struct bits *b)
{
    uint64_t v = 0;
    if (b->at + 8 <= b->len) {
        v = be64_at(b->bytes + b->at);
    } else {
        for (unsigned i = 0; i < 8; i++)
            v = v << 8 | (b->at + i < b->len ? b->bytes[b->at + i] : 0);
    }
    b->window |= v >> b->have;
    b->at += (63 - b->have) >> 3;
    b->have |= 56;
}

static inline void drop(struct bits *b, unsigned n)
{
    b->window <<= n;
    b->have -= n;
}

/* n from 1 to 32. */
static uint32_t take(struct bits *b, unsigned n)
{
    refill(b);
    uint32_t v = (uint32_t)(b->window >> (64 - n));
    drop(b, n);
    return v;
}

static bool read_used(struct reader *r)
{
    uint32_t ranges = take(&r->bits, 16);
    for (unsigned i = 0; i < 16; i++) {
        uint32_t in_range = ranges >> (15 - i) & 1 ? take(&r->bits, 16) : 0;
        for (unsigned k = 0; k < 16; k++)
            if (in_range >> (15 - k) & 1)
                r->order[r->used++] = (unsigned char)(16 * i + k);
    }
    return r->used > 0;
}

static bool read_selectors(struct reader *r)
{
    unsigned char order[TABLES_MAX] = {0, 1, 2, 3, 4, 5};
    r->tables = take(&r->bits, 3);
    r->selectors = take(&r->bits, 15);
    if (r->tables < 2 || r->tables > TABLES_MAX || !r->selectors)
        return false;
    for (unsigned i = 0; i < r->selectors; i++) {
        unsigned k = 0;
        while (take(&r->bits, 1))
            if (++k >= r->tables)
                return false;
        unsigned char which = order[k];
        memmove(order + 1, order, k);
        order[0] = r->selector[i] = which;
    }
    return true;
}

/* Canonical codes from their lengths; false: there are too many of them. */
static bool make_code(struct code *c, const unsigned char *lengths)
{
    uint32_t next = 0, index = 0;
    memset(c->entry, 0, sizeof c->entry);
    for (unsigned len = 1; len <= CODE_MAX; len++) {
        c->base[len] = (int32_t)index - (int32_t)next;
        for (unsigned s = 0; s < c->symbols; s++) {
            if (lengths[s] != len)
                continue;
            if (next >> len)
                return false;
            c->symbol[index++] = (uint16_t)s;
            if (len <= LOOKUP)
                for (uint32_t i = 0; i < 1u << (LOOKUP - len); i++)
                    c->entry[(next << (LOOKUP - len)) + i] = (uint16_t)(s | len << LEN_SHIFT);
            next++;
        }
        c->limit[len] = (uint64_t)next << (64 - len);
        if (next >> len) { // all codes are given: no window is beyond them
            for (; len <= CODE_MAX; len++)
                c->limit[len] = UINT64_MAX;
            return index == c->symbols;
        }
        next <<= 1;
    }
    return true;
}

static bool read_code(struct reader *r, struct code *c)
{
    unsigned char lengths[SYMBOLS_MAX];
    c->symbols = r->used + 2;
    unsigned len = take(&r->bits, 5);
    for (unsigned i = 0; i < c->symbols; i++) {
        while (take(&r->bits, 1)) {
            len += take(&r->bits, 1) ? -1u : 1u;
            if (len < 1 || len > CODE_MAX)
                return false;
        }
        if (len < 1 || len > CODE_MAX)
            return false;
        lengths[i] = (unsigned char)len;
    }
    return make_code(c, lengths);
}

/* A code that is longer than LOOKUP; -1: there is none. */
static int long_symbol(struct bits *b, const struct code *c)
{
    for (unsigned len = LOOKUP + 1; len <= CODE_MAX; len++) {
        if (b->window >= c->limit[len])
            continue;
        int32_t index = (int32_t)(b->window >> (64 - len)) + c->base[len];
        drop(b, len);
        return index >= 0 && index < (int32_t)c->symbols ? c->symbol[index] : -1;
    }
    return -1;
}

static inline int next_symbol(struct bits *b, const struct code *c)
{
    refill(b);
    unsigned e = c->entry[b->window >> (64 - LOOKUP)];
    if (!e)
        return long_symbol(b, c);
    drop(b, e >> LEN_SHIFT);
    return e & ((1 << LEN_SHIFT) - 1);
}

/* The byte at `index` of the list, which goes to the front. */
static inline unsigned char to_front(unsigned char *order, unsigned index)
{
    unsigned char v = order[index];
    if (index < 12)
        for (unsigned i = index; i > 0; i--)
            order[i] = order[i - 1];
    else
        memmove(order + 1, order, index);
    order[0] = v;
    return v;
}

/* Symbols into bytes: the table's low eight bits. */
static bool read_bytes(struct reader *r, uint32_t *table, size_t max, size_t *ret)
{
    enum { RUN_A, RUN_B };
    int end = (int)r->used + 1;
    size_t n = 0, run = 0, weight = 1;
    for (unsigned i = 0; i < r->selectors; i++) {
        const struct code *c = &r->code[r->selector[i]];
        for (unsigned k = 0; k < GROUP; k++) {
            int s = next_symbol(&r->bits, c);
            if (s == RUN_A || s == RUN_B) {
                run += weight << s;
                weight <<= 1;
                if (run > max - n)
                    return false;
                continue;
            }
            if (run) {
                r->count[r->order[0]] += (uint32_t)run;
                for (size_t stop = n + run; n < stop; n++)
                    table[n] = r->order[0];
                run = 0;
                weight = 1;
            }
            if (s == end) {
                *ret = n;
                return true;
            }
            if (s < 0 || n == max)
                return false;
            unsigned char v = to_front(r->order, (unsigned)s - 1);
            r->count[v]++;
            table[n++] = v;
        }
    }
    return false;
}

/* Where each byte stands in sorted order says which one follows it. */
static void link_bytes(struct reader *r, uint32_t *table, size_t n)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < 256; i++) {
        uint32_t count = r->count[i];
        r->count[i] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++)
        table[r->count[table[i] & 0xff]++] |= (uint32_t)i << 8;
}

bool bunzip_block_read(struct bunzip_block *b, const void *bytes, size_t start, size_t n_bits,
                       char level, uint32_t *table)
{
    struct reader r;
    size_t max = (size_t)(level - '0') * 100000;
    r.bits = (struct bits){.bytes = bytes, .len = (start + n_bits + 7) / 8, .at = start / 8};
    r.used = 0;
    memset(r.count, 0, sizeof r.count);
    if (start % 8)
        (void)take(&r.bits, start % 8);
    for (unsigned i = 0; i < HEADER_BITS / 16; i++)
        (void)take(&r.bits, 16);
    bool randomised = take(&r.bits, 1);
    *b = (struct bunzip_block){.text = b->text, .origin = take(&r.bits, 24)};
    if (randomised || !read_used(&r) || !read_selectors(&r))
        return false;
    for (unsigned i = 0; i < r.tables; i++)
        if (!read_code(&r, &r.code[i]))
            return false;
    if (!read_bytes(&r, table, max, &b->n) || b->origin >= b->n ||
        r.bits.at * 8 - r.bits.have != start + n_bits)
        return false;
    link_bytes(&r, table, b->n);
    return true;
}

static void walk(const uint32_t *table, uint32_t *at, unsigned char *text, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        uint32_t v = table[*at];
        text[i] = (unsigned char)v;
        *at = v >> 8;
    }
}

void bunzip_blocks_invert(struct bunzip_block *const *b, uint32_t *const *table, unsigned count)
{
    uint32_t at[2];
    size_t both = 0;
    for (unsigned i = 0; i < count; i++)
        at[i] = table[i][b[i]->origin] >> 8;
    if (count == 2) {
        const uint32_t *t0 = table[0], *t1 = table[1];
        unsigned char *text0 = b[0]->text, *text1 = b[1]->text;
        uint32_t at0 = at[0], at1 = at[1];
        both = b[0]->n < b[1]->n ? b[0]->n : b[1]->n;
        for (size_t i = 0; i < both; i++) {
            uint32_t v0 = t0[at0], v1 = t1[at1];
            text0[i] = (unsigned char)v0;
            text1[i] = (unsigned char)v1;
            at0 = v0 >> 8;
            at1 = v1 >> 8;
        }
        at[0] = at0;
        at[1] = at1;
    }
    for (unsigned i = 0; i < count; i++)
        walk(table[i], &at[i], b[i]->text, both, b[i]->n);
}

size_t bunzip_block_take(struct bunzip_block *b, unsigned char *out, size_t room)
{
    size_t used = 0;
    while (used < room) {
        if (b->again) {
            size_t some = b->again < room - used ? b->again : room - used;
            memset(out + used, b->last, some);
            used += some;
            b->again -= (unsigned)some;
            continue;
        }
        if (b->at == b->n)
            break;
        unsigned char v = b->text[b->at++];
        if (b->run == 4) { // how often the byte comes beyond four times
            b->again = v;
            b->run = 0;
            continue;
        }
        b->run = b->run && v == b->last ? b->run + 1 : 1;
        b->last = v;
        out[used++] = v;
    }
    b->crc = crc32_ieee(b->crc, out, used);
    return used;
}
