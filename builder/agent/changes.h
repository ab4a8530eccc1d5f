/* SPDX-License-Identifier: MIT
 *
 * What a command changes of the VM itself, and the next one would see, unless its layer comes from
 * the cache. The agent does not put such things back: it says that something was changed, and the
 * host restores the VM again. Waiting for the kernel's own notices costs next to nothing, where
 * comparing all there is would take longer than a short command.
 *
 *     struct changes c;
 *     changes_open(&c);                    // once, when the VM is set up
 *     changes_forget(&c);                  // before a command
 *     char *what = changes_seen(&c);       // after it; NULL: nothing
 *
 * What it writes to kernel parameters and disks, and mounts for that, is seen from within its
 * namespaces: written.h, mounting.h.
 */
#ifndef BUILDER_AGENT_CHANGES_H
#define BUILDER_AGENT_CHANGES_H

struct changes {
    int route;           /* rtnetlink: links, addresses, routes, rules, queues */
    int devices;         /* the kernel's events of block devices and modules */
    int swaps, keys;     /* files of /proc */
    char keys_text[512]; /* as it was at first */
};

void changes_open(struct changes *c);
void changes_forget(struct changes *c);
/* A word or two for debugging, owned. */
char *changes_seen(struct changes *c);

#endif
