/* SPDX-License-Identifier: MIT
 *
 * References to images in OCI registries: oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:HEX]. The host
 * is always written out; the tag is "latest" if neither tag nor digest is given. Grammar: OCI
 * distribution spec 1.1, "Pulling manifests" (names of repositories and tags).
 *
 *     CLEANUP(reference_clear) struct reference ref = {0};
 *     if (reference_parse("oci://localhost:5000/team/app:1", &ref, &err) < 0) ...
 */
#ifndef REGISTRY_REFERENCE_H
#define REGISTRY_REFERENCE_H

#include "base/error.h"

#include <stdbool.h>

struct reference {
    char *host;   /* "localhost:5000", lower case */
    char *repo;   /* "team/app" */
    char *tag;    /* NULL = none was given beside a digest */
    char *digest; /* "sha256:" and 64 hex letters; NULL = none */
};

bool reference_is(const char *text); /* begins with "oci://" */
/* With or without "oci://". ERR_USER: what is wrong with it. */
int reference_parse(const char *text, struct reference *ret, struct error **err);
/* ERR_USER unless it is HOST or HOST:PORT, without anything else. */
int reference_check_host(const char *host, struct error **err);
void reference_clear(struct reference *ref);
/* What names the manifest in a URL: the digest, or else the tag; borrowed. */
const char *reference_version(const struct reference *ref);
char *reference_text(const struct reference *ref); /* "oci://…"; owned */
/* localhost, 127.0.0.0/8 or [::1]: may be spoken to without TLS. */
bool host_is_loopback(const char *host);

#endif
