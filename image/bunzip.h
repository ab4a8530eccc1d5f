/* SPDX-License-Identifier: MIT
 *
 * bzip2 on several processors. A block of a bzip2 file depends on nothing before it and begins with
 * 48 bits that hardly ever occur otherwise, so blocks are found by these bits and decoded apart by
 * libbz2. Format: https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf
 *
 * Memory: about 8 MB a processor, of which at most 8 are used; 30 MB when every block is of zeros.
 */
#ifndef IMAGE_BUNZIP_H
#define IMAGE_BUNZIP_H

#include "base/buf.h"
#include "base/error.h"

/* 1 with the next bytes in *ret (valid until the next call), 0 at the end, -1 with *err. */
typedef int bunzip_input_fn(void *arg, struct str *ret, struct error **err);
/* Takes n bytes; false: nobody wants them any more. */
typedef bool bunzip_output_fn(void *arg, const void *bytes, size_t n);

/* Decodes `first` and what `input` gives after it. Both are called on this thread. CRCs of blocks
 * and streams are verified; -1 with *err, or -1 without when output was refused. */
int bunzip(struct str first, bunzip_input_fn *input, bunzip_output_fn *output, void *arg,
           struct error **err);

#endif
