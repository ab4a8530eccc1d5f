/* SPDX-License-Identifier: MIT
 *
 * The signals that interrupt kiln. Only one session of a process can catch them.
 */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include "base/error.h"

struct session;

/* From now on SIGINT, SIGTERM, SIGHUP and SIGQUIT interrupt the session and make its cancel_fd
 * readable instead of ending the process; a third one ends it. SIGPIPE is ignored. */
int signals_catch(struct session *s, struct error **err);

/* The one that interrupted, SIGPIPE if a reader of our output has gone; 0 = none. It stays when the
 * session is cleared. */
int signals_caught(void);
/* Whoever read our output has gone: as if SIGPIPE had interrupted. */
void signals_reader_gone(void);
/* Our output cannot be written, for this errno: EPIPE is signals_reader_gone; any other is remembered
 * until the end, when stdio only knows that something failed. */
void signals_output_failed(int errnum);
/* Writes out what stdout holds; why it cannot is remembered, too. That its reader has gone is not: what is
 * being done goes on. */
void signals_flush_output(void);
/* The first of these; EIO = not told. */
int signals_output_errno(void);

#endif
