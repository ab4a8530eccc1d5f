/* SPDX-License-Identifier: MIT
 *
 * The host's end of the sockets that a command has of it (agent/sockets.h): for each client that shows
 * up in the guest a connection to the ssh-agent, through which go only such messages as ssh_agent.h
 * lets pass. Nothing of it is logged or kept.
 *
 *     // given struct strv sockets; struct message *frame, *m; struct pollfd *f;
 *     struct relay *r = relay_new(session, &sockets);
 *     relay_take(r, frame);           // a RELAY frame
 *     while (relay_next(r, m)) { }    // an INPUT frame for the guest
 *     size_t n = relay_poll(r, f);    // f has room for RELAY_FDS
 *     poll(f, n, -1);
 *     relay_free(r);
 */
#ifndef BUILDER_WORKER_RELAY_H
#define BUILDER_WORKER_RELAY_H

#include "base/cleanup.h"
#include "base/vector.h"
#include "builder/agent/message.h"

#include <poll.h>
#include <stdbool.h>

struct relay;
struct session;

/* Further clients at the same time find their connection closed. */
enum { RELAY_FDS = 64 };

/* sockets: paths, by the number that the guest knows them by; borrowed, as the session is, which is
 * warned once if one of them cannot be reached. */
struct relay *relay_new(const struct session *s, const struct strv *sockets);
void relay_free(struct relay *r); /* NULL is fine */
DEFINE_CLEANUP(struct relay, relay_free);

void relay_take(struct relay *r, const struct message *m);
/* The next thing to tell the guest: *ret has the frame's fields, emptied first. False: nothing now. */
bool relay_next(struct relay *r, struct message *ret);
/* What is waited for before relay_next is asked again. Returns how many. */
size_t relay_poll(const struct relay *r, struct pollfd *f);

#endif
