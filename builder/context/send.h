/* SPDX-License-Identifier: MIT
 *
 * The sending end of stream.h: turns a selection into the bytes the agent unpacks.
 *
 *     #include "builder/runner/runner.h"
 *     // given struct selection *selection; struct runner *runner; struct runner_place place;
 *     // given struct runner_wait wait;
 *     struct sender *snd = sender_new(session, selection);
 *     struct runner_stream from = {sender_read, snd};
 *     runner_receive(runner, &from, &place, wait, &err);
 *     if (sender_result(snd, &err) < 0) ...   // says more than the agent's failure
 *
 * Bytes are made as they are asked for: files are read straight into the caller's buffer, archives
 * are decompressed and parsed on the way; memory does not grow with sizes. What is sent is hashed
 * and compared with what the key was made from: a file that changed since ends the stream with
 * STREAM_ABORT, "'x' changed while it was copied". Holes of sparse files are not sent; names of one
 * file (hard links) within one COPY are sent as links to its first name.
 */
#ifndef BUILDER_CONTEXT_SEND_H
#define BUILDER_CONTEXT_SEND_H

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

struct selection;
struct sender;
struct session;

struct sender_progress {
    uint64_t done, total; /* bytes of source files: of an archive, as it is on disk */
    uint64_t entries;     /* begun so far */
};

/* Starts nothing yet; owned. The selection (and its context) must outlive the sender. */
struct sender *sender_new(const struct session *s, const struct selection *sel);
void sender_free(struct sender *snd);
DEFINE_CLEANUP(struct sender, sender_free);

/* A runner_produce_fn: the next bytes of the stream, as many as fit; 0 after STREAM_END or
 * STREAM_ABORT. Never fails itself. Any thread, one at a time. */
ssize_t sender_read(void *sender, void *bytes, size_t n);
/* From any thread, at any time. */
void sender_progress(const struct sender *snd, struct sender_progress *ret);
/* When sender_read is not called any more: why the stream was aborted, or 0 if it was not (also
 * when it was not read to its end). */
int sender_result(const struct sender *snd, struct error **err);

#endif
