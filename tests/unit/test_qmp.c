// SPDX-License-Identifier: MIT
//
// QMP against a peer that we play: what QEMU would not send. The conversation with a real QEMU is
// in test_vm.c.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/alloc.h"
#include "base/json.h"
#include "base/session.h"
#include "vm/qmp.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char greeting[] =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 1, \"minor\": 2, \"major\": 9}}}}\r\n";

/* A client; *peer gets the other end, with `sent` already written to it. */
static struct qmp *client(int *peer, const char *sent)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(send(pair[1], sent, strlen(sent), 0), strlen(sent));
    *peer = pair[1];
    return qmp_new_take(pair[0], NULL);
}

/* A peer that answers every line it gets with the next of its answers, and then closes. */
struct peer {
    int fd;
    const char *const *answers; /* NULL-terminated */
};

static void *play_peer(void *arg)
{
    struct peer *p = arg;
    char byte;
    for (const char *const *a = p->answers; *a; a++) {
        while (recv(p->fd, &byte, 1, 0) == 1 && byte != '\n')
            ;
        if (send(p->fd, *a, strlen(*a), MSG_NOSIGNAL) < 0)
            break;
    }
    (void)shutdown(p->fd, SHUT_WR);
    return NULL;
}

/* The handshake with a peer that greets and gives this answer; the error's text, or "". Owned. */
static char *handshake(const char *greets, const char *answer)
{
    CLEANUP(error_freep) struct error *err = NULL;
    AUTO_CLOSE int fd = -1;
    CLEANUP(qmp_freep) struct qmp *q = client(&fd, greets);
    const char *const answers[] = {answer, NULL};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, play_peer, &(struct peer){fd, answers}), 0);
    int rc = qmp_handshake(q, 2000, &err);
    (void)shutdown(qmp_fd(q), SHUT_RDWR);
    pthread_join(thread, NULL);
    assert_int_equal(rc, err ? -1 : 0);
    if (err)
        assert_int_equal(err->kind, ERR_GUEST);
    return xstrdup(err ? err->message : "");
}

static void breaches_of_the_protocol_are_errors(void **state)
{
    (void)state;
    static const struct {
        const char *answer, *error;
    } cases[] = {
        {"{\"return\": {}, \"id\": 1}\n", ""},
        {"{\"event\": \"RESUME\"}\r\n\n{\"return\": {}, \"id\": 1}\r\n", ""},
        {"", "QEMU closed its control connection"},
        {"{\"return\": {}", "QEMU closed its control connection"},
        {"[1]\n", "QMP: QEMU did not send a JSON object: it is something else"},
        {"{\"return\": {}, \"id\": 2}\n", "QMP: an answer to a command that was not sent"},
        {"{\"return\": {}, \"id\": \"1\"}\n", "QMP: an answer to a command that was not sent"},
        {"{\"something\": 1}\n",
         "QMP: a message that is neither a greeting, an event nor an answer"},
        {"{\"QMP\": {}}\n", "QMP: a second greeting"},
        {"{\"event\": 7}\n", "QMP: a message that is neither a greeting, an event nor an answer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        AUTO_FREE char *got = handshake(greeting, cases[i].answer);
        assert_string_equal(got, cases[i].error);
    }
    AUTO_FREE char *early = xasprintf("%s{\"return\": {}, \"id\": 1}\n", greeting);
    AUTO_FREE char *too_soon = handshake(early, "");
    assert_string_equal(too_soon, "QMP: an answer to a command that was not sent");
    AUTO_FREE char *garbage = handshake("SSH-2.0-dropbear\n", "");
    assert_non_null(strstr(garbage, "did not send a JSON object"));
}

static void refusals_are_told_even_without_words(void **state)
{
    (void)state;
    AUTO_CLOSE int fd = -1;
    CLEANUP(qmp_freep) struct qmp *q = client(&fd, greeting);
    const char *const answers[] = {"{\"return\": {}, \"id\": 1}\n", "{\"error\": {}, \"id\": 2}\n",
                                   NULL};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, play_peer, &(struct peer){fd, answers}), 0);
    CLEANUP(error_freep) struct error *err = NULL;
    assert_int_equal(qmp_handshake(q, 2000, &err), 0);
    assert_string_equal(qmp_qemu_version(q), "9.2.1");
    assert_int_equal(qmp_command(q, "quit", NULL, 2000, NULL, &err), -1);
    assert_int_equal(err->kind, ERR_SYSTEM);
    assert_string_equal(err->message, "QMP quit: failed");
    pthread_join(thread, NULL);
}

