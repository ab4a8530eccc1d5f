/* SPDX-License-Identifier: MIT
 *
 * Unix sockets in a VM's folder. They are bound and connected to through /proc/self/fd/<folder>, so
 * the folder's path may be longer than a socket's may be (108 bytes, unix(7)).
 *
 *     // given const char *dir;
 *     AUTO_CLOSE int listener = folder_socket_listen(dir, "ssh.sock", &err);
 *     AUTO_CLOSE int fd = folder_socket_connect(dir, "ssh.sock", &err);
 */
#ifndef VM_FOLDER_SOCKET_H
#define VM_FOLDER_SOCKET_H

#include "base/error.h"

/* A connection to the stream socket, close-on-exec. -1: ERR_NOT_FOUND if nobody listens there. */
int folder_socket_connect(const char *dir, const char *name, struct error **err);
/* A listening stream socket of that name, close-on-exec; one that was there goes. -1 with *err. */
int folder_socket_listen(const char *dir, const char *name, struct error **err);

#endif
