/* SPDX-License-Identifier: MIT
 *
 * The host's end of `kiln image build --host` (cli/build_wire.h): the request comes on standard input,
 * events go to standard output. The build directory's copy stays in the cache for the next build.
 *
 *     // given struct session *session; const char *name;
 *     CLEANUP(build_serve_clear) struct build_serve sv = BUILD_SERVE_INIT;
 *     if (build_serve_open(session, &sv, &err) < 0) ...
 *     // a build with the options sv.args, sv.file and sv.secrets in the folder "."
 *     if (build_serve_close(session, &sv, name, &err) < 0) ...
 */
#ifndef CLI_BUILD_SERVE_H
#define CLI_BUILD_SERVE_H

#include "cli/build_wire.h"
#include "cli/command.h"

#include <pthread.h>

struct build_serve {
    struct build_request request;
    struct args args; /* of image build */
    char *file;       /* the Imagefile's path, from the copy; NULL = the usual one. Owned */
    int lock;         /* of the copy */
    int stop[2];      /* a pipe; its end ends the watch */
    pthread_t watch;
    bool watching;
};
#define BUILD_SERVE_INIT \
    { \
        .request = BUILD_REQUEST_INIT, .lock = -1, .stop = { -1, -1 } \
    }

/* Takes the request, brings the copy up to date and makes it the working folder. From then on the end
 * of standard input interrupts the session. */
int build_serve_open(struct session *s, struct build_serve *ret, struct error **err);
/* After the build: sends the image if it is wanted. */
int build_serve_close(struct session *s, struct build_serve *sv, const char *name,
                      struct error **err);
void build_serve_clear(struct build_serve *sv);

#endif
