/* test/unit/test_log.c: levels, whole lines, escaping. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "test"
#include "net/err.h"
#include "net/log.h"

enum { THREADS = 4, LINES_PER_THREAD = 200 };

struct capture {
    char line[8192];
    int lines;
    enum log_level level;
};

static void keep(enum log_level level, const char *line, void *arg)
{
    struct capture *cap = arg;

    snprintf(cap->line, sizeof cap->line, "%s", line);
    cap->level = level;
    cap->lines++;
}

static int setup(void **state)
{
    struct capture *cap = calloc(1, sizeof *cap);

    log_set_level(LOG_LEVEL_INFO);
    log_set_node("");
    log_set_sink(keep, cap);
    *state = cap;
    return 0;
}

static int teardown(void **state)
{
    log_set_sink(NULL, NULL);
    free(*state);
    return 0;
}

static void a_line_has_time_level_node_module_and_text(void **state)
{
    struct capture *cap = *state;
    int year, month, day, hour, minute, second, ms;
    char rest[100];

    log_set_node("chat-1");
    log_warn("conn %d: %s", 17, "slow");
    assert_int_equal(sscanf(cap->line, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ %99[^\n]", &year, &month, &day, &hour, &minute,
                            &second, &ms, rest),
                     8);
    assert_true(year >= 2024);
    assert_string_equal(rest, "warn chat-1 test: conn 17: slow");
    assert_int_equal(cap->level, LOG_LEVEL_WARN);
}

static void without_a_node_there_is_a_dash(void **state)
{
    struct capture *cap = *state;

    log_info("up");
    assert_non_null(strstr(cap->line, "Z info - test: up"));
}

static void lower_levels_are_left_out_without_evaluating(void **state)
{
    struct capture *cap = *state;
    int evaluated = 0;

    log_debug("%d", ++evaluated);
    assert_int_equal(cap->lines, 0);
    assert_int_equal(evaluated, 0);
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("%d", ++evaluated);
    assert_int_equal(cap->lines, 1);
    log_set_level(LOG_LEVEL_ERROR);
    log_warn("x");
    log_error("y");
    assert_int_equal(cap->lines, 2);
}

static void level_names_are_understood(void **state)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    enum log_level level;

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_true(log_level_parse(names[i], &level));
        assert_int_equal(level, i);
    }
    assert_false(log_level_parse("verbose", &level));
    assert_false(log_level_parse("", &level));
    assert_false(log_level_parse("INFO", &level));
}

static void control_characters_come_out_escaped(void **state)
{
    struct capture *cap = *state;

    log_info("[%s]", "a\nb\r\tc\x1b[31m\x7f\x01 \xc3\xa4 \xc2\x9b" "1m");
    assert_non_null(strstr(cap->line, "[a\\nb\\r\\tc\\x1b[31m\\x7f\\x01 \xc3\xa4 \\xc2\\x9b1m]"));
    for (const char *p = cap->line; *p; p++)
        assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void a_line_that_is_too_long_ends_in_dots(void **state)
{
    struct capture *cap = *state;
    char *text = malloc(10001);

    for (int fill = 0; fill < 2; fill++) { /* the second time each byte becomes four */
        memset(text, fill ? '\x01' : 'x', 10000);
        text[10000] = '\0';
        log_info("%s", text);
        assert_true(strlen(cap->line) < 4096);
        assert_true(strlen(cap->line) > 2000);
        assert_string_equal(cap->line + strlen(cap->line) - 3, "...");
    }
    free(text);
}

static void errno_survives(void **state)
{
    (void)state;
    errno = EDOM;
    log_info("%s", "x");
    assert_int_equal(errno, EDOM);
}

static void *log_much(void *arg)
{
    for (int i = 0; i < LINES_PER_THREAD; i++)
        log_info("thread %s line %d end", (const char *)arg, i);
    return NULL;
}

/* Lines of several threads, written to one file in place of stderr, arrive unmixed. */
static void threads_write_whole_lines(void **state)
{
    static char names[THREADS][2] = { "a", "b", "c", "d" };
    pthread_t threads[THREADS];
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO), lines = 0;
    char line[256], node[65], name[2], end[4];
    int number;

    (void)state;
    log_set_sink(NULL, NULL);
    log_set_node("n");
    dup2(fileno(file), STDERR_FILENO);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, log_much, names[i]);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(file);
    while (fgets(line, sizeof line, file)) {
        assert_int_equal(sscanf(line, "%*s info %64s test: thread %1s line %d %3s", node, name, &number, end), 4);
        assert_string_equal(end, "end");
        lines++;
    }
    assert_int_equal(lines, THREADS * LINES_PER_THREAD);
    fclose(file);
}

static void every_error_has_a_name_and_a_text(void **state)
{
    (void)state;
    assert_string_equal(bt_err_name(BT_OK), "BT_OK");
    assert_string_equal(bt_err_text(BT_EDOWN), "peer unreachable");
    assert_string_equal(bt_err_name(BT_EINTERNAL), "BT_EINTERNAL");
    assert_string_equal(bt_err_name((enum bt_err)9999), "BT_E?");
    assert_string_equal(bt_err_text((enum bt_err)9999), "unknown error");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_line_has_time_level_node_module_and_text),
        TEST(without_a_node_there_is_a_dash),
        TEST(lower_levels_are_left_out_without_evaluating),
        TEST(level_names_are_understood),
        TEST(control_characters_come_out_escaped),
        TEST(a_line_that_is_too_long_ends_in_dots),
        TEST(errno_survives),
        TEST(threads_write_whole_lines),
        TEST(every_error_has_a_name_and_a_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
