// SPDX-License-Identifier: MIT
#include "builder/agent/hostname.h"

#include "base/alloc.h"
#include "builder/agent/sys.h"

#include <limits.h>

enum { FILE_MAX = 4 << 20 };

static struct str next_line(struct str *text)
{
    const char *end = memchr(text->ptr, '\n', text->len);
    struct str line = {text->ptr, end ? (size_t)(end - text->ptr) : text->len};
    size_t taken = line.len + (end != NULL);
    *text = (struct str){text->ptr + taken, text->len - taken};
    const char *comment = memchr(line.ptr, '#', line.len);
    return comment ? (struct str){line.ptr, (size_t)(comment - line.ptr)} : line;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

// The next word of a line; len 0 = there is none.
static struct str next_word(struct str *line)
{
    size_t start = 0;
    while (start < line->len && is_blank(line->ptr[start]))
        start++;
    size_t end = start;
    while (end < line->len && !is_blank(line->ptr[end]))
        end++;
    struct str word = {line->ptr + start, end - start};
    *line = (struct str){line->ptr + end, line->len - end};
    return word;
}

static bool has_name(struct str hosts, struct str name)
{
    while (hosts.len) {
        struct str line = next_line(&hosts);
        next_word(&line); // the address
        for (struct str word = next_word(&line); word.len; word = next_word(&line))
            if (word.len == name.len && strncasecmp(word.ptr, name.ptr, name.len) == 0)
                return true;
    }
    return false;
}

char *hostname_choose(struct str hostname, struct str hosts)
{
    struct str name = {"", 0};
    while (hostname.len && !name.len) {
        struct str line = next_line(&hostname);
        name = next_word(&line);
    }
    return name.len && name.len <= HOST_NAME_MAX && has_name(hosts, name) ? str_dup(name)
                                                                          : xstrdup("localhost");
}

char *hostname_of_image(int root)
{
    CLEANUP(buf_clear) struct buf hostname = BUF_INIT, hosts = BUF_INIT;
    (void)sys_read_in(root, "etc/hostname", FILE_MAX, &hostname);
    (void)sys_read_in(root, "etc/hosts", FILE_MAX, &hosts);
    return hostname_choose(buf_str(&hostname), buf_str(&hosts));
}
