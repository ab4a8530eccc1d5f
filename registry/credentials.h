/* SPDX-License-Identifier: MIT
 *
 * User and password for a registry. The first place that has them wins:
 *
 *   KILN_REGISTRY_USER, KILN_REGISTRY_PASSWORD   (KILN_REGISTRY_HOST: only for that host)
 *   $REGISTRY_AUTH_FILE
 *   ~/.config/kiln/auth.json                      what `kiln login` writes, mode 0600
 *   $XDG_RUNTIME_DIR/containers/auth.json         podman, skopeo
 *   ~/.config/containers/auth.json
 *   $DOCKER_CONFIG/config.json, ~/.docker/config.json
 *
 * In a file: credHelpers[HOST], auths["HOST/a/b"] and shorter ones, "https://HOST",
 * "https://HOST/v1/", then credsStore. Format: containers-auth.json(5); helpers:
 * github.com/docker/docker-credential-helpers. XDG_CONFIG_HOME stands for ~/.config.
 */
#ifndef REGISTRY_CREDENTIALS_H
#define REGISTRY_CREDENTIALS_H

#include "base/error.h"

struct session;

struct credentials {
    char *user, *password; /* NULL = none */
    char *identity;        /* a refresh token, in place of a password; NULL = none */
};
void credentials_clear(struct credentials *c); /* the passwords are overwritten */

/* repo may be NULL. 1, 0 (nobody has any), -1: a file that can't be read, a helper that fails. */
int credentials_find(const struct session *s, const char *host, const char *repo,
                     struct credentials *ret, struct error **err);
/* Puts them into kiln's own file, replacing what it has for the host. */
int credentials_store(const struct session *s, const char *host, const char *user,
                      const char *password, struct error **err);
/* Removes them from kiln's own file: 1, or 0 when it has none. */
int credentials_forget(const struct session *s, const char *host, struct error **err);

#endif
