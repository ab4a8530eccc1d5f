// SPDX-License-Identifier: MIT
//
// First a connection with a banner is found, by plain sockets (find_server): QEMU's user network
// accepts connections before the guest has a server, and one that was accepted too early may never
// answer, so a new one is tried every second while up to three older ones may still answer. The
// winner goes to libssh, which is used in non-blocking mode throughout: each call that says "again"
// is followed by a wait on its socket (until_done).
//
// A channel is pumped by one loop (relay). The library hands over what came by callbacks, so
// nothing waits in its buffers unseen; it is held in two of ours and written only when poll says
// that our stdout or stderr takes it. The library's socket is read only when they are empty, and
// stdin only when what was read before is sent, so memory is bounded.
#include "vm/ssh.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/session.h"
#include "base/terminal.h"
#include "vm/ssh_key.h"
#include "vm/vm.h"

#include <libssh/callbacks.h>
#include <libssh/libssh.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ATTEMPTS = 3,         /* connections that wait for a banner at the same time */
    ATTEMPT_EVERY = 1000, /* ms */
    ATTEMPT_AGAIN = 250,  /* ms after a refusal */
    ATTEMPT_LIFE = 20000  /* ms until a silent connection is given up */
};

struct vm_ssh {
    struct vm_ssh_options o;
    ssh_session lib;
    long long began; /* of the login, by now_ms(); 0 = it is over */
    int channel_ms;  /* how long a channel may take to open */
    bool started;    /* the last command was asked for */
    long long until; /* end of what is run, by now_ms(); -1 = none */
};

static int plain_wait(void *arg, struct pollfd *fds, size_t n, long long deadline,
                      struct error **err)
{
    const struct session *s = arg;
    struct pollfd f[8];
    for (size_t i = 0; i < n; i++)
        f[i] = fds[i];
    f[n] = (struct pollfd){.fd = s ? s->cancel_fd : -1, .events = POLLIN};
    long long left = deadline < 0 ? 60000 : deadline - now_ms();
    int ready = poll(f, n + 1, left < 0 ? 0 : left > 60000 ? 60000 : (int)left);
    for (size_t i = 0; i < n; i++)
        fds[i].revents = ready > 0 ? f[i].revents : 0;
    if (ready < 0 && errno != EINTR)
        return error_errno(err, "cannot wait for the SSH server");
    if (ready > 0 && f[n].revents)
        return error_set(err, ERR_CANCELLED, "interrupted");
    return ready > 0 || deadline < 0 || now_ms() < deadline;
}

int vm_ssh_wait_vm(void *vm, struct pollfd *fds, size_t n, long long deadline, struct error **err)
{
    return vm_wait(vm, fds, n, deadline, err);
}

static int wait_for(const struct vm_ssh *ssh, struct pollfd *fds, size_t n, long long deadline,
                    struct error **err)
{
    if (ssh->began && ssh->o.waiting)
        ssh->o.waiting(ssh->o.wait_arg, now_ms() - ssh->began);
    return ssh->o.wait(ssh->o.wait_arg, fds, n, deadline, err);
}

static void login_over(struct vm_ssh *ssh)
{
    if (ssh->began && ssh->o.waiting)
        ssh->o.waiting(ssh->o.wait_arg, -1);
    ssh->began = 0;
}

static int too_late(const struct vm_ssh *ssh, struct error **err)
{
    const char *hint = ssh->o.late_hint;
    return error_hint(err, "%s",
                      hint ? hint
                           : "--ssh-timeout waits longer; --ssh-with-serial shows the guest's "
                             "console");
}

struct attempt {
    int fd; /* -1 = free */
    long long since;
};

struct attempts {
    struct attempt a[ATTEMPTS];
    long long next; /* when to try the next one */
    char *why;      /* what the last one said; owned */
};

static void attempts_clear(struct attempts *t)
{
    for (int i = 0; i < ATTEMPTS; i++)
        if (t->a[i].fd >= 0)
            close(t->a[i].fd);
    free(t->why);
}

