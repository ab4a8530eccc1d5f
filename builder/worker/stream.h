/* SPDX-License-Identifier: MIT
 *
 * The stream disk: a read-only disk of STREAM_DISK_SIZE bytes whose content is made up while the
 * guest reads it. A thread serves it to QEMU over NBD on a connected socket, so no file and no
 * copy of the data is on the host.
 *
 *     // given runner_produce_fn *produce; uint64_t offset;
 *     struct stream_server *s = stream_server_new_take(fd, &err);  // QEMU has the other end
 *     stream_server_begin(s, produce, arg, &offset, &err);
 *     ...                                         // the guest reads from offset on, in order
 *     stream_server_end(s);
 *
 * Protocol: NetworkBlockDevice/nbd doc/proto.md, sections "Newstyle negotiation", "Option
 * haggling", "Transmission" (simple replies only).
 */
#ifndef BUILDER_WORKER_STREAM_H
#define BUILDER_WORKER_STREAM_H

#include "base/error.h"
#include "builder/worker/vm.h"

#include <stdint.h>

struct stream_server;

/* Takes the socket. Errors: ERR_SYSTEM. */
struct stream_server *stream_server_new_take(int fd, struct error **err);
void stream_server_free(struct stream_server *s); /* ends the thread; NULL is fine */
DEFINE_CLEANUP(struct stream_server, stream_server_free);

/* produce is called from the server's thread until stream_server_end returns. The stream starts at
 * *ret_offset; before and behind a stream there are zeros. ERR_SYSTEM when the disk is used up. */
int stream_server_begin(struct stream_server *s, runner_produce_fn *produce, void *arg,
                        uint64_t *ret_offset, struct error **err);
/* No call of produce is running or will come once this returns. Bytes given, for figures. */
uint64_t stream_server_end(struct stream_server *s);

#endif
