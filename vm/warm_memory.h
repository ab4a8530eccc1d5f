/* SPDX-License-Identifier: MIT
 *
 * A guest's memory, saved: as it is, with holes for pages of zeros, or packed (--warm=compress), which
 * takes about half as much of the disk and has to be unpacked for every VM.
 *
 *     // given int memory; const char *path;
 *     warm_memory_pack(memory, path, &err);
 *     AUTO_CLOSE int again = warm_memory_unpack(path, 1 << 30, &err);
 */
#ifndef VM_WARM_MEMORY_H
#define VM_WARM_MEMORY_H

#include "base/error.h"

#include <stdint.h>

/* Makes the file, 0600, from the memory in `from`, whose size is one of whole pages. ERR_SYSTEM. */
int warm_memory_copy(int from, const char *path, struct error **err);
int warm_memory_pack(int from, const char *path, struct error **err);
/* A file without a name (memfd) of size bytes with what was packed; the caller's. -1: ERR_SYSTEM: no
 * memory, or the file is not what warm_memory_pack made. */
int warm_memory_unpack(const char *path, uint64_t size, struct error **err);

#endif
