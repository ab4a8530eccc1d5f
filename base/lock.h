/* SPDX-License-Identifier: MIT
 *
 * Kernel locks on files (open-file-description locks, fcntl(2) F_OFD_SETLK): they end with the
 * process that holds them, so nothing that is left behind ever means "locked". The lock file
 * itself has no meaning and may stay.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include "base/error.h"

enum lock_mode { LOCK_SHARED, LOCK_EXCLUSIVE };

/*
 * Opens and locks path, making it if need be, and returns a close-on-exec descriptor whose closing
 * ends the lock. Its mode is 0600, or 0660 in a folder that a group may write to: whoever can open a
 * lock file can hold it and make others wait. lock_try gives ERR_BUSY at once when somebody else
 * holds it; lock_wait waits, and ends with ERR_CANCELLED when cancel_fd (-1: none) becomes readable.
 * Both see to it that path still names the locked file, so a sweep may unlink a file it holds the
 * lock of.
 */
int lock_try(const char *path, enum lock_mode mode, struct error **err);
int lock_wait(const char *path, enum lock_mode mode, int cancel_fd, struct error **err);
/* Changes the mode of a held lock without waiting: 0, or -1 with ERR_BUSY. */
int lock_change(int fd, enum lock_mode mode, struct error **err);

#endif
