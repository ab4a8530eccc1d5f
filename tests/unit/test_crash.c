// SPDX-License-Identifier: MIT
//
// Processes that die at any point, and many at once. A child is traced and killed at its n-th
// system call, for every n until it gets to its end: so every moment of a commit at which the disk
// can be in another state is tried.
#include "tests/unit/store_fixture.h"

#include "base/session.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static void child_commits(const char *dir, const char *parent, const char *step, bool rebuild)
{
    struct store *st = NULL;
    struct layer *l = NULL;
    if (store_open(NULL, dir, &st, NULL) < 0)
        _exit(1);
    struct draft *d = draft(st, parent, step, rebuild);
    static const char log[] = "output\n";
    int rc = file_write_whole(draft_log(d), 0644, log, strlen(log), NULL);
    rc |= draft_manifest(d, log, strlen(log), NULL) | store_commit(d, NULL, &l, NULL);
    layer_free(l);
    draft_free(d);
    store_free(st);
    _exit(rc ? 1 : 0);
}

/* Runs child_commits, kills it before its n-th stop at a system call. False: it came to its end. */
static bool kill_at(const struct fixture *f, unsigned n, const char *parent, const char *step,
                    bool rebuild)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
            _exit(2);
        raise(SIGSTOP);
        child_commits(f->dir, parent, step, rebuild);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSTOPPED(status));
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            return false;
        }
    }
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return true;
}

/* After a crash: whatever is found is whole, a build succeeds, and nothing is left behind. */
static void check_after_crash(struct fixture *f, const char *parent, const char *step)
{
    struct verify_result r;
    char id[DIGEST_HEX + 1];
    reopen(f);
    if (find(f->st, parent, step, id)) {
        struct layer *l = NULL;
        CLEANUP(buf_clear) struct buf text = BUF_INIT;
        assert_int_equal(store_get(f->st, id, &l, NULL), 0);
        assert_int_equal(layer_log(l, &text, NULL), 0);
        assert_int_equal(layer_manifest(l, &text, NULL), 0);
        layer_free(l);
    } else {
        build(f->st, parent, step, false, id);
    }
    assert_string_equal(f->said.data, "");
    assert_int_equal(store_verify(f->st, false, NULL, NULL, NULL, NULL, &r, NULL), 0);
    assert_int_equal(r.damaged, 0);
    assert_int_equal(find(f->st, parent, step, NULL), 1);
    reopen(f);
    assert_int_equal(find(f->st, NULL, "RUN base", NULL), 1); // leased, so it stays
    struct prune_options o = PRUNE_OPTIONS_INIT;
    struct prune_result gone = {0};
    o.all = true;
    assert_int_equal(store_prune(f->st, &o, &gone, NULL), 0);
    assert_int_equal(gone.layers, 1);
    prune_result_clear(&gone);
}

static void no_crash_in_a_commit_leaves_half_a_layer(void **state)
{
    struct fixture *f = *state;
    char base[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN base", false, base);
    unsigned n = 0;
    for (bool killed = true; killed;) {
        AUTO_FREE char *step = xasprintf("RUN %u", ++n);
        killed = kill_at(f, n, base, step, false);
        check_after_crash(f, base, step);
    }
    assert_true(n > 100);                         // it was traced
    assert_int_equal(count_in(f, ".working"), 2); // ours and its lock
    print_message("killed at %u system calls\n", n - 1);
}

static void no_crash_in_a_rebuild_loses_the_layer_that_was(void **state)
{
    struct fixture *f = *state;
    char id[DIGEST_HEX + 1];
    build(f->st, NULL, "RUN base", false, id);
    unsigned n = 1;
    // Every third: the stages are those of the test above and the pointer's
    for (bool killed = true; killed; n += 3) {
        killed = kill_at(f, n, NULL, "RUN base", true);
        reopen(f);
        assert_int_equal(find(f->st, NULL, "RUN base", NULL), 1);
        assert_string_equal(f->said.data, "");
    }
}

static void one_of_eight_builds_a_key(void **state)
{
    struct fixture *f = *state;
    int results[2];
    assert_int_equal(pipe(results), 0);
    for (int i = 0; i < 8; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid)
            continue;
        struct layer *l = NULL;
        struct draft *d = NULL;
        char key[DIGEST_HEX + 1], line[DIGEST_HEX + 3];
        struct store *st = NULL;
        key_of(NULL, "RUN slow", key);
        struct draft_request r = {.key = key, .step = "RUN slow"};
        if (store_open(NULL, f->dir, &st, NULL) < 0)
            _exit(1);
        int found = store_build_begin(st, &r, &l, &d, NULL);
        if (found == 0) {
            usleep(200 * 1000);
            write_disk(draft_disk(d), NULL, "x");
            if (store_commit(d, NULL, &l, NULL) < 0)
                _exit(1);
            draft_free(d);
        }
        snprintf(line, sizeof line, "%c%s\n", found ? 'f' : 'b', l->id);
        if (write(results[1], line, strlen(line)) < 0)
            _exit(1);
        layer_free(l);
        store_free(st);
        _exit(0);
    }
    close(results[1]);
    FILE *in = fdopen(results[0], "r");
    char line[200], first[200] = "";
    int built = 0, all = 0;
    while (fgets(line, sizeof line, in)) {
        all++;
        built += line[0] == 'b';
        if (!*first)
            memcpy(first, line + 1, sizeof first - 1);
        assert_string_equal(line + 1, first);
    }
    fclose(in);
    for (int status; wait(&status) > 0;)
        assert_int_equal(status, 0);
    assert_int_equal(all, 8);
    assert_int_equal(built, 1);
    assert_int_equal(count_in(f, ".layers"), 1);
}

