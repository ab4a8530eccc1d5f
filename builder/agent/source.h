/* SPDX-License-Identifier: MIT
 *
 * The source of COPY --from: what its words name in a mounted tree, and what a file of it is. For
 * the request that copies (copy.c) and the one that only tells what would be (survey.c), so that
 * both see the same.
 *
 *     // given struct agent *a; const struct request *rq;
 *     #include "builder/agent/sys.h"
 *     CLEANUP(source_clear) struct source s = SOURCE_INIT;
 *     if (source_open(a, rq, &s, &err) < 0) ...
 *     for (size_t i = 0; i < s.paths.len; i++)
 *         fd = sys_open_in(s.root, s.paths.ptr[i], O_PATH);
 */
#ifndef BUILDER_AGENT_SOURCE_H
#define BUILDER_AGENT_SOURCE_H

#include "base/buf.h"
#include "base/vector.h"
#include "builder/agent/agent.h"
#include "builder/agent/stream.h"

#include <sys/stat.h>

struct ignore;

struct source {
    int root;                /* of the tree, O_PATH */
    struct ignore *excludes; /* never NULL once open */
    struct strv paths;       /* absolute, without a '/' at the end; "" = the root */
    bool globs;              /* a word was a pattern */
    bool parents;            /* AGENT_PARENTS: "/./" of the words is in paths, too */
};
#define SOURCE_INIT \
    { \
        -1, NULL, {0}, false, false \
    }

/* Reads SLOT, SOURCE and EXCLUDE. A pattern may match nothing; a path that is not there is
 * ERR_USER. */
int source_open(struct agent *a, const struct request *rq, struct source *ret, struct error **err);
void source_clear(struct source *s);

/* The names in an open folder, sorted, so that equal trees give equal results. */
int source_list(int fd, struct strv *ret, struct error **err);
/* Adds the xattrs of what is open with O_PATH, sorted by name, in the form of stream.h. */
void source_xattrs(int fd, struct buf *ret);
/* enum stream_type; 0 = a socket: nothing without its process. */
int source_type(mode_t mode);
/* ERR_USER: the user has named a socket. Returns -1. */
int source_is_socket(const char *path, struct error **err);

#endif
