/* SPDX-License-Identifier: MIT
 *
 * What a command in the guest asks of an ssh-agent of the host, judged before the agent sees it: its
 * keys may be listed and used to sign, and nothing may be changed (as BuildKit has it). Messages are
 * those of draft-miller-ssh-agent: u32 length (big endian), u8 type, the rest.
 *
 *     // given const char *sent; size_t n;
 *     size_t length;
 *     enum ssh_judgement j = ssh_agent_judge(sent, n, &length);   // of the first message
 */
#ifndef BUILDER_WORKER_SSH_AGENT_H
#define BUILDER_WORKER_SSH_AGENT_H

#include <stddef.h>

enum ssh_judgement {
    SSH_MORE,    /* it is not all there yet */
    SSH_ALLOWED, /* list, sign, and the extension that says on which connection a key is used */
    SSH_REFUSED, /* to be answered with SSH_AGENT_FAILURE */
    SSH_DAMAGED, /* empty, or longer than SSH_MESSAGE_MAX */
};
enum { SSH_MESSAGE_MAX = 256 * 1024 };

/* *ret_length: of the message with its length field; not set for SSH_MORE and SSH_DAMAGED. */
enum ssh_judgement ssh_agent_judge(const char *bytes, size_t n, size_t *ret_length);

/* SSH_AGENT_FAILURE as a message. */
#define SSH_AGENT_FAILURE "\0\0\0\1\5"
enum { SSH_AGENT_FAILURE_LENGTH = 5 };

#endif
