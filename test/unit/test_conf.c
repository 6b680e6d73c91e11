/* test/unit/test_conf.c: what the ini may hold, and what is said about what it may not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/conf.h"
#include "net/mem.h"

static const struct conf_key chat_keys[] = {
    { .section = "chat", .name = "window", .type = CONF_INT, .def = "256", .min = 1, .max = 1000, .unit = "messages",
      .help = "How many recent ids are remembered." },
    { .section = "chat", .name = "strict", .type = CONF_BOOL, .def = "no", .help = "Whether to be strict." },
    { .section = "chat", .name = "mode", .type = CONF_WORD, .def = "direct", .words = "direct|socket",
      .help = "How nodes talk." },
    { .section = NULL },
};
static const struct conf_key store_keys[] = {
    { .section = "store", .name = "url", .type = CONF_STRING, .def = "sqlite:bytetalk.db", .min = 1, .max = 60,
      .help = "Where the data is." },
    { .section = "store", .name = "offset", .type = CONF_INT, .def = "-5", .min = -10, .max = 10, .help = "A number." },
    { .section = NULL },
};

struct fixture {
    struct conf *conf;
    char path[64];
    char why[512];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    int fd;

    *state = f;
    strcpy(f->path, "/tmp/test_conf_XXXXXX");
    fd = mkstemp(f->path);
    if (fd < 0 || conf_new(&f->conf) != BT_OK)
        return -1;
    close(fd);
    conf_declare(f->conf, chat_keys);
    conf_declare(f->conf, store_keys);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    conf_free(f->conf);
    unlink(f->path);
    free(f);
    return 0;
}

static enum bt_err read_bytes(struct fixture *f, const char *text, size_t len)
{
    FILE *file = fopen(f->path, "w");

    assert_int_equal(fwrite(text, 1, len, file), len);
    fclose(file);
    f->why[0] = '\0';
    return conf_read(f->conf, f->path, f->why, sizeof f->why);
}

static void reads(struct fixture *f, const char *text)
{
    if (read_bytes(f, text, strlen(text)) != BT_OK)
        fail_msg("%s", f->why);
}

/* The text is refused, the reason begins with the file's name and continues with `reason`, and nothing was applied. */
static void refuses(struct fixture *f, const char *text, const char *reason)
{
    enum bt_err err = read_bytes(f, text, strlen(text));

    assert_int_equal(err, BT_EINVAL);
    assert_memory_equal(f->why, f->path, strlen(f->path));
    assert_string_equal(f->why + strlen(f->path), reason);
    assert_int_equal(conf_int(f->conf, "chat", "window"), 256);
    assert_false(conf_bool(f->conf, "chat", "strict"));
    assert_string_equal(conf_str(f->conf, "store", "url"), "sqlite:bytetalk.db");
}

static void without_a_file_there_are_defaults(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(conf_int(f->conf, "chat", "window"), 256);
    assert_int_equal(conf_int(f->conf, "store", "offset"), -5);
    assert_false(conf_bool(f->conf, "chat", "strict"));
    assert_string_equal(conf_str(f->conf, "chat", "mode"), "direct");
    assert_int_equal(conf_read(f->conf, "/nowhere/x.ini", f->why, sizeof f->why), BT_ENOTFOUND);
    assert_string_equal(f->why, "/nowhere/x.ini: No such file or directory");
    assert_int_equal(conf_read(f->conf, "/tmp", f->why, sizeof f->why), BT_EINVAL);
}

static void a_file_may_look_like_this(void **state)
{
    struct fixture *f = *state;

    reads(f, "\xef\xbb\xbf; comment\n# another\n\n[chat]\r\nwindow=7 ; a remark\r\n  strict = yes # too\n"
             "\t; indented\nmode=socket\n[store]\nurl = mariadb://u:p@h:3306/db?x=1;y#z\noffset = -10");
    assert_int_equal(conf_int(f->conf, "chat", "window"), 7);
    assert_true(conf_bool(f->conf, "chat", "strict"));
    assert_string_equal(conf_str(f->conf, "chat", "mode"), "socket");
    assert_string_equal(conf_str(f->conf, "store", "url"), "mariadb://u:p@h:3306/db?x=1;y#z");
    assert_int_equal(conf_int(f->conf, "store", "offset"), -10);
}

static void a_section_may_come_twice(void **state)
{
    struct fixture *f = *state;

    reads(f, "[chat]\nwindow=7\n[store]\n[chat]\nstrict=yes\n");
    assert_int_equal(conf_int(f->conf, "chat", "window"), 7);
    assert_true(conf_bool(f->conf, "chat", "strict"));
}

