// SPDX-License-Identifier: MIT
#include "tests/unit/store_fixture.h"

#include "base/session.h"
#include "cache/history.h"

#include <sys/wait.h>

static void what_was_committed_is_found_and_whole(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], b[DIGEST_HEX + 1], got[DIGEST_HEX + 1];
    assert_int_equal(find(f->st, NULL, "DISK 1 GB", NULL), 0);
    build(f->st, NULL, "DISK 1 GB", false, a);
    build(f->st, a, "RUN b", false, b);
    reopen(f);
    assert_int_equal(find(f->st, a, "RUN b", got), 1);
    assert_string_equal(got, b);
    struct strv files = {0};
    assert_int_equal(store_chain(f->st, b, &files, NULL), 0);
    assert_int_equal(files.len, 2);
    AUTO_FREE char *first = layer_file(f, a, "disk.qcow2");
    assert_string_equal(files.ptr[0], first);
    struct stat st;
    assert_int_equal(stat(first, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0444);
    strv_clear(&files);
    struct layer *l = NULL;
    assert_int_equal(store_get(f->st, b, &l, NULL), 0);
    assert_int_equal(l->depth, 2);
    assert_int_equal(l->virtual_size, 1 << 30);
    assert_string_equal(l->parent, a);
    assert_string_equal(layer_step(l), "RUN b");
    assert_true(layer_bytes(l) >= 8192);
    layer_free(l);
    assert_string_equal(f->said.data, "");
}

static void a_draft_that_is_dropped_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct draft *d = draft(f->st, NULL, "RUN a", false);
    assert_int_equal(count_in(f, ".working"), 3); // folder, its lock, the key's lock
    draft_free(d);
    store_free(STEAL(f->st));
    assert_int_equal(count_in(f, ".working"), 0);
    assert_int_equal(count_in(f, ".layers"), 0);
    f->st = open_store(f);
}

static void fields_log_and_manifest_stay_with_the_layer(void **state)
{
    struct fixture *f = *state;
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    struct draft *d = draft(f->st, NULL, "COPY . /x", false);
    assert_int_equal(file_write_whole(draft_log(d), 0644, "hello\n", 6, NULL), 0);
    AUTO_FREE char *stray = path_join(draft_folder(d), "stray");
    assert_int_equal(file_write_whole(stray, 0644, "x", 1, NULL), 0);
    for (int i = 0; i < 10000; i++)
        buf_addf(&text, "dir/file-%d\tf\t0644\t-\t-\t-\t%064d\n", i, i);
    assert_int_equal(draft_manifest(d, text.data, text.len, NULL), 0);
    json_auto_t *fields =
        json_pack("{s:f, s:[{s:s, s:s}], s:s, s:i}", "seconds", 1.5, "inputs", "name", "step",
                  "value", "COPY . /x", "id", "forged", "size", 3);
    struct layer *l = NULL;
    assert_int_equal(store_commit(d, fields, &l, NULL), 0);
    draft_free(d);
    assert_string_equal(json_str(l->record, "id"), l->id);
    assert_true(layer_seconds(l) == 1.5);
    assert_int_equal(json_array_size(json_object_get(l->record, "inputs")), 1);
    CLEANUP(buf_clear) struct buf got = BUF_INIT;
    assert_int_equal(layer_log(l, &got, NULL), 0);
    assert_string_equal(got.data, "hello\n");
    assert_int_equal(layer_manifest(l, &got, NULL), 0);
    assert_int_equal(got.len, text.len);
    assert_memory_equal(got.data, text.data, text.len);
    AUTO_FREE char *gone = path_join(l->folder, "stray");
    assert_int_equal(access(gone, F_OK), -1);
    layer_free(l);
}

static void an_overlay_on_something_else_is_refused(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1];
    build(f->st, NULL, "DISK 1 GB", false, a);
    struct draft *d = draft(f->st, a, "RUN b", false);
    write_disk(draft_disk(d), "/etc/passwd", "");
    struct layer *l = NULL;
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(store_commit(d, NULL, &l, &err), -1);
    assert_non_null(strstr(err->message, "is '/etc/passwd', not"));
    draft_free(d);
    assert_int_equal(count_in(f, ".layers"), 1);
}

