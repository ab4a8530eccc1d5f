// SPDX-License-Identifier: MIT
//
// A blob is copied and digested at once, into a file of .working that is then renamed. Somebody else
// may rename the same blob first: then it is replaced by equal bytes.
#include "registry/layout.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/printable.h"
#include "base/session.h"
#include "base/working.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20, SMALL = 1 << 20, INDEX_MAX = 4 << 20, TAGS_SHOWN = 10 };

#define REF_NAME "org.opencontainers.image.ref.name"
#define VERSION_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"
#define EMPTY_INDEX \
    "{\"schemaVersion\":2,\"mediaType\":\"application/" \
    "vnd.oci.image.index.v1+json\",\"manifests\":[]}"

struct layout {
    const struct session *session;
    char *dir, *index;
    struct working work; /* of a push */
    atomic_uint files;   /* made in it so far */
};

/* A regular file, whatever a stranger put there. -1 with errno. */
static int open_file(const char *path)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return -1;
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return -1;
    }
    return STEAL_FD(fd);
}

static int not_layout(const char *dir, struct error **err)
{
    error_set(err, ERR_USER, "folder '%s' is not an OCI image layout", dir);
    return error_hint(err,
                      "one has the files 'oci-layout' and 'index.json'; "
                      "'kiln image push NAME oci-layout:DIR' makes one");
}

/* Not a pipe, which would not end. */
static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int check_version(const struct layout *l, struct error **err)
{
    AUTO_FREE char *path = path_join(l->dir, "oci-layout");
    json_auto_t *j = is_file(path) ? json_read_file(path, NULL) : NULL;
    const char *version = json_str(j, "imageLayoutVersion");
    if (!version || !is_file(l->index))
        return not_layout(l->dir, err);
    if (strncmp(version, "1.", 2) != 0)
        return error_set(err, ERR_USER, "OCI image layout '%s' has version '%s', not 1", l->dir,
                         version);
    return 0;
}

/* Whether the folder is missing, empty, or on the way to become a layout: by a kiln that works in
 * '.working', or one that was killed there. */
static bool may_become_layout(const char *dir)
{
    static const char *const ours[] = {".", "..", ".working", "blobs", "index.json", "oci-layout"};
    enum { N = sizeof ours / sizeof *ours, WORKING = 2, WHOLE = 8 + 16 + 32 };
    DIR *d = opendir(dir);
    unsigned entries = 0, known = 0, seen = 0;
    for (struct dirent *e; d && (e = readdir(d)); entries++)
        for (unsigned i = 0; i < N; i++)
            if (!strcmp(e->d_name, ours[i])) {
                known++;
                seen |= 1u << i;
            }
    if (!d)
        return errno == ENOENT;
    closedir(d);
    // a whole one was made by another kiln just now
    return entries == known && (entries == 2 || seen >> WORKING & 1 || (seen & WHOLE) == WHOLE);
}

/* Puts a file of these bytes there, whole. */
static int place(struct layout *l, const char *path, const char *bytes, size_t n,
                 struct error **err)
{
    AUTO_FREE char *temp = xasprintf("%s/%u", l->work.dir, l->files++);
    if (file_write_whole(temp, 0644, bytes, n, err) < 0)
        return -1;
    return rename(temp, path) < 0 ? error_errno(err, "cannot write '%s'", path)
                                  : fsync_parent(path, err);
}

/* Whoever comes second finds what the first one made. */
static int make_layout(struct layout *l, struct error **err)
{
    AUTO_FREE char *blobs = path_join(l->dir, "blobs/sha256");
    AUTO_FREE char *lock = path_join(l->dir, ".working/index.lock");
    AUTO_FREE char *version = path_join(l->dir, "oci-layout");
    AUTO_CLOSE int fd = lock_wait(lock, LOCK_EXCLUSIVE, l->session->cancel_fd, err);
    if (fd < 0)
        return -1;
    if (access(l->index, F_OK) == 0 && access(version, F_OK) == 0)
        return check_version(l, err);
    return make_dirs(blobs, 0755, err) < 0 ||
                   place(l, l->index, EMPTY_INDEX, strlen(EMPTY_INDEX), err) < 0
               ? -1
               : place(l, version, VERSION_TEXT, strlen(VERSION_TEXT), err);
}

