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

/* Forks the process that will do it, which costs less while the template is made than later. */
void rehearse_prepare(void);
/* Lets it begin, once; returns at once. Nothing depends on it: it leaves nothing behind, and its
 * failure is nobody's. */
void rehearse(void);

#endif