static void a_rebuild_gets_an_id_of_its_own_and_is_found_from_then_on(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], a2[DIGEST_HEX + 1], b[DIGEST_HEX + 1], got[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    build(f->st, a, "RUN b", false, b);
    build(f->st, NULL, "RUN a", true, a2);
    assert_string_not_equal(a, a2);
    assert_int_equal(find(f->st, NULL, "RUN a", got), 1);
    assert_string_equal(got, a2);
    assert_int_equal(find(f->st, a2, "RUN b", NULL), 0); // never on other bytes than it was made on
    reopen(f);
    assert_int_equal(find(f->st, NULL, "RUN a", got), 1);
    assert_string_equal(got, a2);
    assert_int_equal(store_resolve(f->st, a2, got, NULL), 0);
    struct strv ids = {0};
    assert_int_equal(store_chain_ids(f->st, b, &ids, NULL), 0); // an image may need it
    assert_int_equal(ids.len, 2);
    strv_clear(&ids);
    assert_string_equal(f->said.data, "");
}

static void the_newest_layer_of_a_key_lost_is_a_miss_not_an_older_one(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], a2[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    build(f->st, NULL, "RUN a", true, a2);
    AUTO_FREE char *folder = layer_file(f, a2, "");
    assert_int_equal(remove_tree(folder, NULL), 0);
    reopen(f);
    assert_int_equal(find(f->st, NULL, "RUN a", NULL), 0);
}

static void no_two_builds_of_a_key_share_an_id(void **state)
{
    struct fixture *f = *state, *other;
    char a[DIGEST_HEX + 1], b[DIGEST_HEX + 1], key[DIGEST_HEX + 1], got[DIGEST_HEX + 1];
    assert_int_equal(setup((void **)&other), 0); // another host
    build(f->st, NULL, "RUN a", false, a);
    build(other->st, NULL, "RUN a", false, b);
    key_of(NULL, "RUN a", key);
    assert_string_not_equal(a, key);
    assert_string_not_equal(a, b);
    teardown((void **)&other);
    // gone and built again: its child is a miss, not a layer on other bytes
    build(f->st, a, "RUN b", false, b);
    AUTO_FREE char *folder = layer_file(f, a, "");
    assert_int_equal(remove_tree(folder, NULL), 0);
    reopen(f);
    build(f->st, NULL, "RUN a", false, got);
    assert_int_equal(find(f->st, got, "RUN b", NULL), 0);
    assert_string_equal(f->said.data, "");
    assert_int_equal(store_resolve(f->st, key, b, NULL), 0); // by key, too
    assert_string_equal(b, got);
}

static void a_store_of_kiln_0_1_is_read(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], b[DIGEST_HEX + 1], c[DIGEST_HEX + 1], got[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    make_old(f, a);
    build(f->st, a, "RUN b", false, b);
    make_old(f, b);
    build(f->st, b, "RUN c", false, c);
    reopen(f);
    assert_int_equal(find(f->st, NULL, "RUN a", got), 1);
    assert_string_equal(got, a);
    assert_int_equal(find(f->st, a, "RUN b", NULL), 1);
    assert_int_equal(find(f->st, b, "RUN c", got), 1);
    assert_string_equal(got, c);
    struct prune_options o = PRUNE_OPTIONS_INIT;
    struct prune_result r;
    assert_int_equal(store_prune(f->st, &o, &r, NULL), 0);
    assert_int_equal(r.layers, 0); // none of it is useless
    prune_result_clear(&r);
    build(f->st, NULL, "RUN a", true, got); // a new one is found in place of the old one
    assert_string_not_equal(got, a);
    assert_int_equal(find(f->st, NULL, "RUN a", b), 1);
    assert_string_equal(b, got);
    assert_string_equal(f->said.data, "");
}

static void a_child_of_other_bytes_is_damaged(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], b[DIGEST_HEX + 1], again[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    make_old(f, a);
    build(f->st, a, "RUN b", false, b);
    AUTO_FREE char *folder = layer_file(f, a, "");
    assert_int_equal(remove_tree(folder, NULL), 0); // somebody's rm -r
    reopen(f);
    struct draft *d = draft(f->st, NULL, "RUN a", false);
    write_disk(draft_disk(d), NULL, "other bytes");
    struct layer *l = NULL;
    assert_int_equal(store_commit(d, NULL, &l, NULL), 0);
    memcpy(again, l->id, sizeof again);
    layer_free(l);
    draft_free(d);
    make_old(f, again); // the same id again, other bytes
    assert_string_equal(again, a);
    assert_int_equal(find(f->st, a, "RUN b", NULL), 0);
    assert_non_null(strstr(f->said.data, "has changed since it was built"));
}

