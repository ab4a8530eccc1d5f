/* SPDX-License-Identifier: MIT
 *
 * What --json prints of a command that only does something (CMD_RESULT), and of any command that
 * fails. docs/json.md has the fields; who changes one's meaning raises JSON_SCHEMA.
 */
#ifndef CLI_JSON_RESULT_H
#define CLI_JSON_RESULT_H

#include "cli/command.h"

#define JSON_SCHEMA 1

/* The object for a command with CMD_RESULT and --json, new; else NULL. */
json_t *json_result_new(const struct args *a);
/* At the end of a command: a->result, or the error, or nothing. err: why it failed; NULL = it did
 * not. */
void json_result_print(const struct args *a, const struct error *err);
/* "not-found" and its like, as docs/json.md lists them. */
const char *json_error_kind(const struct error *err);
/* An error as another kiln printed it, new; NULL: it is not one. */
struct error *json_error_read(const json_t *object);

#endif
