// SPDX-License-Identifier: MIT
//
// Entries are kept sorted by the depth of their mount point, so that mounting them in order works
// whatever the order of the lines.
#include "builder/agent/fstab.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>

static struct str next_line(struct str *text)
{
    const char *end = memchr(text->ptr, '\n', text->len);
    struct str line = {text->ptr, end ? (size_t)(end - text->ptr) : text->len};
    size_t used = line.len + (end ? 1 : 0);
    *text = (struct str){text->ptr + used, text->len - used};
    return line;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct str next_word(struct str *line)
{
    while (line->len && is_blank(*line->ptr))
        line->ptr++, line->len--;
    struct str word = {line->ptr, 0};
    while (line->len && !is_blank(*line->ptr))
        line->ptr++, line->len--, word.len++;
    return word;
}

static bool is_octal(struct str s, size_t at)
{
    for (size_t i = 1; i <= 3; i++)
        if (at + i >= s.len || s.ptr[at + i] < '0' || s.ptr[at + i] > '7')
            return false;
    return true;
}

// "\040" stands for a blank; UUID="…" may be quoted.
static char *unescape(struct str s)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\\' && is_octal(s, i)) {
            int c = (s.ptr[i + 1] - '0') * 64 + (s.ptr[i + 2] - '0') * 8 + (s.ptr[i + 3] - '0');
            if (c)
                buf_addc(&b, (char)c);
            i += 3;
        } else if (s.ptr[i] != '"' && s.ptr[i]) {
            buf_addc(&b, s.ptr[i]);
        }
    }
    return buf_detach(&b, NULL);
}

static int depth(const char *path)
{
    int n = 0;
    for (const char *p = path; *p; p++)
        n += *p == '/' && p[1] && p[1] != '/';
    return n;
}

static void trim_slashes(char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        path[--n] = '\0';
}

// Insertion: fstabs are short, and entries of equal depth keep their order.
static void insert(struct fstab *f, struct fstab_entry e)
{
    size_t at = f->len;
    *fstab_push(f) = e;
    for (; at > 0 && depth(f->ptr[at - 1].file) > depth(e.file); at--)
        f->ptr[at] = f->ptr[at - 1];
    f->ptr[at] = e;
}

void fstab_parse(struct str text, struct fstab *ret)
{
    while (text.len && ret->len < 256) {
        struct str line = next_line(&text);
        struct str spec = next_word(&line), file = next_word(&line);
        struct str type = next_word(&line), options = next_word(&line);
        if (!spec.len || *spec.ptr == '#' || !file.len || *file.ptr != '/')
            continue;
        struct fstab_entry e = {unescape(spec), unescape(file),
                                type.len ? unescape(type) : xstrdup("auto"),
                                options.len ? unescape(options) : xstrdup("defaults")};
        trim_slashes(e.file);
        insert(ret, e);
    }
}

void fstab_free(struct fstab *f)
{
    vec_foreach (struct fstab_entry *, e, f) {
        free(e->spec);
        free(e->file);
        free(e->type);
        free(e->options);
    }
    fstab_clear(f);
}

static const char *find_option(const struct fstab_entry *e, const char *name, size_t *ret_n)
{
    size_t n = strlen(name);
    for (const char *p = e->options; *p;) {
        size_t len = strcspn(p, ",");
        if (len >= n && strncmp(p, name, n) == 0 && (len == n || p[n] == '=')) {
            *ret_n = len;
            return p;
        }
        p += len + (p[len] == ',');
    }
    return NULL;
}

bool fstab_has_option(const struct fstab_entry *e, const char *name)
{
    size_t n;
    const char *p = find_option(e, name, &n);
    return p && n == strlen(name);
}

char *fstab_option(const struct fstab_entry *e, const char *name)
{
    size_t n, skip = strlen(name) + 1;
    const char *p = find_option(e, name, &n);
    return p && n >= skip ? xstrndup(p + skip, n - skip) : NULL;
}

bool fstab_is_local(const struct fstab_entry *e)
{
    static const char *const tags[] = {"UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "/dev/"};
    static const char *const foreign[] = {"swap", "none", "nfs", "nfs4", "cifs", "iso9660", "udf"};
    if (strcmp(e->file, "/") == 0 || fstab_has_option(e, "noauto") ||
        fstab_has_option(e, "_netdev") || fstab_has_option(e, "bind"))
        return false;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (strcmp(e->type, foreign[i]) == 0)
            return false;
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (strncmp(e->spec, tags[i], strlen(tags[i])) == 0)
            return true;
    return false;
}

char *os_release_get(struct str text, const char *name)
{
    size_t n = strlen(name);
    while (text.len) {
        struct str line = next_line(&text);
        while (line.len && is_blank(line.ptr[line.len - 1]))
            line.len--;
        if (line.len <= n || memcmp(line.ptr, name, n) != 0 || line.ptr[n] != '=')
            continue;
        struct str value = {line.ptr + n + 1, line.len - n - 1};
        if (value.len >= 2 && (*value.ptr == '"' || *value.ptr == '\'') &&
            value.ptr[value.len - 1] == *value.ptr)
            value = (struct str){value.ptr + 1, value.len - 2};
        CLEANUP(buf_clear) struct buf b = BUF_INIT;
        for (size_t i = 0; i < value.len; i++)
            if (value.ptr[i] != '\\' || i + 1 == value.len)
                buf_addc(&b, value.ptr[i]);
            else
                buf_addc(&b, value.ptr[++i]);
        return buf_detach(&b, NULL);
    }
    return NULL;
}
