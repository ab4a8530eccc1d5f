/* SPDX-License-Identifier: MIT
 *
 * The store of builder VM templates: <cache>/template/<key>/ holds `ram` (the guest's memory,
 * sparse), `state` (device state), `kernel` (a stand-in, see below) and `template.json`, the
 * record that says what they have to be. Whoever boots the VM fills it; this file only keeps it.
 *
 *     CLEANUP(template_clear) struct template t = TEMPLATE_INIT;
 *     if (template_open(session, text, &t, &err) < 0) ...
 *     if (!t.ready) {                  // ours to make: others wait for us meanwhile
 *         ...                          // write t.ram, t.state
 *         template_commit(session, &t, &err);    // now ready
 *     }
 *     ...                              // start QEMU on t.ram and t.state
 *     template_clear(&t);              // as soon as QEMU has them open
 */
#ifndef BUILDER_APPLIANCE_TEMPLATE_H
#define BUILDER_APPLIANCE_TEMPLATE_H

#include "base/error.h"
#include "base/working.h"

#include <stdbool.h>

struct session;

struct template
{
    bool ready;
    bool damaged;               /* there was one, and it was not what its record says */
    char *ram, *state, *kernel; /* paths: in a working folder until the commit */
    /* the rest is private */
    char *key_text, *store, *dir;
    struct working work;
    int lock;
};
#define TEMPLATE_INIT \
    { \
        .work = WORKING_INIT, .lock = -1 \
    }

/*
 * key_text: all that the template depends on, in lines; its digest names it. With a good template
 * t->ready is true and a shared lock on it is held until the clear; otherwise an exclusive one, and
 * the paths name files that do not exist yet. All data is compared with the record's digests unless
 * that was done since the host booted and the files have not been written to since. Errors:
 * ERR_SYSTEM, ERR_CANCELLED while waiting.
 */
int template_open(const struct session *s, const char *key_text, struct template *t,
                  struct error **err);
/* Records what was written and puts it in place; prunes all but the few last used templates. */
int template_commit(const struct session *s, struct template *t, struct error **err);
/* Compares all data again: true if the template of that key is not what its record says; then the
 * next opening makes it again. For when a VM that was restored from it has died. */
bool template_damaged(const struct session *s, const char *key_text);
/* Marks a ready template as no good (it did not restore): the next opening makes it again. */
void template_reject(struct template *t);
void template_clear(struct template *t);

/*
 * A stand-in for `kernel`: just its set-up code, so that QEMU has a -kernel of the same kind as
 * when the template was made, but does not read 14 MB that the restored memory holds already.
 */
int template_stand_in(const char *kernel, const char *path, struct error **err);

#endif