static void the_second_says_for_whom_it_waits_and_can_be_stopped(void **state)
{
    struct fixture *f = *state;
    struct draft *d = draft(f->st, NULL, "RUN make", false), *mine = NULL;
    int cancel[2];
    assert_int_equal(pipe(cancel), 0);
    assert_int_equal(write(cancel[1], "x", 1), 1);
    struct store *other = NULL;
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    struct session s = {.cancel_fd = cancel[0], .events = {.notice = hear, .arg = &said}};
    assert_int_equal(store_open(&s, f->dir, &other, NULL), 0);
    char key[DIGEST_HEX + 1];
    key_of(NULL, "RUN make", key);
    struct draft_request r = {.key = key, .step = "RUN make"};
    struct layer *l = NULL;
    assert_int_equal(store_build_begin(other, &r, &l, &mine, &err), -1);
    assert_int_equal(err->kind, ERR_CANCELLED);
    AUTO_FREE char *want = xasprintf(
        "waiting for process %d, which is building the same step: RUN make\n", (int)getpid());
    assert_string_equal(said.data, want);
    store_free(other);
    draft_free(d);
    close(cancel[0]);
    close(cancel[1]);
}

/* Builds chains that share steps until the time is over. What it was given must stay. */
static void builder(const char *dir, unsigned seed, long long until)
{
    CLEANUP(buf_clear) struct buf said = BUF_INIT;
    struct session s = {.cancel_fd = -1, .events = {.notice = hear, .arg = &said}};
    while (now_ms() < until) {
        struct store *st = NULL;
        char id[DIGEST_HEX + 1] = "";
        struct strv files = {0};
        if (store_open(&s, dir, &st, NULL) < 0)
            _exit(10);
        for (int i = 0; i < 6; i++) {
            struct layer *l = NULL;
            struct draft *d = NULL;
            char key[DIGEST_HEX + 1], step[20];
            snprintf(step, sizeof step, "RUN %d", rand_r(&seed) % (i < 3 ? 1 : 3));
            key_of(*id ? id : NULL, step, key);
            struct draft_request r = {.key = key, .parent = *id ? id : NULL, .step = step};
            int found = store_find(st, key, &l, NULL);
            if (found == 0)
                found = store_build_begin(st, &r, &l, &d, NULL);
            if (found == 0) {
                write_disk(draft_disk(d), draft_backing(d), step);
                if (store_commit(d, NULL, &l, NULL) < 0)
                    _exit(11);
            }
            if (found < 0)
                _exit(12);
            memcpy(id, l->id, sizeof id);
            layer_free(l);
            draft_free(d);
        }
        if (store_chain(st, id, &files, NULL) < 0 || files.len != 6)
            _exit(13);
        vec_foreach (char **, file, &files)
            if (access(*file, R_OK) < 0)
                _exit(14);
        strv_clear(&files);
        store_free(st);
    }
    _exit(strstr(said.data, "damaged") ? 15 : 0);
}

static void pruner(const char *dir, long long until)
{
    while (now_ms() < until) {
        struct store *st = NULL;
        struct prune_options o = PRUNE_OPTIONS_INIT;
        struct prune_result r = {0};
        o.all = true;
        if (store_open(NULL, dir, &st, NULL) < 0 || store_prune(st, &o, &r, NULL) < 0)
            _exit(20);
        prune_result_clear(&r);
        store_free(st);
    }
    _exit(0);
}

static void builders_and_pruners_at_once_lose_nothing(void **state)
{
    struct fixture *f = *state;
    long long until = now_ms() + 2000;
    for (unsigned i = 0; i < 6; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0 && i < 4)
            builder(f->dir, i, until);
        if (pid == 0)
            pruner(f->dir, until);
    }
    for (int status; wait(&status) > 0;)
        assert_int_equal(status, 0);
    reopen(f);
    struct verify_result r;
    assert_int_equal(store_verify(f->st, false, NULL, NULL, NULL, NULL, &r, NULL), 0);
    assert_int_equal(r.damaged, 0);
    assert_int_equal(count_in(f, ".working"), 2);
}

