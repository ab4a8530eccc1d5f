// SPDX-License-Identifier: MIT
//
// SSH against a real server: dropbear on loopback. It takes authorized_keys from the home folder of
// the password file, so it runs in a mount namespace of its own in which a folder of the test lies
// over /root; without root that cannot be done and the tests of logins are skipped.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/file.h"
#include "base/process.h"
#include "base/session.h"
#include "base/vector.h"
#include "vm/ssh.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pty.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

static struct session session = SESSION_INIT;
static struct process server = PROCESS_INIT;
static char dir[] = "/tmp/kiln-unit-XXXXXX";
static unsigned port;

/* A port of loopback; *keep gets a listening socket on it (NULL: it is free again). */
static unsigned get_port(int *keep)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    if (keep) {
        assert_int_equal(listen(fd, 5), 0);
        *keep = fd;
    } else {
        close(fd);
    }
    return ntohs(a.sin_port);
}

static void start_server(void)
{
    AUTO_FREE char *home = path_join(dir, "home"), *hostkey = path_join(dir, "hostkey");
    AUTO_FREE char *at = xasprintf("127.0.0.1:%u", port);
    // dropbear lives in its own PID namespace too: its children die with it
    char *const *argv = ARGV("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
                             "mount --bind \"$0\" /root && exec dropbear -F -E -r \"$1\" -p \"$2\"",
                             home, hostkey, at);
    assert_int_equal(process_start(&server,
                                   &(struct process_spec){.argv = argv,
                                                          .in = PROCESS_NULL,
                                                          .out = PROCESS_NULL,
                                                          .errors = PROCESS_NULL},
                                   NULL),
                     0);
}

