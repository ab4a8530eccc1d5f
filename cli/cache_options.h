/* SPDX-License-Identifier: MIT
 *
 * --cache-from and --cache-to, or KILN_CACHE_FROM and KILN_CACHE_TO, as kiln writes them
 * (oci://HOST/REPOSITORY[,mode=all]) and as docker does (type=registry,ref=HOST/REPOSITORY;
 * type=local,src=DIR; type=local,dest=DIR).
 */
#ifndef CLI_CACHE_OPTIONS_H
#define CLI_CACHE_OPTIONS_H

#include "base/vector.h"
#include "builder/build/build.h"
#include "cli/command.h"

/* Fills in o->cache_from, n_cache_from, cache_to, cache_all and cache_strict; `from` and `to` keep
 * the texts. ERR_USER: not the name of a repository or layout. */
int cache_options_take(const struct args *a, struct strv *from, struct strv *to,
                       struct build_options *o, struct error **err);

#endif
