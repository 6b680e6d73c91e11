/* test/unit/test_frame.c: frame headers, and what a peer may do to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "rpc/frame.h"

enum { MAX = 1000 };

static const struct rpc_header sample = {
    .length = 44 + 3,
    .method = 0x0601,
    .kind = RPC_REQUEST,
    .flags = RPC_FLAG_RESEND,
    .status = 0,
    .call = 0x01020304,
    .timeout_ms = 5000,
    .caller = UINT64_C(0x1122334455667788),
    .target = RPC_TARGET_GROUP | 42,
    .session = 7,
    .trace = UINT64_C(0xfedcba9876543210),
};

static size_t sample_frame(uint8_t out[RPC_HEADER_SIZE + 3])
{
    rpc_header_encode(&sample, out);
    memcpy(out + RPC_HEADER_SIZE, "abc", 3);
    return RPC_HEADER_SIZE + 3;
}

static enum bt_err take(const uint8_t *data, size_t len, uint8_t flags, struct rpc_frame *f, size_t *used, size_t *need)
{
    return rpc_frame_take(data, len, MAX, flags, f, used, need);
}

static void header_has_the_layout_of_the_protocol(void **state)
{
    static const uint8_t want[RPC_HEADER_SIZE] = {
        0, 0, 0, 47, 0x06, 0x01, 0x11, 0, 1, 2, 3, 4, 0, 0, 0x13, 0x88,
        0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x80, 0, 0, 0, 0, 0, 0, 42,
        0, 0, 0, 0, 0, 0, 0, 7, 0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10,
    };
    uint8_t wire[RPC_HEADER_SIZE + 3];
    (void)state;
    sample_frame(wire);
    assert_memory_equal(wire, want, sizeof want);
}

static void frame_comes_back_as_it_was_written(void **state)
{
    uint8_t wire[RPC_HEADER_SIZE + 3];
    struct rpc_frame f;
    size_t used, need;
    (void)state;
    sample_frame(wire);
    memset(&f, 0, sizeof f); /* and with it the padding, which is compared too */
    assert_int_equal(take(wire, sizeof wire, RPC_FLAGS_CLIENT, &f, &used, &need), BT_OK);
    assert_int_equal(used, sizeof wire);
    assert_memory_equal(&f.h, &sample, sizeof sample);
    assert_int_equal(f.len, 3);
    assert_memory_equal(f.payload, "abc", 3);
}

static void frame_is_not_taken_before_it_is_whole(void **state)
{
    uint8_t wire[RPC_HEADER_SIZE + 3];
    struct rpc_frame f;
    size_t used, need;
    (void)state;
    sample_frame(wire);
    for (size_t cut = 0; cut < sizeof wire; cut++) {
        uint8_t *part = malloc(cut + 1); /* so that a sanitizer sees reads beyond the cut */
        memcpy(part, wire, cut);
        uint8_t *exact = realloc(part, cut > 0 ? cut : 1);
        assert_int_equal(take(exact, cut, RPC_FLAGS_CLIENT, &f, &used, &need), BT_OK);
        assert_int_equal(used, 0);
        assert_int_equal(need, cut < RPC_LENGTH_SIZE ? 0 : sizeof wire);
        free(exact);
    }
}

static void length_is_checked_by_its_first_four_bytes(void **state)
{
    static const uint8_t too_short[] = { 0, 0, 0, 43 }, too_long[] = { 0, 0, 3, 233 }, longest[] = { 0, 0, 3, 232 };
    static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff };
    struct rpc_frame f;
    size_t used, need;
    (void)state;
    assert_int_equal(take(too_short, 4, RPC_FLAGS_CLIENT, &f, &used, &need), BT_EPROTO);
    assert_int_equal(take(too_long, 4, RPC_FLAGS_CLIENT, &f, &used, &need), BT_EPROTO);
    assert_int_equal(take(huge, 4, RPC_FLAGS_CLIENT, &f, &used, &need), BT_EPROTO);
    assert_int_equal(take(longest, 4, RPC_FLAGS_CLIENT, &f, &used, &need), BT_OK);
    assert_int_equal(need, 1004);
}

static void only_known_kinds_with_their_own_flags_are_taken(void **state)
{
    struct rpc_frame f;
    size_t used, need;
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        uint8_t wire[RPC_HEADER_SIZE + 3];
        sample_frame(wire);
        wire[6] = (uint8_t)byte;
        int kind = byte & 15, flags = byte & 0xf0;
        bool plain = kind >= 1 && kind <= 4 && flags == 0;
        bool client = plain || byte == (RPC_REQUEST | RPC_FLAG_RESEND);
        bool node = client || byte == (RPC_REPLY | RPC_FLAG_PUSHED);
        assert_int_equal(take(wire, sizeof wire, RPC_FLAGS_CLIENT, &f, &used, &need), client ? BT_OK : BT_EPROTO);
        assert_int_equal(take(wire, sizeof wire, RPC_FLAGS_NODE, &f, &used, &need), node ? BT_OK : BT_EPROTO);
    }
}

static void empty_payload_is_a_frame(void **state)
{
    struct rpc_header h = { .length = 44, .kind = RPC_CANCEL, .call = 9 };
    uint8_t wire[RPC_HEADER_SIZE];
    struct rpc_frame f;
    size_t used, need;
    (void)state;
    rpc_header_encode(&h, wire);
    assert_int_equal(take(wire, sizeof wire, RPC_FLAGS_CLIENT, &f, &used, &need), BT_OK);
    assert_int_equal(used, RPC_HEADER_SIZE);
    assert_int_equal(f.len, 0);
    assert_int_equal(f.h.call, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_has_the_layout_of_the_protocol),
        cmocka_unit_test(frame_comes_back_as_it_was_written),
        cmocka_unit_test(frame_is_not_taken_before_it_is_whole),
        cmocka_unit_test(length_is_checked_by_its_first_four_bytes),
        cmocka_unit_test(only_known_kinds_with_their_own_flags_are_taken),
        cmocka_unit_test(empty_payload_is_a_frame),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
