/* test/unit/test_ring.c: the ring: balance, weights, and how little moves when a node comes or goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "net/mem.h"
#include "rpc/ring.h"

enum { NODES = 8, KEYS = 40000 };

static char names[NODES][32];

static struct ring *ring_of(size_t n, const uint32_t *weights)
{
    struct ring_member members[NODES] = { { NULL, 0, NULL } };
    struct ring *r = NULL;
    for (size_t i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], "127.0.0.1:%d", 7400 + (int)i);
        members[i] = (struct ring_member){ names[i], weights ? weights[i] : 1, NULL };
    }
    assert_int_equal(ring_new(members, n, &r), BT_OK);
    return r;
}

/* Ids are small and dense, as the store gives them: the hash must spread them. */
static void key(int i, uint64_t *hi, uint64_t *lo)
{
    *hi = 1000 + (uint64_t)(i / 7);
    *lo = i % 7 == 0 ? 0 : (uint64_t)(i % 7);
}

static void count_owners(const struct ring *r, size_t n, int counts[NODES])
{
    memset(counts, 0, NODES * sizeof *counts);
    for (int i = 0; i < KEYS; i++) {
        uint64_t hi, lo;
        key(i, &hi, &lo);
        const char *owner = ring_find(r, hi, lo, 0)->name;
        for (size_t k = 0; k < n; k++)
            counts[k] += strcmp(owner, names[k]) == 0;
    }
}

static void every_node_owns_about_its_share(void **state)
{
    struct ring *r = ring_of(NODES, NULL);
    int counts[NODES];
    double sum = 0;
    (void)state;
    count_owners(r, NODES, counts);
    for (size_t i = 0; i < NODES; i++) {
        assert_in_range(counts[i], KEYS / NODES * 70 / 100, KEYS / NODES * 130 / 100);
        double share = ring_share(r, names[i]);
        assert_true(share * KEYS > counts[i] * 0.9 && share * KEYS < counts[i] * 1.1);
        sum += share;
    }
    assert_true(sum > 0.999999 && sum < 1.000001);
    ring_free(r);
}

static void weights_multiply_the_share(void **state)
{
    static const uint32_t weights[] = { 1, 3, 0, 2 };
    struct ring *r = ring_of(4, weights);
    int counts[NODES];
    (void)state;
    count_owners(r, 4, counts);
    assert_int_equal(ring_members(r), 3);
    assert_int_equal(counts[2], 0);
    assert_in_range(counts[0], KEYS / 6 * 75 / 100, KEYS / 6 * 125 / 100);
    assert_in_range(counts[1], KEYS / 2 * 85 / 100, KEYS / 2 * 115 / 100);
    assert_in_range(counts[3], KEYS / 3 * 80 / 100, KEYS / 3 * 120 / 100);
    ring_free(r);
}

static void when_a_node_goes_only_its_conversations_move_to_the_next(void **state)
{
    struct ring *all = ring_of(NODES, NULL);
    struct ring *fewer = ring_of(NODES - 1, NULL);
    int moved = 0;
    (void)state;
    for (int i = 0; i < KEYS; i++) {
        uint64_t hi, lo;
        key(i, &hi, &lo);
        const char *before = ring_find(all, hi, lo, 0)->name, *after = ring_find(fewer, hi, lo, 0)->name;
        if (strcmp(before, after) == 0)
            continue;
        moved++;
        assert_string_equal(before, names[NODES - 1]);
        assert_string_equal(after, ring_find(all, hi, lo, 1)->name);
    }
    assert_in_range(moved, 1, KEYS * 13 / 10 / NODES);
    ring_free(all);
    ring_free(fewer);
}

/* How much of all conversations moves when one of n goes, at most, in n-ths. Each of them goes once. */
static double worst_move(size_t n)
{
    uint32_t weights[NODES];
    double worst = 0;
    struct ring *all = ring_of(n, NULL);

    for (size_t gone = 0; gone < n; gone++) {
        for (size_t i = 0; i < n; i++)
            weights[i] = i != gone;
        struct ring *fewer = ring_of(n, weights);
        int moved = 0;
        for (int i = 0; i < KEYS; i++) {
            uint64_t hi, lo;
            key(i, &hi, &lo);
            moved += strcmp(ring_find(all, hi, lo, 0)->name, ring_find(fewer, hi, lo, 0)->name) != 0;
        }
        ring_free(fewer);
        if ((double)moved * (double)n / KEYS > worst)
            worst = (double)moved * (double)n / KEYS;
    }
    ring_free(all);
    return worst;
}

