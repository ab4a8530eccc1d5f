// SPDX-License-Identifier: MIT
//
// Reading a record is reading a stranger's file: a record that was cut, mixed up or edited must be
// told from a good one. The field "check" does that for the text as a whole; the rest of
// record_parse sees to it that even a record somebody made up can't name a path or a number the
// store would choke on.
#include "cache/record.h"

#include "base/alloc.h"
#include "base/endian.h"
#include "base/file.h"
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool is_id(const char *s)
{
    return s && strspn(s, "0123456789abcdef") == DIGEST_HEX && !s[DIGEST_HEX];
}

void layer_free(struct layer *l)
{
    if (!l)
        return;
    free(l->folder);
    free(l->disk);
    json_decref(l->record);
    free(l);
}

struct layer *layer_copy(const struct layer *l)
{
    struct layer *copy = xmemdup(l, sizeof *l);
    copy->folder = l->folder ? xstrdup(l->folder) : NULL;
    copy->disk = l->disk ? xstrdup(l->disk) : NULL;
    copy->record = json_incref(l->record);
    return copy;
}

/* The digest that belongs into "check". */
static void check_of(const json_t *record, char hex[DIGEST_HEX + 1])
{
    json_auto_t *rest = json_copy((json_t *)record); // shallow
    json_object_del(rest, "check");
    AUTO_FREE char *text = json_text(rest);
    struct digest d = digest_of(text, strlen(text));
    digest_hex(&d, hex);
}

/* A hex field into out, "" for null where that is allowed. */
static int take_id(const json_t *r, const char *field, bool optional, char out[DIGEST_HEX + 1],
                   struct error **err)
{
    const json_t *v = json_object_get(r, field);
    if (optional && json_is_null(v)) {
        out[0] = '\0';
        return 0;
    }
    const char *s = json_string_value(v);
    if (!is_id(s))
        return error_set(err, ERR_USER, "its record has a missing or invalid '%s'", field);
    memcpy(out, s, DIGEST_HEX + 1);
    return 0;
}

static int take_number(const json_t *r, const char *field, int64_t min, int64_t max, int64_t *ret,
                       struct error **err)
{
    int64_t n = json_int(r, field, -1);
    if (n < min || n > max)
        return error_set(err, ERR_USER, "its record has a missing or invalid '%s'", field);
    *ret = n;
    return 0;
}

static int take_fields(struct layer *l, struct error **err)
{
    char skip[DIGEST_HEX + 1], parent_digest[DIGEST_HEX + 1];
    const char *type = json_str(l->record, "type");
    int64_t version = 0, size = 0, virtual_size = 0, depth = 0, created = 0;
    if (take_number(l->record, "version", RECORD_VERSION, RECORD_VERSION, &version, err) < 0 ||
        take_id(l->record, "id", false, l->id, err) < 0 ||
        take_id(l->record, "key", false, l->key, err) < 0 ||
        take_id(l->record, "parent", true, l->parent, err) < 0 ||
        take_id(l->record, "parent_digest", true, parent_digest, err) < 0 ||
        take_id(l->record, "digest", false, skip, err) < 0 ||
        take_id(l->record, "header", false, skip, err) < 0 ||
        take_number(l->record, "size", 0, INT64_MAX, &size, err) < 0 ||
        take_number(l->record, "virtual_size", 0, INT64_MAX, &virtual_size, err) < 0 ||
        take_number(l->record, "created", 0, INT64_MAX, &created, err) < 0 ||
        take_number(l->record, "depth", 1, RECORD_MAX_DEPTH, &depth, err) < 0)
        return -1;
    if (!type || (strcmp(type, "layer") != 0 && strcmp(type, "base") != 0))
        return error_set(err, ERR_USER, "its record has a missing or invalid 'type'");
    if (!json_str(l->record, "step"))
        return error_set(err, ERR_USER, "its record has a missing or invalid 'step'");
    if (!*l->parent != (depth == 1) || !*l->parent != !*parent_digest)
        return error_set(err, ERR_USER, "its record has an inconsistent parent");
    l->size = (uint64_t)size;
    l->virtual_size = (uint64_t)virtual_size;
    l->depth = (unsigned)depth;
    return 0;
}

struct layer *record_parse(const char *bytes, size_t n, struct error **err)
{
    json_error_t why;
    CLEANUP(layer_freep) struct layer *l = xcalloc(1, sizeof *l);
    l->record = json_loadb(bytes, n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(l->record)) {
        error_set(err, ERR_USER, "its record is unreadable");
        return NULL;
    }
    char check[DIGEST_HEX + 1];
    check_of(l->record, check);
    const char *said = json_str(l->record, "check");
    if (!said || strcmp(said, check) != 0) {
        error_set(err, ERR_USER, "its record was altered");
        return NULL;
    }
    if (take_fields(l, err) < 0)
        return NULL;
    return STEAL(l);
}

