// SPDX-License-Identifier: MIT
//
// vm/confine.h in children of this process, as the user who runs the test and as nobody: what they can
// still do to a folder and to a file beside it.
#include "base/alloc.h"
#include "base/file.h"
#include "base/process.h"
#include "vm/confine.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOBODY = 65534 };
#ifdef __SANITIZE_THREAD__ // it has a thread of its own, and a user namespace is for one that has one
enum { ONE_THREAD = false };
#else
enum { ONE_THREAD = true };
#endif

struct world {
    char dir[64];
    char *inside, *outside, *file; /* a folder; a folder beside it, and a file in that */
};

static int set_up(void **state)
{
    struct world *w = xcalloc(1, sizeof *w);
    snprintf(w->dir, sizeof w->dir, "/var/tmp/test_confine.XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->inside = xasprintf("%s/inside", w->dir);
    w->outside = xasprintf("%s/outside", w->dir);
    w->file = xasprintf("%s/file", w->outside);
    assert_int_equal(chmod(w->dir, 0755), 0);
    assert_int_equal(mkdir(w->inside, 0777), 0);
    assert_int_equal(mkdir(w->outside, 0755), 0);
    assert_int_equal(chmod(w->inside, 0777), 0);
    assert_int_equal(file_write_whole(w->file, 0644, "secret", 6, NULL), 0);
    if (!geteuid()) {
        assert_int_equal(chown(w->outside, NOBODY, NOBODY), 0);
        assert_int_equal(chown(w->file, NOBODY, NOBODY), 0);
    }
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    assert_int_equal(remove_tree(w->dir, NULL), 0);
    free(w->inside);
    free(w->outside);
    free(w->file);
    free(w);
    return 0;
}

static bool runs(void)
{
    CLEANUP(process_clear) struct process p = PROCESS_INIT;
    struct process_spec spec = {.argv = (char *const *)ARGV("/usr/bin/id", "-un"),
                                .in = PROCESS_NULL,
                                .out = PROCESS_NULL,
                                .errors = PROCESS_INHERIT};
    return process_start(&p, &spec, NULL) == 0 && process_wait(&p, 10000, NULL) == 0 && !p.status;
}

/* In the child: 0, or what can be done that should not, or the other way round. */
static int try(const struct world *w, bool read_only)
{
    struct confine c = {.program = "/usr/bin/id", .folder = w->inside, .read_only = read_only};
    enum confined got;
    struct stat st;
    AUTO_FREE char *made = path_join(w->inside, "made");
    AUTO_FREE char *up = path_join(w->inside, "../outside/file");
    AUTO_CLOSE int held = open(w->file, O_RDONLY | O_CLOEXEC);
    if (held < 0 || confine(&c, &got, NULL) < 0)
        return 1;
    if (got != CONFINED_TREE)
        return 2;
    if (chmod(w->file, 0666) == 0 || truncate(w->file, 0) == 0 || stat(w->file, &st) == 0 ||
        stat(up, &st) == 0 || access("/proc", F_OK) == 0 || access("/root", F_OK) == 0)
        return 3;
    if (mkdir("/usr/made", 0700) == 0 || chmod("/usr/bin/id", 0755) == 0)
        return 4;
    bool written = file_write_whole(made, 0640, "x", 1, NULL) == 0 && chmod(made, 0600) == 0 &&
                   stat(made, &st) == 0 && (st.st_mode & 07777) == 0600 && st.st_uid == geteuid();
    if (written == read_only)
        return 5;
    return runs() ? 0 : 6;
}

static int in_child(const struct world *w, uid_t uid, bool read_only)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (uid && (setgid(uid) < 0 || setuid(uid) < 0))
            _exit(100);
        (void)prctl(PR_SET_DUMPABLE, 1); // as after execve: its /proc/self is its own
        _exit(try(w, read_only));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void untouched(const struct world *w)
{
    struct stat st;
    assert_int_equal(stat(w->file, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(st.st_size, 6);
}

static void the_folder_alone(void **state)
{
    const struct world *w = *state;
    assert_int_equal(in_child(w, 0, false), 0);
    untouched(w);
}

static void reading_only(void **state)
{
    const struct world *w = *state;
    assert_int_equal(in_child(w, 0, true), 0);
}

static void of_an_ordinary_user(void **state)
{
    const struct world *w = *state;
    if (geteuid() || !ONE_THREAD)
        skip();
    assert_int_equal(in_child(w, NOBODY, false), 0);
    untouched(w);
}

static void what_is_possible(void **state)
{
    const struct world *w = *state;
    struct confine c = {.program = "/usr/bin/id", .folder = w->inside};
    struct stat st;
    assert_int_equal(confine_possible(&c), CONFINED_TREE);
    assert_int_equal(stat(w->file, &st), 0); // this process is as free as before
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_folder_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reading_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_an_ordinary_user, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_possible, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("confine", tests, NULL, NULL);
}