static void give_up(struct attempts *t, int i, const char *why)
{
    close(t->a[i].fd);
    t->a[i].fd = -1;
    free(t->why);
    t->why = xstrdup(why);
    long long soon = now_ms() + ATTEMPT_AGAIN;
    if (t->next > soon)
        t->next = soon;
}

static void try_again(struct attempts *t, unsigned port)
{
    long long now = now_ms();
    if (now < t->next)
        return;
    t->next = now + ATTEMPT_EVERY;
    int slot = -1;
    for (int i = 0; i < ATTEMPTS; i++) {
        if (t->a[i].fd >= 0 && now - t->a[i].since > ATTEMPT_LIFE)
            give_up(t, i, "it accepts connections but says nothing");
        if (t->a[i].fd < 0)
            slot = i;
    }
    if (slot < 0)
        return;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    t->a[slot] = (struct attempt){fd, now};
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
        give_up(t, slot, strerror(errno));
}

/* Looks at what an attempt got, without taking it: true if it is an SSH server's greeting. */
static bool has_banner(struct attempts *t, int i)
{
    char start[4];
    ssize_t n = recv(t->a[i].fd, start, sizeof start, MSG_PEEK | MSG_DONTWAIT);
    if (n == (ssize_t)sizeof start && !memcmp(start, "SSH-", 4))
        return true;
    if (n == 0)
        give_up(t, i, "the connection was closed");
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        give_up(t, i, strerror(errno));
    else if (n == (ssize_t)sizeof start)
        give_up(t, i, "what answers is not an SSH server");
    return false;
}

/* A connected socket with an SSH banner in it, or -1. */
static int find_server(const struct vm_ssh *ssh, struct error **err)
{
    CLEANUP(attempts_clear) struct attempts t = {.next = 0};
    for (int i = 0; i < ATTEMPTS; i++)
        t.a[i].fd = -1;
    while (now_ms() < ssh->o.deadline) {
        try_again(&t, ssh->o.port);
        struct pollfd f[ATTEMPTS];
        for (int i = 0; i < ATTEMPTS; i++)
            f[i] = (struct pollfd){.fd = t.a[i].fd, .events = POLLIN};
        long long until = t.next < ssh->o.deadline ? t.next : ssh->o.deadline;
        if (wait_for(ssh, f, ATTEMPTS, until, err) < 0)
            return -1;
        for (int i = 0; i < ATTEMPTS; i++)
            if (f[i].revents && t.a[i].fd >= 0 && has_banner(&t, i))
                return STEAL_FD(t.a[i].fd);
    }
    error_set(err, ERR_GUEST, "no SSH server answered in %.0f s: %s",
              (double)(now_ms() - ssh->began) / 1000, t.why ? t.why : "it says nothing");
    return too_late(ssh, err);
}

/* Waits for the library's socket, but not long: it is asked again when it may have taken in already
 * what it waits for. 1 = ask again, 0 = the deadline passed. */
static int wait_for_socket(struct vm_ssh *ssh, long long deadline, struct error **err)
{
    long long soon = now_ms() + 100;
    int flags = ssh_get_poll_flags(ssh->lib);
    struct pollfd f = {.fd = ssh_get_fd(ssh->lib), .events = POLLIN};
    if (flags & SSH_WRITE_PENDING)
        f.events |= POLLOUT;
    int rc = wait_for(ssh, &f, 1, soon < deadline ? soon : deadline, err);
    return rc < 0 ? -1 : now_ms() < deadline;
}

static int lib_error(struct vm_ssh *ssh, const char *what, struct error **err)
{
    return error_set(err, ERR_GUEST, "SSH: %s: %s", what, ssh_get_error(ssh->lib));
}

static int took_too_long(const struct vm_ssh *ssh, struct error **err)
{
    error_set(err, ERR_GUEST, "SSH: the login took too long");
    return too_late(ssh, err);
}

