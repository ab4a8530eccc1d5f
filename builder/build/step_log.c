// SPDX-License-Identifier: MIT
//
// The second half of the file is a ring while it is written: byte n of the output, past the first
// half, is at HALF + (n - HALF) % HALF. step_log_close turns it into order.
#include "builder/build/step_log.h"

#include "base/alloc.h"
#include "base/file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HALF = STEP_LOG_MAX / 2, TAIL_MAX = 4096 };

int step_log_open(struct step_log *l, const char *path, struct error **err)
{
    l->bytes = 0;
    l->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return l->fd < 0 ? error_errno(err, "cannot create '%s'", path) : 0;
}

static int give_up(struct step_log *l, struct error **err)
{
    int rc = error_errno(err, "the step's log can't be written");
    close(STEAL_FD(l->fd));
    return rc;
}

int step_log_add(struct step_log *l, const char *bytes, size_t n, struct error **err)
{
    while (n && l->fd >= 0) {
        uint64_t at = l->bytes < HALF ? l->bytes : HALF + (l->bytes - HALF) % HALF;
        size_t room = (size_t)(at < HALF ? HALF - at : STEP_LOG_MAX - at);
        size_t part = n < room ? n : room;
        if (pwrite_all(l->fd, bytes, part, (off_t)at) < 0)
            return give_up(l, err);
        l->bytes += part;
        bytes += part;
        n -= part;
    }
    return 0;
}

/* The ring in order, behind a line that says what is missing before it. */
static int unroll(const struct step_log *l)
{
    size_t start = (size_t)((l->bytes - HALF) % HALF);
    AUTO_FREE char *ring = xmalloc(HALF);
    AUTO_FREE char *line = xasprintf("\n[kiln: %llu bytes of output are not kept]\n",
                                     (unsigned long long)(l->bytes - STEP_LOG_MAX));
    size_t len = strlen(line);
    if (pread_all(l->fd, ring, HALF, HALF) != HALF || pwrite_all(l->fd, line, len, HALF) < 0 ||
        pwrite_all(l->fd, ring + start, HALF - start, (off_t)(HALF + len)) < 0)
        return -1;
    return pwrite_all(l->fd, ring, start, (off_t)(STEP_LOG_MAX + len - start));
}

int step_log_close(struct step_log *l, struct error **err)
{
    if (l->fd < 0)
        return 0;
    if (l->bytes > STEP_LOG_MAX && unroll(l) < 0)
        return give_up(l, err);
    close(STEAL_FD(l->fd));
    return 0;
}

char *step_log_tail(const char *path, unsigned lines)
{
    char text[TAIL_MAX + 1];
    struct stat st;
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return xstrdup("");
    off_t at = st.st_size > TAIL_MAX ? st.st_size - TAIL_MAX : 0;
    ssize_t n = pread_all(fd, text, TAIL_MAX, at);
    text[n > 0 ? n : 0] = '\0';
    for (ssize_t i = 0; i < n; i++) // it goes to the terminal in one piece with our own words
        if ((unsigned char)text[i] < ' ' && text[i] != '\n' && text[i] != '\t')
            text[i] = text[i] == '\r' ? ' ' : '?';
    char *start = text + strlen(text);
    if (start > text && start[-1] == '\n')
        *--start = '\0';
    while (start > text && (start[-1] != '\n' || --lines))
        start--;
    return xstrdup(start);
}
