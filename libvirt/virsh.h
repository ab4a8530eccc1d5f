/* SPDX-License-Identifier: MIT
 *
 * libvirt by its program virsh, a child that dies with us: no library of libvirt is linked, and what
 * a user could type is what happens.
 *
 *     CLEANUP(virsh_clear) struct virsh v = {0};
 *     if (virsh_open(session, "qemu:///system", &v, &err) == 0)
 *         virsh_run(&v, ARGV("start", "--domain", "web"), NULL, &err);
 */
#ifndef LIBVIRT_VIRSH_H
#define LIBVIRT_VIRSH_H

#include "base/buf.h"
#include "base/error.h"
#include "base/process.h"
#include "base/vector.h"

#include <stdbool.h>

struct session;

struct virsh {
    const struct session *session; /* borrowed */
    char *uri;                     /* as libvirt says it: "qemu:///system" */
    bool remote;                   /* of another machine: its files are not here */
    bool user;                     /* of this user's own libvirt ("qemu:///session") */
    struct strv env;               /* ours, in English */
};
/* Connects. uri NULL: as virsh chooses, LIBVIRT_DEFAULT_URI included. ERR_NOT_FOUND: there is no virsh. */
int virsh_open(const struct session *s, const char *uri, struct virsh *ret, struct error **err);
void virsh_clear(struct virsh *v);
/* A command and its arguments. What it prints is added to *out (NULL: dropped). ERR_SYSTEM with what
 * libvirt says; ERR_CANCELLED. */
int virsh_run(const struct virsh *v, char *const *words, struct buf *out, struct error **err);
/* The same for undoing something: an interruption does not end it, and errors are nobody's. */
void virsh_undo(const struct virsh *v, char *const *words);
/* Whether a line of what the command prints is that word: of names, with --name. 1, 0, -1. */
int virsh_lists(const struct virsh *v, char *const *words, const char *name, struct error **err);

#endif
