// SPDX-License-Identifier: MIT
// Characters that look like a blank or like nothing, as copying from web pages and word processors
// brings them: an instruction that holds one is not what it seems to be.
#include "imagefile/parser.h"

static const struct {
    const char *bytes, *name;
    enum {
        BLANK, /* it stands where a blank was meant */
        NOTHING,
        LETTER, /* emoji and some scripts are written with it */
    } kind;
} invisible[] = {
    {"\xc2\xa0", "no-break space (U+00A0)", BLANK},
    {"\xe2\x80\x82", "en space (U+2002)", BLANK},
    {"\xe2\x80\x83", "em space (U+2003)", BLANK},
    {"\xe2\x80\x87", "figure space (U+2007)", BLANK},
    {"\xe2\x80\x89", "thin space (U+2009)", BLANK},
    {"\xe2\x80\x8a", "hair space (U+200A)", BLANK},
    {"\xe2\x80\xaf", "narrow no-break space (U+202F)", BLANK},
    {"\xe3\x80\x80", "ideographic space (U+3000)", BLANK},
    {"\xc2\xad", "soft hyphen (U+00AD)", NOTHING},
    {"\xe2\x80\x8b", "zero width space (U+200B)", NOTHING},
    {"\xe2\x80\x8c", "zero width non-joiner (U+200C)", LETTER},
    {"\xe2\x80\x8d", "zero width joiner (U+200D)", LETTER},
    {"\xe2\x80\x8e", "left-to-right mark (U+200E)", LETTER},
    {"\xe2\x80\x8f", "right-to-left mark (U+200F)", LETTER},
    {"\xe2\x81\xa0", "word joiner (U+2060)", NOTHING},
    {"\xef\xbb\xbf", "byte order mark (U+FEFF)", NOTHING},
    {"\r", "carriage return (U+000D)", NOTHING},
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
                invisible[i].kind == BLANK ? "replace it with an ordinary space" : "remove it";
            *ret =
                (struct invisible){at, n, invisible[i].name, advice, invisible[i].kind == LETTER};
            return true;
        }
    }
    return false;
}
