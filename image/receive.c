// SPDX-License-Identifier: MIT
//
// Threads: fetch → flow → decode → flow → this one, which writes, draws the bar and watches for
// interruption. What can be resumed later is noted in state.json, every two seconds and at the end:
// either the disk itself, when it comes as it is to be stored (not compressed, not raw, no box), or
// "part", a copy of what came, when that was asked for. A resumed fetch gives the kept bytes into
// the flow again, so that format, digest and decoder see everything; the sink only does not write
// them twice.
#include "image/receive.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/url.h"
#include "image/checksum.h"
#include "image/decode.h"
#include "image/fetch.h"
#include "image/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOTE_MS = 2000, TICK_MS = 100 };

struct receiver {
    const struct session *s;
    const struct receive_options *o;
    struct flow *fetched, *decoded;
    struct fetch *fetch;
    pthread_t decoder;
    bool decoder_runs;
    _Atomic enum compression compression;
    struct sink *sink;
    int fd; /* of the disk */
    char *disk, *part, *state;
    long long noted, ticked;
    bool holding;                /* a block of `decoded` is ours */
    char *name;                  /* of the file at the source, for people */
    char source[DIGEST_HEX + 1]; /* digest of the URL, which may hold a password */
};

static bool keeps_disk(const struct receiver *r)
{
    return r->compression == COMPRESSION_NONE && !r->o->tar && r->sink &&
           sink_format(r->sink) != FORMAT_RAW && sink_format(r->sink) != FORMAT_UNKNOWN;
}

/* Writes down what a later run can go on from. */
static void note_state(struct receiver *r)
{
    struct fetch_status st = fetch_status(r->fetch);
    AUTO_FREE char *etag = NULL, *modified = NULL;
    r->noted = now_ms();
    if (!st.http || st.changed)
        return;
    fetch_validators(r->fetch, &etag, &modified);
    bool spool = r->o->pull->resumable;
    if ((!etag && !modified) || (!spool && !keeps_disk(r)))
        return;
    AUTO_CLOSE int fd = spool ? open(r->part, O_RDONLY | O_CLOEXEC) : dup(r->fd);
    struct stat file;
    if (fd < 0 || fstat(fd, &file) < 0)
        return;
    // zeros at the end were not written
    if (!spool && (uint64_t)file.st_size < sink_size(r->sink) &&
        ftruncate(fd, (off_t)sink_size(r->sink)) < 0)
        return;
    // the note must not be there before what it promises
    if (fdatasync(fd) < 0)
        return;
    json_auto_t *j =
        json_pack("{s:s, s:b, s:I, s:I, s:s*, s:s*}", "source", r->source, "part", spool, "bytes",
                  (json_int_t)(spool ? (uint64_t)file.st_size : sink_size(r->sink)), "total",
                  (json_int_t)st.total, "etag", etag, "modified", modified);
    (void)json_write_file(r->state, 0644, j, NULL);
}

/* Once in a while: the bar, the note, and whether to stop. */
static int tick(struct receiver *r, struct error **err)
{
    long long now = now_ms();
    if (session_cancelled(r->s))
        return error_set(err, ERR_CANCELLED, "interrupted");
    if (now - r->ticked < TICK_MS)
        return 0;
    r->ticked = now;
    struct fetch_status st = fetch_status(r->fetch);
    session_progress(r->s, r->name, st.done, st.total, false);
    if (now - r->noted >= NOTE_MS)
        note_state(r);
    return 0;
}

/* The next decoded bytes; 1, 0 at the end, -1. */
static int next_block(struct receiver *r, struct str *ret, struct error **err)
{
    if (r->holding)
        flow_done(r->decoded);
    r->holding = false;
    for (;;) {
        if (tick(r, err) < 0)
            return -1;
        int rc = flow_take(r->decoded, TICK_MS, ret, err);
        r->holding = rc == 1;
        if (rc != FLOW_AGAIN)
            return rc;
    }
}

static int open_sink(struct receiver *r, struct error **err)
{
    struct fetch_status st = fetch_status(r->fetch);
    uint64_t kept = r->o->pull->resumable ? 0 : st.resumed;
    struct sink_options o = {.fd = r->fd,
                             .raw = r->o->pull->raw,
                             .overlay = r->o->overlay,
                             .max_size = r->o->pull->max_size,
                             .kept = kept};
    if (ftruncate(r->fd, (off_t)kept) < 0)
        return error_errno(err, "cannot write '%s'", r->disk);
    r->sink = sink_new(&o);
    return 0;
}

static int write_disk(void *arg, const void *bytes, uint64_t n, struct error **err)
{
    struct receiver *r = arg;
    if (!r->sink && open_sink(r, err) < 0)
        return -1;
    return sink_add(r->sink, bytes, n, fetch_status(r->fetch).done, err);
}

static int read_archive(void *arg, const void **ret, size_t *ret_n, struct error **err)
{
    struct receiver *r = arg;
    static const char zeros[64 * 1024];
    struct str block = {0};
    int rc = next_block(r, &block, err);
    if (rc <= 0)
        return rc;
    if (!block.ptr && block.len > sizeof zeros) // holes are only in uncompressed local files
        return error_set(err, ERR_USER, "the archive has a hole in it");
    *ret = block.ptr ? block.ptr : zeros;
    *ret_n = block.len;
    return 1;
}

static int consume(struct receiver *r, struct error **err)
{
    struct str block;
    int rc;
    if (r->o->tar) {
        struct tar_disk_io io = {.read = read_archive, .write = write_disk, .arg = r};
        if (tar_disk_extract(r->o->tar, &io, err) < 0)
            return -1;
        while ((rc = next_block(r, &block, err)) > 0)
            ; // to the end, for the digest
        return rc;
    }
    while ((rc = next_block(r, &block, err)) > 0)
        if (write_disk(r, block.ptr, block.len, err) < 0)
            return -1;
    return rc;
}

