// SPDX-License-Identifier: MIT
#include "builder/agent/elf.h"

#include "base/alloc.h"
#include "base/cleanup.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PROGRAM_HEADERS = 64, PATH_BYTES = 256 };

static bool read_header(int fd, Elf64_Ehdr *ret)
{
    memset(ret, 0, sizeof *ret);
    return pread(fd, ret, sizeof *ret, 0) >= (ssize_t)sizeof(Elf32_Ehdr) &&
           memcmp(ret->e_ident, ELFMAG, SELFMAG) == 0;
}

bool elf_machine(int fd, char *name, size_t size)
{
    static const struct {
        unsigned id;
        const char *name;
    } known[] = {
        {EM_X86_64, "x86-64"}, {EM_386, "i386"},    {EM_AARCH64, "aarch64"}, {EM_ARM, "arm"},
        {EM_RISCV, "riscv"},   {EM_PPC64, "ppc64"}, {EM_S390, "s390x"},      {EM_MIPS, "mips"},
    };
    Elf64_Ehdr h; // the machine is at the same place in 32-bit files
    if (!read_header(fd, &h))
        return false;
    // of the other byte order, the number is read as it would be there
    unsigned id = h.e_ident[EI_DATA] == ELFDATA2MSB
                      ? (unsigned)(h.e_machine >> 8 | (h.e_machine & 255) << 8)
                      : h.e_machine;
    snprintf(name, size, "machine %u", id);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].id == id)
            snprintf(name, size, "%s", known[i].name);
    return true;
}

static char *script_interpreter(int fd)
{
    char line[PATH_BYTES + 1];
    ssize_t n = pread(fd, line, sizeof line - 1, 0);
    if (n < 4 || memcmp(line, "#!", 2) != 0)
        return NULL;
    line[n] = '\0';
    char *start = line + 2 + strspn(line + 2, " \t");
    start[strcspn(start, " \t\n")] = '\0';
    return *start ? xstrdup(start) : NULL;
}

char *elf_interpreter(int fd)
{
    Elf64_Ehdr h;
    if (!read_header(fd, &h))
        return script_interpreter(fd);
    if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_phentsize != sizeof(Elf64_Phdr))
        return NULL;
    for (unsigned i = 0; i < h.e_phnum && i < PROGRAM_HEADERS; i++) {
        Elf64_Phdr p;
        char path[PATH_BYTES + 1] = "";
        if (pread(fd, &p, sizeof p, (off_t)(h.e_phoff + i * sizeof p)) != (ssize_t)sizeof p)
            return NULL;
        if (p.p_type != PT_INTERP)
            continue;
        ssize_t n =
            pread(fd, path, p.p_filesz < PATH_BYTES ? p.p_filesz : PATH_BYTES, (off_t)p.p_offset);
        return n > 0 ? xstrdup(path) : NULL;
    }
    return NULL;
}
