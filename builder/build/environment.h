/* SPDX-License-Identifier: MIT
 *
 * What a command in an image is given: variables, directory, user, and for a shell the terminal.
 *
 *     // given struct config *config; struct runner_exec *e;
 *     environment_put_shell(session, e);
 *     environment_put(session, NULL, config, NULL, e);
 */
#ifndef BUILDER_BUILD_ENVIRONMENT_H
#define BUILDER_BUILD_ENVIRONMENT_H

#include "builder/build/build.h"
#include "builder/build/config.h"
#include "builder/runner/runner.h"

/* The environment, directory and user of a command. o may be NULL: it gives the proxies that
 * --build-arg names. args: the ARGs that are declared, or NULL. */
void environment_put(const struct session *s, const struct build_options *o, const struct config *c,
                     const struct settings *args, struct runner_exec *e);
/* An interactive shell, for runner_terminal. */
void environment_put_shell(const struct session *s, struct runner_exec *e);
/* The value that --build-arg gives a name (borrowed), or NULL. "--build-arg NAME" alone takes it
 * from our own environment. */
const char *build_arg(const struct session *s, const struct build_options *o, const char *name);

#endif
