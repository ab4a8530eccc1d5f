/* SPDX-License-Identifier: MIT
 *
 * Names of users and of hosts, before they reach a guest.
 *
 *     // given const char *user;
 *     if (!is_user_name(user))
 *         return error_set(&err, ERR_USAGE, "'%s' can't be the name of a user", user);
 */
#ifndef BASE_LOGIN_NAME_H
#define BASE_LOGIN_NAME_H

#include <stdbool.h>
#include <stddef.h>

#define USER_NAME_RULE \
    "users' names are letters, digits and any of . _ - + @ \\, and begin with a letter, a digit " \
    "or _"
/* For printf, with the most bytes as a size_t. */
#define HOST_NAME_RULE "host names are up to %zu letters, digits, '-' and '.', such as 'web-1'"

enum { HOST_NAME_BYTES = 64, HOST_NAME_BYTES_FULL = 253 }; /* Linux; with its domain */

/* By USER_NAME_RULE, at most 255 bytes; no '\' at the end, where ssh has none either. */
bool is_user_name(const char *name);
/* By HOST_NAME_RULE: parts with dots between, none empty or with '-' at one of its ends. */
bool is_host_name(const char *name, size_t most);

#endif
