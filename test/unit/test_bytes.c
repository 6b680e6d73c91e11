/* test/unit/test_bytes.c: messages to payloads and back, with strings and lists as views. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proto/client.pb.h"
#include "proto/node.pb.h"
#include "rpc/bytes.h"

#define DECODE(type, wire, msg) rpc_decode(type##_fields, (wire), sizeof(wire), (msg))

static bool view_is(struct rpc_bytes view, const char *text)
{
    return view.data && view.len == strlen(text) && memcmp(view.data, text, view.len) == 0;
}

static void strings_are_views_into_the_payload(void **state)
{
    static const uint8_t wire[] = { 0x0a, 3, 'a', 'n', 'n', 0x12, 2, 'p', 'w' };
    RegisterRequest msg = { .name = { NULL, 0 } };
    (void)state;
    assert_int_equal(DECODE(RegisterRequest, wire, &msg), BT_OK);
    assert_ptr_equal(msg.name.data, wire + 2);
    assert_true(view_is(msg.name, "ann"));
    assert_ptr_equal(msg.password.data, wire + 7);
    rpc_release(RegisterRequest_fields, &msg);
}

static void absent_and_empty_fields_differ(void **state)
{
    static const uint8_t wire[] = { 0x0a, 0 };
    UpdateProfileRequest msg = { .about = { NULL, 0 } };
    (void)state;
    assert_int_equal(DECODE(UpdateProfileRequest, wire, &msg), BT_OK);
    assert_non_null(msg.about.data);
    assert_int_equal(msg.about.len, 0);
    assert_null(msg.avatar.data);
}

static void an_empty_payload_is_an_empty_message(void **state)
{
    RegisterRequest msg = { .name = { NULL, 0 } };
    (void)state;
    assert_int_equal(rpc_decode(RegisterRequest_fields, NULL, 0, &msg), BT_OK);
    assert_null(msg.name.data);
    assert_int_equal(rpc_size(RegisterRequest_fields, &msg), 0);
}

static void a_message_survives_the_way_there_and_back(void **state)
{
    uint8_t buf[256];
    SendRequest sent = {
        .client_msg_id = 77,
        .content_type = rpc_str("text/plain"),
        .body = rpc_bytes("a\0b", 3),
    };
    SendRequest got = { .client_msg_id = 0 };
    (void)state;
    size_t len = rpc_encode(SendRequest_fields, &sent, buf, sizeof buf);
    assert_true(len > 0);
    assert_int_equal(len, rpc_size(SendRequest_fields, &sent));
    assert_int_equal(rpc_decode(SendRequest_fields, buf, len, &got), BT_OK);
    assert_int_equal(got.client_msg_id, 77);
    assert_true(view_is(got.content_type, "text/plain"));
    assert_int_equal(got.body.len, 3);
    assert_memory_equal(got.body.data, "a\0b", 3);
}

static void long_bodies_fit(void **state)
{
    enum { LEN = 300000 };
    uint8_t *body = malloc(LEN), *buf = malloc(LEN + 64);
    SendRequest sent = { .client_msg_id = 1 }, got = { .client_msg_id = 0 };
    (void)state;
    memset(body, 'x', LEN);
    sent.body = rpc_bytes(body, LEN);
    size_t len = rpc_encode(SendRequest_fields, &sent, buf, LEN + 64);
    assert_true(len > LEN);
    assert_int_equal(rpc_encode(SendRequest_fields, &sent, buf, LEN), 0);
    len = rpc_encode(SendRequest_fields, &sent, buf, LEN + 64);
    assert_int_equal(rpc_decode(SendRequest_fields, buf, len, &got), BT_OK);
    assert_int_equal(got.body.len, LEN);
    free(body);
    free(buf);
}

static void packed_lists_are_views_too(void **state)
{
    static const uint8_t users[16] = { 1, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0x80 };
    uint8_t buf[64];
    PushEvent sent = { .users = rpc_bytes(users, sizeof users), .method = 5 }, got = { .method = 0 };
    (void)state;
    size_t len = rpc_encode(PushEvent_fields, &sent, buf, sizeof buf);
    assert_int_equal(rpc_decode(PushEvent_fields, buf, len, &got), BT_OK);
    assert_int_equal(got.users.len, 16);
    assert_int_equal(rpc_bytes_u64(got.users, 0), 1);
    assert_true(rpc_bytes_u64(got.users, 1) == UINT64_C(0x8000000000000102));
}

static void broken_lists_are_refused(void **state)
{
    static const uint8_t odd[] = { 0x0a, 7, 1, 2, 3, 4, 5, 6, 7 };
    static const uint8_t unpacked[] = { 0x09, 1, 2, 3, 4, 5, 6, 7, 8 };
    static const uint8_t twice[] = { 0x0a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x0a, 8, 1, 2, 3, 4, 5, 6, 7, 8 };
    static const uint8_t empty[] = { 0x0a, 0 };
    PushEvent msg = { .method = 0 };
    (void)state;
    assert_int_equal(DECODE(PushEvent, odd, &msg), BT_EINVAL);
    memset(&msg, 0, sizeof msg);
    assert_int_equal(DECODE(PushEvent, unpacked, &msg), BT_EINVAL);
    memset(&msg, 0, sizeof msg);
    assert_int_equal(DECODE(PushEvent, twice, &msg), BT_EINVAL);
    memset(&msg, 0, sizeof msg);
    assert_int_equal(DECODE(PushEvent, empty, &msg), BT_OK);
    assert_int_equal(msg.users.len, 0);
}

static void a_number_where_a_string_belongs_is_refused(void **state)
{
    static const uint8_t varint[] = { 0x08, 5 };
    static const uint8_t fixed[] = { 0x09, 1, 2, 3, 4, 5, 6, 7, 8 };
    RegisterRequest msg = { .name = { NULL, 0 } };
    (void)state;
    assert_int_equal(DECODE(RegisterRequest, varint, &msg), BT_EINVAL);
    memset(&msg, 0, sizeof msg);
    assert_int_equal(DECODE(RegisterRequest, fixed, &msg), BT_EINVAL);
}

static void every_truncation_is_refused_or_shorter(void **state)
{
    static const UserName rows[] = { { 1, { (const uint8_t *)"ann", 3 } }, { 2, { (const uint8_t *)"bob", 3 } } };
    uint8_t buf[128];
    GetUsersReply sent = { .users_count = 2, .users = (UserName *)(uintptr_t)rows };
    (void)state;
    size_t len = rpc_encode(GetUsersReply_fields, &sent, buf, sizeof buf);
    for (size_t cut = 0; cut <= len; cut++) {
        uint8_t *exact = malloc(cut + 1);
        GetUsersReply got = { .users_count = 0 };
        memcpy(exact, buf, cut);
        exact = realloc(exact, cut > 0 ? cut : 1);
        bool whole = cut == 0 || cut == len / 2 || cut == len;
        assert_int_equal(rpc_decode(GetUsersReply_fields, exact, cut, &got), whole ? BT_OK : BT_EINVAL);
        if (cut == len) {
            assert_int_equal(got.users_count, 2);
            assert_true(view_is(got.users[1].name, "bob"));
        }
        if (whole)
            rpc_release(GetUsersReply_fields, &got);
        free(exact);
    }
}

static void unknown_fields_are_skipped(void **state)
{
    static const uint8_t wire[] = { 0xfa, 0x01, 2, 'z', 'z', 0x0a, 1, 'n', 0xf8, 0x01, 9 };
    RegisterRequest msg = { .name = { NULL, 0 } };
    (void)state;
    assert_int_equal(DECODE(RegisterRequest, wire, &msg), BT_OK);
    assert_true(view_is(msg.name, "n"));
}

/* Every number as long as can be. */
static void what_is_sure_to_be_room_enough_is(void **state)
{
    static const uint8_t shown[200];
    const struct rpc_bytes view = rpc_bytes(shown, sizeof shown);
    const SignalEvent signal = { .hi = UINT64_MAX, .lo = UINT64_MAX, .sender_id = UINT64_MAX, .type = view, .body = view };
    const PushEvent push = { .users = view, .method = UINT32_MAX, .event = view, .except_session = UINT64_MAX };
    const Message message = { .hi = UINT64_MAX, .lo = UINT64_MAX, .seq = UINT64_MAX, .sender_id = UINT64_MAX, .client_msg_id = UINT64_MAX,
                              .sent_ms = -1, .kind = MessageKind_APPLICATION, .refers_to_seq = UINT64_MAX, .content_type = view, .body = view };
    const struct {
        const pb_msgdesc_t *fields;
        const void *msg;
        size_t struct_size;
    } each[] = {
        { SignalEvent_fields, &signal, sizeof signal },
        { PushEvent_fields, &push, sizeof push },
        { Message_fields, &message, sizeof message },
    };

    (void)state;
    for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
        uint8_t sure[2000], checked[2000];
        size_t size = RPC_WIDEST * each[i].struct_size + 2 * sizeof shown, len = rpc_size(each[i].fields, each[i].msg);

        assert_true(len > 2 * sizeof shown && len <= size && size <= sizeof sure);
        assert_int_equal(rpc_encode_sure(each[i].fields, each[i].msg, sure, size), len);
        assert_int_equal(rpc_encode(each[i].fields, each[i].msg, checked, sizeof checked), len);
        assert_memory_equal(sure, checked, len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_views_into_the_payload),
        cmocka_unit_test(absent_and_empty_fields_differ),
        cmocka_unit_test(an_empty_payload_is_an_empty_message),
        cmocka_unit_test(a_message_survives_the_way_there_and_back),
        cmocka_unit_test(long_bodies_fit),
        cmocka_unit_test(packed_lists_are_views_too),
        cmocka_unit_test(broken_lists_are_refused),
        cmocka_unit_test(a_number_where_a_string_belongs_is_refused),
        cmocka_unit_test(every_truncation_is_refused_or_shorter),
        cmocka_unit_test(unknown_fields_are_skipped),
        cmocka_unit_test(what_is_sure_to_be_room_enough_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
