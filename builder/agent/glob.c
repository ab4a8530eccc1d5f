// SPDX-License-Identifier: MIT
// "**" is tried at every place; each further one only from the place the last one reached, as a
// later match of an earlier "**" can never help: so the work is at most parts times parts.
#include "builder/agent/glob.h"

#include <fnmatch.h>
#include <string.h>

static size_t part_length(const char *s)
{
    return strcspn(s, "/");
}

static const char *next_part(const char *s)
{
    s += part_length(s);
    return s + strspn(s, "/");
}

static bool match_part(const char *pattern, const char *path)
{
    char a[512], b[512];
    size_t n = part_length(pattern), m = part_length(path);
    if (n >= sizeof a || m >= sizeof b)
        return false;
    memcpy(a, pattern, n);
    a[n] = '\0';
    memcpy(b, path, m);
    b[m] = '\0';
    return fnmatch(a, b, 0) == 0;
}

bool glob_match_name(const char *part, const char *name)
{
    return match_part(part, name);
}

bool glob_is_pattern(const char *text)
{
    return strpbrk(text, "*?[\\") != NULL;
}

static bool is_any(const char *pattern)
{
    return part_length(pattern) == 2 && pattern[0] == '*' && pattern[1] == '*';
}

bool glob_match(const char *pattern, const char *path)
{
    const char *after_any = NULL, *retry = NULL;
    pattern += strspn(pattern, "/");
    path += strspn(path, "/");
    while (*path) {
        if (is_any(pattern)) {
            after_any = next_part(pattern);
            retry = path;
            pattern = after_any;
        } else if (*pattern && match_part(pattern, path)) {
            pattern = next_part(pattern);
            path = next_part(path);
        } else if (after_any) {
            retry = path = next_part(retry);
            pattern = after_any;
        } else {
            return false;
        }
    }
    while (is_any(pattern))
        pattern = next_part(pattern);
    return !*pattern;
}
