// SPDX-License-Identifier: MIT
#include "base/json.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/printable.h"

const char *json_str(const json_t *object, const char *field)
{
    return json_string_value(json_object_get(object, field));
}

int64_t json_int(const json_t *object, const char *field, int64_t absent)
{
    const json_t *v = json_object_get(object, field);
    return json_is_integer(v) ? (int64_t)json_integer_value(v) : absent;
}

double json_num(const json_t *object, const char *field, double absent)
{
    const json_t *v = json_object_get(object, field);
    return json_is_number(v) ? json_number_value(v) : absent;
}

bool json_flag(const json_t *object, const char *field)
{
    return json_is_true(json_object_get(object, field));
}

json_t *json_path(const char *path)
{
    json_t *value = path ? json_string(path) : NULL;
    if (value || !path)
        return value;
    AUTO_FREE char *shown = printable_line(path);
    return json_string(shown);
}

json_t *json_parse_object(const char *text)
{
    json_t *value = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (json_is_object(value))
        return value;
    json_decref(value);
    return NULL;
}

json_t *json_read_file(const char *path, struct error **err)
{
    CLEANUP(buf_clear) struct buf text = BUF_INIT;
    if (file_read(path, 16 << 20, &text, err) < 0)
        return NULL;
    json_error_t why;
    json_t *v = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &why);
    if (!v)
        error_set(err, ERR_USER, "'%s' line %d column %d: %s", path, why.line, why.column,
                  why.text);
    return v;
}

int json_write_file(const char *path, mode_t mode, const json_t *value, struct error **err)
{
    AUTO_FREE char *text = json_dumps(value, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    if (!text)
        alloc_failed();
    AUTO_FREE char *line = xasprintf("%s\n", text);
    return file_write_whole(path, mode, line, strlen(line), err);
}

char *json_text(const json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    if (!text)
        alloc_failed();
    return text;
}
