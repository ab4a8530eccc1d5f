/* SPDX-License-Identifier: MIT
 *
 * Sockets of the host in a command's tree: the agent listens on one for each mount of type "ssh", and
 * hands what its clients send to the host in RELAY frames; what the host answers comes as INPUT with the
 * same CHANNEL. A client that does not take its answers is cut off.
 *
 *     // given struct agent *a; struct pollfd *f; const struct message *input;
 *     CLEANUP(sockets_clear) struct sockets s = SOCKETS_INIT;
 *     AUTO_FREE char *path = sockets_listen(&s, &err);     // to be mounted
 *     size_t n = sockets_poll(&s, f);                      // f has room for SOCKETS_FDS
 *     poll(f, n, -1);
 *     sockets_pump(&s, a, f, n);
 *     sockets_take(&s, input);
 */
#ifndef BUILDER_AGENT_SOCKETS_H
#define BUILDER_AGENT_SOCKETS_H

#include "builder/agent/agent.h"

#include <poll.h>

/* A client of one. */
struct sockets_line {
    uint64_t channel;
    size_t socket;
    int fd;         /* -1: it has gone, and is to be forgotten */
    struct buf out; /* what it has not taken yet */
    bool read_ended, write_ended;
};
DEFINE_VECTOR(sockets_lines, struct sockets_line);
DEFINE_VECTOR(sockets_fds, int);

struct sockets {
    struct sockets_fds listening; /* their number is what the host knows them by */
    struct sockets_lines lines;
    uint64_t channels; /* so many there were */
};
#define SOCKETS_INIT \
    { \
        0 \
    }
enum { SOCKETS_MAX = 16, SOCKETS_LINES = 64, SOCKETS_FDS = SOCKETS_MAX + SOCKETS_LINES };

/* The path of one more socket, in the builder VM's own tree; owned. */
char *sockets_listen(struct sockets *s, struct error **err);
/* What is waited for; lines that have ended are forgotten here. Returns how many. */
size_t sockets_poll(struct sockets *s, struct pollfd *f);
/* f, n: as sockets_poll left them. */
void sockets_pump(struct sockets *s, struct agent *a, const struct pollfd *f, size_t n);
/* An INPUT frame with a CHANNEL. */
void sockets_take(struct sockets *s, const struct message *m);
void sockets_clear(struct sockets *s); /* closes all, and removes the sockets */

#endif