int record_write(const char *path, json_t *record, struct error **err)
{
    char check[DIGEST_HEX + 1];
    check_of(record, check);
    json_object_set_new(record, "check", json_string(check));
    AUTO_FREE char *text = json_dumps(record, JSON_INDENT(2) | JSON_SORT_KEYS);
    if (!text)
        alloc_failed();
    AUTO_FREE char *line = xasprintf("%s\n", text);
    return file_write_unsynced(path, 0444, line, strlen(line), err);
}

struct layer *record_load(const char *layers, const char *id, struct error **err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    AUTO_FREE char *folder = path_join(layers, id);
    AUTO_FREE char *path = path_join(folder, "layer.json");
    struct error *why = NULL;
    int rc = file_read(path, 16 << 20, &text, &why);
    if (rc < 0 && why->kind == ERR_NOT_FOUND && access(folder, F_OK) == 0) {
        // The folder may have come after we looked for the record; it comes with its record
        error_free(STEAL(why));
        rc = file_read(path, 16 << 20, &text, &why);
        if (rc < 0 && why->kind == ERR_NOT_FOUND)
            why->kind = ERR_USER;
    }
    if (rc < 0) {
        if (why->kind == ERR_USER) {
            free(why->message);
            why->message = xstrdup("its record is missing or invalid");
        }
        error_propagate(err, why);
        return NULL;
    }
    CLEANUP(layer_freep) struct layer *l = record_parse(text.data, text.len, err);
    if (!l)
        return NULL;
    if (strcmp(l->id, id) != 0) {
        error_set(err, ERR_USER, "its record belongs to layer %.12s", l->id);
        return NULL;
    }
    l->disk = path_join(folder, "disk.qcow2");
    l->folder = STEAL(folder);
    return STEAL(l);
}

int record_check_mark(const struct layer *l, struct error **err)
{
    CLEANUP(buf_clear) struct buf why = BUF_INIT;
    AUTO_FREE char *mark = path_join(l->folder, "damaged");
    if (access(mark, F_OK) < 0)
        return 0;
    if (file_read(mark, 4096, &why, NULL) < 0 || !why.len)
        buf_adds(&why, "it was marked as damaged");
    return error_set(err, ERR_USER, "%s", why.data);
}

int record_check_disk(const struct layer *l, struct error **err)
{
    AUTO_CLOSE int fd = open(l->disk, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    if (fd < 0 && errno == ENOENT)
        return error_set(err, ERR_USER, "disk.qcow2 is missing");
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(err, "disk.qcow2 can't be read");
    if (!S_ISREG(st.st_mode))
        return error_set(err, ERR_USER, "disk.qcow2 is not a file");
    if ((uint64_t)st.st_size != l->size)
        return error_set(err, ERR_USER, "disk.qcow2 is %llu bytes, not %llu",
                         (unsigned long long)st.st_size, (unsigned long long)l->size);
    char head[RECORD_HEADER], hex[DIGEST_HEX + 1];
    ssize_t n = pread_all(fd, head, sizeof head, 0);
    if (n < 0)
        return error_errno(err, "disk.qcow2 can't be read");
    struct digest d = digest_of(head, (size_t)n);
    digest_hex(&d, hex);
    if (strcmp(hex, json_str(l->record, "header")) != 0)
        return error_set(err, ERR_USER, "the header of disk.qcow2 was altered");
    return 0;
}

int record_check_parent(const struct layer *child, const struct layer *parent, struct error **err)
{
    if (strcmp(json_str(child->record, "parent_digest"), layer_digest(parent)) != 0 ||
        child->depth != parent->depth + 1)
        return error_set(err, ERR_USER, "its parent layer %.12s has changed since it was built",
                         parent->id);
    return 0;
}

int disk_head_read(int fd, struct disk_head *ret, struct error **err)
{
    // The name of the backing file lies in the first cluster, which may have up to 2 MiB; QEMU and
    // we put it right behind the header extensions.
    unsigned char head[65536];
    struct stat st;
    ssize_t n = pread_all(fd, head, sizeof head, 0);
    if (n < 0 || fstat(fd, &st) < 0)
        return error_errno(err, "it can't be read");
    ret->size = (uint64_t)st.st_size;
    struct digest d = digest_of(head, (size_t)n < RECORD_HEADER ? (size_t)n : RECORD_HEADER);
    digest_hex(&d, ret->header);
    return qcow2_head_parse(head, (size_t)n, &ret->qcow2, err);
}
