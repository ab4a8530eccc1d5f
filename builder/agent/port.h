/* SPDX-License-Identifier: MIT
 *
 * The agent's end of the virtio-serial port: whole frames in, whole frames out.
 *
 * A port whose host end is closed reads as end of file and polls as POLLHUP at once, so waiting for
 * the host is waiting for SIGIO, which the driver sends when the host opens the port; the wait
 * survives being saved in a template and restored. What a lost host had half sent is dropped.
 */
#ifndef BUILDER_AGENT_PORT_H
#define BUILDER_AGENT_PORT_H

#include "base/buf.h"
#include "builder/agent/message.h"

#include <stdbool.h>
#include <stdint.h>

struct port {
    int fd;
    bool connected; /* as last seen */
    struct buf in;  /* received, not yet taken */
    size_t taken;   /* bytes of `in` that frames were made of */
};
#define PORT_INIT \
    { \
        -1, false, BUF_INIT, 0 \
    }

/* Finds the port by its name in sysfs; waits for it to appear. -1 with errno after timeout_ms. */
int port_open(struct port *p, const char *name, int timeout_ms);
/* Uses a descriptor that is open (a socket, in tests); it stays the caller's. */
void port_use(struct port *p, int fd);
void port_clear(struct port *p);

/* Sleeps until there is something to read. timeout_ms -1 = for ever. True if there is. */
bool port_wait(struct port *p, int timeout_ms);
/* Takes in what is there without waiting. False when the host is gone. */
bool port_fill(struct port *p);
/* Whether a whole frame (or a damaged one) has been taken in already: then waiting for more would
 * be wrong. */
bool port_has_frame(const struct port *p);
/* The next whole frame of what was taken in; `ret` is emptied first. A damaged header means that
 * both ends have lost each other: what was taken in is dropped. */
bool port_next(struct port *p, struct frame *ret_frame, struct message *ret);
/* Sends a frame, waiting for the host to take it; meanwhile takes in what the host sends (which may
 * be waiting for us to do so). Without a host it is dropped. */
void port_send(struct port *p, uint32_t id, int type, const struct message *m);
/* The same for OUTPUT, without copying the bytes: `room` has PORT_OUTPUT_ROOM bytes before them. */
enum { PORT_OUTPUT_ROOM = 12 + 16 + 8 };
void port_send_output(struct port *p, uint32_t id, int stream, char *room, size_t n);

#endif
