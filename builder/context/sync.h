/* SPDX-License-Identifier: MIT
 *
 * A copy of a build directory on another machine, kept up to date: the copy's side compares its
 * manifest with the directory's and asks for the entries that differ, by their numbers in the manifest;
 * they come as a tar stream (pax).
 *
 *     // given struct selection *all; uint8_t *wanted;
 *     if (sync_send(all, wanted, fd, &err) < 0) ...
 *
 * and on the other side:
 *
 *     // given struct session *session; struct str has, manifest;
 *     CLEANUP(sync_plan_clear) struct sync_plan plan = {0};
 *     if (sync_compare(has, manifest, &plan, &err) < 0) ...
 *     if (plan.n_wanted || plan.drop.len)
 *         sync_receive(session, &plan, dir, fd, &err);
 *
 * Content, modes, links, extended attributes and modification times are kept; owners are not. A copy
 * is right when its manifest is the directory's: compare them afterwards, for files change while they
 * are sent.
 */
#ifndef BUILDER_CONTEXT_SYNC_H
#define BUILDER_CONTEXT_SYNC_H

#include "base/error.h"
#include "base/vector.h"
#include "builder/context/manifest.h"

#include <stdint.h>

struct context;
struct selection;
struct session;

struct sync_plan {
    uint8_t *wanted; /* one byte an entry of the manifest: 1 = it is to be sent. Owned */
    size_t n, n_wanted;
    struct strv drop; /* paths of the copy that go first, what is in a folder before the folder */
    struct strv open; /* folders of the copy that change: they need to be writable meanwhile */
};
void sync_plan_clear(struct sync_plan *p);

/* Everything in the build directory that is not hidden: its manifest, for both sides. */
int sync_select(struct context *ctx, struct selection **ret, struct error **err);
/* ERR_USER: `manifest` is damaged. */
int sync_compare(struct str has, struct str manifest, struct sync_plan *ret, struct error **err);
/* Sends the entries of the selection that are wanted, and other names of files that are. -1: a file
 * is not there any more, is shorter than it was, can't be read; errnum EPIPE: nobody reads fd. */
int sync_send(const struct selection *sel, const uint8_t *wanted, int fd, struct error **err);
/* Drops and takes what the plan says, in the folder dir. What follows the stream in fd may be read,
 * too. The stream is not trusted: nothing is written outside of dir. Changes the working folder of the
 * process while it works. ERR_CANCELLED. */
int sync_receive(const struct session *s, const struct sync_plan *plan, const char *dir, int fd,
                 struct error **err);

#endif
