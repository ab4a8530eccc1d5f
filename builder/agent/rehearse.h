/* SPDX-License-Identifier: MIT
 *
 * A RUN of nothing, before the first real one.
 *
 * Under TCG every guest instruction is translated the first time it runs, and a restored VM starts
 * with nothing translated: half of what the first command costs is the kernel's paths for
 * namespaces, mounts, fork and exec. A rehearsal goes through them on another processor while the
 * target's file systems are being found and mounted.
 */
#ifndef BUILDER_AGENT_REHEARSE_H
#define BUILDER_AGENT_REHEARSE_H

/* Guest milliseconds until it begins. */
enum { REHEARSAL_DELAY_MS = 10 };

/* Starts the process that does it and returns at once. Called while the template is made, which is
 * saved before the delay is over: so it begins in each VM that is restored, just after it goes on
 * and before anything can be said to it. Called again, it starts again. Nothing depends on it: it
 * leaves nothing behind, and its failure is nobody's. */
void rehearse(void);

#endif
