/* SPDX-License-Identifier: MIT
 *
 * The build context: the build directory minus what its ignore file hides, and what a COPY or ADD
 * takes from it.
 *
 *     #include "builder/context/send.h"
 *     // given struct context_request request;
 *     struct context *ctx;
 *     context_open(session, &(struct context_options){.dir = dir}, &ctx, &err);
 *     struct selection *sel;
 *     context_select(ctx, &request, &sel, &err);       // may hash files: cold ones only
 *     struct digest d = selection_digest(sel);         // goes into the key
 *     struct str kept = selection_manifest(sel);       // goes with the layer
 *     struct sender *snd = sender_new(session, sel);               // send.h, when the step has to run
 *     selection_free(sel), context_free(ctx);          // selections first
 *
 * Folders are read when a selection first needs them, and once a context, so a selection shows the
 * directory as it was then; a file that changed since is noticed when it is sent. Everything is
 * opened below the directory's descriptor with openat2(2) RESOLVE_BENEATH and no symbolic link is
 * ever followed by the kernel: a link in a copied folder is copied as a link; a source that is a
 * link, or leads through one, is resolved here, part by part, as if the directory were the root of
 * the file system: an absolute link starts there, and nothing leads above it.
 *
 * Meaning of the sources is Dockerfile's (COPY and ADD in its reference): a folder stands for its
 * content, a file goes to <dest> or into it, with several things (sources or matches) <dest> is a
 * folder, `..` and absolute sources are relative to the build directory's root, a pattern is
 * matched part by part, what the ignore file hides does not exist. Times and owners are not copied
 * into the key; copied files belong to root unless --chown, and keep their mode, mtime, "user."
 * xattrs, file capabilities and POSIX ACLs.
 *
 * One thread uses a context at a time; hashing uses threads of its own inside.
 */
#ifndef BUILDER_CONTEXT_CONTEXT_H
#define BUILDER_CONTEXT_CONTEXT_H

#include "base/buf.h"
#include "base/digest.h"
#include "base/error.h"
#include "base/vector.h"

#include <stdbool.h>
#include <stdint.h>

struct session;
struct item_source;
struct context;
struct selection;

struct context_options {
    const char *dir;           /* the build directory */
    const char *shown;         /* what messages call it; NULL = dir */
    const char *imagefile;     /* its path, for ignore_file.h; NULL = only dir is looked at */
    const struct strv *hidden; /* paths below dir that are hidden as if the ignore file said so: the
                                * build's own products; NULL = none */
    bool plain;                /* any folder: it has no ignore file */
};

/* Adds the file to `hidden` if it lies below dir; neither need be there. */
void context_hide(const char *dir, const char *path, struct strv *hidden);
/* Without session.cache nothing is written. Errors: no such directory (ERR_NOT_FOUND), a line of
 * the ignore file that is not a pattern. */
int context_open(const struct session *s, const struct context_options *o, struct context **ret,
                 struct error **err);
/* Also saves the index of digests, best effort. */
void context_free(struct context *ctx);
DEFINE_CLEANUP(struct context, context_free);
/* Saves the digests computed so far, so that an interrupted build need not compute them again. Not
 * being able to is not an error. */
void context_save(struct context *ctx);

struct context_stats {
    uint64_t entries;      /* files, folders and others seen */
    uint64_t hashed_files; /* of them, read because the index did not know them */
    uint64_t hashed_bytes;
};
struct context_stats context_stats(const struct context *ctx);

enum context_source_kind {
    SOURCE_PATH,   /* text is a path or pattern in the build directory */
    SOURCE_INLINE, /* a here-document: text is its name, bytes its content; mode 0644 */
    SOURCE_URL,    /* ADD: text is an http(s) URL; fetched by context_select (remote.h) */
    SOURCE_ITEMS,  /* ADD of a container image: text is for people, items what is in it */
};
struct context_source {
    enum context_source_kind kind;
    const char *text; /* after expansion */
    struct str bytes;
    const struct remote_file *fetched; /* SOURCE_URL: it is here; NULL = it is to be fetched */
    const struct item_source *items;   /* SOURCE_ITEMS; read once, when it is sent */
    struct digest digest;              /* of what they come from */
    uint64_t size;
};

/* Everything is borrowed during context_select, but for `bytes` and `items`, which the
 * selection needs as long as it lives. */
struct context_request {
    const char *instruction; /* "COPY", "ADD", "RUN --mount": for messages */
    const struct context_source *sources;
    size_t n_sources;
    bool several; /* there are others that the context does not bring: <dest> is a folder */
    const char *const *excludes; /* --exclude patterns, as lines of an ignore file; matched against
                                  * paths relative to each source */
    size_t n_excludes;
    bool parents;       /* --parents: sources keep their folders, from "/./" on if they have that */
    const char *dest;   /* <dest> as written; only its final '/' and messages matter here */
    bool unpack_local;  /* ADD: local tar archives are unpacked */
    bool unpack_remote; /* ADD --unpack=true: fetched ones too */
    const char *checksum; /* ADD --checksum: "sha256:<hex>"; NULL = none */
};

/*
 * Errors (all ERR_USER unless a system call failed): "COPY source 'x' was not found in 'DIR'" with
 * a hint that says whether the ignore file hides it; a source that is a socket; an unreadable file;
 * checksum mismatch; ERR_CANCELLED. A pattern that matches nothing selects nothing.
 */
int context_select(struct context *ctx, const struct context_request *r, struct selection **ret,
                   struct error **err);
/* Whether a source of kind SOURCE_PATH names something, or is a pattern: 0, or -1 with the error
 * that context_select would give. */
int context_has(struct context *ctx, const char *instruction, const char *source,
                struct error **err);
/* A file or folder of the build directory that a source names, not a pattern. Errors as context_select. */
struct context_place {
    char *path; /* absolute, without links; owned */
    bool folder;
    int fd;               /* of a file, open for reading; else -1 */
    struct digest digest; /* of a file */
    uint64_t size;
};
int context_locate(struct context *ctx, const char *instruction, const char *source,
                   struct context_place *ret, struct error **err);
void context_place_clear(struct context_place *p);
void selection_free(struct selection *sel);
DEFINE_CLEANUP(struct selection, selection_free);

/* SHA-256 of the manifest: what the step's key takes in. */
struct digest selection_digest(const struct selection *sel);
/* The manifest itself (manifest.h), borrowed from the selection: kept with the layer so that a
 * later build can say what changed. */
struct str selection_manifest(const struct selection *sel);
uint64_t selection_entries(const struct selection *sel);
uint64_t selection_bytes(const struct selection *sel); /* content of files and archives, bytes */
/* Whether <dest> is a folder: it is written as one, or several things go there. */
bool selection_needs_folder(const struct selection *sel);

/* Is <dest> written as a folder: "x/", ".", "x/.."? */
bool context_dest_is_folder(const char *dest);

#endif