/* Damages a layer in one way, expects one notice and a miss, rebuilds, expects a hit. */
static void damage(struct fixture *f, const char *file, off_t cut, off_t flip, const char *expect)
{
    char a[DIGEST_HEX + 1], b[DIGEST_HEX + 1], got[DIGEST_HEX + 1];
    static unsigned n;
    AUTO_FREE char *step = xasprintf("RUN damaged %u", ++n);
    build(f->st, NULL, "RUN a", true, a);
    build(f->st, a, step, false, b);
    AUTO_FREE char *path = layer_file(f, b, file);
    chmod(path, 0644);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (cut >= 0)
        assert_int_equal(ftruncate(fd, cut), 0);
    if (cut == -2)
        assert_int_equal(unlink(path), 0);
    if (flip >= 0) {
        char c;
        assert_int_equal(pread(fd, &c, 1, flip), 1);
        c ^= 4;
        assert_int_equal(pwrite(fd, &c, 1, flip), 1);
    }
    close(fd);
    reopen(f);
    assert_int_equal(find(f->st, a, step, NULL), 0);
    assert_int_equal(find(f->st, a, step, NULL), 0);
    if (!strstr(f->said.data, expect) || !strstr(f->said.data, "is damaged ("))
        fail_msg("said: '%s', not '%s'", f->said.data, expect);
    assert_ptr_equal(strchr(f->said.data, '\n'), f->said.data + f->said.len - 1); // once
    build(f->st, a, step, false, b);
    assert_int_equal(find(f->st, a, step, got), 1);
    assert_string_equal(got, b);
}

static void every_damage_to_a_disk_is_noticed(void **state)
{
    struct fixture *f = *state;
    damage(f, "disk.qcow2", -2, -1, "disk.qcow2 is missing");
    for (off_t cut = 0; cut < 8192; cut += 777)
        damage(f, "disk.qcow2", cut, -1, "bytes, not 87");
    for (off_t at = 0; at < RECORD_HEADER; at += 181)
        damage(f, "disk.qcow2", -1, at, "header of disk.qcow2 was altered");
}

static void every_damage_to_a_record_is_noticed(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    AUTO_FREE char *path = layer_file(f, a, "layer.json");
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    assert_int_equal(file_read(path, 1 << 20, &text, NULL), 0);
    damage(f, "layer.json", -2, -1, "its record is missing or invalid");
    for (off_t cut = 0; cut < 600; cut += 41)
        damage(f, "layer.json", cut, -1, "its record");
    size_t good = 0;
    // Every bit of every byte: only blanks between fields may differ without notice
    for (size_t i = 0; i < text.len * 8; i++) {
        text.data[i / 8] ^= (char)(1 << (i % 8));
        CLEANUP(layer_freep) struct layer *l = record_parse(text.data, text.len, NULL);
        text.data[i / 8] ^= (char)(1 << (i % 8));
        if (!l)
            continue;
        good++;
        assert_true(text.data[i / 8] == ' ' || text.data[i / 8] == '\n');
    }
    assert_true(good < 200);
}

static void a_damaged_base_takes_its_children_along(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], b[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    build(f->st, a, "RUN b", false, b);
    AUTO_FREE char *path = layer_file(f, a, "disk.qcow2");
    cut(path, 100);
    reopen(f);
    assert_int_equal(find(f->st, a, "RUN b", NULL), 0);
    struct layer *l = NULL;
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(store_get(f->st, b, &l, &err), -1);
    assert_int_equal(err->kind, ERR_NOT_FOUND);
    assert_non_null(strstr(err->message, "is damaged: its parent layer"));
    assert_non_null(strstr(err->message, "disk.qcow2 is 100 bytes, not 8709"));
}

static void import(struct fixture *f, const char *path, char id[DIGEST_HEX + 1])
{
    struct error *err = NULL;
    struct digest d;
    char hex[DIGEST_HEX + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(digest_of_fd(fd, &d, NULL), 0);
    close(fd);
    digest_hex(&d, hex);
    struct layer *l = NULL;
    if (store_import_base(f->st, path, hex, "debian:12", &l, &err) < 0)
        fail_msg("%s", err->message);
    assert_true(layer_is_base(l));
    assert_string_equal(layer_step(l), "FROM debian:12");
    memcpy(id, l->id, sizeof l->id);
    layer_free(l);
}

static void a_base_is_linked_if_read_only_else_copied_and_found_again(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], b[DIGEST_HEX + 1], c[DIGEST_HEX + 1];
    AUTO_FREE char *path = path_join(f->dir, "debian");
    struct stat mine, its;
    write_disk(path, NULL, "rootfs");
    import(f, path, a);
    AUTO_FREE char *disk = layer_file(f, a, "disk.qcow2");
    assert_true(stat(path, &mine) == 0 && stat(disk, &its) == 0);
    assert_true(mine.st_ino != its.st_ino && its.st_size == mine.st_size);
    assert_int_equal(mine.st_mode & 0777, 0644);
    // damaged: replaced under the same id, so its children stay good
    build(f->st, a, "RUN x", false, c);
    cut(disk, 5);
    chmod(path, 0444);
    reopen(f);
    import(f, path, b);
    assert_string_equal(a, b);
    assert_non_null(strstr(f->said.data, "of step 'FROM debian:12' is damaged"));
    assert_true(stat(path, &mine) == 0 && stat(disk, &its) == 0);
    assert_true(mine.st_ino == its.st_ino);
    assert_int_equal(find(f->st, a, "RUN x", NULL), 1);
}