static void a_line_without_end_meets_the_limit(void **state)
{
    (void)state;
    AUTO_CLOSE int peer = -1;
    CLEANUP(qmp_freep) struct qmp *q = client(&peer, "");
    CLEANUP(error_freep) struct error *err = NULL;
    size_t n = 1 << 20;
    AUTO_FREE char *chunk = xmalloc(n);
    memset(chunk, 'x', n);
    int rc = 0;
    for (int i = 0; i < 100 && rc == 0; i++)
        rc = qmp_feed(q, chunk, n, &err);
    assert_int_equal(rc, -1);
    assert_string_equal(err->message, "QMP: QEMU sent a line of more than 16 MiB");
}

static void events_are_queued_within_bounds_and_in_order(void **state)
{
    (void)state;
    AUTO_CLOSE int peer = -1;
    CLEANUP(qmp_freep) struct qmp *q = client(&peer, greeting);
    for (int i = 0; i < QMP_EVENTS_KEPT + 10; i++) {
        AUTO_FREE char *line = xasprintf("{\"event\": \"E%d\", \"data\": {\"n\": %d}}\n", i % 2, i);
        assert_int_equal(qmp_feed(q, line, strlen(line), NULL), 0);
    }
    json_auto_t *one = NULL;
    assert_int_equal(qmp_wait_event(q, "E1", 0, &one, NULL), 0);
    assert_int_equal(json_int(one, "n", -1), 11); // the first ten were dropped
    json_auto_t *two = NULL;
    assert_int_equal(qmp_wait_event(q, "E1", 0, &two, NULL), 0);
    assert_int_equal(json_int(two, "n", -1), 13);
    qmp_forget_events(q);
    assert_int_equal(qmp_wait_event(q, "E0", 0, NULL, NULL), -1);
}

static void bytes_may_come_in_any_pieces(void **state)
{
    (void)state;
    AUTO_CLOSE int peer = -1;
    CLEANUP(qmp_freep) struct qmp *q = client(&peer, "");
    for (const char *p = greeting; *p; p++)
        assert_int_equal(qmp_feed(q, p, 1, NULL), 0);
    assert_string_equal(qmp_qemu_version(q), "9.2.1");
}

static void a_peer_that_does_not_read_is_given_up(void **state)
{
    (void)state;
    AUTO_CLOSE int peer = -1;
    CLEANUP(qmp_freep) struct qmp *q = client(&peer, greeting);
    size_t n = 4 << 20;
    AUTO_FREE char *text = xmalloc(n + 1);
    memset(text, 'x', n);
    text[n] = '\0';
    CLEANUP(error_freep) struct error *err = NULL;
    long long before = now_ms();
    assert_int_equal(
        qmp_callf(q, 200, NULL, &err, "human-monitor-command", "{s:s}", "command-line", text), -1);
    assert_true(now_ms() - before < 5000);
    assert_non_null(strstr(err->message, "QEMU does not take commands any more"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(breaches_of_the_protocol_are_errors),
        cmocka_unit_test(refusals_are_told_even_without_words),
        cmocka_unit_test(a_line_without_end_meets_the_limit),
        cmocka_unit_test(events_are_queued_within_bounds_and_in_order),
        cmocka_unit_test(bytes_may_come_in_any_pieces),
        cmocka_unit_test(a_peer_that_does_not_read_is_given_up),
    };
    return cmocka_run_group_tests_name("qmp", tests, NULL, NULL);
}