static void when_any_of_n_nodes_goes_at_most_1_3_nths_move(void **state)
{
    (void)state;
    for (size_t n = 2; n <= NODES; n++) {
        double worst = worst_move(n);
        print_message("one of %zu nodes goes: at most %.2f / %zu of the conversations move\n", n, worst, n);
        assert_true(worst > 0.5 && worst <= 1.3);
    }
}

static void the_order_in_which_nodes_are_listed_does_not_matter(void **state)
{
    static const struct ring_member ab[] = { { "a", 1, NULL }, { "b", 2, NULL }, { "c", 1, NULL } };
    static const struct ring_member ba[] = { { "c", 1, NULL }, { "b", 2, NULL }, { "a", 1, NULL } };
    struct ring *one, *other;
    (void)state;
    assert_int_equal(ring_new(ab, 3, &one), BT_OK);
    assert_int_equal(ring_new(ba, 3, &other), BT_OK);
    for (uint64_t hi = 0; hi < 2000; hi++)
        assert_string_equal(ring_find(one, hi, 0, 0)->name, ring_find(other, hi, 0, 0)->name);
    ring_free(one);
    ring_free(other);
}

static void those_after_the_owner_are_all_the_others_once(void **state)
{
    struct ring *r = ring_of(NODES, NULL);
    (void)state;
    for (uint64_t hi = 1; hi < 50; hi++) {
        for (size_t a = 0; a < NODES; a++) {
            assert_non_null(ring_find(r, hi, 7, a));
            for (size_t b = 0; b < a; b++)
                assert_ptr_not_equal(ring_find(r, hi, 7, a), ring_find(r, hi, 7, b));
        }
        assert_null(ring_find(r, hi, 7, NODES));
    }
    ring_free(r);
}

static void an_empty_ring_owns_nothing(void **state)
{
    struct ring *r = ring_of(0, NULL);
    (void)state;
    assert_null(ring_find(r, 1, 2, 0));
    assert_int_equal(ring_members(r), 0);
    assert_true(ring_share(r, "x") == 0);
    ring_free(r);
}

static void a_members_argument_is_handed_back(void **state)
{
    int mine;
    const struct ring_member one = { "only", 1, &mine };
    struct ring *r;
    (void)state;
    assert_int_equal(ring_new(&one, 1, &r), BT_OK);
    assert_ptr_equal(ring_find(r, 5, 0, 0)->arg, &mine);
    assert_true(ring_share(r, "only") > 0.999999);
    ring_free(r);
}

static void who_is_alone_owns_everything(void **state)
{
    static const uint32_t weights[] = { 0, 0, 3 };
    struct ring *r = ring_of(3, weights);
    (void)state;
    for (uint64_t hi = 1; hi < 50; hi++) {
        assert_string_equal(ring_find(r, hi, 7, 0)->name, names[2]);
        assert_null(ring_find(r, hi, 7, 1));
    }
    ring_free(r);
}

static void without_memory_no_ring_is_made(void **state)
{
    static const struct ring_member members[] = { { "a", 1, NULL }, { "b", 1, NULL } };
    (void)state;
    for (long n = 0;; n++) {
        struct ring *r = NULL;
        bt_mem_fail_after(n);
        enum bt_err err = ring_new(members, 2, &r);
        bool failed = bt_mem_has_failed();
        bt_mem_fail_after(-1);
        assert_int_equal(err, failed ? BT_ENOMEM : BT_OK);
        if (failed)
            continue;
        ring_free(r);
        assert_true(n > 3);
        return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_node_owns_about_its_share),
        cmocka_unit_test(weights_multiply_the_share),
        cmocka_unit_test(when_a_node_goes_only_its_conversations_move_to_the_next),
        cmocka_unit_test(when_any_of_n_nodes_goes_at_most_1_3_nths_move),
        cmocka_unit_test(the_order_in_which_nodes_are_listed_does_not_matter),
        cmocka_unit_test(those_after_the_owner_are_all_the_others_once),
        cmocka_unit_test(an_empty_ring_owns_nothing),
        cmocka_unit_test(a_members_argument_is_handed_back),
        cmocka_unit_test(who_is_alone_owns_everything),
        cmocka_unit_test(without_memory_no_ring_is_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
