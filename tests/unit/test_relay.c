// SPDX-License-Identifier: MIT
// What a guest may ask of an ssh-agent, and what reaches it.
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
// clang-format on
#include "base/session.h"
#include "builder/agent/protocol.h"
#include "builder/worker/relay.h"
#include "builder/worker/ssh_agent.h"
#include "vm/folder_socket.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE(s) s, sizeof(s) - 1

static void only_listing_and_signing_is_allowed(void **state)
{
    (void)state;
    size_t n = 0;
    assert_int_equal(ssh_agent_judge(MESSAGE("\0\0\0\1\x0b"), &n), SSH_ALLOWED);
    assert_int_equal(n, 5);
    assert_int_equal(ssh_agent_judge(MESSAGE("\0\0\0\3\x0dxxyy"), &n), SSH_ALLOWED);
    assert_int_equal(n, 7);
    for (int type = 0; type < 256; type++) {
        char m[] = {0, 0, 0, 1, (char)type};
        enum ssh_judgement want = type == 11 || type == 13 ? SSH_ALLOWED : SSH_REFUSED;
        assert_int_equal(ssh_agent_judge(m, sizeof m, &n), want);
    }
    assert_int_equal(
        ssh_agent_judge(MESSAGE("\0\0\0\x1d\x1b\0\0\0\x18session-bind@openssh.com"), &n),
        SSH_ALLOWED);
    assert_int_equal(n, 33);
    assert_int_equal(
        ssh_agent_judge(MESSAGE("\0\0\0\x1d\x1b\0\0\0\x18session-bind@openssh.org"), &n),
        SSH_REFUSED);
    assert_int_equal(ssh_agent_judge(MESSAGE("\0\0\0\x09\x1b\0\0\0\x18sess"), &n), SSH_REFUSED);
}

static void parts_and_nonsense_are_told_apart(void **state)
{
    (void)state;
    size_t n = 0;
    assert_int_equal(ssh_agent_judge("", 0, &n), SSH_MORE);
    assert_int_equal(ssh_agent_judge(MESSAGE("\0\0\0"), &n), SSH_MORE);
    assert_int_equal(ssh_agent_judge(MESSAGE("\0\0\0\2\x0b"), &n), SSH_MORE);
    assert_int_equal(ssh_agent_judge(MESSAGE("\0\4\0\0\x0b"), &n), SSH_MORE);
    assert_int_equal(ssh_agent_judge(MESSAGE("\0\4\0\1\x0b"), &n), SSH_DAMAGED);
    assert_int_equal(ssh_agent_judge(MESSAGE("\0\0\0\0\x0b"), &n), SSH_DAMAGED);
    assert_int_equal(ssh_agent_judge(MESSAGE("\xff\xff\xff\xff\x0b"), &n), SSH_DAMAGED);
}

/* A frame of the guest's. */
static void guest_sends(struct relay *r, uint64_t channel, const char *bytes, size_t n)
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    message_put_num(&m, AGENT_TAG_CHANNEL, channel);
    message_put_num(&m, AGENT_TAG_NUMBER, 0);
    if (n)
        message_put(&m, AGENT_TAG_DATA, bytes, n);
    relay_take(r, &m);
}

/* The next frame for it: its channel; its bytes go to `to`, a string. 0: there is none. */
static uint64_t guest_hears(struct relay *r, char to[16])
{
    CLEANUP(message_clear) struct message m = MESSAGE_INIT;
    struct str data = {"", 0};
    if (!relay_next(r, &m))
        return 0;
    (void)message_get(&m, AGENT_TAG_DATA, &data);
    memcpy(to, data.ptr, data.len);
    to[data.len] = '\0';
    return message_num(&m, AGENT_TAG_CHANNEL, 0);
}

