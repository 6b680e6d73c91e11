/* test/unit/test_zk_data.c: the text of a node's entry in ZooKeeper, and the URL that names the servers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/zk_data.h"
#include "rpc/zk_url.h"

static enum bt_err read_text(const char *text, struct registry_node *out)
{
    size_t len = strlen(text);
    char *copy = malloc(len > 0 ? len : 1); /* without an end mark, so that the sanitizers see a read beyond it */
    memcpy(copy, text, len);
    enum bt_err err = zk_data_read(copy, len, out);
    free(copy);
    return err;
}

static void an_entry_is_read_as_it_was_written(void **state)
{
    const struct registry_node node = {
        .address = "10.0.0.4:7401", .client_address = "10.0.0.4:7400", .version = "0.1.0", .epoch = UINT64_MAX, .weight = 3, .load = UINT32_MAX,
        .roles = 1u << RPC_ROLE_PROXY | 1u << RPC_ROLE_CHAT,
    };
    struct registry_node read = { .name = "kept" };
    char text[ZK_DATA_SIZE];

    (void)state;
    size_t len = zk_data_write(&node, text);
    assert_int_equal(len, strlen(text));
    assert_non_null(strstr(text, "address=10.0.0.4:7401\n"));
    assert_non_null(strstr(text, "roles=proxy,chat\n"));
    assert_int_equal(read_text(text, &read), BT_OK);
    assert_string_equal(read.address, node.address);
    assert_string_equal(read.client_address, node.client_address);
    assert_string_equal(read.version, node.version);
    assert_string_equal(read.name, "kept");
    assert_true(read.epoch == UINT64_MAX);
    assert_int_equal(read.weight, 3);
    assert_true(read.load == UINT32_MAX);
}

static void the_longest_entry_fits(void **state)
{
    struct registry_node node = { .epoch = UINT64_MAX, .weight = UINT32_MAX, .load = UINT32_MAX, .roles = UINT32_MAX };
    char text[ZK_DATA_SIZE];

    (void)state;
    memset(node.address, 'a', sizeof node.address - 1);
    memset(node.client_address, 'c', sizeof node.client_address - 1);
    memset(node.version, 'v', sizeof node.version - 1);
    assert_true(zk_data_write(&node, text) < sizeof text);
}

static void what_a_later_version_adds_is_skipped(void **state)
{
    struct registry_node read;
    (void)state;
    assert_int_equal(read_text("zone=b\n\nno pair\naddress=1.2.3.4:5\nepoch=7", &read), BT_OK);
    assert_string_equal(read.address, "1.2.3.4:5");
    assert_int_equal(read.epoch, 7);
    assert_int_equal(read.weight, 1);
}

static void an_entry_that_is_none_is_refused(void **state)
{
    static const char *const bad[] = {
        "", "\n", "=", "address=1.2.3.4:5", "epoch=1", "address=\nepoch=1", "address=a b\nepoch=1", "address=a\nepoch=-1",
        "address=a\nepoch=1x", "address=a\nepoch=18446744073709551616", "address=a\nepoch=", "address=a\nepoch=1\nload=4294967296",
        "address=a\nepoch=1\nweight=", "address=a\x7f\nepoch=1",
        "address=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\nepoch=1",
    };
    struct registry_node read;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(read_text(bad[i], &read), BT_EINVAL);
}

static void a_url_names_hosts_and_a_root(void **state)
{
    struct zk_url url;
    char why[256];

    (void)state;
    assert_int_equal(zk_url_parse("zookeeper://10.0.0.1:2182,[::1]:2183,10.0.0.3/bytetalk/test/", &url, why, sizeof why), BT_OK);
    assert_string_equal(url.hosts, "10.0.0.1:2182,[::1]:2183,10.0.0.3:2181");
    assert_string_equal(url.root, "/bytetalk/test");
    assert_false(url.has_names);
    assert_int_equal(zk_url_parse("zookeeper://zoo-1.example:2181,10.0.0.1", &url, why, sizeof why), BT_OK);
    assert_string_equal(url.root, "");
    assert_true(url.has_names);
    assert_int_equal(zk_url_parse("zookeeper://10.0.0.1/", &url, why, sizeof why), BT_OK);
    assert_string_equal(url.root, "");
}

static void a_bad_url_is_refused_with_a_reason(void **state)
{
    static const char *const bad[] = {
        "zookeeper:", "zookeeper://", "zookeeper:///root", "zookeeper://a,", "zookeeper://,a", "zookeeper://a:0", "zookeeper://a:65536",
        "zookeeper://a:x", "zookeeper://a:", "zookeeper://a b", "zookeeper://[::1", "zookeeper://[::1]2181", "zookeeper://[a]:1", "zookeeper://a//b",
        "zookeeper://a/.", "zookeeper://a/../b", "zookeeper://a/zookeeper", "zookeeper://user@a",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct zk_url url;
        char why[256] = "";
        assert_int_equal(zk_url_parse(bad[i], &url, why, sizeof why), BT_EINVAL);
        assert_non_null(strstr(why, "[registry] url"));
    }
}

static void names_become_addresses(void **state)
{
    char out[2 * ZK_HOSTS_SIZE];
    (void)state;
    assert_true(zk_resolve("10.0.0.1:2182,[::1]:2183", out, sizeof out));
    assert_string_equal(out, "10.0.0.1:2182,::1:2183");
    assert_true(zk_resolve("localhost:2181", out, sizeof out));
    assert_non_null(strstr(out, "1:2181")); /* 127.0.0.1 or ::1 */
    assert_false(zk_resolve("no-such-host.invalid:2181", out, sizeof out));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_is_read_as_it_was_written),
        cmocka_unit_test(the_longest_entry_fits),
        cmocka_unit_test(what_a_later_version_adds_is_skipped),
        cmocka_unit_test(an_entry_that_is_none_is_refused),
        cmocka_unit_test(a_url_names_hosts_and_a_root),
        cmocka_unit_test(a_bad_url_is_refused_with_a_reason),
        cmocka_unit_test(names_become_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