/* Repeats `call` (its result into rc) as long as it gives `again`; -1 leaves the function. */
#define until_done(ssh, rc, again, call, err) \
    while (((rc) = (call)) == (again)) { \
        int waited_ = wait_for_socket(ssh, (ssh)->o.deadline, err); \
        if (waited_ == 0) \
            return took_too_long(ssh, err); \
        if (waited_ < 0) \
            return -1; \
    }

/* Frees the key. */
static int try_key(struct vm_ssh *ssh, ssh_key key, struct error **err)
{
    int rc;
    while ((rc = ssh_userauth_publickey(ssh->lib, NULL, key)) == SSH_AUTH_AGAIN) {
        int waited = wait_for_socket(ssh, ssh->o.deadline, err);
        if (waited <= 0) {
            ssh_key_free(key);
            return waited < 0 ? -1 : took_too_long(ssh, err);
        }
    }
    ssh_key_free(key);
    return rc == SSH_AUTH_ERROR ? lib_error(ssh, "login", err) : rc;
}

static int try_key_file(struct vm_ssh *ssh, const char *file, bool must, struct error **err)
{
    ssh_key key = NULL;
    int rc = ssh_pki_import_privkey_file(file, NULL, NULL, NULL, &key);
    if (rc == SSH_OK)
        return try_key(ssh, key, err);
    if (!must) // there is none, or it needs a passphrase: the agent may have it
        return SSH_AUTH_DENIED;
    error_set(err, rc == SSH_EOF ? ERR_NOT_FOUND : ERR_USER, "cannot use the SSH key '%s'", file);
    return error_hint(err,
                      "it must be a readable private key without a passphrase; for one with "
                      "a passphrase use ssh-agent and no --ssh-key");
}

static int try_vm_key(struct vm_ssh *ssh, struct error **err)
{
    ssh_key key = NULL;
    if (!ssh->o.vm_key ||
        ssh_pki_import_privkey_base64(ssh->o.vm_key, NULL, NULL, NULL, &key) != SSH_OK)
        return SSH_AUTH_DENIED;
    return try_key(ssh, key, err);
}

static int try_default_keys(struct vm_ssh *ssh, struct error **err)
{
    static const char *const names[] = {"id_ed25519", "id_ecdsa", "id_rsa"};
    AUTO_FREE char *own = vm_ssh_own_key_path(ssh->o.session);
    int rc = try_vm_key(ssh, err);
    if (rc == SSH_AUTH_DENIED && own)
        rc = try_key_file(ssh, own, false, err);
    if (rc != SSH_AUTH_DENIED)
        return rc;
    until_done(ssh, rc, SSH_AUTH_AGAIN, ssh_userauth_agent(ssh->lib, NULL), err);
    if (rc == SSH_AUTH_SUCCESS || rc == SSH_AUTH_PARTIAL)
        return rc;
    const char *home = session_env(ssh->o.session, "HOME");
    for (size_t i = 0; home && i < sizeof names / sizeof *names; i++) {
        AUTO_FREE char *file = xasprintf("%s/.ssh/%s", home, names[i]);
        rc = try_key_file(ssh, file, false, err);
        if (rc != SSH_AUTH_DENIED)
            return rc;
    }
    return SSH_AUTH_DENIED;
}