static void a_base_with_a_backing_file_is_refused(void **state)
{
    struct fixture *f = *state;
    AUTO_FREE char *path = path_join(f->dir, "evil");
    CLEANUP(error_freep) struct error *err = NULL;
    char digest[DIGEST_HEX + 1] = "";
    struct layer *l = NULL;
    memset(digest, 'a', DIGEST_HEX);
    write_disk(path, "/etc/shadow", "");
    assert_int_equal(store_import_base(f->st, path, digest, "evil", &l, &err), -1);
    assert_int_equal(err->kind, ERR_USER);
    assert_int_equal(count_in(f, ".layers"), 0);
}

static void a_failed_step_is_kept_until_the_next(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    for (int i = 0; i < 2; i++) {
        struct draft *d = draft(f->st, a, i ? "RUN two" : "RUN one", false);
        assert_int_equal(store_keep_failed(d, "my image", NULL, NULL), 0);
        draft_free(d);
    }
    reopen(f);
    struct strv files = {0};
    json_auto_t *record = NULL;
    assert_int_equal(store_failed(f->st, "my image", &files, &record, NULL), 0);
    assert_int_equal(files.len, 2);
    assert_string_equal(json_str(record, "step"), "RUN two");
    assert_int_equal(access(files.ptr[1], R_OK), 0);
    strv_clear(&files);
    assert_int_equal(find(f->st, a, "RUN two", NULL), 0); // not a layer
    assert_int_equal(store_drop_failed(f->st, "my image", NULL), 0);
    assert_int_equal(store_drop_failed(f->st, "my image", NULL), 0);
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(store_failed(f->st, "my image", &files, NULL, &err), -1);
    assert_int_equal(err->kind, ERR_NOT_FOUND);
}