static int open_for_push(struct layout *l, struct error **err)
{
    AUTO_FREE char *working = path_join(l->dir, ".working");
    AUTO_FREE char *version = path_join(l->dir, "oci-layout");
    bool whole = access(l->index, F_OK) == 0 && access(version, F_OK) == 0;
    if (!whole && !may_become_layout(l->dir)) {
        error_set(err, ERR_USER, "folder '%s' has files and is not an OCI image layout", l->dir);
        return error_hint(err, "name a new or an empty folder");
    }
    if (make_dirs(l->dir, 0755, err) < 0)
        return -1;
    working_sweep(working);
    for (unsigned tries = 0; !l->work.dir; tries++) {
        // whoever ends takes '.working' away, perhaps just before there is something of ours in it
        CLEANUP(error_freep) struct error *why = NULL;
        if (working_open(&l->work, working, &why) < 0 && (why->errnum != ENOENT || tries > 99))
            return error_propagate(err, STEAL(why));
    }
    return make_layout(l, err);
}

int layout_open(const struct session *s, const char *dir, bool push, struct layout **ret,
                struct error **err)
{
    struct layout *l = xcalloc(1, sizeof *l);
    *l = (struct layout){.session = s, .dir = xstrdup(dir), .work = WORKING_INIT};
    l->index = path_join(dir, "index.json");
    int rc;
    if (push)
        rc = open_for_push(l, err);
    else if (access(dir, F_OK) < 0)
        rc = error_set(err, ERR_NOT_FOUND, "no folder '%s'", dir);
    else
        rc = check_version(l, err);
    if (rc < 0)
        layout_free(l);
    else
        *ret = l;
    return rc;
}

void layout_free(struct layout *l)
{
    if (!l)
        return;
    if (l->work.dir) {
        AUTO_FREE char *working = path_join(l->dir, ".working");
        AUTO_FREE char *lock = path_join(working, "index.lock");
        working_clear(&l->work);
        // lock_wait makes it again for whoever is waiting
        int fd = lock_try(lock, LOCK_EXCLUSIVE, NULL);
        if (fd >= 0) {
            (void)unlink(lock);
            (void)close(fd);
        }
        (void)rmdir(working);
    }
    free(l->dir);
    free(l->index);
    free(l);
}

static json_t *read_index(const struct layout *l, struct error **err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    json_error_t why;
    if (file_read(l->index, INDEX_MAX, &text, err) < 0)
        return NULL;
    json_auto_t *j = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &why);
    if (!j || !json_is_array(json_object_get(j, "manifests"))) {
        error_set(err, ERR_USER, "'%s' is not an image index: %s", l->index,
                  j ? "it has no list 'manifests'" : why.text);
        return NULL;
    }
    return STEAL(j);
}

static const char *tag_of(const json_t *descriptor)
{
    return json_str(json_object_get(descriptor, "annotations"), REF_NAME);
}

static const json_t *find_tag(const json_t *index, const char *tag)
{
    const json_t *list = json_object_get(index, "manifests"), *d;
    size_t i;
    json_array_foreach (list, i, d) {
        const char *its = tag_of(d);
        if (its && !strcmp(its, tag))
            return d;
    }
    d = json_array_get(list, 0);
    return !strcmp(tag, "latest") && json_array_size(list) == 1 && !tag_of(d) ? d : NULL;
}

static int no_tag(const struct layout *l, const json_t *index, const char *tag, struct error **err)
{
    CLEANUP(buf_clear) struct buf tags = BUF_INIT;
    const json_t *d;
    size_t i, n = 0;
    json_array_foreach (json_object_get(index, "manifests"), i, d) {
        const char *its = tag_of(d);
        AUTO_FREE char *line = its ? printable_line(its) : NULL;
        if (its && n++ < TAGS_SHOWN)
            buf_addf(&tags, "%s'%s'", n > 1 ? ", " : "", line);
    }
    error_set(err, ERR_NOT_FOUND, "OCI image layout '%s' has no tag '%s'", l->dir, tag);
    return n ? error_hint(err, "it has %s%s", tags.data, n > TAGS_SHOWN ? ", …" : "") : -1;
}

