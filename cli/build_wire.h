/* SPDX-License-Identifier: MIT
 *
 * What `kiln image build --host` and the kiln on the other machine (--serve) say to each other.
 *
 *   to the host    a request (below), then the tar stream of sync.h if something was wanted; later "g"
 *                  when the image's files may come; the end of the stream interrupts the build
 *   from the host  a line of JSON each: {"event":"want","runs":[first, n, …]} with the numbers of wanted
 *                  entries, the events of the build (docs/json.md), and with `load` {"event":"layout"},
 *                  after which the image comes as an OCI layout in a tar stream
 *
 * A request is u32 length (little endian) | JSON | Imagefile | secrets | manifest; the JSON has
 * "kiln" (version), "copy" (which folder of the client: 64 hex letters), "words" (options of image build),
 * "file" (path of the Imagefile in the build directory, or only its name if it lies elsewhere),
 * "outside" (it lies elsewhere), "load", and the lengths "imagefile", "manifest" and "secrets":
 * [{"id", "bytes"}].
 */
#ifndef CLI_BUILD_WIRE_H
#define CLI_BUILD_WIRE_H

#include "base/buf.h"
#include "base/vector.h"
#include "builder/build/build.h"
#include "builder/context/sync.h"

struct build_request {
    char *copy, *file; /* owned */
    bool outside, load;
    struct strv words;
    struct buf imagefile, manifest;
    struct build_secret *secrets; /* owned, with what they hold */
    size_t n_secrets;
};
#define BUILD_REQUEST_INIT \
    { \
        .imagefile = BUF_INIT, .manifest = BUF_INIT \
    }
void build_request_clear(struct build_request *r);

/* errnum EPIPE: nobody reads fd. */
int build_request_write(int fd, const struct build_request *r, struct error **err);
/* ERR_USER: another version of kiln wrote it, or it is damaged. */
int build_request_read(int fd, struct build_request *ret, struct error **err);

/* The answer to it: which entries are wanted. A reference. */
json_t *build_want_new(const struct sync_plan *plan);
/* n: entries of the manifest; *ret has one byte for each, owned. -1: it is no such answer. */
int build_want_read(const json_t *event, size_t n, uint8_t **ret);

void build_secrets_free(struct build_secret *secrets, size_t n);

#endif