static void reading_again_forgets_what_is_gone(void **state)
{
    struct fixture *f = *state;

    reads(f, "[chat]\nwindow=7\nstrict=yes\n");
    reads(f, "[chat]\nwindow=8\n");
    assert_int_equal(conf_int(f->conf, "chat", "window"), 8);
    assert_false(conf_bool(f->conf, "chat", "strict"));
    assert_int_equal(read_bytes(f, "[chat]\nwindow=9\nx=1\n", 20), BT_EINVAL);
    assert_int_equal(conf_int(f->conf, "chat", "window"), 8);
}

static void unknown_keys_and_sections_are_refused(void **state)
{
    struct fixture *f = *state;

    refuses(f, "[chat]\nwindow=7\nwindov = 3\n", ":3: [chat] windov: no such key; did you mean window?");
    refuses(f, "[chat]\n\n\nurl = x\n", ":4: [chat] url: no such key; did you mean the one in [store]?");
    refuses(f, "[chat]\nquite_another = x\n", ":2: [chat] quite_another: no such key");
    refuses(f, "[chatt]\nwindow = 1\n", ":1: [chatt]: no such section; did you mean [chat]?");
    refuses(f, "[chat]\n[nonsense]\n", ":2: [nonsense]: no such section");
    refuses(f, "window = 3\n", ":1: window: stands before any [section]");
    refuses(f, "[chat]\nWindow = 3\n", ":2: [chat] Window: no such key; did you mean window?");
}

static void bad_values_are_refused(void **state)
{
    struct fixture *f = *state;

    refuses(f, "[chat]\nwindow = 0\n", ":2: [chat] window = 0: must be a number from 1 to 1000 messages");
    refuses(f, "[chat]\nwindow = 1001\n", ":2: [chat] window = 1001: must be a number from 1 to 1000 messages");
    refuses(f, "[chat]\nwindow = 12x\n", ":2: [chat] window = 12x: must be a number from 1 to 1000 messages");
    refuses(f, "[chat]\nwindow = 0x10\n", ":2: [chat] window = 0x10: must be a number from 1 to 1000 messages");
    refuses(f, "[chat]\nwindow =\n", ":2: [chat] window = : must be a number from 1 to 1000 messages");
    refuses(f, "[chat]\nwindow = 99999999999999999999\n",
            ":2: [chat] window = 99999999999999999999: must be a number from 1 to 1000 messages");
    refuses(f, "[store]\noffset = -11\n", ":2: [store] offset = -11: must be a number from -10 to 10");
    refuses(f, "[chat]\nstrict = true\n", ":2: [chat] strict = true: must be yes or no");
    refuses(f, "[chat]\nmode = sock\n", ":2: [chat] mode = sock: must be one of direct|socket");
    refuses(f, "[chat]\nmode =\n", ":2: [chat] mode = : must be one of direct|socket");
    refuses(f, "[chat]\nmode = direct|socket\n", ":2: [chat] mode = direct|socket: must be one of direct|socket");
    refuses(f, "[store]\nurl =\n", ":2: [store] url = : must be 1 to 60 bytes long");
    refuses(f, "[store]\nurl = a\xff\n", ":2: [store] url = a\xff: must be UTF-8 without control characters");
    refuses(f, "[store]\nurl = a\x1b[0m\n", ":2: [store] url = a\x1b[0m: must be UTF-8 without control characters");
}

static void a_key_given_twice_is_refused(void **state)
{
    struct fixture *f = *state;

    refuses(f, "[chat]\nwindow = 3\n\nwindow = 3\n", ":4: [chat] window: given twice");
    refuses(f, "[chat]\nwindow = 3\n[store]\n[chat]\nwindow = 4\n", ":5: [chat] window: given twice");
}

static void what_is_no_setting_is_refused(void **state)
{
    struct fixture *f = *state;

    refuses(f, "[chat]\nwindow = 3\nnonsense\n", ":3: neither a [section] nor name = value");
    refuses(f, "[chat\nwindow = 3\n", ":1: neither a [section] nor name = value");
    refuses(f, "[chat]\nwindow = 3\nnonsense\nwindow = 4\n", ":3: neither a [section] nor name = value");
}

static void the_first_mistake_is_named(void **state)
{
    struct fixture *f = *state;

    refuses(f, "[chat]\nwindow = 0\nnonsense\n[x]\n", ":2: [chat] window = 0: must be a number from 1 to 1000 messages");
    refuses(f, "nonsense\n[x]\n", ":1: neither a [section] nor name = value");
}

