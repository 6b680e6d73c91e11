/* test/unit/test_presence_redis_login.c: presence in Redis: passwords, users with rights, and urls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/unit/redis_nodes.h"

static void a_wrong_password_is_said_with_what_to_do(void **state)
{
    struct redis_nodes *f = *state;
    struct presence_reader r = { 0 };
    redis_env_stop(&f->a);
    redis_env_start(&f->a, "requirepass", "right:@/pw");
    put_setting(f, "presence.url=redis://:wrong@127.0.0.1:%u/0", f->a.port);
    open_node(f, 0);
    assert_int_equal(read_by(f, 0, &r), BT_EDOWN);
    await_line(f, "WRONGPASS");
    await_line(f, "correct user and password in [presence] url or password_file");
    turn_nodes_for(f, 500);
    assert_null(strstr(strstr(f->said, "correct user") + 1, "correct user")); /* once, not once per try */
    close_node(f, 0);

    put_setting(f, "presence.url=redis://127.0.0.1:%u/0", f->a.port);
    open_node(f, 0);
    await_line(f, "its path into [presence] password_file");
    close_node(f, 0);

    put_setting(f, "presence.url=redis://:right%%3a%%40%%2fpw@127.0.0.1:%u/0", f->a.port);
    open_node(f, 0);
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    close_node(f, 0);
    assert_null(strstr(f->said, "right"));

    char path[96];
    snprintf(path, sizeof path, "%s/password", f->a.dir);
    FILE *file = fopen(path, "w");
    fputs("right:@/pw\n", file);
    fclose(file);
    put_setting(f, "presence.url=redis://127.0.0.1:%u/0", f->a.port);
    put_setting(f, "presence.password_file=%s", path);
    open_node(f, 0);
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    close_node(f, 0);
    unlink(path);
}

static void a_user_with_the_named_rights_suffices(void **state)
{
    struct redis_nodes *f = *state;
    struct presence_reader r = { 0 };
    redis_env_command(&f->a, "ACL SETUSER chat on >pw ~bytetalk:presence* +@all -@admin -@dangerous +info +role");
    redis_env_command(&f->a, "ACL SETUSER nobody on >pw ~elsewhere* +@all");
    put_setting(f, "presence.url=redis://chat:pw@localhost:%u/3", f->a.port); /* by name, and another database */
    open_node(f, 0);
    close_node(f, 0); /* before the name is known */
    open_node(f, 0);
    assert_int_equal(set_user(f, 0, 5, true), BT_OK);
    assert_int_equal(read_by(f, 0, &r), BT_OK);
    assert_true(r.copy[5]);
    turn_nodes_for(f, 1200);
    redis_env_command(&f->a, "FLUSHALL");
    await_told(f, 0, 1);
    close_node(f, 0);
    assert_int_equal(redis_env_command(&f->a, "EXISTS %s", HEAD), 0);
    put_setting(f, "presence.url=redis://nobody:pw@localhost:%u/3", f->a.port);
    open_node(f, 0);
    await_line(f, "the user needs ~bytetalk:presence*");
}

static void refuses(struct redis_nodes *f, const char *url, const char *reason)
{
    struct presence *p = NULL;
    char why[256] = "";
    put_setting(f, "presence.url=%s", url);
    assert_int_equal(presence_open(f->base.loop, f->base.conf, "a:1", 1, &p, why, sizeof why), BT_EINVAL);
    if (strstr(why, reason) == NULL)
        fail_msg("%s: %s", url, why);
    assert_null(strstr(why, "secret"));
}

static void a_bad_url_is_refused_with_a_reason(void **state)
{
    struct redis_nodes *f = *state;
    refuses(f, "redis:", "is no redis:// url");
    refuses(f, "redis://", "address is malformed");
    refuses(f, "redis://h:0/0", "address is malformed");
    refuses(f, "redis://h:65536/0", "address is malformed");
    refuses(f, "redis://h:6379x", "address is malformed");
    refuses(f, "redis://h,,i/0", "address is malformed");
    refuses(f, "redis://[::1:6379", "address is malformed");
    refuses(f, "redis://[::1]6379", "address is malformed");
    refuses(f, "redis://h:6379/presence", "number of a database");
    refuses(f, "redis://:secret%2@h", "malformed");
    refuses(f, "redis://:secret%zz@h", "malformed");
    refuses(f, "redis://user@h", "no password");
    refuses(f, "redis://a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q", "too many");
    refuses(f, "rediss://:secret@h", "not understood");
    put_setting(f, "presence.password_file=/nonexistent/pw");
    refuses(f, "redis://h", "/nonexistent/pw");
    refuses(f, "redis://:secret@h", "leave one out");
    put_setting(f, "presence.password_file=/dev/null");
    refuses(f, "redis://h", "empty");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_wrong_password_is_said_with_what_to_do, redis_nodes_setup_servers, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(a_user_with_the_named_rights_suffices, redis_nodes_setup_servers, redis_nodes_teardown),
        cmocka_unit_test_setup_teardown(a_bad_url_is_refused_with_a_reason, redis_nodes_setup_servers, redis_nodes_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
