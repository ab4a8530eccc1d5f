/* SPDX-License-Identifier: MIT
 *
 * Where the layer store meets the images and VMs that need its layers.
 */
#ifndef CLI_STORE_H
#define CLI_STORE_H

#include "base/error.h"
#include "base/vector.h"

#include <jansson.h>
#include <stdint.h>

struct session;
struct store;

/* A store_roots_fn (cache/prune.h) whose arg is the struct session: the layers that the names of
 * its backend stand for, and what named VMs stand on. */
int cli_store_roots(void *session, struct strv *ids, struct error **err);
/* Opens the store of the session's backend to prune, count or verify; what it has to say goes to
 * stderr. */
int cli_store_to_prune(const struct session *s, struct store **ret, struct error **err);
/*
 * Before a build: prunes to max_size bytes; 0 = to what the environment variable
 * KILN_CACHE_MAX_SIZE says, and not at all if it is unset. What was freed is said on stderr.
 */
int cli_prune_to_limit(const struct session *s, unsigned long long max_size, struct error **err);
/* Prints "1.05 GiB" in a column of `width`. */
void cli_print_size(unsigned long long bytes, int width);
/* Prints a text that may come from a stranger's image: on one line, without control characters, cut
 * to `max` bytes and "…" if it is longer (0 = not cut). NULL prints nothing. */
void cli_print_text(const char *text, size_t max);
/* How wide a column is that holds these texts of a list of objects, at least `least`. */
int cli_width(const json_t *list, const char *field, int least);
/* Prints the value as JSON text and a newline. */
void cli_print_json(const json_t *value);

#endif
