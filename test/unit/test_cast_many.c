/* test/unit/test_cast_many.c: the same bytes to hundreds of connections: some write in each turn, and what comes meanwhile goes along. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "conn_aid.h"
#include "net/net_internal.h"

enum { MANY = 600, FIRST = MANY / 8, TURNS = 10 };

struct member {
    struct net_conn *c; /* NULL: closed */
    int fd;             /* the other end, a plain socket */
    char got[64];
    size_t got_len;
};

/* aid.server is not used: each connection has a member for its end. */
struct many {
    struct aid *aid;
    struct member members[MANY];
    int count;
};

static struct many many;

static size_t member_bytes(struct net_conn *c, const uint8_t *data, size_t len, void *arg)
{
    (void)c, (void)data, (void)arg;
    return len;
}

static void member_closed(struct net_conn *c, enum bt_err why, void *arg)
{
    struct member *m = arg;
    (void)c, (void)why;

    m->c = NULL;
}

static const struct net_conn_ops member_ops = { .bytes = member_bytes, .closed = member_closed };

static void accept_member(struct aid *a, struct net_conn *c)
{
    struct member *m = &many.members[many.count++];

    m->c = c;
    net_conn_start(c, &member_ops, &a->limits, m);
}

static int setup(void **state)
{
    struct rlimit files;

    memset(&many, 0, sizeof many);
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_max < 2 * MANY + 100)
        return -1;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0 || aid_setup(state) != 0)
        return -1;
    many.aid = *state;
    many.aid->accept_hook = accept_member;
    for (int i = 0; i < MANY; i++)
        many.members[i].fd = aid_raw_connect(many.aid);
    return 0;
}

static int teardown(void **state)
{
    for (int i = 0; i < MANY; i++) {
        if (many.members[i].c != NULL)
            net_conn_close(many.members[i].c);
        close(many.members[i].fd);
    }
    return aid_teardown(state);
}

static void cast_to_all(const void *bytes, size_t len)
{
    struct net_cast cast;

    net_cast_begin(&cast, many.aid->loop, bytes, 1, (const char *)bytes + 1, (uint32_t)len - 1);
    for (int i = 0; i < MANY; i++)
        if (many.members[i].c != NULL)
            assert_int_equal(net_conn_cast(many.members[i].c, &cast), BT_OK);
}

static void say(const char *text)
{
    cast_to_all(text, strlen(text));
}

static uint64_t writes(void)
{
    return many.aid->loop->writes;
}

static bool has_got(struct member *m, const char *text)
{
    ssize_t n = recv(m->fd, m->got + m->got_len, sizeof m->got - m->got_len, MSG_DONTWAIT);

    m->got_len += n > 0 ? (size_t)n : 0;
    return m->got_len == strlen(text) && memcmp(m->got, text, m->got_len) == 0;
}

static int count_that_got(const char *text)
{
    int count = 0;

    for (int i = 0; i < MANY; i++)
        count += has_got(&many.members[i], text);
    return count;
}

static void wait_got(const char *text, int count)
{
    uint64_t limit_us = net_clock_us() + AID_DEADLINE_MS * UINT64_C(1000);

    while (count_that_got(text) != count)
        assert_true(net_clock_us() < limit_us);
}

static void wait_all_got(const char *text)
{
    wait_until(many.aid, many.aid->loop->cast_users == 0);
    assert_int_equal(many.aid->loop->casts_len, 0);
    wait_got(text, MANY);
}

/* Whoever reads all that he gets is not closed as one who does not. */
static void nobody_waits_until_his_queue_is_full(void **state)
{
    static const char bytes[8192];
    char got[sizeof bytes];
    (void)state;

    many.aid->limits.out_high_bytes = 16384;
    many.aid->limits.out_low_bytes = 4096;
    for (int i = 0; i < 16; i++) {
        cast_to_all(bytes, sizeof bytes);
        aid_turn(many.aid);
        for (int k = 0; k < MANY; k++)
            assert_int_not_equal(recv(many.members[k].fd, got, sizeof got, MSG_DONTWAIT), 0);
    }
    assert_int_equal(many.aid->loop->cast_users, 0);
}

static void what_comes_meanwhile_leaves_in_the_same_write(void **state)
{
    uint64_t before = writes();
    (void)state;

    say("one ");
    aid_turn(many.aid);
    assert_int_equal(writes() - before, FIRST);
    wait_got("one ", FIRST);
    say("two");
    wait_all_got("one two");
    assert_int_equal(writes() - before, FIRST + (MANY - FIRST) + FIRST);
}

static void all_have_it_after_a_few_turns(void **state)
{
    (void)state;

    say("one");
    for (int i = 0; i < TURNS; i++) /* an eighth of those who are left, but not fewer than 64 */
        aid_turn(many.aid);
    assert_int_equal(many.aid->loop->cast_users, 0);
    wait_all_got("one");
}

static void who_has_something_of_his_own_does_not_wait(void **state)
{
    struct member *last = &many.members[MANY - 1];
    (void)state;

    say("one ");
    assert_int_equal(net_conn_write(last->c, "mine ", 5), BT_OK);
    aid_turn(many.aid);
    assert_int_equal(net_conn_queued(last->c), 0);
    assert_false(has_got(&many.members[MANY - 2], "one "));
    say("two");
    wait_until(many.aid, many.aid->loop->cast_users == 0);
    wait_got("one two", MANY - 1);
    wait_until(many.aid, has_got(last, "one mine two"));
}

/* A loop that always has somebody waiting would else run out of room, and copy for each. */
static void before_the_room_is_full_all_write(void **state)
{
    static const char bytes[NET_CAST_ROOM / 2];
    uint64_t before = writes();
    (void)state;

    many.aid->limits.out_low_bytes = NET_CAST_ROOM; /* below it they may wait */
    cast_to_all(bytes, sizeof bytes);
    aid_turn(many.aid);
    assert_int_equal(writes() - before, FIRST);
    cast_to_all(bytes, 1);
    aid_turn(many.aid);
    assert_int_equal(many.aid->loop->cast_users, 0);
    assert_int_equal(many.aid->loop->casts_len, 0);
}

static void who_waits_may_close_or_end_or_go_on_reading(void **state)
{
    struct member *gone = &many.members[MANY - 1], *shown = &many.members[MANY - 2], *ended = &many.members[MANY - 3];
    (void)state;

    net_conn_pause(shown->c);
    aid_turn(many.aid);
    say("one");
    net_conn_close(gone->c);
    net_conn_resume(shown->c);
    net_conn_finish(ended->c, 5000);
    aid_turn(many.aid);
    assert_null(gone->c);
    assert_int_equal(net_conn_queued(shown->c), 0);
    assert_int_equal(net_conn_queued(ended->c), 0);
    wait_until(many.aid, many.aid->loop->cast_users == 0);
    wait_got("one", MANY - 1);
    assert_int_equal(recv(ended->fd, ended->got, 1, 0), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_comes_meanwhile_leaves_in_the_same_write),
        TEST(all_have_it_after_a_few_turns),
        TEST(who_has_something_of_his_own_does_not_wait),
        TEST(before_the_room_is_full_all_write),
        TEST(nobody_waits_until_his_queue_is_full),
        TEST(who_waits_may_close_or_end_or_go_on_reading),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
