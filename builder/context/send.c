// SPDX-License-Identifier: MIT
//
// sender_read fills the caller's buffer from, in this order: bytes of entry heads that wait in
// `out`, zeros up to an alignment, data of the file or archive entry that is open; when there is
// none of these, the next entry is begun, which puts its head into `out`. A problem puts a
// STREAM_ABORT there instead, after the announced bytes of the file at hand have been made up with
// zeros: the reader must find the abort where the next entry would be.
#include "builder/context/send.h"

#include "base/alloc.h"
#include "base/session.h"
#include "builder/context/sender.h"

#include <sys/stat.h>

struct sender *sender_new(const struct session *s, const struct selection *sel)
{
    struct sender *snd = xcalloc(1, sizeof *snd);
    snd->session = s;
    snd->sel = sel;
    snd->fd = -1;
    snd->total = sel->bytes;
    buf_init(&snd->out);
    buf_init(&snd->path);
    buf_init(&snd->link);
    buf_init(&snd->xattrs);
    return snd;
}

void sender_free(struct sender *snd)
{
    if (!snd)
        return;
    sender_close_source(snd);
    extents_clear(&snd->extents);
    buf_clear(&snd->out);
    buf_clear(&snd->path);
    buf_clear(&snd->link);
    buf_clear(&snd->xattrs);
    error_free(snd->error);
    free(snd);
}

void sender_progress(const struct sender *snd, struct sender_progress *ret)
{
    ret->done = __atomic_load_n(&snd->done, __ATOMIC_RELAXED);
    ret->entries = __atomic_load_n(&snd->entries, __ATOMIC_RELAXED);
    ret->total = snd->total;
}

int sender_result(const struct sender *snd, struct error **err)
{
    if (!snd->error)
        return 0;
    error_set(err, snd->error->kind, "%s", snd->error->message);
    if (snd->error->hint)
        error_hint(err, "%s", snd->error->hint);
    return -1;
}

/* Begins an archive; false (without error) when the file is none. */
static bool begin_archive(struct sender *snd)
{
    const struct part *p = sender_part(snd);
    if (snd->pick->node) {
        struct stat st;
        if (sender_open_node(snd, &st) < 0)
            return false;
        if (!sender_same_as_selected(snd->pick->node, &st)) {
            (void)sender_changed(snd);
            return false;
        }
    } else if (sender_open_remote(snd) < 0)
        return false;
    if (tar_open(snd->session, STEAL_FD(snd->fd), p->shown, &snd->tar, &snd->error) < 0 ||
        !snd->tar)
        return false;
    snd->tar_before = snd->done;
    snd->state = IN_ARCHIVE;
    return true;
}

/* Begins the next entry, or ends the stream. */
static void begin_entry(struct sender *snd)
{
    snd->extents.len = snd->extent = 0;
    if (snd->next_pick == snd->sel->picks.len) {
        sender_end(snd, STREAM_END, "");
        return;
    }
    if (session_cancelled(snd->session)) {
        error_set(&snd->error, ERR_CANCELLED, "interrupted");
        sender_abort(snd);
        return;
    }
    snd->pick = &snd->sel->picks.ptr[snd->next_pick++];
    const struct part *p = sender_part(snd);
    int got = 0;
    if (p->kind == SOURCE_ITEMS) {
        snd->items = p->items;
        snd->tar_before = snd->done;
        snd->state = IN_ARCHIVE;
        return;
    }
    if (p->unpack && begin_archive(snd))
        return;
    if (snd->error)
        got = -1;
    else if (snd->pick->node)
        got = sender_begin_node(snd);
    else if (p->kind == SOURCE_INLINE)
        sender_begin_inline(snd);
    else
        got = sender_begin_remote(snd);
    if (got < 0)
        sender_abort(snd);
}

static void tell_archive_progress(struct sender *snd)
{
    uint64_t n = snd->items ? snd->items->consumed(snd->items->arg) : tar_consumed(snd->tar);
    __atomic_store_n(&snd->done, snd->tar_before + n, __ATOMIC_RELAXED);
}

