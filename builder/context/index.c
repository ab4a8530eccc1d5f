// SPDX-License-Identifier: MIT
//
// The table is sized to be at most half full, so a search ends after a probe or two; a search is
// bounded by the number of slots in any case, and every slot's value is checked against the number
// of entries when the file is opened. Which entries were found is noted in an array beside the
// mapping, for their age.
#include "builder/context/index.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/vector.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

/* The last digit is the version: 2 counts POSIX ACLs among the xattrs. */
#define INDEX_MAGIC 0x0032786449696b4bULL
#define RACY_NS 2000000000LL

struct header {
    uint64_t magic;
    uint32_t entry_size, zero;
    uint64_t n_entries, n_slots; /* n_slots is a power of two, or 0 */
    uint64_t checksum;           /* of this header with 0 here, and all that follows */
};

DEFINE_VECTOR(new_entries, struct index_entry);

struct index {
    char *path; /* NULL for bytes in memory */
    void *map;  /* NULL: nothing mapped */
    size_t map_len;
    const uint32_t *slots;
    const struct index_entry *entries;
    size_t n_slots, n_entries;
    unsigned char *found; /* one byte an entry */
    struct new_entries added;
    size_t n_saved; /* of added */
};

/* The years 1677 to 2262; beyond them the first or last nanosecond. */
static int64_t nanoseconds(struct timespec t)
{
    int64_t ns;
    if (__builtin_mul_overflow((int64_t)t.tv_sec, 1000000000, &ns) ||
        __builtin_add_overflow(ns, (int64_t)t.tv_nsec, &ns))
        return t.tv_sec < 0 ? INT64_MIN : INT64_MAX;
    return ns;
}

struct file_id file_id_of(const struct stat *st)
{
    return (struct file_id){
        .dev = st->st_dev,
        .ino = st->st_ino,
        .size = (uint64_t)st->st_size,
        .mtime_ns = nanoseconds(st->st_mtim),
        .ctime_ns = nanoseconds(st->st_ctim),
    };
}

