/* SPDX-License-Identifier: MIT
 *
 * `kiln image build --host ssh://[USER@]HOST[:PORT][/PATH/TO/KILN]`: the build directory goes to
 * another machine's kiln, which builds; its events are told here (cli/build_wire.h is what the two say
 * to each other, cli/build_serve.h the other end). The user's own ssh program connects, with the
 * settings, keys and known hosts it has.
 *
 *     // given struct session *session; struct build_options *options; struct build_ui *ui;
 *     // given struct args *args; struct build_result *result;
 *     struct build_host h = {.url = "ssh://big.example.org"};
 *     if (build_host_check(args, &err) < 0) ...
 *     if (build_on_host(session, &h, args, options, ui, result, &err) < 0) ...
 */
#ifndef CLI_BUILD_HOST_H
#define CLI_BUILD_HOST_H

#include "builder/build/build.h"
#include "cli/command.h"

struct build_host {
    const char *url;
    bool load; /* the image comes here, too */
};

/* The options of image build that --host cannot have: ERR_USAGE. */
int build_host_check(const struct args *a, struct error **err);
/* As build_image. The options were taken from `a`, which is sent; secrets and caches are taken from o.
 * ERR_USER: no connection, no kiln there, or one of another version. */
int build_on_host(const struct session *s, const struct build_host *h, const struct args *a,
                  const struct build_options *o, const struct build_ui *ui,
                  struct build_result *ret, struct error **err);

#endif