/* The digest (hex) that a tag or "sha256:…" names. */
static int resolve(const struct layout *l, const char *version, char hex[DIGEST_HEX + 1],
                   struct error **err)
{
    struct digest d;
    const char *digest = version;
    json_auto_t *index = NULL;
    if (strncmp(version, "sha256:", 7) != 0) {
        const json_t *found = (index = read_index(l, err)) ? find_tag(index, version) : NULL;
        if (!found)
            return index ? no_tag(l, index, version, err) : -1;
        digest = json_str(found, "digest");
    }
    if (!digest_parse_named(digest, &d))
        return error_set(err, ERR_USER, "'%s': the digest of '%s' is not SHA-256", l->index,
                         version);
    digest_hex(&d, hex);
    return 0;
}

static char *blob_path(const struct layout *l, const char *hex)
{
    return xasprintf("%s/blobs/sha256/%s", l->dir, hex);
}

static int no_blob(const struct layout *l, const char *hex, struct error **err)
{
    int saved = errno;
    if (saved == ENOENT)
        return error_set(err, ERR_NOT_FOUND, "OCI image layout '%s' has no blob sha256:%s", l->dir,
                         hex);
    errno = saved;
    return error_errno(err, "cannot read blob sha256:%s of '%s'", hex, l->dir);
}

static int wrong_content(const struct layout *l, const char *hex, struct error **err)
{
    return error_set(err, ERR_USER,
                     "blob sha256:%.12s… of '%s' has other content than its name says", hex,
                     l->dir);
}

int layout_blob(struct layout *l, const char *hex, size_t limit, struct buf *ret,
                struct error **err)
{
    AUTO_FREE char *path = blob_path(l, hex);
    AUTO_CLOSE int fd = open_file(path);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return no_blob(l, hex, err);
    if ((uint64_t)st.st_size > limit)
        return error_set(err, ERR_USER, "blob sha256:%.12s… of '%s' is larger than %zu bytes", hex,
                         l->dir, limit);
    size_t n = (size_t)st.st_size;
    buf_reset(ret);
    buf_reserve(ret, n + 1);
    if (pread_all(fd, ret->data, n, 0) != (ssize_t)n)
        return error_errno(err, "cannot read '%s'", path);
    ret->len = n;
    ret->data[n] = '\0';
    struct digest want, got = digest_of(ret->data, n);
    return digest_parse(hex, &want) && digest_eq(&want, &got) ? 0 : wrong_content(l, hex, err);
}

int layout_manifest(struct layout *l, const char *version, size_t limit, struct buf *ret,
                    struct error **err)
{
    char hex[DIGEST_HEX + 1];
    return resolve(l, version, hex, err) < 0 ? -1 : layout_blob(l, hex, limit, ret, err);
}

int layout_has_blob(struct layout *l, const char *hex, uint64_t size, struct error **err)
{
    AUTO_FREE char *path = blob_path(l, hex);
    CLEANUP(buf_clear) struct buf bytes = BUF_INIT;
    struct stat st;
    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : no_blob(l, hex, err);
    if (!S_ISREG(st.st_mode) || (size && (uint64_t)st.st_size != size))
        return 0;
    return st.st_size > SMALL || layout_blob(l, hex, SMALL, &bytes, NULL) == 0;
}

int layout_has_manifest(struct layout *l, const char *version, struct error **err)
{
    char hex[DIGEST_HEX + 1];
    struct error *why = NULL;
    if (resolve(l, version, hex, &why) == 0)
        return layout_has_blob(l, hex, 0, err);
    if (why->kind != ERR_NOT_FOUND)
        return error_propagate(err, why);
    error_free(why);
    return 0;
}

/* The first `size` bytes of one file to the other, if they are that blob. */
static int copy(const struct layout *l, const char *hex, uint64_t size, int from, int to,
                _Atomic uint64_t *moved, struct error **err)
{
    AUTO_FREE char *chunk = xmalloc(CHUNK);
    CLEANUP(sha256_freep) struct sha256 *sha = sha256_new();
    for (uint64_t at = 0; at < size;) {
        size_t n = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        if (session_cancelled(l->session))
            return error_set(err, ERR_CANCELLED, "interrupted");
        ssize_t got = pread_all(from, chunk, n, (off_t)at);
        if (got < 0)
            return error_errno(err, "cannot read a blob");
        if ((size_t)got < n)
            return wrong_content(l, hex, err);
        sha256_add(sha, chunk, n);
        if (pwrite_all(to, chunk, n, (off_t)at) < 0)
            return error_errno(err, "cannot write a blob");
        at += n;
        if (moved)
            *moved += n;
    }
    struct digest want, d = sha256_finish(STEAL(sha));
    return digest_parse(hex, &want) && digest_eq(&want, &d) ? 0 : wrong_content(l, hex, err);
}

