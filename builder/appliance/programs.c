// SPDX-License-Identifier: MIT
//
// The loader is named by the PT_INTERP segment (System V ABI, "Program Interpreter"); its --list
// prints a line a library: "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)", or a bare path
// for the loader itself, or a name without a path for the vDSO.
#include "builder/appliance/programs.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/process.h"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

static void add_once(struct strv *v, const char *path)
{
    for (size_t i = 0; i < v->len; i++)
        if (strcmp(v->ptr[i], path) == 0)
            return;
    strv_add(v, path);
}

/* Owned path of the loader in *ret, NULL for a static program. */
static int interpreter(const char *program, char **ret, struct error **err)
{
    AUTO_CLOSE int fd = open(program, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "cannot read '%s'", program);
    Elf64_Ehdr h;
    if (pread_all(fd, &h, sizeof h, 0) != (ssize_t)sizeof h ||
        memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
        h.e_phentsize != sizeof(Elf64_Phdr))
        return error_set(err, ERR_USER, "'%s' is not a 64-bit ELF program", program);
    for (unsigned i = 0; i < h.e_phnum; i++) {
        Elf64_Phdr p;
        if (pread_all(fd, &p, sizeof p, (off_t)(h.e_phoff + i * sizeof p)) != (ssize_t)sizeof p)
            break;
        char path[4096] = "";
        if (p.p_type != PT_INTERP)
            continue;
        if (p.p_filesz >= sizeof path ||
            pread_all(fd, path, p.p_filesz, (off_t)p.p_offset) != (ssize_t)p.p_filesz ||
            path[0] != '/')
            return error_set(err, ERR_USER, "'%s' has no valid loader name", program);
        *ret = xstrdup(path);
        return 0;
    }
    *ret = NULL;
    return 0;
}

int program_libraries(const struct session *s, const char *program, struct strv *ret,
                      struct error **err)
{
    AUTO_FREE char *loader = NULL;
    if (interpreter(program, &loader, err) < 0)
        return -1;
    if (!loader)
        return 0;
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    if (process_run(s, ARGV(loader, "--list", program), &out, err) < 0)
        return error_wrap(err, "cannot list the libraries of '%s'", program);
    add_once(ret, loader);
    for (char *save = NULL, *line = strtok_r(out.data, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char *path = strstr(line, "=> ");
        path = path ? path + 3 : line + strspn(line, " \t");
        char *end = strstr(path, " (0x");
        if (path[0] != '/' || !end)
            continue;
        *end = '\0';
        add_once(ret, path);
    }
    return 0;
}
