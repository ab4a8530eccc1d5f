// SPDX-License-Identifier: MIT
//
// Runs a copy's command in the login that the guest was saved with, so that it needs no SSH: no key
// exchange, no new process of the server, no login, all of which are translated anew under TCG. Usage, by
// the user who is logged in: wake command PORT. What goes over the port is in vm/wake.h. One command at a
// time; its output is passed on as it comes, its input only when it takes some.
#include "vm/guest/calls.h"
#include "vm/wake.h"

#include <linux/poll.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    O_READ_WRITE = 2 | 02000000, // O_CLOEXEC
    O_DONTWAIT = 04000,
    AGAIN = -11,
    SIZE = COMMAND_PART,
    ENV_MAX = 256,
    LOOK_MS = 2
};

struct job {
    int port, pid;
    int in, out[2];       /* -1 = ended */
    int status;           /* as wait4 has it */
    uint32_t have, taken; /* of the input that waits */
    char input[SIZE], chunk[SIZE];
};

static int write_all(int fd, const void *data, size_t n)
{
    for (size_t done = 0; done < n;) {
        long got = call(__NR_write, fd, (long)data + (long)done, (long)(n - done));
        if (got == -4) // EINTR
            continue;
        if (got <= 0)
            return -1;
        done += (size_t)got;
    }
    return 0;
}

static int read_all(int fd, void *to, size_t n)
{
    for (size_t have = 0; have < n;) {
        long got = call(__NR_read, fd, (long)to + (long)have, (long)(n - have));
        if (got == -4)
            continue;
        if (got <= 0)
            return -1;
        have += (size_t)got;
    }
    return 0;
}

static int tell(int port, uint32_t kind, const void *data, uint32_t n)
{
    struct command_frame f = {kind, n};
    return write_all(port, &f, sizeof f) < 0 || write_all(port, data, n) < 0 ? -1 : 0;
}

static void end(int *fd)
{
    if (*fd >= 0)
        (void)call(__NR_close, *fd, 0, 0);
    *fd = -1;
}

static bool is_variable(const char *entry, const char *name)
{
    while (*name && *entry == *name)
        entry++, name++;
    return !*name && *entry == '=';
}

/* The login's, without what was true of the shell that started us. */
static char **environment(char **env)
{
    static const char *const gone[] = {"SHLVL", "OLDPWD", "_"};
    static char *kept[ENV_MAX + 1];
    size_t n = 0;
    for (; *env && n < ENV_MAX; env++) {
        bool drop = false;
        for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
            drop |= is_variable(*env, gone[i]);
        if (!drop)
            kept[n++] = *env;
    }
    return kept;
}

static void run_shell(char *command, char **env)
{
    static char sh[] = "/bin/sh", dash_c[] = "-c";
    static const int signals[] = {1, 2, 3, 13, 15}; // a shell's background has them ignored
    char *shell = sh;
    for (char **e = env; *e; e++)
        if (is_variable(*e, "SHELL") && (*e)[6])
            shell = *e + 6;
    char *name = shell;
    for (char *p = shell; *p; p++)
        if (*p == '/' && p[1])
            name = p + 1;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        long action[4] = {0}; // SIG_DFL
        (void)call4(__NR_rt_sigaction, signals[i], (long)action, 0, 8);
    }
    (void)call(__NR_setsid, 0, 0, 0);
    char *argv[] = {name, dash_c, command, NULL};
    (void)call(__NR_execve, (long)shell, (long)argv, (long)env);
    (void)call(__NR_exit_group, 127, 0, 0);
}

static int start(struct job *j, char *command, char **env)
{
    int pipes[3][2];
    for (size_t i = 0; i < 3; i++)
        if (call(__NR_pipe2, (long)pipes[i], 02000000, 0) < 0)
            return -1;
    long pid = call(__NR_fork, 0, 0, 0);
    if (pid == 0) {
        (void)call(__NR_dup2, pipes[0][0], 0, 0);
        (void)call(__NR_dup2, pipes[1][1], 1, 0);
        (void)call(__NR_dup2, pipes[2][1], 2, 0);
        run_shell(command, env);
    }
    end(&pipes[0][0]);
    end(&pipes[1][1]);
    end(&pipes[2][1]);
    j->pid = (int)pid;
    j->in = pipes[0][1];
    j->out[0] = pipes[1][0];
    j->out[1] = pipes[2][0];
    (void)call(__NR_fcntl, j->in, 4, O_DONTWAIT); // F_SETFL
    return pid < 0 ? -1 : 0;
}

