// SPDX-License-Identifier: MIT
#include "cache/history.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "cache/internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FAILED_MAX = 64 << 20 }; /* bytes; a step's log is shorter */

static char *history_path(const struct store *st, const char *name)
{
    AUTO_FREE char *file = store_encode(name, ".json");
    return path_join(st->builds, file);
}

json_t *history_read(struct store *st, const char *name)
{
    AUTO_FREE char *path = history_path(st, name);
    json_auto_t *all = json_read_file(path, NULL);
    json_t *steps = json_object_get(all, "steps");
    return json_is_array(steps) ? json_incref(steps) : NULL;
}

int history_write(struct store *st, const char *name, const json_t *steps, struct error **err)
{
    AUTO_FREE char *path = history_path(st, name);
    json_auto_t *was = history_read(st, name);
    if (was && json_equal(was, steps)) {
        (void)utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
        return 0;
    }
    json_auto_t *all = json_object();
    json_object_set_new(all, "version", json_integer(1));
    json_object_set_new(all, "name", json_string(name));
    json_object_set(all, "steps", (json_t *)steps);
    return json_write_file(path, 0644, all, err);
}

/* ".builds/<name>.failed": a line with the step's number, then its output. */
static char *failed_path(const struct store *st, const char *name)
{
    AUTO_FREE char *file = store_encode(name, ".failed");
    return path_join(st->builds, file);
}

int history_keep_failed(struct store *st, const char *name, size_t step, const char *log,
                        struct error **err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    AUTO_FREE char *path = failed_path(st, name);
    buf_addf(&text, "%zu\n", step);
    size_t head = text.len;
    CLEANUP(buf_clear) struct buf output = BUF_INIT;
    history_drop_failed(st, name);
    if (access(log, F_OK) < 0)
        return 0;
    if (file_read(log, FAILED_MAX, &output, err) < 0)
        return -1;
    buf_add_str(&text, buf_str(&output));
    return text.len == head ? 0 : file_write_whole(path, 0644, text.data, text.len, err);
}

void history_drop_failed(struct store *st, const char *name)
{
    AUTO_FREE char *path = failed_path(st, name);
    (void)unlink(path);
}

int history_failed(struct store *st, const char *name, size_t *ret_step, struct error **err)
{
    char head[24] = "";
    AUTO_FREE char *path = failed_path(st, name);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    const char *end =
        fd >= 0 && pread_all(fd, head, sizeof head - 1, 0) > 0 ? strchr(head, '\n') : NULL;
    if (!end || lseek(fd, end + 1 - head, SEEK_SET) < 0)
        return error_set(err, ERR_NOT_FOUND, "no output of a failed step of '%s' is kept", name);
    *ret_step = strtoul(head, NULL, 10);
    return STEAL_FD(fd);
}

void history_list(struct store *st, history_list_fn *fn, void *arg)
{
    DIR *d = opendir(st->builds);
    for (const struct dirent *e; d && (e = readdir(d));) {
        const char *dot = strrchr(e->d_name, '.');
        if (e->d_name[0] == '.' || !dot)
            continue;
        // names are encoded as those of images are
        AUTO_FREE char *path = path_join(st->builds, e->d_name);
        AUTO_FREE char *image = xasprintf("%s/%.*s", st->dir, (int)(dot - e->d_name), e->d_name);
        fn(arg, image, path);
    }
    if (d)
        closedir(d);
}

static bool same_word(const char *a, const char *b)
{
    size_t n = strcspn(a, " \t\n");
    return n == strcspn(b, " \t\n") && !strncmp(a, b, n);
}

const json_t *history_match(const json_t *last, size_t index, const char *step)
{
    const json_t *best = NULL;
    size_t i, best_off = SIZE_MAX;
    json_t *e;
    json_array_foreach ((json_t *)last, i, e) {
        const char *text = json_str(e, "step");
        size_t off = i < index ? index - i : i - index;
        if (text && !strcmp(text, step) && off < best_off) {
            best = e;
            best_off = off;
        }
    }
    if (best)
        return best;
    const json_t *there = json_array_get(last, index);
    const char *text = json_str(there, "step");
    return text && same_word(text, step) ? there : NULL;
}
