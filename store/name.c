/* store/name.c: names, by Unicode's rules as libunistring knows them. */
#include "store/name.h"

#include <stdlib.h>
#include <string.h>

#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>
#include <unistr.h>

enum { ZERO_WIDTH_NON_JOINER = 0x200c, ZERO_WIDTH_JOINER = 0x200d, BRAILLE_BLANK = 0x2800 };

/* The last bytes, with others before them that are looked at once more: no step of 8 ends where they do. */
static bool is_end_ascii(const uint8_t *text, size_t len)
{
    uint64_t some = 0;
    uint32_t first = 0, last = 0;

    if (len >= sizeof some) {
        memcpy(&some, text + len - sizeof some, sizeof some);
    } else if (len >= sizeof first) {
        memcpy(&first, text, sizeof first);
        memcpy(&last, text + len - sizeof last, sizeof last);
        some = first | last;
    } else {
        for (size_t i = 0; i < len; i++)
            some |= text[i];
    }
    return (some & UINT64_C(0x8080808080808080)) == 0;
}

/* How much of a text's beginning is ASCII: all of it, or so many steps of 8 bytes. */
static size_t ascii_len(const uint8_t *text, size_t len)
{
    size_t at = 0;
    uint64_t some;

    for (; len - at >= sizeof some; at += sizeof some) {
        memcpy(&some, text + at, sizeof some);
        if ((some & UINT64_C(0x8080808080808080)) != 0)
            return at;
    }
    return is_end_ascii(text, len) ? len : at;
}

/* ASCII is most of what is written, and much faster passed over by ourselves. */
bool name_is_utf8(const void *text, size_t len)
{
    size_t at = len > 0 ? ascii_len(text, len) : 0;
    return at == len || u8_check((const uint8_t *)text + at, len - at) == NULL;
}

static bool is_joiner(ucs4_t c)
{
    return c == ZERO_WIDTH_NON_JOINER || c == ZERO_WIDTH_JOINER;
}

static bool is_variation_selector(ucs4_t c)
{
    return uc_is_property(c, UC_PROPERTY_VARIATION_SELECTOR);
}

/*
 * Cannot stand in any name: controls, formats, private use, non-characters, line and paragraph separators. What is not
 * assigned yet may be next year's emoji.
 */
static bool is_forbidden(ucs4_t c)
{
    if (is_joiner(c) || is_variation_selector(c))
        return false;
    return uc_is_general_category_withtable(c, UC_CATEGORY_MASK_Cc | UC_CATEGORY_MASK_Cf | UC_CATEGORY_MASK_Co |
                                                   UC_CATEGORY_MASK_Zl | UC_CATEGORY_MASK_Zp) ||
           uc_is_property(c, UC_PROPERTY_NOT_A_CHARACTER) || uc_is_property(c, UC_PROPERTY_DEFAULT_IGNORABLE_CODE_POINT);
}

static bool is_space(ucs4_t c)
{
    return uc_is_property(c, UC_PROPERTY_WHITE_SPACE) || c == BRAILLE_BLANK;
}

static bool is_visible(ucs4_t c)
{
    return !is_space(c) && !is_joiner(c) && !uc_is_general_category_withtable(c, UC_CATEGORY_MASK_M);
}

bool name_check(const void *text, size_t len, size_t min, size_t max)
{
    const uint8_t *p = text;
    if (len < min || len > max)
        return false;
    if (len == 0)
        return true;
    if (!name_is_utf8(text, len))
        return false;
    bool has_visible = false;
    ucs4_t c = 0;
    for (size_t i = 0; i < len;) {
        int n = u8_mbtouc(&c, p + i, len - i);
        if (is_forbidden(c) || (i == 0 && (is_space(c) || is_joiner(c))))
            return false;
        has_visible = has_visible || is_visible(c);
        i += (size_t)n;
    }
    return has_visible && !is_space(c) && !is_joiner(c);
}

/*
 * Nothing that one cannot see, and of all spaces only the plain one, or two names would look the same. Nothing
 * unassigned: its folding and composition are not known yet, so its canonical form could change.
 */
static bool has_only_plain(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len;) {
        ucs4_t c;
        i += (size_t)u8_mbtouc(&c, p + i, len - i);
        if (is_joiner(c) || is_variation_selector(c) || (is_space(c) && c != ' ') ||
            uc_is_general_category_withtable(c, UC_CATEGORY_MASK_Cn))
            return false;
    }
    return true;
}

/* Unicode's canonical caseless matching: NFD, fold, and then NFC for the shorter form. */
static uint8_t *fold(const uint8_t *text, size_t len, size_t *len_out)
{
    size_t plain_len, folded_len;
    uint8_t *plain = u8_normalize(UNINORM_NFD, text, len, NULL, &plain_len);
    if (plain == NULL)
        return NULL;
    uint8_t *folded = u8_casefold(plain, plain_len, NULL, NULL, NULL, &folded_len);
    free(plain);
    if (folded == NULL)
        return NULL;
    uint8_t *form = u8_normalize(UNINORM_NFC, folded, folded_len, NULL, len_out);
    free(folded);
    return form;
}

enum bt_err name_canon(const void *text, size_t len, size_t max, uint8_t *out, size_t out_size, size_t *len_out)
{
    if (!name_check(text, len, 1, max) || !has_only_plain(text, len))
        return BT_EINVAL;
    size_t form_len;
    uint8_t *form = fold(text, len, &form_len);
    if (form == NULL)
        return BT_ENOMEM;
    bool fits = form_len <= out_size;
    if (fits) {
        memcpy(out, form, form_len);
        *len_out = form_len;
    }
    free(form);
    return fits ? BT_OK : BT_EINVAL;
}
