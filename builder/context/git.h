/* SPDX-License-Identifier: MIT
 *
 * ADD of a git repository: the host's git program says which commit a URL means, and later checks
 * it out into a folder that a context reads.
 *
 *     // given struct session *session;
 *     CLEANUP(git_source_clear) struct git_source src = {0};
 *     CLEANUP(git_tree_clear) struct git_tree tree = GIT_TREE_INIT;
 *     if (git_parse("https://host/x.git#v1:sub", &src, &err) < 0 ||
 *         git_resolve(session, &src, NULL, &err) < 0 ||         // src.commit: goes into the key
 *         git_checkout(session, &src, false, &tree, &err) < 0)  // when the step has to run
 *         return -1;
 *
 * The repository is a stranger's: git is given https, http, ssh and git as its protocols, also for
 * submodules; no hook, filter or file system monitor is run, and nothing of the user's settings
 * reaches a checkout, but who logs in where (credential helpers, proxies, url.insteadOf) does reach
 * the transfer. git never asks a question.
 */
#ifndef BUILDER_CONTEXT_GIT_H
#define BUILDER_CONTEXT_GIT_H

#include "base/error.h"
#include "base/working.h"

#include <stdbool.h>

struct session;

struct git_source {
    char *url;    /* without the fragment */
    char *ref;    /* branch, tag, refs/… or commit; NULL = the repository's HEAD */
    char *subdir; /* without '/' at its ends; NULL = all of it */
    char *commit; /* 40 or 64 hex digits, once resolved */
};

/* "URL#ref:subdir"; the URL is one that imagefile_is_git knows. Errors: ERR_USER, a ref that git
 * would not take. */
int git_parse(const char *text, struct git_source *ret, struct error **err);
void git_source_clear(struct git_source *src);

/* Sets src->commit: of a full commit without asking anybody, else from the server. `checksum` (NULL =
 * none): what the commit must begin with, 7 hex digits or more. Errors: another
 * checksum, no git program, no such ref, what git said. */
int git_resolve(const struct session *s, struct git_source *src, const char *checksum,
                struct error **err);

/* The URL without what logs in, as it goes into keys and stays in a .git that is kept: of http all
 * before the last '@' of the host, else the password. Owned. */
char *git_public_url(const char *url);

struct git_tree {
    struct working work;
    char *dir; /* the checked out files, in a folder of session.cache */
};
#define GIT_TREE_INIT \
    { \
        WORKING_INIT, NULL \
    }
/* Fetches the commit, no more of the history than the server makes one take, and its submodules.
 * Modes are 0755 and 0644, times the commit's. keep_git_dir: .git stays. */
int git_checkout(const struct session *s, const struct git_source *src, bool keep_git_dir,
                 struct git_tree *ret, struct error **err);
void git_tree_clear(struct git_tree *t);

#endif
