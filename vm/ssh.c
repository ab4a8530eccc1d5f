// SPDX-License-Identifier: MIT
//
// First a connection with a banner is found, by plain sockets (find_server): QEMU's user network
// accepts connections before the guest has a server, and one that was accepted too early may never
// answer, so a new one is tried every second while up to three older ones may still answer. The
// winner goes to libssh, which is used in non-blocking mode throughout: each call that says "again"
// is followed by a wait on its socket (until_done).
#include "vm/ssh.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/session.h"
#include "vm/ssh_key.h"
#include "vm/ssh_private.h"
#include "vm/ssh_program.h"
#include "vm/vm.h"

#include <libssh/libssh.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
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

int vm_ssh_wait_for(const struct vm_ssh *ssh, struct pollfd *fds, size_t n, long long deadline,
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

const char *vm_ssh_host(const struct vm_ssh_options *o)
{
    return o->host ? o->host : "127.0.0.1";
}

static void try_again(struct attempts *t, const char *host, unsigned port)
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
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    (void)inet_pton(AF_INET, host, &to.sin_addr);
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
        try_again(&t, vm_ssh_host(&ssh->o), ssh->o.port);
        struct pollfd f[ATTEMPTS];
        for (int i = 0; i < ATTEMPTS; i++)
            f[i] = (struct pollfd){.fd = t.a[i].fd, .events = POLLIN};
        long long until = t.next < ssh->o.deadline ? t.next : ssh->o.deadline;
        if (vm_ssh_wait_for(ssh, f, ATTEMPTS, until, err) < 0)
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
int vm_ssh_wait_for_socket(struct vm_ssh *ssh, long long deadline, struct error **err)
{
    long long soon = now_ms() + 100;
    int flags = ssh_get_poll_flags(ssh->lib);
    struct pollfd f = {.fd = ssh_get_fd(ssh->lib), .events = POLLIN};
    if (flags & SSH_WRITE_PENDING)
        f.events |= POLLOUT;
    int rc = vm_ssh_wait_for(ssh, &f, 1, soon < deadline ? soon : deadline, err);
    return rc < 0 ? -1 : now_ms() < deadline;
}

int vm_ssh_lib_error(struct vm_ssh *ssh, const char *what, struct error **err)
{
    return error_set(err, ERR_GUEST, "SSH: %s: %s", what, ssh_get_error(ssh->lib));
}

int vm_ssh_took_too_long(const struct vm_ssh *ssh, struct error **err)
{
    error_set(err, ERR_GUEST, "SSH: the login took too long");
    return too_late(ssh, err);
}

/* Frees the key. */
static int try_key(struct vm_ssh *ssh, ssh_key key, struct error **err)
{
    int rc;
    while ((rc = ssh_userauth_publickey(ssh->lib, NULL, key)) == SSH_AUTH_AGAIN) {
        int waited = vm_ssh_wait_for_socket(ssh, ssh->o.deadline, err);
        if (waited <= 0) {
            ssh_key_free(key);
            return waited < 0 ? -1 : vm_ssh_took_too_long(ssh, err);
        }
    }
    ssh_key_free(key);
    return rc == SSH_AUTH_ERROR ? vm_ssh_lib_error(ssh, "login", err) : rc;
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
        return vm_ssh_lib_error(ssh, "login", err);
    int methods = ssh_userauth_list(ssh->lib, NULL);
    if (methods & SSH_AUTH_METHOD_PUBLICKEY)
        rc = ssh->o.key_file ? try_key_file(ssh, ssh->o.key_file, true, err)
                             : try_default_keys(ssh, err);
    if (rc < 0)
        return err && *err ? -1 : vm_ssh_lib_error(ssh, "login", err);
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

/* Old servers need algorithms that the library does not offer by itself. One that it does not know is
 * not an error here: ssh(1) may know it. */
static void set_algorithms(const struct vm_ssh *ssh)
{
    static const struct {
        const char *name;
        enum ssh_options_e to[2];
    } table[] = {
        {"Ciphers", {SSH_OPTIONS_CIPHERS_C_S, SSH_OPTIONS_CIPHERS_S_C}},
        {"MACs", {SSH_OPTIONS_HMAC_C_S, SSH_OPTIONS_HMAC_S_C}},
        {"KexAlgorithms", {SSH_OPTIONS_KEY_EXCHANGE, SSH_OPTIONS_KEY_EXCHANGE}},
        {"HostKeyAlgorithms", {SSH_OPTIONS_HOSTKEYS, SSH_OPTIONS_HOSTKEYS}},
        {"PubkeyAcceptedAlgorithms",
         {SSH_OPTIONS_PUBLICKEY_ACCEPTED_TYPES, SSH_OPTIONS_PUBLICKEY_ACCEPTED_TYPES}},
    };
    for (size_t i = 0; ssh->o.options && i < sizeof table / sizeof *table; i++) {
        AUTO_FREE char *value = ssh_option(ssh->o.options, table[i].name);
        for (size_t k = 0; value && k < 2; k++)
            if (ssh_options_set(ssh->lib, table[i].to[k], value) < 0)
                session_debug(ssh->o.session, 1,
                              "ssh: the built-in client does not know '%s' for %s", value,
                              table[i].name);
    }
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
    if (ssh_options_set(ssh->lib, SSH_OPTIONS_HOST, vm_ssh_host(&ssh->o)) < 0 ||
        ssh_options_set(ssh->lib, SSH_OPTIONS_PORT, &port) < 0 ||
        ssh_options_set(ssh->lib, SSH_OPTIONS_USER, ssh->o.user) < 0 ||
        ssh_options_set(ssh->lib, SSH_OPTIONS_PROCESS_CONFIG, &no) < 0 ||
        ssh_options_set(ssh->lib, SSH_OPTIONS_KNOWNHOSTS, devnull) < 0 ||
        ssh_options_set(ssh->lib, SSH_OPTIONS_GLOBAL_KNOWNHOSTS, devnull) < 0 ||
        ssh_options_set(ssh->lib, SSH_OPTIONS_FD, &fd) < 0) {
        close(fd);
        return vm_ssh_lib_error(ssh, "cannot be set up", err);
    }
    set_algorithms(ssh);
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
        return vm_ssh_lib_error(ssh, "cannot connect", err);
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
    ssh->o.user = ssh->o.key_file = ssh->o.vm_key = NULL;
    ssh->o.options = NULL; // they need not outlive the login
    ssh->o.ret_banner = NULL;
    return rc < 0 ? NULL : STEAL(ssh);
}

void vm_ssh_free(struct vm_ssh *ssh)
{
    if (!ssh)
        return;
    int saved = errno;
    if (ssh->lib) {
        int fd = dup(ssh_get_fd(ssh->lib));
        ssh_disconnect(ssh->lib);
        ssh_free(ssh->lib);
        // the library does not close a socket that it was given, and the guest is to see the end now
        (void)shutdown(fd, SHUT_RDWR);
        if (fd >= 0)
            close(fd);
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
    return !ssh->in_use && ssh_is_connected(ssh->lib);
}

void vm_ssh_reuse(struct vm_ssh *ssh, vm_ssh_wait_fn *wait, void *wait_arg, int channel_ms)
{
    ssh->reused = true;
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