bool file_id_eq(const struct file_id *a, const struct file_id *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

static size_t index_hash(const struct file_id *id)
{
    return (size_t)XXH3_64bits(id, 2 * sizeof(uint64_t)); // dev and ino
}

static uint64_t checksum_of(const struct header *h, const void *rest, size_t n)
{
    struct header bare = *h;
    bare.checksum = 0;
    return XXH3_64bits_withSeed(rest, n, XXH3_64bits(&bare, sizeof bare));
}

/* Points ix into the bytes if they are a sound index. */
static bool adopt(struct index *ix, const void *bytes, size_t n)
{
    struct header h;
    if (n < sizeof h)
        return false;
    memcpy(&h, bytes, sizeof h);
    size_t room = n - sizeof h, slots_len, entries_len;
    if (h.magic != INDEX_MAGIC || h.entry_size != sizeof(struct index_entry) ||
        h.n_slots & (h.n_slots - 1) || h.n_entries > h.n_slots / 2 ||
        __builtin_mul_overflow(h.n_slots, sizeof(uint32_t), &slots_len) ||
        __builtin_mul_overflow(h.n_entries, sizeof(struct index_entry), &entries_len) ||
        slots_len > room || entries_len != room - slots_len || slots_len % sizeof(uint64_t))
        return false;
    const char *rest = (const char *)bytes + sizeof h;
    if (checksum_of(&h, rest, room) != h.checksum)
        return false;
    const uint32_t *slots = (const void *)rest;
    for (size_t i = 0; i < h.n_slots; i++)
        if (slots[i] > h.n_entries)
            return false;
    ix->slots = slots;
    ix->entries = (const void *)(rest + slots_len);
    ix->n_slots = h.n_slots;
    ix->n_entries = h.n_entries;
    ix->found = xcalloc(h.n_entries + 1, 1);
    return true;
}

struct index *index_of_bytes(const void *bytes, size_t n)
{
    struct index *ix = xcalloc(1, sizeof *ix);
    (void)adopt(ix, bytes, n);
    return ix;
}

struct index *index_open(const char *path)
{
    struct index *ix = xcalloc(1, sizeof *ix);
    ix->path = xstrdup(path);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
        return ix;
    (void)futimens(fd, NULL);
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (map == MAP_FAILED)
        return ix;
    ix->map = map;
    ix->map_len = (size_t)st.st_size;
    (void)adopt(ix, map, ix->map_len);
    return ix;
}

void index_free(struct index *ix)
{
    if (!ix)
        return;
    if (ix->map)
        (void)munmap(ix->map, ix->map_len);
    free(ix->path);
    free(ix->found);
    new_entries_clear(&ix->added);
    free(ix);
}

const struct index_entry *index_find(const struct index *ix, const struct file_id *id)
{
    size_t at = index_hash(id);
    for (size_t probe = 0; probe < ix->n_slots; probe++, at++) {
        uint32_t number = ix->slots[at & (ix->n_slots - 1)];
        if (!number)
            return NULL;
        const struct index_entry *e = &ix->entries[number - 1];
        if (file_id_eq(&e->id, id)) {
            __atomic_store_n(&ix->found[number - 1], 1, __ATOMIC_RELAXED);
            return e;
        }
        if (e->id.dev == id->dev && e->id.ino == id->ino)
            return NULL;
    }
    return NULL;
}

static bool is_racy(const struct file_id *id, int64_t before_ns)
{
    int64_t since_mtime = before_ns - id->mtime_ns;
    return before_ns - id->ctime_ns <= RACY_NS ||
           (since_mtime <= RACY_NS && since_mtime >= -RACY_NS);
}

void index_add(struct index *ix, const struct file_id *id, const struct digest *content,
               const struct digest *xattrs, int64_t before_ns)
{
    if (is_racy(id, before_ns))
        return;
    struct index_entry *e = new_entries_push(&ix->added);
    e->id = *id;
    e->content = *content;
    if (xattrs) {
        e->xattrs = *xattrs;
        e->has_xattrs = 1;
    }
}

/* Puts entry `number` (1-based) into the table, unless its file has one already. */
static bool claim_slot(uint32_t *slots, size_t n_slots, const struct index_entry *entries,
                       uint32_t number)
{
    const struct file_id *id = &entries[number - 1].id;
    size_t at = index_hash(id);
    for (;; at++) {
        uint32_t *slot = &slots[at & (n_slots - 1)];
        if (!*slot) {
            *slot = number;
            return true;
        }
        const struct file_id *other = &entries[*slot - 1].id;
        if (other->dev == id->dev && other->ino == id->ino)
            return false;
    }
}

/* New entries first, so that they win over old ones of the same file. */
static struct new_entries merged(const struct index *ix, uint32_t **ret_slots, size_t *ret_n_slots)
{
    size_t most = ix->added.len + ix->n_entries, n_slots = 16;
    while (n_slots < 2 * most)
        n_slots *= 2;
    uint32_t *slots = xcalloc(n_slots, sizeof *slots);
    struct new_entries all = {0};
    for (size_t i = 0; i < most; i++) {
        bool old = i >= ix->added.len;
        const struct index_entry *from = old ? &ix->entries[i - ix->added.len] : &ix->added.ptr[i];
        uint32_t age = !old || ix->found[i - ix->added.len] ? 0 : from->age + 1;
        if (age > INDEX_AGE_MAX)
            continue;
        struct index_entry *e = new_entries_push(&all);
        *e = *from;
        e->age = age;
        if (!claim_slot(slots, n_slots, all.ptr, (uint32_t)all.len))
            all.len--;
    }
    *ret_slots = slots;
    *ret_n_slots = n_slots;
    return all;
}

int index_save(struct index *ix, struct error **err)
{
    if (ix->added.len == ix->n_saved || !ix->path)
        return 0;
    AUTO_FREE uint32_t *slots = NULL;
    size_t n_slots;
    CLEANUP(new_entries_clear) struct new_entries all = merged(ix, &slots, &n_slots);
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    struct header h = {.magic = INDEX_MAGIC,
                       .entry_size = sizeof(struct index_entry),
                       .n_entries = all.len,
                       .n_slots = n_slots};
    buf_add(&out, &h, sizeof h);
    buf_add(&out, slots, n_slots * sizeof *slots);
    buf_add(&out, all.ptr, all.len * sizeof *all.ptr);
    h.checksum = checksum_of(&h, out.data + sizeof h, out.len - sizeof h);
    memcpy(out.data, &h, sizeof h);

    AUTO_FREE char *dir = path_parent(ix->path);
    if (make_dirs(dir, 0700, err) < 0 ||
        file_write_whole(ix->path, 0644, out.data, out.len, err) < 0)
        return -1;
    ix->n_saved = ix->added.len;
    return 0;
}
