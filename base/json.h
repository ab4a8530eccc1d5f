/* SPDX-License-Identifier: MIT
 *
 * Short ways to read jansson values that came from a file or another program: a missing field or
 * one of another type gives the default, never an error. Writers use jansson itself.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

const char *json_str(const json_t *object, const char *field); /* borrowed; NULL if absent */
int64_t json_int(const json_t *object, const char *field, int64_t absent);
double json_num(const json_t *object, const char *field, double absent);
bool json_flag(const json_t *object, const char *field);
/* A file's name or path, with escapes for bytes that are not UTF-8 (JSON has no others). New
 * reference; NULL for NULL. */
json_t *json_path(const char *path);
/* Text of a stranger's into a new reference; NULL unless it is an object. */
json_t *json_parse_object(const char *text);
/* File of at most 16 MiB into a new reference. ERR_NOT_FOUND, or ERR_USER with line and column. */
json_t *json_read_file(const char *path, struct error **err);
/* Written whole or not at all, indented, with sorted keys and a final newline. */
int json_write_file(const char *path, mode_t mode, const json_t *value, struct error **err);
/* Steals nothing; owned compact text with sorted keys. */
char *json_text(const json_t *value);

#endif
