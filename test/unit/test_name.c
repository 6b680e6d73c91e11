/* test/unit/test_name.c: names: what is accepted, and which ones are the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store/name.h"

static enum bt_err canon(const char *text, char *out, size_t out_size)
{
    size_t len = 0;
    enum bt_err err = name_canon(text, strlen(text), 64, (uint8_t *)out, out_size - 1, &len);
    out[err == BT_OK ? len : 0] = '\0';
    return err;
}

static void assert_same(const char *a, const char *b)
{
    char x[256], y[256];
    assert_int_equal(canon(a, x, sizeof x), BT_OK);
    assert_int_equal(canon(b, y, sizeof y), BT_OK);
    assert_string_equal(x, y);
}

static void names_equal_by_case_and_composition_are_the_same(void **state)
{
    (void)state;
    assert_same("Alice", "aLICE");
    assert_same("J\u00fcrgen", "ju\u0308RGEN");
    assert_same("Stra\u00dfe", "STRASSE");
    assert_same("\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2", "\u03c3\u03af\u03c3\u03c5\u03c6\u03bf\u03c3");
    assert_same("\u212bngstr\u00f6m", "\u00e5ngstr\u00f6m");
    assert_same("\uac00", "\u1100\u1161");
    assert_same("\u0391\u0345\u0301", "\u0391\u0301\u0345");
}

static void a_canonical_form_is_its_own(void **state)
{
    static const char *const names[] = { "Alice", "\u1e9e", "\u0130stanbul", "\u01f0", "\u1fb7", "\u0390", "\ufb03", "\u1f80 x",
                                         "\u0149", "\u03d3", "\u1e9b\u0323", "\u10a0", "\u13a0", "\uab70" };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char once[256], twice[256];
        assert_int_equal(canon(names[i], once, sizeof once), BT_OK);
        assert_int_equal(canon(once, twice, sizeof twice), BT_OK);
        assert_string_equal(once, twice);
    }
}

static void different_names_stay_different(void **state)
{
    char x[256], y[256];
    (void)state;
    assert_int_equal(canon("jurgen", x, sizeof x), BT_OK);
    assert_int_equal(canon("j\u00fcrgen", y, sizeof y), BT_OK);
    assert_string_not_equal(x, y);
    assert_int_equal(canon("a b", x, sizeof x), BT_OK);
    assert_int_equal(canon("a  b", y, sizeof y), BT_OK);
    assert_string_not_equal(x, y);
}

static void bad_bytes_are_no_names(void **state)
{
    static const struct {
        const char *text;
        size_t len;
    } bad[] = {
        { "", 0 },          { "\xff", 1 },         { "a\xc3", 2 },       { "\xc0\x80", 2 },      { "\xed\xa0\x80", 3 },
        { "\xf4\x90\x80\x80", 4 }, { "a\0b", 3 },  { "a\nb", 3 },        { "a\x7f" "b", 3 },     { "a\xc2\x85" "b", 4 },
        { " a", 2 },        { "a ", 2 },           { " ", 1 },           { "\xc2\xa0" "a", 3 },  { "a\xe3\x80\x80", 4 },
        { "a\xe2\x80\xae" "b", 5 } /* RLO */,      { "a\xe2\x81\xa6" "b", 5 } /* LRI */,
        { "a\xe2\x80\x8b" "b", 5 } /* zero width space */, { "a\xef\xbb\xbf" "b", 5 } /* BOM */, { "a\xc2\xad" "b", 4 },
        { "a\xe2\x80\xa8" "b", 5 } /* line separator */, { "\xe3\x85\xa4", 3 } /* Hangul filler */,
        { "\xee\x80\x80", 3 } /* private use */, { "\xef\xbf\xbf", 3 } /* U+FFFF */, { "\xcc\x81", 2 } /* a mark alone */,
        { "\xe2\x80\x8d" "a", 4 } /* a joiner first */, { "\xe2\xa0\x80", 3 } /* braille blank */,
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t out[64];
        size_t len;
        if (name_check(bad[i].text, bad[i].len, 1, 64))
            fail_msg("accepted row %zu", i);
        assert_int_equal(name_canon(bad[i].text, bad[i].len, 64, out, sizeof out, &len), BT_EINVAL);
    }
}

static void emoji_may_be_shown_but_do_not_name_accounts(void **state)
{
    static const char family[] = "the \U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f";
    char out[128];
    (void)state;
    assert_true(name_check(family, strlen(family), 1, 64));
    assert_int_equal(canon(family, out, sizeof out), BT_EINVAL);
    assert_int_equal(canon("\u2764 lover", out, sizeof out), BT_OK);
    assert_int_equal(canon("a\u00a0b", out, sizeof out), BT_EINVAL); /* looks like "a b" */
    assert_true(name_check("a\u00a0b", 4, 1, 64));
}

static void unassigned_code_points_do_not_name_accounts(void **state)
{
    char out[64];
    (void)state;
    assert_int_equal(canon("a\u0378", out, sizeof out), BT_EINVAL);
}

static void lengths_are_kept(void **state)
{
    char out[8];
    uint8_t room[64];
    size_t len;
    (void)state;
    assert_true(name_check("abc", 3, 1, 3));
    assert_false(name_check("abcd", 4, 1, 3));
    assert_false(name_check("a", 1, 2, 3));
    assert_true(name_check("", 0, 0, 3));
    assert_int_equal(canon("\u0390\u0390", out, sizeof out), BT_OK);
    assert_int_equal(name_canon("\u1e9e\u1e9e", 6, 6, room, 3, &len), BT_EINVAL); /* "ssss" */
    assert_int_equal(name_canon("\u1e9e\u1e9e", 6, 5, room, sizeof room, &len), BT_EINVAL);
}

static void bodies_are_any_utf8(void **state)
{
    (void)state;
    assert_true(name_is_utf8(NULL, 0));
    assert_true(name_is_utf8("a\0\n\xe2\x80\xae", 6));
    assert_false(name_is_utf8("\xe2\x80", 2));
    for (size_t len = 1; len <= 20; len++) { /* what is wrong is found wherever it stands in texts of any length */
        char text[20];
        memset(text, 'a', sizeof text);
        assert_true(name_is_utf8(text, len));
        for (size_t at = 0; at < len; at++) {
            text[at] = '\xff';
            assert_false(name_is_utf8(text, len));
            text[at] = 'a';
        }
    }
    assert_false(name_is_utf8("\xed\xbf\xbf", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_equal_by_case_and_composition_are_the_same),
        cmocka_unit_test(a_canonical_form_is_its_own),
        cmocka_unit_test(different_names_stay_different),
        cmocka_unit_test(bad_bytes_are_no_names),
        cmocka_unit_test(emoji_may_be_shown_but_do_not_name_accounts),
        cmocka_unit_test(unassigned_code_points_do_not_name_accounts),
        cmocka_unit_test(lengths_are_kept),
        cmocka_unit_test(bodies_are_any_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
