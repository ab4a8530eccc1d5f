// SPDX-License-Identifier: MIT
// Edit distance with swapped neighbours, so that "RNU" is one mistake away from "RUN".
#include "base/nearest.h"

#include <stdint.h>

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

enum { NAME_MAX_LEN = 32 }; // longer words are like no name

/* Edits (insert, drop, change, swap neighbours) that make b of a; both at most NAME_MAX_LEN. */
static size_t distance(struct str a, struct str b)
{
    size_t row[NAME_MAX_LEN + 1][NAME_MAX_LEN + 1];
    for (size_t i = 0; i <= a.len; i++) {
        for (size_t j = 0; j <= b.len; j++) {
            if (!i || !j) {
                row[i][j] = i + j;
                continue;
            }
            size_t best = row[i - 1][j - 1] + (lower(a.ptr[i - 1]) != lower(b.ptr[j - 1]));
            if (row[i - 1][j] + 1 < best)
                best = row[i - 1][j] + 1;
            if (row[i][j - 1] + 1 < best)
                best = row[i][j - 1] + 1;
            if (i > 1 && j > 1 && lower(a.ptr[i - 1]) == lower(b.ptr[j - 2]) &&
                lower(a.ptr[i - 2]) == lower(b.ptr[j - 1]) && row[i - 2][j - 2] + 1 < best)
                best = row[i - 2][j - 2] + 1;
            row[i][j] = best;
        }
    }
    return row[a.len][b.len];
}

const char *nearest_name(struct str word, const char *const *names)
{
    const char *best = NULL;
    size_t least = SIZE_MAX;
    for (; *names; names++) {
        struct str name = str_of(*names);
        if (word.len > NAME_MAX_LEN || name.len > NAME_MAX_LEN)
            continue;
        size_t d = distance(word, name), allowed = name.len < 6 ? 1 : name.len / 3;
        if (d <= allowed && d < word.len && d < least) {
            least = d;
            best = *names;
        }
    }
    return best;
}
