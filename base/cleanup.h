/* SPDX-License-Identifier: MIT
 *
 * Resources that end with their scope. Declare with an initialiser, return early, and hand over
 * with STEAL:
 *
 *     AUTO_FREE char *path = xasprintf("%s/log", dir);
 *     AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
 *     CLEANUP(error_freep) struct error *err = NULL;   // DEFINE_CLEANUP makes error_freep
 *
 * Cleanups keep errno.
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define DEFINE_CLEANUP(type, fn) \
    static inline void fn##p(type **p) \
    { \
        if (*p) \
            fn(*p); \
    } \
    struct fn##_cleanup_takes_a_semicolon

static inline void auto_freep(void *p)
{
    free(*(void **)p);
}
#define AUTO_FREE CLEANUP(auto_freep)

static inline void auto_closep(int *fd)
{
    int saved = errno;
    if (*fd >= 0)
        (void)close(*fd);
    errno = saved;
}
#define AUTO_CLOSE CLEANUP(auto_closep)

/* A descriptor handed over: the variable becomes -1. */
#define STEAL_FD(fd) \
    __extension__({ \
        int stolen_fd_ = (fd); \
        (fd) = -1; \
        stolen_fd_; \
    })
/* A pointer handed over: the variable becomes NULL. */
#define STEAL(p) \
    __extension__({ \
        __typeof__(p) stolen_ = (p); \
        (p) = NULL; \
        stolen_; \
    })
#endif
