/* SPDX-License-Identifier: MIT
 *
 * One block of a bzip2 file: Huffman codes and move-to-front into a table, the table into text, the
 * text's runs into what was compressed. Three steps, so that the second, which waits for memory
 * most of the time, can be done for two blocks at once.
 *
 *   bunzip_block_read(&b, bytes, bit, n_bits, level, table)     // false: damaged
 *   bunzip_blocks_invert((struct bunzip_block *[]){&b}, (uint32_t *[]){table}, 1);
 *   while ((n = bunzip_block_take(&b, out, room))) ...
 *   good = b.crc == the block's                                 // then its bytes were right
 *
 * Format: https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf. Blocks that are
 * "randomised" (bzip2 before 0.9.5, 1999) are refused as damaged.
 */
#ifndef IMAGE_BUNZIP_BLOCK_H
#define IMAGE_BUNZIP_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BUNZIP_BLOCK_MAX = 900000 };

struct bunzip_block {
    unsigned char *text; /* BUNZIP_BLOCK_MAX bytes of the caller's */
    size_t n;            /* bytes of text */
    uint32_t origin;     /* where the text begins in the table */
    size_t at;           /* bytes of text that were taken */
    unsigned run;        /* equal bytes just before text[at]: 0 to 4 */
    unsigned again;      /* times that text[at - 1] is still to be given */
    unsigned char last;  /* the byte of the run */
    uint32_t crc;        /* of what was taken */
};

/* Reads the block of n_bits bits from bit `start` of bytes on (at its mark), which must be all of
 * them; `level` is '1' to '9'. table has BUNZIP_BLOCK_MAX entries, b->text is not touched. */
bool bunzip_block_read(struct bunzip_block *b, const void *bytes, size_t start, size_t n_bits,
                       char level, uint32_t *table);
/* Turns tables into texts; count is 1 or 2. */
void bunzip_blocks_invert(struct bunzip_block *const *b, uint32_t *const *table, unsigned count);
/* The next bytes, at most room; 0 at the end. */
size_t bunzip_block_take(struct bunzip_block *b, unsigned char *out, size_t room);

#endif
