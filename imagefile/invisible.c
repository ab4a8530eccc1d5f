// SPDX-License-Identifier: MIT
// Characters that look like a blank or like nothing, as copying from web pages and word processors
// brings them: an instruction that holds one is not what it seems to be.
#include "imagefile/parser.h"

static const struct {
    const char *bytes, *name;
    bool blank; /* it stands where a blank was meant */
} invisible[] = {
    {"\xc2\xa0", "no-break space (U+00A0)", true},
    {"\xe2\x80\xaf", "narrow no-break space (U+202F)", true},
    {"\xe3\x80\x80", "ideographic space (U+3000)", true},
    {"\xe2\x80\x8b", "zero width space (U+200B)", false},
    {"\xe2\x81\xa0", "word joiner (U+2060)", false},
    {"\xef\xbb\xbf", "byte order mark (U+FEFF)", false},
    {"\r", "carriage return (U+000D)", false},
};

bool find_invisible(struct str text, struct invisible *ret)
{
    for (size_t at = 0; at < text.len; at++) {
        if ((unsigned char)text.ptr[at] >= ' ' && (unsigned char)text.ptr[at] < 0x7f)
            continue;
        for (size_t i = 0; i < sizeof invisible / sizeof *invisible; i++) {
            size_t n = strlen(invisible[i].bytes);
            if (text.len - at < n || memcmp(text.ptr + at, invisible[i].bytes, n) != 0)
                continue;
            const char *advice =
                invisible[i].blank ? "replace it with an ordinary space" : "remove it";
            *ret = (struct invisible){at, n, invisible[i].name, advice};
            return true;
        }
    }
    return false;
}
