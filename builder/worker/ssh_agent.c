// SPDX-License-Identifier: MIT
#include "builder/worker/ssh_agent.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { REQUEST_IDENTITIES = 11, SIGN_REQUEST = 13, EXTENSION = 27 };

static uint32_t number(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* "session-bind@openssh.com": keys that ssh-add -h ties to hosts need it. */
static bool is_session_bind(const unsigned char *rest, size_t n)
{
    static const char name[] = "session-bind@openssh.com";
    return n >= 4 + sizeof name - 1 && number(rest) == sizeof name - 1 &&
           !memcmp(rest + 4, name, sizeof name - 1);
}

enum ssh_judgement ssh_agent_judge(const char *bytes, size_t n, size_t *ret_length)
{
    const unsigned char *p = (const unsigned char *)bytes;
    if (n < 4)
        return SSH_MORE;
    uint32_t length = number(p);
    if (!length || length > SSH_MESSAGE_MAX)
        return SSH_DAMAGED;
    if (n - 4 < length)
        return SSH_MORE;
    *ret_length = 4 + (size_t)length;
    bool allowed = p[4] == REQUEST_IDENTITIES || p[4] == SIGN_REQUEST ||
                   (p[4] == EXTENSION && is_session_bind(p + 5, length - 1));
    return allowed ? SSH_ALLOWED : SSH_REFUSED;
}