static void what_is_not_allowed_never_reaches_the_agent(void **state)
{
    char dir[] = "/tmp/kiln-relay-XXXXXX", heard[16], said[16];
    (void)state;
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *path = xasprintf("%s/agent", dir);
    int listener = folder_socket_listen(dir, "agent", NULL);
    assert_true(listener >= 0);
    struct session s = SESSION_INIT;
    CLEANUP(strv_clear) struct strv sockets = {0};
    strv_add(&sockets, path);
    CLEANUP(relay_freep) struct relay *r = relay_new(&s, &sockets);

    // remove all keys, and in pieces: list them
    guest_sends(r, 7, MESSAGE("\0\0\0\1\x13\0\0\0"));
    int agent = accept(listener, NULL, NULL);
    assert_true(agent >= 0);
    guest_sends(r, 7, MESSAGE("\1\x0b"));
    assert_int_equal(read(agent, said, sizeof said), 5);
    assert_memory_equal(said, "\0\0\0\1\x0b", 5);
    assert_int_equal(guest_hears(r, heard), 7);
    assert_memory_equal(heard, SSH_AGENT_FAILURE, SSH_AGENT_FAILURE_LENGTH);
    assert_int_equal(guest_hears(r, heard), 0);
    assert_int_equal(write(agent, "answer", 6), 6);
    assert_int_equal(guest_hears(r, heard), 7);
    assert_string_equal(heard, "answer");

    // the client's end is the agent's, whose end is the client's
    guest_sends(r, 7, NULL, 0);
    assert_int_equal(read(agent, said, sizeof said), 0);
    close(agent);
    assert_int_equal(guest_hears(r, heard), 7);
    assert_string_equal(heard, "");
    assert_int_equal(guest_hears(r, heard), 0);

    // nonsense ends a line, and so does an agent that is not there
    guest_sends(r, 8, MESSAGE("\xff\xff\xff\xff"));
    assert_int_equal(guest_hears(r, heard), 8);
    assert_string_equal(heard, "");
    close(listener);
    guest_sends(r, 9, MESSAGE("\0\0\0\1\x0b"));
    assert_int_equal(guest_hears(r, heard), 9);
    assert_string_equal(heard, "");
    unlink(path);
    rmdir(dir);
}

static void a_client_too_many_is_sent_away(void **state)
{
    char dir[] = "/tmp/kiln-relay-XXXXXX", heard[16];
    (void)state;
    assert_non_null(mkdtemp(dir));
    AUTO_FREE char *path = xasprintf("%s/agent", dir);
    int listener = folder_socket_listen(dir, "agent", NULL), agent = -1;
    struct session s = SESSION_INIT;
    CLEANUP(strv_clear) struct strv sockets = {0};
    strv_add(&sockets, path);
    CLEANUP(relay_freep) struct relay *r = relay_new(&s, &sockets);
    struct pollfd f[RELAY_FDS];
    for (uint64_t channel = 1; channel <= RELAY_FDS; channel++) {
        guest_sends(r, channel, MESSAGE("\0\0\0\1\x0b"));
        int fd = accept(listener, NULL, NULL);
        assert_true(fd >= 0);
        if (agent < 0)
            agent = fd;
    }
    assert_int_equal(guest_hears(r, heard), 0);
    guest_sends(r, RELAY_FDS + 1, MESSAGE("\0\0\0\1\x0b"));
    assert_int_equal(relay_poll(r, f), RELAY_FDS);
    assert_int_equal(guest_hears(r, heard), RELAY_FDS + 1);
    assert_string_equal(heard, "");

    // what was on its way when the agent ended opens nothing anew
    close(agent);
    assert_int_equal(guest_hears(r, heard), 1);
    guest_sends(r, 1, MESSAGE("\0\0\0\1\x0b"));
    assert_int_equal(relay_poll(r, f), RELAY_FDS - 1);
    guest_sends(r, RELAY_FDS + 2, MESSAGE("\0\0\0\1\x0b"));
    assert_int_equal(relay_poll(r, f), RELAY_FDS);
    close(listener);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_listing_and_signing_is_allowed),
        cmocka_unit_test(parts_and_nonsense_are_told_apart),
        cmocka_unit_test(what_is_not_allowed_never_reaches_the_agent),
        cmocka_unit_test(a_client_too_many_is_sent_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
