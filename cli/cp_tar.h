/* SPDX-License-Identifier: MIT
 *
 * The host's side of `kiln cp`: files to a tar stream, and a guest's tar stream to files.
 *
 *     cp_tar_write("site", "www", fd, &err);          // site/index.html goes as www/index.html
 *     cp_tar_read(fd, "log", "/tmp", "old", false, &err);    // log/syslog becomes /tmp/old/syslog
 */
#ifndef CLI_CP_TAR_H
#define CLI_CP_TAR_H

#include "base/error.h"

#include <stdbool.h>

/* Writes the file or folder `path`, under `name`, to fd in GNU tar's format, which every tar reads;
 * "." as name: what is in the folder. A symbolic link goes as one. Owners are left out, sockets
 * skipped with a note. -1: what cannot be read; errnum EPIPE: who reads fd has gone. */
int cp_tar_write(const char *path, const char *name, int fd, struct error **err);
/*
 * Reads a tar stream of the file or folder `sent` ("." = what is in a folder) and makes it `name`
 * in the folder `dir` ("." = what is in it, there), with modes and times, ours as their owner.
 * The stream is not trusted: nothing outside of that is written, not through links either, and
 * devices and set-user-id bits are left out. attributes: with ACLs and user.* xattrs, if the stream has
 * them, and holes. A file that is cut short is removed. Changes the
 * working folder of the process. -1: ERR_GUEST (the stream), ERR_SYSTEM.
 */
int cp_tar_read(int fd, const char *sent, const char *dir, const char *name, bool attributes,
                struct error **err);

#endif