static int log_in(struct vm_ssh *ssh, struct error **err)
{
    int rc;
    until_done(ssh, rc, SSH_AUTH_AGAIN, ssh_userauth_none(ssh->lib, NULL), err);
    if (rc == SSH_AUTH_SUCCESS)
        return 0;
    if (rc == SSH_AUTH_ERROR)
        return lib_error(ssh, "login", err);
    int methods = ssh_userauth_list(ssh->lib, NULL);
    if (methods & SSH_AUTH_METHOD_PUBLICKEY)
        rc = ssh->o.key_file ? try_key_file(ssh, ssh->o.key_file, true, err)
                             : try_default_keys(ssh, err);
    if (rc < 0)
        return err && *err ? -1 : lib_error(ssh, "login", err);
    if (rc != SSH_AUTH_SUCCESS && methods & SSH_AUTH_METHOD_PASSWORD && !ssh->o.key_file &&
        !strcmp(ssh->o.user, "vagrant"))
        until_done(ssh, rc, SSH_AUTH_AGAIN, ssh_userauth_password(ssh->lib, NULL, "vagrant"), err);
    if (rc == SSH_AUTH_SUCCESS)
        return 0;
    error_set(err, ERR_GUEST, "the SSH server does not let '%s' in with %s", ssh->o.user,
              ssh->o.key_file ? "that key"
                              : "the VM's key, kiln's, the ssh-agent's or those in ~/.ssh");
    if (err && *err)
        (*err)->errnum = EACCES;
    return error_hint(err,
                      "name the user with --ssh-user and the key with --ssh-key, or put what "
                      "'kiln ssh-key' prints into the image's ~/.ssh/authorized_keys");
}

static int set_up(struct vm_ssh *ssh, socket_t fd, struct error **err)
{
    bool no = false;
    unsigned port = ssh->o.port;
    static const char devnull[] = "/dev/null";
    ssh->lib = ssh_new();
    if (!ssh->lib)
        alloc_failed();
    // the library closes the socket once it has it
    if (ssh_options_set(ssh->lib, SSH_OPTIONS_HOST, "127.0.0.1") < 0 ||
        ssh_options_set(ssh->lib, SSH_OPTIONS_PORT, &port) < 0 ||
        ssh_options_set(ssh->lib, SSH_OPTIONS_USER, ssh->o.user) < 0 ||
        ssh_options_set(ssh->lib, SSH_OPTIONS_PROCESS_CONFIG, &no) < 0 ||
        ssh_options_set(ssh->lib, SSH_OPTIONS_KNOWNHOSTS, devnull) < 0 ||
        ssh_options_set(ssh->lib, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, devnull) < 0 ||
        ssh_options_set(ssh->lib, SSH_OPTIONS_FD, &fd) < 0) {
        close(fd);
        return lib_error(ssh, "cannot be set up", err);
    }
    ssh_set_blocking(ssh->lib, 0);
    return 0;
}

static int shake_hands(struct vm_ssh *ssh, struct error **err)
{
    int fd = find_server(ssh, err);
    if (fd < 0 || set_up(ssh, fd, err) < 0)
        return -1;
    int rc;
    until_done(ssh, rc, SSH_AGAIN, ssh_connect(ssh->lib), err);
    if (rc != SSH_OK)
        return lib_error(ssh, "cannot connect", err);
    login_over(ssh); // what is left takes a moment, and -v has a line to write
    const char *banner = ssh_get_serverbanner(ssh->lib);
    session_debug(ssh->o.session, 1, "ssh: connected to '%s'", banner);
    if (ssh->o.ret_banner) {
        free(*ssh->o.ret_banner);
        *ssh->o.ret_banner = xstrdup(banner ? banner : "");
    }
    return log_in(ssh, err);
}

struct vm_ssh *vm_ssh_open(const struct vm_ssh_options *o, struct error **err)
{
    CLEANUP(vm_ssh_freep) struct vm_ssh *ssh = xcalloc(1, sizeof *ssh);
    ssh->o = *o;
    ssh->channel_ms = 30000;
    ssh->until = -1;
    if (!o->wait) {
        ssh->o.wait = plain_wait;
        ssh->o.wait_arg = (void *)o->session;
    }
    ssh->began = now_ms();
    int rc = shake_hands(ssh, err);
    login_over(ssh);
    ssh->o.user = ssh->o.key_file = ssh->o.vm_key = NULL; // they need not outlive the login
    ssh->o.ret_banner = NULL;
    return rc < 0 ? NULL : STEAL(ssh);
}

void vm_ssh_free(struct vm_ssh *ssh)
{
    if (!ssh)
        return;
    int saved = errno;
    if (ssh->lib) {
        ssh_disconnect(ssh->lib);
        ssh_free(ssh->lib);
    }
    free(ssh);
    errno = saved;
}

