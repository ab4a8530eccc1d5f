/* SPDX-License-Identifier: MIT
 *
 * What the machine is called while a command runs: a name that the image itself can resolve, as
 * sudo and installers look it up. That is the image's own (/etc/hostname) if its /etc/hosts has
 * it, else "localhost". Nothing is put into the image for it.
 */
#ifndef BUILDER_AGENT_HOSTNAME_H
#define BUILDER_AGENT_HOSTNAME_H

#include "base/buf.h"

/* From the contents of the two files (hostname(5), hosts(5)); owned. */
char *hostname_choose(struct str hostname, struct str hosts);
/* The same for the tree at `root`; owned. */
char *hostname_of_image(int root);

#endif
