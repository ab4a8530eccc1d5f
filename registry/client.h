/* SPDX-License-Identifier: MIT
 *
 * One registry repository over HTTP, as the OCI distribution spec 1.1 says, or a folder with the OCI
 * image layout that stands for one (registry/layout.h). Any number of threads may use one client. It asks for tokens when the registry wants them, tries again after what
 * passes (broken connections, 408, 429 with Retry-After, 5xx), and renews a token that has ended,
 * once a request.
 *
 *     // given struct session *session; struct reference *ref; struct buf manifest; char digest[DIGEST_HEX + 1];
 *     CLEANUP(registry_freep) struct registry *r = NULL;
 *     registry_open(session, ref, &(struct registry_options){0}, &r, &err);
 *     registry_manifest(r, reference_version(ref), &manifest, digest, &err);
 *
 * The password goes only to the registry and its token server, and only over TLS, unless the
 * registry itself is spoken to in plain HTTP. The Authorization header follows no redirect to another
 * host or port, and is not sent to an upload address on another one. Plain HTTP is spoken to
 * loopback hosts and with plain_http; a loopback host that has TLS gets TLS.
 */
#ifndef REGISTRY_CLIENT_H
#define REGISTRY_CLIENT_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/vector.h"
#include "registry/reference.h"

#include <stdbool.h>
#include <stdint.h>

struct registry;
struct session;

struct registry_options {
    bool plain_http;             /* HTTP to any host */
    bool insecure;               /* TLS without checking the certificate */
    bool push;                   /* ask for the right to push */
    const char *user, *password; /* to use in place of those found; NULL = look */
};

/* Sends nothing yet. ref is copied. */
int registry_open(const struct session *s, const struct reference *ref,
                  const struct registry_options *o, struct registry **ret, struct error **err);
void registry_free(struct registry *r);                               /* NULL is fine */
const struct reference *registry_reference(const struct registry *r); /* its copy; borrowed */
DEFINE_CLEANUP(struct registry, registry_free);

/* Asks whether the registry is one and takes the credentials. ERR_USER: it does not. */
int registry_ping(struct registry *r, struct error **err);

/* A manifest of at most 4 MiB and its digest, compared with the digest that it was asked for by, if
 * it was. ERR_NOT_FOUND. */
int registry_manifest(struct registry *r, const char *version, struct buf *ret,
                      char digest[DIGEST_HEX + 1], struct error **err);
/* 1, 0, -1; nothing is fetched. */
int registry_has_manifest(struct registry *r, const char *version, struct error **err);
int registry_put_manifest(struct registry *r, const char *version, const char *type,
                          const struct buf *text, struct error **err);

/* The repository's tags, in the registry's order, are added to *ret. ERR_NOT_FOUND: no such
 * repository. */
int registry_tags(struct registry *r, struct strv *ret, struct error **err);

/* hex: SHA-256 of the blob; size: its bytes, 0 = not known. 1, 0, -1. */
int registry_has_blob(struct registry *r, const char *hex, uint64_t size, struct error **err);
/* A small blob, at most `limit` bytes, checked. */
int registry_blob(struct registry *r, const char *hex, size_t limit, struct buf *ret,
                  struct error **err);
/*
 * The blob of exactly `size` bytes into fd, of which it may have a first part already (what an
 * interrupted one left), which is read again; if that is damaged all of it is fetched. It is whole and checked on success; on an error that
 * says that the content is wrong the file is emptied. *moved (may be NULL) grows by what it had and by what comes.
 */
int registry_blob_to(struct registry *r, const char *hex, uint64_t size, int fd,
                     _Atomic uint64_t *moved, struct error **err);
/* Sends the file's `size` bytes as that blob, in one piece, or in chunks where the registry wants
 * them. What an attempt that broke has brought is not sent again if the registry kept it. */
int registry_put_blob(struct registry *r, const char *hex, uint64_t size, int fd,
                      _Atomic uint64_t *moved, struct error **err);
/* The same for bytes in memory, unless the registry has them; hex (set also on an error) is their name. */
int registry_put_bytes(struct registry *r, const void *bytes, size_t n, char hex[DIGEST_HEX + 1],
                       struct error **err);
/* Makes the repository have a blob that another one of this registry, `from`, has: 1; 0: it can't be
 * done, so it must be sent; -1. */
int registry_mount_blob(struct registry *r, const char *hex, const char *from, struct error **err);

#endif
