/* SPDX-License-Identifier: MIT
 *
 * What an executable needs, for messages. ELF: gABI chapter 4 and 5; "#!": execve(2).
 */
#ifndef BUILDER_AGENT_ELF_H
#define BUILDER_AGENT_ELF_H

#include <stdbool.h>
#include <stddef.h>

/* The architecture of an ELF file ("aarch64", "machine 42"); false when it is none. */
bool elf_machine(int fd, char *name, size_t size);
/* An ELF file's dynamic loader, or the program of a "#!" line; owned, NULL when there is none. */
char *elf_interpreter(int fd);

#endif