static void chains_have_an_end(void **state)
{
    struct fixture *f = *state;
    char top[DIGEST_HEX + 1], below[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN 0", false, top);
    for (int i = 1; i < RECORD_MAX_DEPTH; i++) {
        memcpy(below, top, sizeof below);
        build(f->st, below, "RUN x", false, top);
    }
    reopen(f);
    CLEANUP(strv_clear) struct strv files = {0};
    assert_int_equal(store_chain(f->st, top, &files, NULL), 0);
    assert_int_equal(files.len, RECORD_MAX_DEPTH);
    struct draft *d = NULL;
    struct layer *l = NULL;
    CLEANUP(error_freep) struct error *err = NULL;
    char key[DIGEST_HEX + 1];
    key_of(top, "RUN x", key);
    struct draft_request r = {.key = key, .parent = top, .step = "RUN x"};
    assert_int_equal(store_build_begin(f->st, &r, &l, &d, &err), -1);
    assert_non_null(strstr(err->message, "more than 200 layers"));
}

static void set_modes(const struct fixture *f, mode_t mode)
{
    static const char *const folders[] = {"", ".working", ".layers", ".keys", ".failed", ".builds"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        AUTO_FREE char *path = path_join(f->dir, folders[i]);
        chmod(path, mode);
    }
}

static void a_backend_of_somebody_else_can_be_read(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], key[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN a", false, a);
    store_free(STEAL(f->st));
    AUTO_FREE char *cache = xasprintf("%s.cache", f->dir);
    assert_int_equal(mkdir(cache, 0777), 0);
    assert_int_equal(chmod(cache, 0777), 0);
    chmod(f->dir, 0755);
    pid_t pid = fork();
    if (pid == 0) { // as nobody if we are root; else without the permission to write
        set_modes(f, 0555);
        bool other = geteuid() == 0;
        if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
            _exit(1);
        struct session s = {.cancel_fd = -1, .cache = cache};
        struct store *st = NULL;
        struct layer *l = NULL;
        struct draft *d = NULL;
        struct store_usage u = {0};
        struct verify_result v = {0};
        struct prune_options o = PRUNE_OPTIONS_INIT;
        struct prune_result r = {0};
        CLEANUP(error_freep) struct error *err = NULL;
        key_of(NULL, "RUN b", key);
        struct draft_request request = {.key = key, .step = "RUN b"};
        AUTO_FREE char *lock = xasprintf("%s/.layers/.lock", f->dir);
        if (other && open(lock, O_RDONLY | O_CLOEXEC) >= 0)
            _exit(8); // whoever has it open can hold it, and nobody builds
        if (store_open(&s, f->dir, &st, NULL) < 0 || store_get(st, a, &l, NULL) < 0)
            _exit(2);
        if (access(store_scratch(st), W_OK) < 0)
            _exit(3);
        if (store_build_begin(st, &request, &l, &d, &err) == 0 || err->kind != ERR_SYSTEM)
            _exit(4);
        if (store_usage(st, NULL, NULL, &u, NULL) < 0 || u.layers != 1)
            _exit(5);
        if (store_verify(st, false, NULL, NULL, NULL, NULL, &v, NULL) < 0 || v.damaged)
            _exit(6);
        if (store_prune(st, &o, &r, NULL) == 0)
            _exit(7);
        store_free(st);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    remove_tree(cache, NULL);
    set_modes(f, 0755);
    f->st = open_store(f);
}

static void ids_resolve_by_their_beginning(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], got[DIGEST_HEX + 1], start[9] = "";
    build(f->st, NULL, "RUN a", false, a);
    memcpy(start, a, 8);
    assert_int_equal(store_resolve(f->st, start, got, NULL), 0);
    assert_string_equal(got, a);
    assert_int_equal(store_resolve(f->st, "abc", got, NULL), -1);
    assert_int_equal(store_resolve(f->st, "../../..", got, NULL), -1);
}

static void count_history(void *arg, const char *image, const char *path)
{
    assert_non_null(strstr(image, "/x%2F..%2Fy"));
    assert_non_null(strstr(path, "/.builds/x%2F..%2Fy.json"));
    ++*(size_t *)arg;
}

static void the_history_of_a_name_finds_the_earlier_self_of_a_step(void **state)
{
    struct fixture *f = *state;
    json_auto_t *steps = json_pack("[{s:s,s:s},{s:s,s:s},{s:s,s:s}]", "step", "RUN a", "key", "1",
                                   "step", "COPY b /", "key", "2", "step", "RUN a", "key", "3");
    assert_null(history_read(f->st, "x/../y"));
    assert_int_equal(history_write(f->st, "x/../y", steps, NULL), 0);
    assert_int_equal(history_write(f->st, "x/../y", steps, NULL), 0);
    json_auto_t *last = history_read(f->st, "x/../y");
    assert_string_equal(json_str(history_match(last, 2, "RUN a"), "key"), "3");
    assert_string_equal(json_str(history_match(last, 0, "RUN a"), "key"), "1");
    assert_string_equal(json_str(history_match(last, 1, "COPY c /"), "key"), "2");
    assert_null(history_match(last, 1, "RUN c"));
    assert_null(history_match(NULL, 1, "RUN c"));
    size_t n = 0;
    history_list(f->st, count_history, &n);
    assert_int_equal(n, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(what_was_committed_is_found_and_whole),
        T(a_draft_that_is_dropped_leaves_nothing),
        T(fields_log_and_manifest_stay_with_the_layer),
        T(an_overlay_on_something_else_is_refused),
        T(a_rebuild_gets_an_id_of_its_own_and_is_found_from_then_on),
        T(the_newest_layer_of_a_key_lost_is_a_miss_not_an_older_one),
        T(no_two_builds_of_a_key_share_an_id),
        T(a_store_of_kiln_0_1_is_read),
        T(a_child_of_other_bytes_is_damaged),
        T(every_damage_to_a_disk_is_noticed),
        T(every_damage_to_a_record_is_noticed),
        T(a_damaged_base_takes_its_children_along),
        T(a_base_is_linked_if_read_only_else_copied_and_found_again),
        T(a_base_with_a_backing_file_is_refused),
        T(a_failed_step_is_kept_until_the_next),
        T(chains_have_an_end),
        T(a_backend_of_somebody_else_can_be_read),
        T(ids_resolve_by_their_beginning),
        T(the_history_of_a_name_finds_the_earlier_self_of_a_step),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
