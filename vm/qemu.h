/* SPDX-License-Identifier: MIT
 *
 * QEMU as a program: which one, which version, and the parts of its command line that need care.
 *
 *     CLEANUP(qemu_clear) struct qemu qemu = QEMU_INIT;
 *     qemu_find(session, NULL, &qemu, &err);
 */
#ifndef VM_QEMU_H
#define VM_QEMU_H

#include "base/buf.h"
#include "base/error.h"
#include "base/vector.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct session;

struct qemu {
    char *path;    /* absolute, or as given if that holds a slash */
    char *version; /* "7.2.22" */
    char *build;   /* the whole first line of --version, which names the package too */
    unsigned major, minor;
};
#define QEMU_INIT \
    { \
        NULL, NULL, NULL, 0, 0 \
    }
enum { QEMU_MAJOR_MIN = 6, QEMU_MINOR_MIN = 2 };

/*
 * Finds QEMU: `wish` (--qemu-bin-name), else KILN_QEMU, else qemu-system-x86_64; asks its version.
 * The answer is remembered in the session's cache by path, size and time of the file, as starting
 * the program takes 30 ms. Errors: ERR_NOT_FOUND with what to install; ERR_SYSTEM; ERR_USER when it
 * is older than 6.2.
 */
int qemu_find(const struct session *s, const char *wish, struct qemu *ret, struct error **err);
void qemu_clear(struct qemu *q);

/* Which program it is, in lines: an upgrade changes them. */
void qemu_add_identity(struct buf *b, const struct qemu *q);

/* Text as a value in QEMU's key=value options: commas doubled. Owned. */
char *qemu_escape(const char *text);

#endif
