// SPDX-License-Identifier: MIT
//
// modules.dep has a line a module: "path: path path …", all that it depends on, where each comes
// before what it itself depends on; read backwards that is an order for loading.
#include "builder/appliance/modules.h"

#include "base/buf.h"
#include "base/file.h"

enum { TABLE_MAX = 16 << 20 };

/* "kernel/fs/x/some-mod.ko.xz" names the module "some_mod". */
static bool path_is_module(struct str path, const char *name)
{
    const char *base = memrchr(path.ptr, '/', path.len);
    base = base ? base + 1 : path.ptr;
    const char *end = path.ptr + path.len;
    for (; *name && base < end; name++, base++)
        if (*name != *base && !((*name == '_' || *name == '-') && (*base == '_' || *base == '-')))
            return false;
    return !*name && end - base >= 3 && memcmp(base, ".ko", 3) == 0;
}

/* The line of the module: its own path and the rest of the line. */
static bool find_line(const struct buf *table, const char *name, struct str *path, struct str *deps)
{
    const char *end = table->data + table->len;
    for (const char *line = table->data; line < end;) {
        const char *eol = memchr(line, '\n', (size_t)(end - line));
        eol = eol ? eol : end;
        const char *colon = memchr(line, ':', (size_t)(eol - line));
        *path = (struct str){line, (size_t)((colon ? colon : eol) - line)};
        *deps = colon ? (struct str){colon + 1, (size_t)(eol - colon - 1)} : (struct str){eol, 0};
        if (path_is_module(*path, name))
            return true;
        line = eol + 1;
    }
    return false;
}

static void add(struct strv *ret, const char *dir, struct str path)
{
    AUTO_FREE char *name = str_dup(path);
    AUTO_FREE char *file = path_join(dir, name);
    for (size_t i = 0; i < ret->len; i++)
        if (strcmp(ret->ptr[i], file) == 0)
            return;
    strv_add(ret, file);
}

static void add_backwards(struct strv *ret, const char *dir, struct str deps)
{
    while (deps.len > 0) {
        size_t end = deps.len;
        while (end > 0 && deps.ptr[end - 1] == ' ')
            end--;
        size_t start = end;
        while (start > 0 && deps.ptr[start - 1] != ' ')
            start--;
        if (end > start)
            add(ret, dir, (struct str){deps.ptr + start, end - start});
        deps.len = start;
    }
}

int modules_resolve(const char *dir, const char *const *wanted, struct strv *ret,
                    struct strv *missing, struct error **err)
{
    CLEANUP(buf_clear) struct buf table = BUF_INIT, builtin = BUF_INIT;
    AUTO_FREE char *dep = path_join(dir, "modules.dep");
    AUTO_FREE char *in = path_join(dir, "modules.builtin");
    if (file_read(dep, TABLE_MAX, &table, err) < 0)
        return error_hint(err, "'depmod -a' makes it");
    if (access(in, F_OK) == 0 && file_read(in, TABLE_MAX, &builtin, err) < 0)
        return -1;
    for (; *wanted; wanted++) {
        struct str path, deps;
        if (find_line(&table, *wanted, &path, &deps)) {
            add_backwards(ret, dir, deps);
            add(ret, dir, path);
        } else if (missing && !find_line(&builtin, *wanted, &path, &deps)) {
            strv_add(missing, *wanted);
        }
    }
    return 0;
}
