/* SPDX-License-Identifier: MIT
 *
 * What went wrong, what to try, and where in the user's file.
 *
 * A function that can fail returns 0 or -1 (or a pointer or NULL) and takes `struct error **err`
 * as its last parameter. The caller starts it at NULL; success leaves it alone, failure sets it
 * once:
 *
 *     // given struct buf all;
 *     CLEANUP(error_freep) struct error *err = NULL;
 *     if (file_read(path, 4096, &all, &err) < 0)
 *         return error_wrap(&err, "step %zu", n);
 *
 * The message is one phrase without capital, newline or full stop, values in 'quotes', the cause
 * last. The hint says what to type or check. Nobody both logs an error and returns it: only cli/
 * prints one. Running out of memory aborts; a bug is an assert.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "base/cleanup.h"

#include <stddef.h>

struct source_loc {
    char *path;      /* owned by the error; NULL = none */
    unsigned line;   /* 1-based; 0 = the error has no place in a file */
    unsigned column; /* 1-based, in bytes; 0 = the whole line */
};

enum error_kind {
    ERR_USER = 1,  /* the input is wrong: the user can mend it */
    ERR_USAGE,     /* the command line is wrong: exit status 2 */
    ERR_NOT_FOUND, /* a named thing does not exist */
    ERR_EXISTS,    /* a thing is in the way */
    ERR_BUSY,      /* somebody else holds it */
    ERR_SYSTEM,    /* a system call or helper program failed */
    ERR_GUEST,     /* what ran in a VM failed, or the VM itself */
    ERR_KILLED,    /* somebody, or the kernel for want of memory, killed a program of ours */
    ERR_CANCELLED, /* the user interrupted */
    ERR_REPORTED,  /* already shown in full; only the exit status is left to give */
};

struct error {
    enum error_kind kind;
    int errnum; /* errno value, 0 = none */
    int status; /* exit status of kiln; 0 = that of the kind */
    struct source_loc loc;
    char *message; /* owned; may hold several lines only if the last ones quote a program */
    char *hint;    /* owned; NULL = none */
};

/*
 * Each returns -1, so that a failing branch is one line. err may be NULL: then only -1 is
 * returned. error_set and error_errno need *err to be NULL; error_wrap, error_hint and error_at
 * change the error that is there and do nothing if there is none.
 */
int error_set(struct error **err, enum error_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));
/* As error_set with kind ERR_SYSTEM; appends ": " and the text of errno, which it stores. */
int error_errno(struct error **err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), cold));
/* Puts "<text>: " before the message. */
int error_wrap(struct error **err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), cold));
/* Sets the hint, unless one is there already: the innermost knows best. */
int error_hint(struct error **err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), cold));
/* Sets the place (path is copied), unless one is there already. */
int error_at(struct error **err, const char *path, unsigned line, unsigned column);
/* Gives `from` (may be NULL) to *err, or frees it when err is NULL; returns -1. */
int error_propagate(struct error **err, struct error *from);
void error_free(struct error *err); /* NULL is fine */
DEFINE_CLEANUP(struct error, error_free);

#endif
