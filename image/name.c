// SPDX-License-Identifier: MIT
#include "image/name.h"

#include "base/alloc.h"
#include "base/buf.h"

#include <string.h>
#include <sys/stat.h>

enum { FILE_NAME_MAX = 240 }; // leaves room for suffixes within NAME_MAX

static bool stays(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_';
}

/* Length of the UTF-8 sequence at p (RFC 3629), 0 if there is none. p is NUL-terminated. */
static size_t utf8_length(const unsigned char *p)
{
    size_t n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) ||
        (*p == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

static const char *fault(const char *name)
{
    size_t len = strlen(name);
    if (!len)
        return "is empty";
    if (name[0] == '.')
        return "begins with '.'";
    if (name[0] == '-')
        return "begins with '-', like an option";
    if (len > 4 && !strcmp(name + len - 4, ".tmp"))
        return "ends with '.tmp'";
    if (!strcmp(name, "scratch"))
        return "is reserved";
    size_t encoded = 0;
    for (const unsigned char *p = (const unsigned char *)name; *p;) {
        size_t n = utf8_length(p);
        if (!n)
            return "is not UTF-8";
        if (*p <= ' ' || *p == 0x7f || (*p == 0xc2 && p[1] < 0xa0))
            return "contains a blank or a control character";
        if (*p == ',' || *p == '=')
            return "contains ',' or '='";
        encoded += stays(*p) ? 1 : 3 * n;
        p += n;
    }
    return len > IMAGE_NAME_MAX || encoded > FILE_NAME_MAX ? "is too long" : NULL;
}

bool image_name_is_file(const char *name)
{
    struct stat st;
    return stat(name, &st) == 0 && S_ISREG(st.st_mode);
}

int image_name_check(const char *name, struct error **err)
{
    const char *why = fault(name);
    if (!why)
        return 0;
    error_set(err, ERR_USER, "invalid image name '%.80s': it %s", name, why);
    AUTO_FREE char *word = shell_word(name);
    if (image_name_is_file(name))
        error_hint(err, "'kiln image import %s NAME' makes an image of this file", word);
    return -1;
}

char *image_name_encode(const char *name)
{
    struct buf b = BUF_INIT;
    for (const unsigned char *p = (const unsigned char *)name; *p; p++) {
        if (stays(*p))
            buf_addc(&b, (char)*p);
        else
            buf_addf(&b, "%%%02X", *p);
    }
    return buf_detach(&b, NULL);
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *image_name_decode(const char *file)
{
    CLEANUP(buf_clear) struct buf b = BUF_INIT;
    for (const char *p = file; *p; p++) {
        if (*p != '%') {
            buf_addc(&b, *p);
            continue;
        }
        int high = hex_value(p[1]), low = high < 0 ? -1 : hex_value(p[2]);
        if (low < 0)
            return NULL;
        buf_addc(&b, (char)(high << 4 | low));
        p += 2;
    }
    if (strlen(b.data) != b.len || fault(b.data))
        return NULL;
    // only what encode makes is a name: otherwise two files could have the same one
    AUTO_FREE char *again = image_name_encode(b.data);
    return strcmp(again, file) ? NULL : buf_detach(&b, NULL);
}

/* "ghcr.io/team/app", as docker writes it. */
static bool has_host(const char *name)
{
    size_t n = strcspn(name, "/");
    return name[n] &&
           (memchr(name, '.', n) || memchr(name, ':', n) || !strncmp(name, "localhost/", 10));
}

char *image_name_elsewhere(const char *text)
{
    static const char *const stores[] = {
        "docker-archive:", "oci-archive:", "docker-daemon:", "containers-storage:"};
    static const char docker[] = "docker://";
    if (!strncmp(text, "oci://", 6) || !strncmp(text, "oci-layout:", 11))
        return xasprintf("write '%s' alone; 'kiln image pull' has --name", text);
    if (!strncmp(text, "file://", 7))
        return xasprintf("write NAME,file=%s", text + 7);
    if (strstr(text, "://") && strncmp(text, docker, strlen(docker)) != 0)
        return xstrdup(
            "kiln fetches from http, https, files (NAME,file=PATH) and registries (oci://…)");
    if (!strncmp(text, docker, strlen(docker)))
        text += strlen(docker);
    if (!strncmp(text, "oci:", 4))
        return xasprintf("an image layout is written 'oci-layout:%s'", text + 4);
    for (size_t i = 0; i < sizeof stores / sizeof *stores; i++)
        if (!strncmp(text, stores[i], strlen(stores[i])))
            return xasprintf(
                "'skopeo copy %s oci:DIR:TAG' makes a layout, which is written "
                "'oci-layout:DIR:TAG'",
                text);
    return has_host(text) ? xasprintf("an image of a registry is written 'oci://%s'", text) : NULL;
}
