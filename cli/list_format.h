/* SPDX-License-Identifier: MIT
 *
 * What --format of lists says (cli/list.h has its language), as pieces.
 */
#ifndef CLI_LIST_FORMAT_H
#define CLI_LIST_FORMAT_H

#include "cli/list.h"

/* A text, or else a column's text, or with `json` the JSON of a column's member or (no column) of the item. */
struct list_piece {
    char *text; /* owned */
    const struct list_column *column;
    bool json;
};
DEFINE_VECTOR(list_pieces, struct list_piece);

struct list_format {
    struct list_pieces pieces;
    bool table; /* a head, and columns parted by tabs */
    bool plain; /* the table without --format */
};
#define LIST_FORMAT_INIT \
    { \
        .table = true \
    }

/* text: NULL = no --format. *ret holds nothing before. ERR_USAGE. */
int list_format_parse(const char *text, const struct list_column *columns, struct list_format *ret,
                      struct error **err);
void list_format_clear(struct list_format *f);

#endif
