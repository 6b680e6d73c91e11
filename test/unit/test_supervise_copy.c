/* test_supervise_copy.c: what the copies of a unit are told. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "net/mem.h"
#include "settings.h"
#include "supervise_copy.h"

static const struct role *const roles[] = { &role_chat, &role_proxy, NULL };

struct fixture {
    struct conf *conf;
    struct supervise_copy copy;
    char why[512];
};

static int setup(void **state)
{
    struct fixture *f = bt_calloc(1, sizeof *f);

    if (!f || settings_new(roles, &f->conf) != BT_OK)
        return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    conf_free(f->conf);
    bt_free(f);
    return 0;
}

static void set(struct fixture *f, const char *assignment)
{
    if (conf_set(f->conf, assignment, f->why, sizeof f->why) != BT_OK)
        fail_msg("%s", f->why);
}

static enum bt_err settings(struct fixture *f, const struct role *role, unsigned i, unsigned p)
{
    return supervise_copy_settings(f->conf, role, i, p, &f->copy, f->why, sizeof f->why);
}

static void assert_copy(struct fixture *f, const struct role *role, unsigned i, unsigned p, const char *wanted)
{
    char all[SUPERVISE_COPY_SETS * (SUPERVISE_SET_SIZE + 1)] = "";

    if (settings(f, role, i, p) != BT_OK)
        fail_msg("%s", f->why);
    for (size_t s = 0; s < f->copy.nsets; s++) {
        strcat(all, s > 0 ? " " : "");
        strcat(all, f->copy.sets[s]);
    }
    assert_string_equal(all, wanted);
}

static void proxies_take_one_port_after_the_other(void **state)
{
    struct fixture *f = *state;

    set(f, "proxy.listen=127.0.0.1:7400");
    assert_copy(f, &role_proxy, 0, 5, "");
    assert_copy(f, &role_proxy, 1, 6, "proxy.listen=127.0.0.1:7401");
    assert_copy(f, &role_chat, 1, 1, "");
    set(f, "proxy.listen=[::1]:7400");
    set(f, "proxy.advertise=chat.example:443");
    assert_copy(f, &role_proxy, 2, 7, "proxy.listen=[::1]:7402 proxy.advertise=chat.example:445");
}

static void proxies_that_share_their_port_all_take_the_same(void **state)
{
    struct fixture *f = *state;

    set(f, "proxy.listen=127.0.0.1:65535");
    set(f, "proxy.advertise=192.0.2.1:443");
    set(f, "proxy.share_port=yes");
    set(f, "node.listen=10.0.0.1:7500");
    assert_copy(f, &role_proxy, 3, 9, "node.listen=10.0.0.1:7509");
}

static void a_free_port_stays_a_free_port(void **state)
{
    struct fixture *f = *state;

    set(f, "proxy.listen=127.0.0.1:0");
    set(f, "proxy.advertise=chat.example");
    assert_copy(f, &role_proxy, 3, 9, "");
}

static void nodes_are_counted_over_all_roles(void **state)
{
    struct fixture *f = *state;

    set(f, "node.listen=10.0.0.1:7500");
    set(f, "node.advertise=192.0.2.1:7500");
    set(f, "node.name=box");
    assert_copy(f, &role_chat, 0, 0, "node.name=box-chat-1");
    assert_copy(f, &role_chat, 1, 4, "node.name=box-chat-2 node.listen=10.0.0.1:7504 node.advertise=192.0.2.1:7504");
}

static void there_is_no_port_above_the_last(void **state)
{
    struct fixture *f = *state;

    set(f, "proxy.listen=127.0.0.1:65535");
    assert_int_equal(settings(f, &role_proxy, 0, 0), BT_OK);
    assert_int_equal(settings(f, &role_proxy, 1, 0), BT_EINVAL);
    assert_non_null(strstr(f->why, "[proxy] listen = 127.0.0.1:65535"));
}

static void a_name_that_gets_too_long_is_refused(void **state)
{
    struct fixture *f = *state;
    char name[128] = "node.name=";

    memset(name + strlen(name), 'n', 56); /* and "-chat-9": 63 bytes */
    set(f, name);
    assert_int_equal(settings(f, &role_chat, 8, 0), BT_OK);
    assert_int_equal(settings(f, &role_chat, 9, 0), BT_EINVAL);
    assert_non_null(strstr(f->why, "too long"));
}

static void what_serves_one_process_serves_no_unit(void **state)
{
    static const char *const steps[][2] = {
        { "[registry] url", "registry.url=zookeeper://127.0.0.1:2181/bytetalk" },
        { "[presence] url", "presence.url=redis://127.0.0.1:6379/0" },
        { "[store] url", "store.url=mariadb://root@127.0.0.1:3306/bytetalk" },
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        assert_int_equal(supervise_check_shared(f->conf, f->why, sizeof f->why), BT_EINVAL);
        assert_non_null(strstr(f->why, steps[i][0]));
        set(f, steps[i][1]);
    }
    assert_int_equal(supervise_check_shared(f->conf, f->why, sizeof f->why), BT_OK);
}

static void a_copy_gets_what_the_unit_was_given_and_its_own_last(void **state)
{
    static const char *const wanted[] = { "/bin/bytetalk", "--role=proxy", "--config", "a.ini", "--set", "log.level=debug", "--set",
                                          "proxy.listen=127.0.0.1:7401" };
    const char *sets[] = { "log.level=debug" };
    const struct options options = { .action = ACTION_UNIT, .config = "a.ini", .sets = sets, .nsets = 1 };
    struct fixture *f = *state;
    char **argv;

    set(f, "proxy.listen=127.0.0.1:7400");
    assert_int_equal(settings(f, &role_proxy, 1, 1), BT_OK);
    argv = supervise_copy_argv("/bin/bytetalk", &options, "--role=proxy", &f->copy);
    assert_non_null(argv);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        assert_string_equal(argv[i], wanted[i]);
    assert_null(argv[sizeof wanted / sizeof *wanted]);
    bt_free(argv);
    bt_mem_fail_after(0);
    assert_null(supervise_copy_argv("/bin/bytetalk", &options, "--role=proxy", &f->copy));
    bt_mem_fail_after(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(proxies_take_one_port_after_the_other, setup, teardown),
        cmocka_unit_test_setup_teardown(proxies_that_share_their_port_all_take_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(a_free_port_stays_a_free_port, setup, teardown),
        cmocka_unit_test_setup_teardown(nodes_are_counted_over_all_roles, setup, teardown),
        cmocka_unit_test_setup_teardown(there_is_no_port_above_the_last, setup, teardown),
        cmocka_unit_test_setup_teardown(a_name_that_gets_too_long_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_serves_one_process_serves_no_unit, setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_gets_what_the_unit_was_given_and_its_own_last, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