int layout_blob_to(struct layout *l, const char *hex, uint64_t size, int fd,
                   _Atomic uint64_t *moved, struct error **err)
{
    AUTO_FREE char *path = blob_path(l, hex);
    AUTO_CLOSE int from = open_file(path);
    struct stat st;
    if (from < 0 || fstat(from, &st) < 0)
        return no_blob(l, hex, err);
    if ((uint64_t)st.st_size != size)
        return error_set(err, ERR_USER, "blob sha256:%.12s… of '%s' has %llu bytes, not %llu", hex,
                         l->dir, (unsigned long long)st.st_size, (unsigned long long)size);
    if (ftruncate(fd, 0) < 0)
        return error_errno(err, "cannot write a blob");
    if (copy(l, hex, size, from, fd, moved, err) == 0)
        return 0;
    (void)!ftruncate(fd, 0);
    return -1;
}

int layout_put_blob(struct layout *l, const char *hex, uint64_t size, int fd,
                    _Atomic uint64_t *moved, struct error **err)
{
    AUTO_FREE char *path = blob_path(l, hex);
    int there = layout_has_blob(l, hex, size, err);
    if (there)
        return there < 0 ? -1 : 0;
    AUTO_FREE char *temp = xasprintf("%s/%u", l->work.dir, l->files++);
    AUTO_CLOSE int to = open(temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (to < 0)
        return error_errno(err, "cannot create '%s'", temp);
    if (copy(l, hex, size, fd, to, moved, err) < 0)
        return -1;
    if (fsync(to) < 0 || rename(temp, path) < 0)
        return error_errno(err, "cannot write '%s'", path);
    return fsync_parent(path, err);
}

static int put_text(struct layout *l, const char *hex, const struct buf *text, struct error **err)
{
    AUTO_FREE char *path = blob_path(l, hex);
    return place(l, path, text->data, text->len, err);
}

/* The index with the tag at this descriptor, and nowhere else. */
static void set_tag(json_t *index, const char *tag, json_t *descriptor)
{
    json_t *list = json_object_get(index, "manifests");
    for (size_t i = json_array_size(list); i-- > 0;) {
        const char *its = tag_of(json_array_get(list, i));
        if (its && !strcmp(its, tag))
            (void)json_array_remove(list, i);
    }
    (void)json_array_append_new(list, descriptor);
}

int layout_put_manifest(struct layout *l, const char *tag, const char *type, const struct buf *text,
                        struct error **err)
{
    char hex[DIGEST_HEX + 1];
    struct digest d = digest_of(text->data, text->len);
    digest_hex(&d, hex);
    AUTO_FREE char *lock = path_join(l->dir, ".working/index.lock");
    AUTO_FREE char *digest = xasprintf("sha256:%s", hex);
    if (put_text(l, hex, text, err) < 0)
        return -1;
    AUTO_CLOSE int fd = lock_wait(lock, LOCK_EXCLUSIVE, l->session->cancel_fd, err);
    json_auto_t *index = fd < 0 ? NULL : read_index(l, err);
    if (!index)
        return -1;
    set_tag(index, tag,
            json_pack("{s:s, s:s, s:I, s:{s:s}}", "mediaType", type, "digest", digest, "size",
                      (json_int_t)text->len, "annotations", REF_NAME, tag));
    AUTO_FREE char *all = json_text(index);
    if (strlen(all) > INDEX_MAX)
        return error_set(err, ERR_USER, "'%s' would be larger than 4 MiB", l->index);
    return place(l, l->index, all, strlen(all), err);
}

int layout_tags(struct layout *l, struct strv *ret, struct error **err)
{
    json_auto_t *index = read_index(l, err);
    const json_t *d;
    size_t i;
    if (!index)
        return -1;
    json_array_foreach (json_object_get(index, "manifests"), i, d) {
        if (tag_of(d))
            strv_add(ret, tag_of(d));
    }
    return 0;
}
