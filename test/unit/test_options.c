/* test_options.c: what the command line means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "options.h"

static const struct role red = { .name = "proxy", .id = RPC_ROLE_PROXY }, blue = { .name = "chat", .id = RPC_ROLE_CHAT };
static const struct role *const roles[] = { &blue, &red, NULL };

enum { ARGS_MAX = 8 };

static bool parse(struct options *out, const char *a, const char *b, const char *c)
{
    char *argv[ARGS_MAX] = { (char *)"bytetalk", (char *)a, (char *)b, (char *)c };
    int argc = 1;

    while (argv[argc])
        argc++;
    return options_parse(argc, argv, roles, out);
}

static void assert_parses(struct options *out, const char *a, const char *b, const char *c)
{
    assert_true(parse(out, a, b, c));
}

static void assert_refused(const char *a, const char *b)
{
    struct options options;

    assert_false(parse(&options, a, b, NULL));
    options_deinit(&options);
}

static void nothing_asked_for_serves_every_role(void **state)
{
    struct options options;

    (void)state;
    assert_parses(&options, NULL, NULL, NULL);
    assert_int_equal(options.action, ACTION_SERVE);
    assert_true(options_wants(&options, &red) && options_wants(&options, &blue));
    assert_null(options.config);
    options_deinit(&options);
}

static void roles_are_a_list(void **state)
{
    struct options options;

    (void)state;
    assert_parses(&options, "--role=chat", NULL, NULL);
    assert_true(!options_wants(&options, &red) && options_wants(&options, &blue));
    options_deinit(&options);
    assert_parses(&options, "--role", "chat,proxy", NULL);
    assert_true(options_wants(&options, &red) && options_wants(&options, &blue));
    options_deinit(&options);
    assert_parses(&options, "--role=all", NULL, NULL);
    assert_true(options_wants(&options, &red) && options_wants(&options, &blue));
    options_deinit(&options);
}

static void an_unknown_role_is_refused(void **state)
{
    (void)state;
    assert_refused("--role=prox", NULL);
    assert_refused("--role=proxyy", NULL);
    assert_refused("--role=chat,", NULL);
    assert_refused("--role=", NULL);
}

static void settings_are_kept_in_order(void **state)
{
    struct options options;

    (void)state;
    assert_parses(&options, "--set=chat.window=0", "--config=x.ini", "--set=chat.window=1");
    assert_string_equal(options.config, "x.ini");
    assert_int_equal(options.nsets, 2);
    assert_string_equal(options.sets[0], "chat.window=0");
    assert_string_equal(options.sets[1], "chat.window=1");
    options_deinit(&options);
}

static void a_command_has_its_operand(void **state)
{
    struct options options;

    (void)state;
    assert_parses(&options, "--passwd", "alice", NULL);
    assert_int_equal(options.action, ACTION_PASSWD);
    assert_string_equal(options.operand, "alice");
    options_deinit(&options);
    assert_parses(&options, "--backup=to.db", NULL, NULL);
    assert_int_equal(options.action, ACTION_BACKUP);
    assert_string_equal(options.operand, "to.db");
    options_deinit(&options);
    assert_parses(&options, "--migrate", NULL, NULL);
    assert_int_equal(options.action, ACTION_MIGRATE);
    options_deinit(&options);
    assert_refused("--backup", NULL);
    assert_refused("--passwd=", NULL);
}

static void two_commands_or_stray_words_are_refused(void **state)
{
    (void)state;
    assert_refused("--check", "--version");
    assert_refused("start", NULL);
    assert_refused("--colour", NULL);
    assert_refused("-x", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_asked_for_serves_every_role),
        cmocka_unit_test(roles_are_a_list),
        cmocka_unit_test(an_unknown_role_is_refused),
        cmocka_unit_test(settings_are_kept_in_order),
        cmocka_unit_test(a_command_has_its_operand),
        cmocka_unit_test(two_commands_or_stray_words_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
