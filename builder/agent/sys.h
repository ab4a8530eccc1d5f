/* SPDX-License-Identifier: MIT
 *
 * Small things the agent asks of the kernel in many places. Linux only; paths are the builder VM's.
 */
#ifndef BUILDER_AGENT_SYS_H
#define BUILDER_AGENT_SYS_H

#include "base/buf.h"
#include "base/error.h"

#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CLAMP_MS(ms) ((ms) < 0 ? 0 : (int)(ms))

/* One line to the console, which the host keeps: not for users, for whoever looks into a failure.
 */
void sys_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

int64_t sys_now_ms(void); /* CLOCK_MONOTONIC */
void sys_sleep_ms(unsigned ms);

/* Up to size - 1 bytes of a small file (sysfs, procfs) without the newline at its end; "" and -1
 * with errno when it can't be read. */
int sys_read(const char *path, char *text, size_t size);
/* The number a small file holds; `absent` when it can't be read. */
uint64_t sys_read_num(const char *path, uint64_t absent);
/* Writes text into an existing file of procfs or sysfs. */
int sys_write(const char *path, const char *text);

/* openat2(2); `resolve` takes RESOLVE_*. Always O_CLOEXEC. The descriptor, or -1 with errno. */
int sys_openat2(int dir, const char *path, int flags, mode_t mode, uint64_t resolve);
/* Opens a path as the image sees it: below `root`, whatever its symbolic links say. */
int sys_open_in(int root, const char *path, int flags);
/* Whole file below root into *ret (emptied first), at most limit bytes; -1 with errno. */
int sys_read_in(int root, const char *path, size_t limit, struct buf *ret);

/* Switches O_DIRECT of an open file. */
void sys_set_direct(int fd, bool on);
/* pwrite_all with O_DIRECT, which stays on; on a file system that cannot, without. */
int sys_write_direct(int fd, const void *bytes, size_t n, uint64_t at);

/* mount(2) whose failure is an error that names both ends. */
int sys_mount(const char *source, const char *target, const char *type, unsigned long flags,
              const char *data, struct error **err);

/* Octal digits; -1 when it is anything else or more than 07777. */
int sys_parse_mode(struct str text, mode_t *ret);

#endif