static int set_up(void **state)
{
    (void)state;
    session.log = stderr;
    session.data = mkdtemp(dir);
    setenv("HOME", dir, 1);
    unsetenv("SSH_AUTH_SOCK");
    port = get_port(NULL);
    AUTO_FREE char *hostkey = path_join(dir, "hostkey"), *ssh = path_join(dir, "home/.ssh");
    AUTO_FREE char *authorized = path_join(ssh, "authorized_keys");
    AUTO_FREE char *key = vm_ssh_own_key(&session, NULL);
    if (!key || make_dirs(ssh, 0700, NULL) < 0 ||
        file_write_whole(authorized, 0600, key, strlen(key), NULL) < 0)
        return -1;
    return process_run(NULL, ARGV("dropbearkey", "-t", "ed25519", "-f", hostkey), NULL, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    process_clear(&server);
    return remove_tree(dir, NULL);
}

static struct vm_ssh *log_in(const char *user, const char *key, int ms, struct error **err)
{
    struct vm_ssh_options o = {.session = &session,
                               .port = port,
                               .user = user,
                               .key_file = key,
                               .deadline = now_ms() + ms};
    return vm_ssh_open(&o, err);
}

/* Runs a command with stdin from `in` and gives its status; *out gets what went to our descriptor
 * `fd` (1 or 2). */
static int run(struct vm_ssh *ssh, const char *command, const char *in, int fd, struct buf *out)
{
    AUTO_FREE char *in_path = path_join(dir, "in"), *out_path = path_join(dir, "out");
    assert_int_equal(file_write_whole(in_path, 0600, in, strlen(in), NULL), 0);
    int saved_in = dup(0), saved = dup(fd), other = fd == 1 ? 2 : 1, status = -1;
    int saved_other = dup(other), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int i = open(in_path, O_RDONLY | O_CLOEXEC);
    int o = open(out_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    fflush(stdout);
    dup2(i, 0);
    dup2(o, fd);
    dup2(null, other);
    CLEANUP(error_freep) struct error *err = NULL;
    int rc = vm_ssh_run(ssh, command, &status, &err);
    dup2(saved_in, 0);
    dup2(saved, fd);
    dup2(saved_other, other);
    for (int *p = (int[]){saved_in, saved, saved_other, null, i, o, -1}; *p >= 0; p++)
        close(*p);
    if (err)
        print_message("%s\n", err->message);
    assert_int_equal(rc, 0);
    assert_int_equal(file_read(out_path, 1 << 30, out, NULL), 0);
    return status;
}

static void need_root(void)
{
    if (getuid() == 0)
        return;
    print_message("needs root to give dropbear a home of its own\n");
    skip();
}

static void the_own_key_stays_and_is_private(void **state)
{
    (void)state;
    AUTO_FREE char *one = vm_ssh_own_key(&session, NULL), *two = vm_ssh_own_key(&session, NULL);
    assert_string_equal(one, two);
    assert_int_equal(strncmp(one, "ssh-ed25519 AAAA", 16), 0);
    AUTO_FREE char *path = path_join(dir, "ssh/id_ed25519");
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    CLEANUP(buf_clear) struct buf pub = BUF_INIT; // ssh-keygen reads it and agrees
    assert_int_equal(process_run(NULL, ARGV("ssh-keygen", "-y", "-f", path), &pub, NULL), 0);
    assert_int_equal(strncmp(pub.data, one, strcspn(pub.data, "\n")), 0);
}

static void nobody_there_is_told_in_time(void **state)
{
    (void)state;
    CLEANUP(error_freep) struct error *err = NULL;
    long long before = now_ms();
    assert_null(log_in("root", NULL, 700, &err));
    assert_true(now_ms() - before < 3000);
    assert_non_null(strstr(err->message, "no SSH server answered in"));
    assert_non_null(strstr(err->message, "Connection refused"));
}

static void a_port_that_only_accepts_is_told_in_time(void **state)
{
    (void)state;
    int fd = -1;
    unsigned real = port;
    port = get_port(&fd);
    CLEANUP(error_freep) struct error *err = NULL;
    assert_null(log_in("root", NULL, 700, &err));
    assert_non_null(strstr(err->message, "it says nothing"));
    close(fd);
    port = real;
}

static void commands_run_and_their_status_is_passed_on(void **state)
{
    (void)state;
    need_root();
    start_server();
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = log_in("root", NULL, 20000, &err);
    if (err)
        print_message("%s\n", err->message);
    assert_non_null(ssh);
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    assert_int_equal(run(ssh, "echo $((6*7)); exit 3", "", 1, &out), 3);
    assert_string_equal(out.data, "42\n");
    assert_int_equal(run(ssh, "echo oops >&2", "", 2, &out), 0);
    assert_string_equal(out.data, "oops\n");
    assert_int_equal(run(ssh, "tr a-z A-Z", "from stdin", 1, &out), 0);
    assert_string_equal(out.data, "FROM STDIN");
    assert_int_equal(run(ssh, "kill -9 $$", "", 1, &out), 128 + SIGKILL);
    assert_int_equal(run(ssh, "true", "nobody reads this", 1, &out), 0);
}

static void much_output_arrives_whole(void **state)
{
    (void)state;
    need_root();
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = log_in("root", NULL, 20000, NULL);
    assert_non_null(ssh);
    CLEANUP(buf_clear) struct buf out = BUF_INIT;
    long long before = now_ms();
    assert_int_equal(
        run(ssh, "head -c 20000000 /dev/zero; head -c 1000000 /dev/zero >&2; exit 5", "", 1, &out),
        5);
    print_message("20 MB in %lld ms\n", now_ms() - before);
    assert_int_equal(out.len, 20000000);
}

static void strangers_are_not_let_in(void **state)
{
    (void)state;
    need_root();
    CLEANUP(error_freep) struct error *err = NULL;
    AUTO_FREE char *other = path_join(dir, "other");
    char *const *argv = ARGV("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other);
    assert_int_equal(process_run(NULL, argv, NULL, NULL), 0);
    assert_null(log_in("root", other, 20000, &err));
    assert_int_equal(err->kind, ERR_GUEST);
    assert_non_null(strstr(err->message, "does not let 'root' in with that key"));
    error_free(STEAL(err));
    assert_null(log_in("no-such-user", NULL, 20000, &err));
    assert_non_null(strstr(err->hint, "--ssh-user"));
    error_free(STEAL(err));
    assert_null(log_in("root", "/etc/passwd", 20000, &err));
    assert_int_equal(err->kind, ERR_USER);
    error_free(STEAL(err));
    assert_null(log_in("root", "/no/such/key", 20000, &err));
    assert_int_equal(err->kind, ERR_NOT_FOUND);
}

/* A user's own key, which only the agent has. */
static void the_ssh_agents_keys_are_offered(void **state)
{
    (void)state;
    need_root();
    AUTO_FREE char *socket_path = path_join(dir, "agent"), *key = path_join(dir, "ssh/id_ed25519");
    CLEANUP(process_clear) struct process agent = PROCESS_INIT;
    struct process_spec ps = {.argv = ARGV("ssh-agent", "-D", "-a", socket_path),
                              .in = PROCESS_NULL,
                              .out = PROCESS_NULL,
                              .errors = PROCESS_NULL};
    assert_int_equal(process_start(&agent, &ps, NULL), 0);
    setenv("SSH_AUTH_SOCK", socket_path, 1);
    int rc = -1;
    for (long long end = now_ms() + 10000; rc < 0 && now_ms() < end;)
        rc = process_run(NULL, ARGV("ssh-add", "-q", key), NULL, NULL);
    assert_int_equal(rc, 0);
    struct session other = session;
    other.data = path_join(dir, "elsewhere"); // kiln has no key of its own there
    struct vm_ssh_options o = {
        .session = &other, .port = port, .user = "root", .deadline = now_ms() + 20000};
    CLEANUP(error_freep) struct error *err = NULL;
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = vm_ssh_open(&o, &err);
    unsetenv("SSH_AUTH_SOCK");
    free(other.data);
    if (err)
        print_message("%s\n", err->message);
    assert_non_null(ssh);
}

/* Our stdin and stdout are a pseudo-terminal of 100 x 30; somebody types at it. */
static void a_console_is_a_terminal_of_our_size(void **state)
{
    (void)state;
    need_root();
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = log_in("root", NULL, 20000, NULL);
    assert_non_null(ssh);
    int master, slave;
    struct winsize size = {.ws_col = 100, .ws_row = 30};
    assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
    static const char typed[] = "stty size; tty; exit 4\n";
    assert_int_equal(write(master, typed, sizeof typed - 1), sizeof typed - 1);
    fflush(stdout);
    int saved_in = dup(0), saved_out = dup(1), status = -1;
    dup2(slave, 0);
    dup2(slave, 1);
    int rc = vm_ssh_console(ssh, &status, NULL);
    dup2(saved_in, 0);
    dup2(saved_out, 1);
    CLEANUP(buf_clear) struct buf shown = BUF_INIT;
    // what a pseudo-terminal passes on may come in pieces and a little later
    while (!strstr(shown.data, "/dev/pts/") &&
           poll(&(struct pollfd){.fd = master, .events = POLLIN}, 1, 5000) == 1) {
        char piece[1024];
        ssize_t n = read(master, piece, sizeof piece);
        assert_true(n > 0);
        buf_add(&shown, piece, (size_t)n);
    }
    struct termios t;
    assert_int_equal(tcgetattr(slave, &t), 0);
    assert_true(t.c_lflag & ECHO); // as it was
    for (int *p = (int[]){master, slave, saved_in, saved_out, -1}; *p >= 0; p++)
        close(*p);
    assert_int_equal(rc, 0);
    assert_int_equal(status, 4);
    assert_non_null(strstr(shown.data, "30 100"));
    assert_non_null(strstr(shown.data, "/dev/pts/"));
}

static void a_server_that_goes_away_is_told(void **state)
{
    (void)state;
    need_root();
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = log_in("root", NULL, 20000, NULL);
    assert_non_null(ssh);
    CLEANUP(error_freep) struct error *err = NULL;
    int status = 0;
    assert_int_equal(vm_ssh_run(ssh, "kill -9 $PPID; exec sleep 100", &status, &err), -1);
    assert_non_null(strstr(err->message, "the connection ended before the command's status came"));
}

int main(void)
{
    session.env = environ;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_own_key_stays_and_is_private),
        cmocka_unit_test(nobody_there_is_told_in_time),
        cmocka_unit_test(a_port_that_only_accepts_is_told_in_time),
        cmocka_unit_test(commands_run_and_their_status_is_passed_on),
        cmocka_unit_test(much_output_arrives_whole),
        cmocka_unit_test(strangers_are_not_let_in),
        cmocka_unit_test(the_ssh_agents_keys_are_offered),
        cmocka_unit_test(a_console_is_a_terminal_of_our_size),
        cmocka_unit_test(a_server_that_goes_away_is_told),
    };
    return cmocka_run_group_tests_name("ssh", tests, set_up, tear_down);
}