static void end_archive(struct sender *snd)
{
    struct digest d;
    if (!snd->items && tar_finish(snd->tar, &d, &snd->error) == 0 &&
        !digest_eq(&d, sender_expected(snd)))
        (void)sender_changed(snd);
    tell_archive_progress(snd);
    if (snd->error) {
        sender_abort(snd);
        return;
    }
    sender_close_source(snd);
    snd->state = AT_ENTRY;
}

static int next_item(struct sender *snd, struct tar_item *ret)
{
    return snd->items ? snd->items->next(snd->items->arg, ret, &snd->error)
                      : tar_next(snd->tar, ret, &snd->error);
}

static void begin_tar_entry(struct sender *snd)
{
    struct tar_item item;
    snd->extents.len = snd->extent = 0;
    int got = session_cancelled(snd->session) ? error_set(&snd->error, ERR_CANCELLED, "interrupted")
                                              : next_item(snd, &item);
    if (got < 0) {
        sender_abort(snd);
        return;
    }
    tell_archive_progress(snd);
    if (!got) {
        end_archive(snd);
        return;
    }
    vec_foreach (const struct extent *, x, item.extents)
        *extents_push(&snd->extents) = *x;
    snd->extent_done = 0;
    sender_put_head(snd, item.head, item.path, item.link, item.xattrs, &snd->extents);
    if (!snd->extents.len)
        return;
    sender_align(snd);
    snd->state = IN_TAR_ENTRY;
}

static size_t read_tar_entry(struct sender *snd, char *bytes, size_t n)
{
    if (snd->extent == snd->extents.len) {
        snd->state = IN_ARCHIVE;
        return 0;
    }
    const struct item_source *from = snd->items;
    n = sender_in_extent(snd, n);
    ssize_t got = from ? from->data(from->arg, bytes, n, &snd->error)
                       : tar_data(snd->tar, bytes, n, &snd->error);
    if (got < 0) {
        sender_abort(snd);
        return 0;
    }
    tell_archive_progress(snd);
    sender_advance(snd, (size_t)got);
    return (size_t)got;
}

static size_t take(uint64_t *left, char *bytes, size_t n)
{
    n = *left < n ? (size_t)*left : n;
    memset(bytes, 0, n);
    *left -= n;
    return n;
}

static size_t take_out(struct sender *snd, char *bytes, size_t n)
{
    size_t left = snd->out.len - snd->out_at;
    n = left < n ? left : n;
    memcpy(bytes, snd->out.data + snd->out_at, n);
    snd->out_at += n;
    if (snd->out_at == snd->out.len) {
        buf_reset(&snd->out);
        snd->out_at = 0;
    }
    return n;
}

/* Some bytes, at most n; none after a change of state. */
static size_t step(struct sender *snd, char *bytes, size_t n)
{
    if (snd->out.len)
        return take_out(snd, bytes, n);
    if (snd->padding)
        return take(&snd->padding, bytes, n);
    switch (snd->state) {
    case AT_ENTRY:
        begin_entry(snd);
        return 0;
    case IN_FILE:
        return sender_read_file(snd, bytes, n);
    case IN_INLINE:
        return sender_read_inline(snd, bytes, n);
    case IN_ARCHIVE:
        begin_tar_entry(snd);
        return 0;
    case IN_TAR_ENTRY:
        return read_tar_entry(snd, bytes, n);
    case IN_ZEROS:
        if (!snd->zeros_left)
            sender_end(snd, STREAM_ABORT, snd->error->message);
        return take(&snd->zeros_left, bytes, n);
    case ENDED:
        return 0;
    }
    return 0;
}

ssize_t sender_read(void *sender, void *bytes, size_t n)
{
    struct sender *snd = sender;
    size_t done = 0;
    while (done < n && (snd->state != ENDED || snd->out.len)) {
        size_t got = step(snd, (char *)bytes + done, n - done);
        done += got;
        snd->offset += got;
    }
    return (ssize_t)done;
}