int vm_ssh_fd(const struct vm_ssh *ssh)
{
    return ssh_get_fd(ssh->lib);
}

bool vm_ssh_idle(struct vm_ssh *ssh)
{
    ssh_event event = ssh_event_new();
    if (event && ssh_event_add_session(event, ssh->lib) == SSH_OK) {
        (void)ssh_event_dopoll(event, 0);
        (void)ssh_event_remove_session(event, ssh->lib);
    }
    ssh_event_free(event);
    return ssh_is_connected(ssh->lib);
}

void vm_ssh_reuse(struct vm_ssh *ssh, vm_ssh_wait_fn *wait, void *wait_arg, int channel_ms)
{
    ssh->o.wait = wait;
    ssh->o.wait_arg = wait_arg;
    ssh->channel_ms = channel_ms;
}

bool vm_ssh_started(const struct vm_ssh *ssh)
{
    return ssh->started;
}

void vm_ssh_disown(struct vm_ssh *ssh)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void)dup3(null, vm_ssh_fd(ssh), O_CLOEXEC); // the library's farewell goes there
    close(null);
}

/* RFC 4254, 6.10: signal names without "SIG". */
static int signal_number(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } table[] = {{"ABRT", SIGABRT}, {"ALRM", SIGALRM}, {"FPE", SIGFPE},   {"HUP", SIGHUP},
                 {"ILL", SIGILL},   {"INT", SIGINT},   {"KILL", SIGKILL}, {"PIPE", SIGPIPE},
                 {"QUIT", SIGQUIT}, {"SEGV", SIGSEGV}, {"TERM", SIGTERM}, {"USR1", SIGUSR1},
                 {"USR2", SIGUSR2}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (name && !strcmp(table[i].name, name))
            return table[i].number;
    return SIGKILL;
}

struct relay {
    struct vm_ssh *ssh;
    ssh_event event; /* the library's own poll, to let it take in what came */
    ssh_channel channel;
    struct ssh_channel_callbacks_struct callbacks;
    int fds[3];        /* what stands for stdin, stdout, stderr; borrowed */
    int status;        /* exit status, -1 = not yet known */
    struct buf in;     /* from our stdin, not yet sent */
    struct buf out[2]; /* from the channel, not yet written to stdout, stderr */
    bool in_end;       /* our stdin has ended */
    bool in_told;      /* and the channel knows */
    bool out_gone[2];  /* our stdout or stderr can't be written to any more: drop */
    struct terminal terminal;
};

static void relay_clear(struct relay *r)
{
    terminal_restore(&r->terminal);
    if (r->channel) {
        (void)ssh_remove_channel_callbacks(r->channel, &r->callbacks);
        ssh_channel_free(r->channel);
    }
    if (r->event) {
        (void)ssh_event_remove_session(r->event, r->ssh->lib);
        ssh_event_free(r->event);
    }
    buf_clear(&r->in);
    buf_clear(&r->out[0]);
    buf_clear(&r->out[1]);
}

static void on_exit_signal(ssh_session lib, ssh_channel channel, const char *name, int core,
                           const char *message, const char *lang, void *arg)
{
    (void)lib, (void)channel, (void)core, (void)message, (void)lang;
    struct relay *r = arg;
    r->status = 128 + signal_number(name);
}

static void on_exit_status(ssh_session lib, ssh_channel channel, int status, void *arg)
{
    (void)lib, (void)channel;
    struct relay *r = arg;
    r->status = status & 0xff;
}

static int on_data(ssh_session lib, ssh_channel channel, void *data, uint32_t n, int is_stderr,
                   void *arg)
{
    (void)lib, (void)channel;
    struct relay *r = arg;
    if (!r->out_gone[is_stderr])
        buf_add(&r->out[is_stderr], data, n);
    return (int)n;
}

static bool has_output(const struct relay *r)
{
    return r->out[0].len || r->out[1].len;
}

