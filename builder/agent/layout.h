/* SPDX-License-Identifier: MIT
 *
 * How a new disk is laid out: the script for sfdisk and the arguments for mkfs, for whoever runs
 * them. Pure.
 *
 *     // given struct part_list parts; struct buf script; struct strv argv;
 *     layout_script(&parts, true, &script);               // for sfdisk's standard input
 *     if (layout_mkfs(&parts.ptr[0], true, &argv) < 0) ...      // and then the device
 */
#ifndef BUILDER_AGENT_LAYOUT_H
#define BUILDER_AGENT_LAYOUT_H

#include "base/buf.h"
#include "base/vector.h"

#include <stdbool.h>
#include <stdint.h>

#define LAYOUT_ALIGN (1u << 20) /* partitions begin and end at multiples of it, bytes */

struct part {
    uint64_t size; /* bytes; 0 = the rest */
    struct str fs, options, mount, flags;
};
DEFINE_VECTOR(part_list, struct part);

void layout_script(const struct part_list *parts, bool gpt, struct buf *ret);
/* The next partition's place, bytes; the first one's is LAYOUT_ALIGN. */
uint64_t layout_next(const struct part *p, uint64_t start);
/* prezeroed: the disk reads as zeros, and mkfs knows the option. -1: no mkfs for this file system. */
int layout_mkfs(const struct part *p, bool prezeroed, struct strv *ret);
/* The words of an OPTIONS text: blanks separate, quotes of either kind hold together. */
void layout_words(struct str text, struct strv *ret);

#endif
