// SPDX-License-Identifier: MIT
#include "builder/context/ignore_file.h"

#include "base/alloc.h"
#include "base/file.h"
#include "imagefile/ignore.h"

enum { IGNORE_FILE_MAX = 1 << 20 };

/* 1: *text is the file's; 0: there is none; -1. */
static int read_one(const char *path, struct buf *text, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    if (file_read(path, IGNORE_FILE_MAX, text, &why) == 0)
        return 1;
    return why->kind == ERR_NOT_FOUND ? 0 : error_propagate(err, STEAL(why));
}

static int take(char *path, const struct buf *text, struct ignore_file *ret, struct error **err)
{
    const char *slash = strrchr(path, '/');
    ret->path = path;
    ret->name = slash ? slash + 1 : path;
    ret->ignore = ignore_new();
    if (ignore_parse(ret->ignore, path, text->data, text->len, err) == 0)
        return 0;
    ignore_file_clear(ret);
    return -1;
}

int ignore_file_read(const char *dir, const char *imagefile, struct ignore_file *ret,
                     struct error **err)
{
    static const char *const endings[] = {".imageignore", ".dockerignore"};
    *ret = (struct ignore_file){0};
    for (size_t i = imagefile ? 0 : 2; i < 4; i++) {
        AUTO_FREE char *path =
            i < 2 ? xasprintf("%s%s", imagefile, endings[i]) : path_join(dir, endings[i - 2]);
        CLEANUP(buf_clear) struct buf text = BUF_INIT;
        int got = read_one(path, &text, err);
        if (got)
            return got < 0 ? -1 : take(STEAL(path), &text, ret, err);
    }
    return 0;
}

void ignore_file_clear(struct ignore_file *f)
{
    ignore_free(f->ignore);
    free(f->path);
    *f = (struct ignore_file){0};
}
