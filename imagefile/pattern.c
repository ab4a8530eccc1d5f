// SPDX-License-Identifier: MIT
//
// All ends of a match are found at once: reach[j] says whether the part of the pattern that was read
// can match value[from, j). The work is the product of the two lengths, whatever the stars.
#include "imagefile/pattern.h"

#include <assert.h>
#include <string.h>

struct reach {
    bool at[PATTERN_VALUE_MAX + 1];
};

static void match_from(struct str value, size_t from, struct str pattern, struct reach *r)
{
    assert(value.len <= PATTERN_VALUE_MAX && pattern.len <= PATTERN_MAX);
    memset(r->at, 0, value.len + 1);
    r->at[from] = true;
    for (size_t p = 0; p < pattern.len; p++) {
        char c = pattern.ptr[p];
        if (c == '*') {
            for (size_t j = from + 1; j <= value.len; j++)
                r->at[j] |= r->at[j - 1];
            continue;
        }
        bool any = c == '?';
        if (c == '\\' && p + 1 < pattern.len)
            c = pattern.ptr[++p];
        for (size_t j = value.len; j > from; j--)
            r->at[j] = r->at[j - 1] && (any || value.ptr[j - 1] == c);
        r->at[from] = false;
    }
}

static struct str cut_start(struct str value, struct str pattern, bool longest)
{
    struct reach r;
    size_t best = 0;
    match_from(value, 0, pattern, &r);
    for (size_t j = 1; j <= value.len && (longest || !best) && (longest || !r.at[0]); j++)
        best = r.at[j] ? j : best;
    return (struct str){value.ptr + best, value.len - best};
}

static struct str cut_end(struct str value, struct str pattern, bool longest)
{
    struct reach r;
    for (size_t i = 0; i <= value.len; i++) {
        size_t from = longest ? i : value.len - i;
        match_from(value, from, pattern, &r);
        if (r.at[value.len])
            return (struct str){value.ptr, from};
    }
    return value;
}

struct str pattern_cut(struct str value, struct str pattern, char side, bool longest)
{
    return side == '#' ? cut_start(value, pattern, longest) : cut_end(value, pattern, longest);
}

void pattern_replace(struct str value, struct str pattern, struct str by, bool all, struct buf *out)
{
    struct reach r;
    bool done = false;
    for (size_t i = 0; i < value.len;) {
        size_t end = value.len;
        if (!done)
            match_from(value, i, pattern, &r);
        while (!done && end > i && !r.at[end])
            end--;
        if (done || end == i) {
            buf_addc(out, value.ptr[i++]);
            continue;
        }
        buf_add_str(out, by);
        done = !all;
        i = end;
    }
}
