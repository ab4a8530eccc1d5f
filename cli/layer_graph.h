/* SPDX-License-Identifier: MIT
 *
 * `image history --graph`: all layers of the store as a tree, with what each keeps on the disk and
 * the images that stand on it.
 */
#ifndef CLI_LAYER_GRAPH_H
#define CLI_LAYER_GRAPH_H

#include "base/error.h"
#include "base/session.h"

/* Prints it on stdout; name NULL = all layers, else those below and above the image's. */
int layer_graph_print(const struct session *s, const char *name, struct error **err);

#endif