static void long_lines_are_refused_not_cut(void **state)
{
    struct fixture *f = *state;
    char text[1000], line[400];

    memset(line, 'x', sizeof line);
    line[300] = '\0';
    snprintf(text, sizeof text, "[chat]\n# %s\n; %s\nwindow = 3\n", line, line); /* comments may be long */
    reads(f, text);
    reads(f, "");
    snprintf(text, sizeof text, "[chat]\nwindow = 3\n[store]\nurl = %s\n", line);
    refuses(f, text, ":4: line is longer than 197 bytes, or holds a NUL");
    line[197 - 6] = '\0'; /* "url = " and this just fit, and are too long for the key */
    snprintf(text, sizeof text, "[store]\nurl = %s\n", line);
    assert_int_equal(read_bytes(f, text, strlen(text)), BT_EINVAL);
    assert_non_null(strstr(f->why, "must be 1 to 60 bytes long"));
    assert_int_equal(read_bytes(f, "[chat]\nwin\0dow = 3\n", 19), BT_EINVAL);
    assert_non_null(strstr(f->why, ":2: line is longer than 197 bytes, or holds a NUL"));
}

static void set_wins_over_the_file_in_any_order(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(conf_set(f->conf, "chat.window=5", f->why, sizeof f->why), BT_OK);
    reads(f, "[chat]\nwindow = 7\nstrict = no\n");
    assert_int_equal(conf_int(f->conf, "chat", "window"), 5);
    assert_int_equal(conf_set(f->conf, "chat.strict=yes", f->why, sizeof f->why), BT_OK);
    assert_true(conf_bool(f->conf, "chat", "strict"));
    assert_int_equal(conf_set(f->conf, "store.url=a://b.c/d=e", f->why, sizeof f->why), BT_OK);
    assert_string_equal(conf_str(f->conf, "store", "url"), "a://b.c/d=e");
    assert_int_equal(conf_set(f->conf, "chat.window=6", f->why, sizeof f->why), BT_OK);
    assert_int_equal(conf_int(f->conf, "chat", "window"), 6);
}

static void set_says_what_is_wrong(void **state)
{
    static const char *const cases[][2] = {
        { "chat.windov=5", "chat.windov=5: [chat] windov: no such key; did you mean window?" },
        { "chatt.window=5", "chatt.window=5: [chatt]: no such section; did you mean [chat]?" },
        { "chat.window=x", "chat.window=x: [chat] window = x: must be a number from 1 to 1000 messages" },
        { "window=5", "window=5: not of the form section.key=value" },
        { "chat.window", "chat.window: not of the form section.key=value" },
        { "chat.=5", "chat.=5: not of the form section.key=value" },
        { ".window=5", ".window=5: not of the form section.key=value" },
        { "", ": not of the form section.key=value" },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(conf_set(f->conf, cases[i][0], f->why, sizeof f->why), BT_EINVAL);
        assert_string_equal(f->why, cases[i][1]);
    }
    assert_int_equal(conf_int(f->conf, "chat", "window"), 256);
}

static void what_is_printed_reads_back_as_the_defaults(void **state)
{
    struct fixture *f = *state;
    FILE *out = fopen(f->path, "w");
    char text[2000];
    size_t n;

    conf_print(f->conf, out);
    fclose(out);
    assert_int_equal(conf_read(f->conf, f->path, f->why, sizeof f->why), BT_OK);
    assert_int_equal(conf_int(f->conf, "chat", "window"), 256);
    out = fopen(f->path, "r");
    n = fread(text, 1, sizeof text - 1, out);
    text[n] = '\0';
    fclose(out);
    assert_non_null(strstr(text, "[chat]\n# How many recent ids are remembered. (1 to 1000 messages)\nwindow = 256\n"));
    assert_non_null(strstr(text, "# How nodes talk. (direct|socket)\nmode = direct\n\n[store]\n"));
}

static void missing_memory_is_an_error_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct conf *other;

    bt_mem_fail_after(0);
    assert_int_equal(conf_new(&other), BT_ENOMEM);
    for (int n = 0; n < 2; n++) {
        bt_mem_fail_after(n);
        assert_int_equal(read_bytes(f, "[chat]\nwindow = 7\nstrict=yes\n", 29), BT_ENOMEM);
        assert_int_equal(conf_int(f->conf, "chat", "window"), 256);
    }
    bt_mem_fail_after(0);
    assert_int_equal(conf_set(f->conf, "chat.window=5", f->why, sizeof f->why), BT_ENOMEM);
    bt_mem_fail_after(-1);
    assert_int_equal(conf_int(f->conf, "chat", "window"), 256);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_file_there_are_defaults),
        TEST(a_file_may_look_like_this),
        TEST(a_section_may_come_twice),
        TEST(reading_again_forgets_what_is_gone),
        TEST(unknown_keys_and_sections_are_refused),
        TEST(bad_values_are_refused),
        TEST(a_key_given_twice_is_refused),
        TEST(what_is_no_setting_is_refused),
        TEST(the_first_mistake_is_named),
        TEST(long_lines_are_refused_not_cut),
        TEST(set_wins_over_the_file_in_any_order),
        TEST(set_says_what_is_wrong),
        TEST(what_is_printed_reads_back_as_the_defaults),
        TEST(missing_memory_is_an_error_and_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