static void a_full_disk_leaves_the_store_whole(void **state)
{
    struct fixture *f = *state;
    char base[DIGEST_HEX + 1], id[DIGEST_HEX + 1];
    store_free(STEAL(f->st));
    if (mount("tmpfs", f->dir, "tmpfs", 0, "size=400k") < 0) {
        print_message("a tmpfs can't be mounted here: %s\n", strerror(errno));
        f->st = open_store(f);
        skip();
    }
    f->st = open_store(f);
    build(f->st, NULL, "RUN base", false, base);
    AUTO_FREE char *ballast = path_join(f->dir, "ballast");
    AUTO_FREE char *elsewhere = xasprintf("%s.disk", f->dir);
    CLEANUP(buf_clear) struct buf disk = BUF_INIT;
    int failed = 0;
    for (unsigned left = 0; left < 20; left++) { // pages that are free when the build starts
        AUTO_FREE char *step = xasprintf("RUN %u", left);
        int fd = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        reopen(f);
        uint64_t take = free_bytes(f->dir) - 4096 * (uint64_t)left;
        if (fd < 0 || posix_fallocate(fd, 0, (off_t)take) != 0)
            fail_msg("no ballast");
        char key[DIGEST_HEX + 1];
        key_of(base, step, key);
        struct draft_request r = {.key = key, .parent = base, .step = step};
        struct layer *l = NULL;
        struct draft *d = NULL;
        CLEANUP(error_freep) struct error *err = NULL;
        int rc = store_build_begin(f->st, &r, &l, &d, &err);
        if (rc == 0) {
            write_disk(elsewhere, draft_backing(d), step);
            assert_int_equal(file_read(elsewhere, 1 << 20, &disk, NULL), 0);
            rc = file_write_whole(draft_disk(d), 0644, disk.data, disk.len, &err);
        }
        if (rc == 0)
            rc = store_commit(d, NULL, &l, &err);
        if (rc < 0) {
            failed++;
            assert_int_equal(err->errnum, ENOSPC);
        }
        layer_free(l);
        draft_free(d);
        close(fd);
        unlink(ballast);
        reopen(f);
        assert_int_equal(find(f->st, base, step, NULL), rc == 0);
        if (rc < 0)
            build(f->st, base, step, false, id); // with space it succeeds
        assert_string_equal(f->said.data, "");
        struct prune_options o = PRUNE_OPTIONS_INIT;
        struct prune_result gone = {0};
        o.max_size = 100 * 1024;
        reopen(f);
        assert_int_equal(find(f->st, NULL, "RUN base", NULL), 1);
        assert_int_equal(store_prune(f->st, &o, &gone, NULL), 0);
        prune_result_clear(&gone);
    }
    assert_true(failed >= 3 && failed < 20);
    unlink(elsewhere);
    store_free(STEAL(f->st));
    assert_int_equal(umount(f->dir), 0);
    f->st = open_store(f);
}

static void a_disk_without_room_for_a_folder_can_be_pruned(void **state)
{
    struct fixture *f = *state;
    char a[DIGEST_HEX + 1], b[DIGEST_HEX + 1];
    store_free(STEAL(f->st));
    if (mount("tmpfs", f->dir, "tmpfs", 0, "nr_inodes=40") < 0) {
        print_message("a tmpfs can't be mounted here: %s\n", strerror(errno));
        f->st = open_store(f);
        skip();
    }
    f->st = open_store(f);
    build(f->st, NULL, "RUN a", false, a);
    build(f->st, a, "RUN b", false, b);
    store_free(STEAL(f->st));
    for (int fd = 0, i = 0; fd >= 0; i++) {
        AUTO_FREE char *file = xasprintf("%s/ballast-%d", f->dir, i);
        fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        auto_closep(&fd);
    }
    assert_int_equal(errno, ENOSPC);
    struct store *st = NULL;
    assert_int_equal(store_open(NULL, f->dir, &st, NULL), -1);
    assert_int_equal(store_open_to_prune(NULL, f->dir, &st, NULL), 0);
    struct prune_options o = PRUNE_OPTIONS_INIT;
    struct prune_result r = {0};
    o.all = true;
    assert_int_equal(store_prune(st, &o, &r, NULL), 0);
    assert_int_equal(r.layers, 2);
    prune_result_clear(&r);
    store_free(st);
    f->st = open_store(f);
    build(f->st, NULL, "RUN a", false, a);
    store_free(STEAL(f->st));
    assert_int_equal(umount(f->dir), 0);
    f->st = open_store(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(no_crash_in_a_commit_leaves_half_a_layer),
        T(no_crash_in_a_rebuild_loses_the_layer_that_was),
        T(one_of_eight_builds_a_key),
        T(the_second_says_for_whom_it_waits_and_can_be_stopped),
        T(builders_and_pruners_at_once_lose_nothing),
        T(a_full_disk_leaves_the_store_whole),
        T(a_disk_without_room_for_a_folder_can_be_pruned),
    };
    return cmocka_run_group_tests_name("crash", tests, NULL, NULL);
}