static void *decode(void *arg)
{
    struct receiver *r = arg;
    decode_flow(r->fetched, r->decoded, &r->compression);
    return NULL;
}

/* What an earlier run left, if it is of this source. The strings are the json's. */
static bool read_state(struct receiver *r, const json_t *j, struct fetch_part *ret)
{
    const char *source = json_str(j, "source");
    bool spool = json_flag(j, "part");
    *ret = (struct fetch_part){.path = spool ? r->part : r->disk,
                               .bytes = (uint64_t)json_int(j, "bytes", 0),
                               .total = (uint64_t)json_int(j, "total", 0),
                               .etag = json_str(j, "etag"),
                               .modified = json_str(j, "modified")};
    struct stat st;
    return source && !strcmp(source, r->source) && spool == r->o->pull->resumable && ret->bytes &&
           stat(ret->path, &st) == 0 && (uint64_t)st.st_size >= ret->bytes;
}

static bool wants_sha512(const struct receive_options *o)
{
    return o->expected && o->expected->size == sizeof(struct digest512);
}

static int start(struct receiver *r, struct error **err)
{
    json_auto_t *j = json_read_file(r->state, NULL);
    struct fetch_part part;
    struct fetch_options o = {.session = r->s,
                              .url = r->o->url,
                              .path = r->o->path,
                              .digest = r->o->url || r->o->expected,
                              .digest512 = wants_sha512(r->o),
                              .content = r->o->path != NULL,
                              .spool = r->o->pull->resumable ? r->part : NULL};
    if (r->o->url && j && read_state(r, j, &part))
        o.part = &part;
    (void)unlink(r->state); // from here on it may become untrue
    r->fetched = flow_new(8, 512 * 1024);
    r->decoded = flow_new(8, 1 << 20);
    if (fetch_start(&o, r->fetched, &r->fetch, err) < 0)
        return -1;
    int rc = pthread_create(&r->decoder, NULL, decode, r);
    if (rc) {
        errno = rc;
        return error_errno(err, "cannot start a thread");
    }
    r->decoder_runs = true;
    return 0;
}

/* Ends the threads; *ret (may be NULL) gets what is known of the source, if all of it came. */
static void stop(struct receiver *r, struct received *ret)
{
    if (r->holding)
        flow_done(r->decoded);
    r->holding = false;
    if (r->decoded)
        flow_stop(r->decoded);
    if (r->fetched)
        flow_stop(r->fetched);
    if (ret && r->fetch) {
        fetch_validators(r->fetch, &ret->etag, &ret->modified);
        ret->has_sha256 = r->o->url || r->o->expected;
        ret->has_sha512 = wants_sha512(r->o);
        ret->has_content = r->o->path != NULL;
    }
    fetch_finish(STEAL(r->fetch), ret ? &ret->sha256 : NULL, ret ? &ret->content : NULL,
                 ret ? &ret->sha512 : NULL);
    if (r->decoder_runs)
        pthread_join(r->decoder, NULL);
    r->decoder_runs = false;
}

static int finish(struct receiver *r, struct received *ret, struct error **err)
{
    struct fetch_status st = fetch_status(r->fetch);
    session_progress(r->s, r->name, st.done, st.total, true);
    if (!r->sink && open_sink(r, err) < 0) // nothing came
        return -1;
    stop(r, ret);
    struct checksum have =
        ret->has_sha512 ? checksum_of512(&ret->sha512) : checksum_of(&ret->sha256);
    if (r->o->expected && checksum_compare(r->o->expected, &have, err) < 0)
        return -1;
    return sink_end(r->sink, &ret->format, err);
}

/* The errors after which what came is still good. */
static bool worth_keeping(const struct error *why)
{
    return why &&
           (why->kind == ERR_SYSTEM || why->kind == ERR_CANCELLED || why->kind == ERR_NOT_FOUND);
}

static int receive_all(struct receiver *r, struct received *ret, struct error **err)
{
    CLEANUP(error_freep) struct error *why = NULL;
    if (start(r, err) < 0)
        return -1;
    if (consume(r, &why) < 0) {
        struct fetch_status st = fetch_status(r->fetch);
        ret->changed = st.changed;
        ret->named = st.failed;
        if (worth_keeping(why))
            note_state(r);
        else
            (void)unlink(r->state);
        return error_propagate(err, STEAL(why));
    }
    int rc = finish(r, ret, err);
    (void)unlink(r->state); // there is nothing left to resume
    return rc;
}

void received_clear(struct received *r)
{
    free(r->etag);
    free(r->modified);
    *r = (struct received){0};
}

int receive(const struct session *s, const struct receive_options *o, struct received *ret,
            struct error **err)
{
    const char *source = o->url ? o->url : o->path;
    struct digest d = digest_of(source, strlen(source));
    struct receiver *r = xcalloc(1, sizeof *r);
    *r = (struct receiver){.s = s, .o = o, .noted = now_ms(), .name = url_file_name(source)};
    digest_hex(&d, r->source);
    r->disk = path_join(o->dir, "disk");
    r->part = path_join(o->dir, "part");
    r->state = path_join(o->dir, "state.json");
    r->fd = open(r->disk, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    int rc = r->fd < 0 ? error_errno(err, "cannot create '%s'", r->disk) : receive_all(r, ret, err);
    stop(r, NULL);
    flow_free(r->fetched);
    flow_free(r->decoded);
    sink_free(r->sink);
    auto_closep(&r->fd);
    free(r->disk);
    free(r->part);
    free(r->state);
    free(r->name);
    free(r);
    return rc;
}