/* The next frame of the port, which is about the input. */
static int take_input(struct job *j)
{
    struct command_frame f;
    if (read_all(j->port, &f, sizeof f) < 0 || f.kind != COMMAND_INPUT || f.n > SIZE ||
        read_all(j->port, j->input, f.n) < 0)
        return -1;
    j->have = f.n;
    j->taken = 0;
    if (!f.n)
        end(&j->in);
    if (j->in < 0)
        j->have = 0; // nobody reads it
    return 0;
}

static void give_input(struct job *j)
{
    long n = call(__NR_write, j->in, (long)j->input + j->taken, (long)(j->have - j->taken));
    if (n == AGAIN)
        return;
    if (n < 0)
        end(&j->in);
    j->taken = n < 0 ? j->have : j->taken + (uint32_t)n;
    if (j->taken == j->have)
        j->have = j->taken = 0;
}

static int pass_output(struct job *j, int i)
{
    long n = call(__NR_read, j->out[i], (long)j->chunk, SIZE);
    if (n <= 0) {
        end(&j->out[i]);
        return 0;
    }
    return tell(j->port, i ? COMMAND_ERRORS : COMMAND_OUTPUT, j->chunk, (uint32_t)n);
}

static int serve(struct job *j)
{
    for (;;) {
        bool quiet = j->out[0] < 0 && j->out[1] < 0; // it may still want input
        if (quiet && call4(__NR_wait4, j->pid, (long)&j->status, 1, 0) == j->pid) // WNOHANG
            break;
        struct pollfd f[] = {{.fd = j->have ? -1 : j->port, .events = POLLIN},
                             {.fd = j->have ? j->in : -1, .events = POLLOUT},
                             {.fd = j->out[0], .events = POLLIN},
                             {.fd = j->out[1], .events = POLLIN}};
        (void)call(__NR_poll, (long)f, 4, quiet ? LOOK_MS : -1);
        if ((f[0].revents & POLLIN && take_input(j) < 0) || (f[0].revents & (POLLHUP | POLLERR)))
            return -1;
        if (f[1].revents)
            give_input(j);
        for (int i = 0; i < 2; i++)
            if (f[2 + i].revents && pass_output(j, i) < 0)
                return -1;
    }
    end(&j->in);
    return tell(j->port, COMMAND_STATUS, &j->status, sizeof j->status);
}

static int run(int port, uint32_t n, char **env)
{
    static char command[COMMAND_MAX];
    static struct job j;
    if (!n || n > sizeof command || read_all(port, command, n) < 0 || command[n - 1])
        return -1;
    memset(&j, 0, sizeof j);
    j.port = port;
    return start(&j, command, env) < 0 ? -1 : serve(&j);
}

static int answer(int port, char **env)
{
    struct command_frame f;
    while (read_all(port, &f, sizeof f) == 0 && f.kind != COMMAND_END)
        if ((f.kind == COMMAND_PING && tell(port, COMMAND_PING, NULL, 0) < 0) ||
            (f.kind == COMMAND_RUN && run(port, f.n, env) < 0))
            return 1;
    return 0;
}

int command_start(char **argv, char **env)
{
    static const char name[] = "kiln";
    int port = (int)call(__NR_open, (long)argv[2], O_READ_WRITE, 0);
    if (port < 0)
        return 1;
    (void)call(__NR_unlink, (long)argv[0], 0, 0);
    if (call(__NR_fork, 0, 0, 0) != 0)
        return 0; // whoever started us knows that the port is open
    (void)call(__NR_setsid, 0, 0, 0);
    for (size_t i = 2; i; i--) // what ps shows
        for (char *p = argv[i]; *p; p++)
            *p = '\0';
    for (size_t i = 0; argv[0][i]; i++)
        argv[0][i] = i < sizeof name ? name[i] : '\0';
    (void)call(__NR_prctl, 15, (long)name, 0); // PR_SET_NAME
    return answer(port, environment(env));
}
