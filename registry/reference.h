/* SPDX-License-Identifier: MIT
 *
 * References to images in OCI registries, oci://HOST[:PORT]/REPOSITORY[:TAG][@sha256:HEX], and in
 * folders with the OCI image layout, oci-layout:DIR[:TAG][@sha256:HEX]. The host is always written
 * out; the tag is "latest" if neither tag nor digest is given. Grammar: OCI distribution spec 1.1,
 * "Pulling manifests" (names of repositories and tags). DIR ends at the last ':' behind its last
 * slash; one that has a ':' or '@' there is written with a slash at its end. docker's
 * "oci-layout://DIR" is the same as "oci-layout:DIR".
 *
 *     CLEANUP(reference_clear) struct reference ref = {0};
 *     if (reference_parse("oci://localhost:5000/team/app:1", &ref, &err) < 0) ...
 */
#ifndef REGISTRY_REFERENCE_H
#define REGISTRY_REFERENCE_H

#include "base/error.h"

#include <stdbool.h>

struct reference {
    char *host;   /* "localhost:5000", lower case; NULL = a layout */
    char *repo;   /* "team/app"; NULL = a layout */
    char *layout; /* the layout's folder, absolute; NULL = a registry */
    char *tag;    /* NULL = none was given beside a digest */
    char *digest; /* "sha256:" and 64 hex letters; NULL = none */
};

bool reference_is(const char *text); /* begins with "oci://" or "oci-layout:" */
/* "oci://" may be missing. ERR_USER: what is wrong with it. */
int reference_parse(const char *text, struct reference *ret, struct error **err);
/* ERR_USER unless it is HOST or HOST:PORT, without anything else. */
int reference_check_host(const char *host, struct error **err);
void reference_clear(struct reference *ref);
/* What names the manifest in a URL: the digest, or else the tag; borrowed. */
const char *reference_version(const struct reference *ref);
char *reference_text(const struct reference *ref); /* "oci://…" or "oci-layout:…"; owned */
/* The same with this tag, or this digest (hex), in place of its own; owned. */
char *reference_tagged(const struct reference *ref, const char *tag);
char *reference_pinned(const struct reference *ref, const char *hex);
/* The last part of the repository or of the folder, for an image that is given no other name. */
const char *reference_basename(const struct reference *ref);
/* localhost, 127.0.0.0/8 or [::1]: may be spoken to without TLS. */
bool host_is_loopback(const char *host);

#endif
