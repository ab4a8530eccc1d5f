/* SPDX-License-Identifier: MIT
 *
 * Certificates for one host (containers-certs.d(5), docker's "Verify repository client with
 * certificates"). The first folder that is there counts:
 *
 *   ~/.config/containers/certs.d/HOST[:PORT]
 *   /etc/containers/certs.d/HOST[:PORT]
 *   /etc/docker/certs.d/HOST[:PORT]
 *
 * In it: *.crt, authorities that are trusted besides those of the system, or of http_bundle; NAME.cert
 * and NAME.key, what kiln shows the host. XDG_CONFIG_HOME stands for ~/.config. What the user may
 * not read is left out, with a warning.
 *
 *     // given struct session *session;
 *     CLEANUP(certs_clear) struct certs certs = {0};
 *     certs_find(session, "registry.example:5000", &certs, &err);
 */
#ifndef REGISTRY_CERTS_H
#define REGISTRY_CERTS_H

#include "base/buf.h"
#include "base/error.h"

#include <pthread.h>

struct session;

struct certs {
    struct buf authorities; /* PEM, one behind the other, with http_bundle's; empty = none */
    struct buf warnings;    /* lines, for session_warning */
    char *cert, *key;       /* paths; NULL = none */
};
/* ERR_USER: a certificate without its key, or the other way round; a file that is too large. */
int certs_find(const struct session *s, const char *host, struct certs *ret, struct error **err);
void certs_clear(struct certs *c);

/* Those of the hosts that a registry leads to: each is looked for once, by any number of threads. */
struct certs_known {
    pthread_mutex_t mutex;
    struct certs_host *first;
};
void certs_known_init(struct certs_known *k);
void certs_known_clear(struct certs_known *k);
/* As certs_find; *ret is borrowed until certs_known_clear. Warnings go to the session. */
int certs_known_find(struct certs_known *k, const struct session *s, const char *host,
                     const struct certs **ret, struct error **err);

#endif