static int give_input(struct relay *r, struct error **err)
{
    if (r->in.len) {
        int n = ssh_channel_write(r->channel, r->in.data, (uint32_t)r->in.len);
        if (n == SSH_ERROR && !ssh_channel_is_eof(r->channel))
            return lib_error(r->ssh, "the connection broke", err);
        buf_consume(&r->in, n > 0 ? (size_t)n : n == SSH_ERROR ? r->in.len : 0);
    }
    if (r->in_end && !r->in.len && !r->in_told) {
        (void)ssh_channel_send_eof(r->channel);
        r->in_told = true;
    }
    return 0;
}

/* Whether the output is the user's own, not a file or a pipe of ours. */
static bool is_users(const struct relay *r)
{
    return r->fds[1] == r->ssh->o.session->out;
}

static void read_stdin(struct relay *r)
{
    char chunk[16 * 1024];
    ssize_t n = read(r->fds[0], chunk, sizeof chunk);
    if (n > 0)
        buf_add(&r->in, chunk, (size_t)n);
    else if (n == 0 || (errno != EINTR && errno != EAGAIN))
        r->in_end = true;
}

/* poll said that at least PIPE_BUF bytes do not block. */
static void write_output(struct relay *r, int i)
{
    size_t n = r->out[i].len < 4096 ? r->out[i].len : 4096;
    ssize_t wrote = write(r->fds[1 + i], r->out[i].data, n);
    if (wrote < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (wrote < 0) {
        if (errno == EPIPE && is_users(r))
            session_interrupt(r->ssh->o.session, SIGPIPE);
        r->out_gone[i] = true;
        wrote = (ssize_t)r->out[i].len;
    }
    buf_consume(&r->out[i], (size_t)wrote);
}

static int wait_relay(struct relay *r, struct error **err)
{
    enum { LIB, IN, OUT, ERRORS, WINCH, ALL };
    struct pollfd f[ALL] = {
        [LIB] = {.fd = has_output(r) ? -1 : ssh_get_fd(r->ssh->lib), .events = POLLIN},
        [IN] = {.fd = r->in_end || r->in.len ? -1 : r->fds[0], .events = POLLIN},
        [OUT] = {.fd = r->out[0].len ? r->fds[1] : -1, .events = POLLOUT},
        [ERRORS] = {.fd = r->out[1].len ? r->fds[2] : -1, .events = POLLOUT},
        [WINCH] = {.fd = r->terminal.winch_fd, .events = POLLIN},
    };
    if (ssh_get_poll_flags(r->ssh->lib) & SSH_WRITE_PENDING)
        f[LIB].events |= POLLOUT;
    int rc = wait_for(r->ssh, f, ALL, r->ssh->until, err);
    if (rc <= 0)
        return rc < 0 ? -1 : error_set(err, ERR_GUEST, "it took too long");
    if (f[IN].revents)
        read_stdin(r);
    if (f[OUT].revents)
        write_output(r, 0);
    if (f[ERRORS].revents)
        write_output(r, 1);
    if (r->out_gone[0] && !is_users(r))
        return errno = EPIPE, error_errno(err, "cannot pass on what the command wrote");
    unsigned columns, rows;
    if (f[WINCH].revents && terminal_take_resize(&r->terminal, &columns, &rows))
        (void)ssh_channel_change_pty_size(r->channel, (int)columns, (int)rows);
    return 0;
}

static int relay_run(struct relay *r, int *ret_status, struct error **err)
{
    for (;;) {
        if (give_input(r, err) < 0)
            return -1;
        // takes in and calls back; an error shows in the state, looked at below
        if (!has_output(r))
            (void)ssh_event_dopoll(r->event, 0);
        bool closed = ssh_channel_is_closed(r->channel) || !ssh_is_connected(r->ssh->lib);
        bool ended = closed || (ssh_channel_is_eof(r->channel) && r->status >= 0);
        if (ended && !has_output(r))
            break;
        if (wait_relay(r, err) < 0)
            return -1;
    }
    if (r->status < 0)
        return error_set(err, ERR_GUEST,
                         "SSH: the connection ended before the command's status "
                         "came");
    *ret_status = r->status;
    return 0;
}

static int open_channel(struct relay *r, bool pty, struct error **err)
{
    struct vm_ssh *ssh = r->ssh;
    int rc;
    r->channel = ssh_channel_new(ssh->lib);
    if (!r->channel)
        return lib_error(ssh, "no channel", err);
    until_done(ssh, rc, SSH_AGAIN, ssh_channel_open_session(r->channel), err);
    if (rc != SSH_OK)
        return lib_error(ssh, "no channel", err);
    if (!pty)
        return 0;
    unsigned columns, rows;
    const char *term = session_setting(ssh->o.session, "TERM");
    terminal_size(r->fds[0], &columns, &rows);
    until_done(
        ssh, rc, SSH_AGAIN,
        ssh_channel_request_pty_size(r->channel, term ? term : "vt100", (int)columns, (int)rows),
        err);
    return rc == SSH_OK ? 0 : lib_error(ssh, "no pseudo-terminal", err);
}

static int run(struct vm_ssh *ssh, const char *command, bool tty, const int fds[3], int *ret_status,
               struct error **err)
{
    CLEANUP(relay_clear)
    struct relay r = {.ssh = ssh,
                      .fds = {fds[0], fds[1], fds[2]},
                      .status = -1,
                      .in = BUF_INIT,
                      .out = {BUF_INIT, BUF_INIT},
                      .terminal = TERMINAL_INIT};
    r.callbacks =
        (struct ssh_channel_callbacks_struct){.userdata = &r,
                                              .channel_data_function = on_data,
                                              .channel_exit_status_function = on_exit_status,
                                              .channel_exit_signal_function = on_exit_signal};
    ssh_callbacks_init(&r.callbacks);
    ssh->started = false;
    ssh->o.deadline = now_ms() + ssh->channel_ms; // the login is done; this is for the channel
    // without one the end of our stdin ends the shell, as for ssh
    bool pty = tty && isatty(fds[0]);
    if (open_channel(&r, pty, err) < 0)
        return -1;
    ssh_set_channel_callbacks(r.channel, &r.callbacks);
    int rc;
    ssh->started = true;
    until_done(ssh, rc, SSH_AGAIN,
               command ? ssh_channel_request_exec(r.channel, command)
                       : ssh_channel_request_shell(r.channel),
               err);
    if (rc != SSH_OK)
        return lib_error(ssh, command ? "the command was refused" : "no shell", err);
    r.event = ssh_event_new();
    if (!r.event || ssh_event_add_session(r.event, ssh->lib) != SSH_OK)
        return lib_error(ssh, "no event loop", err);
    if (pty && terminal_raw(&r.terminal, fds[0], err) < 0)
        return -1;
    return relay_run(&r, ret_status, err);
}

void vm_ssh_limit(struct vm_ssh *ssh, int timeout_ms)
{
    ssh->until = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
}

static int run_for_user(struct vm_ssh *ssh, const char *command, bool tty, int *ret_status,
                        struct error **err)
{
    const struct session *s = ssh->o.session;
    return run(ssh, command, tty, (const int[3]){s->in, s->out, s->errors}, ret_status, err);
}

int vm_ssh_run(struct vm_ssh *ssh, const char *command, int *ret_status, struct error **err)
{
    return run_for_user(ssh, command, false, ret_status, err);
}

int vm_ssh_run_tty(struct vm_ssh *ssh, const char *command, int *ret_status, struct error **err)
{
    return run_for_user(ssh, command, true, ret_status, err);
}

int vm_ssh_run_on(struct vm_ssh *ssh, const char *command, const int fds[3], int *ret_status,
                  struct error **err)
{
    return run(ssh, command, false, fds, ret_status, err);
}

int vm_ssh_console(struct vm_ssh *ssh, int *ret_status, struct error **err)
{
    return run_for_user(ssh, NULL, true, ret_status, err);
}
