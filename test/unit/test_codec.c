/*
 * test/unit/test_codec.c: the generated codecs against nanopb: every message type, random messages and broken bytes.
 *
 * CODEC_ROUNDS and CODEC_SEED in the environment: how often each type is broken, and how otherwise than by default.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <pb_common.h>

#include "net/mem.h"
#include "proto/client.pb.h"
#include "proto/methods.h"
#include "proto/node.pb.h"
#include "rpc/codec.h"
#include "rpc/nanopb.h"

#ifdef __SANITIZE_ADDRESS__
enum { ROUNDS = 10000 };  /* broken payloads of each type */
#else
enum { ROUNDS = 100000 };
#endif

enum {
    MESSAGES = 60,        /* random ones of each type */
    BROKEN_MAX = 400,     /* bytes of one */
    STRUCT_MAX = 1024,
    PAYLOAD_MAX = 1 << 20,
};

static uint64_t rng;

static uint64_t draw(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * UINT64_C(0x2545f4914f6cdd1d);
}

static size_t below(size_t n)
{
    return (size_t)(draw() >> 33) % n;
}

static size_t from_env(const char *name, size_t otherwise)
{
    const char *word = getenv(name);
    return word ? (size_t)strtoull(word, NULL, 10) : otherwise;
}

/* ---- random messages -------------------------------------------------------------------------------------------------------- */

static uint8_t text[20000]; /* what views of messages to encode point into */

/* Often 0, often small, sometimes with all its bits. */
static uint64_t draw_number(void)
{
    size_t bits = below(4) == 0 ? 0 : 1 + below(64);
    return bits == 0 ? 0 : draw() >> (64 - bits);
}

static struct rpc_bytes draw_view(size_t step, bool is_short)
{
    static const size_t lens[] = { 0, 1, 3, 20, 127, 128, 300, 16400 };
    if (below(4) == 0)
        return (struct rpc_bytes){ NULL, 0 };
    size_t len = below(lens[below(is_short ? 4 : 8)] + 1) / step * step;
    return rpc_bytes(text + below(sizeof text - len), len);
}

static void fill(const pb_msgdesc_t *fields, void *msg, bool is_short);

static void fill_array(const pb_field_iter_t *it, bool is_short)
{
    pb_size_t n = (pb_size_t)below(is_short ? 3 : 12);
    uint8_t *array = n > 0 ? calloc(n, it->data_size) : NULL;

    *(pb_size_t *)it->pSize = n;
    *(void **)it->pField = array;
    for (size_t i = 0; i < n; i++) {
        if (PB_LTYPE_IS_SUBMSG(it->type))
            fill(it->submsg_desc, array + i * it->data_size, is_short);
        else
            ((uint64_t *)(void *)array)[i] = draw_number();
    }
}

static void fill_scalar(const pb_field_iter_t *it)
{
    uint64_t v = draw_number();

    if (PB_HTYPE(it->type) == PB_HTYPE_OPTIONAL && it->pSize)
        *(bool *)it->pSize = below(2) == 0;
    if (PB_LTYPE(it->type) == PB_LTYPE_BOOL)
        *(bool *)it->pData = v & 1;
    else if (it->data_size == 4)
        *(uint32_t *)it->pData = (uint32_t)v;
    else if (it->data_size == 8)
        *(uint64_t *)it->pData = v;
    else
        fail_msg("a field of %u bytes", (unsigned)it->data_size);
}

static void fill(const pb_msgdesc_t *fields, void *msg, bool is_short)
{
    pb_field_iter_t it;
    if (!pb_field_iter_begin(&it, fields, msg))
        return;
    do {
        if (PB_ATYPE(it.type) == PB_ATYPE_CALLBACK) {
            *(struct rpc_bytes *)it.pData = draw_view(PB_LTYPE(it.type) == PB_LTYPE_FIXED64 ? 8 : 1, is_short);
        } else if (PB_ATYPE(it.type) == PB_ATYPE_POINTER) {
            fill_array(&it, is_short);
        } else if (PB_LTYPE_IS_SUBMSG(it.type)) {
            *(bool *)it.pSize = below(2) == 0;
            fill(it.submsg_desc, it.pData, is_short);
        } else {
            fill_scalar(&it);
        }
    } while (pb_field_iter_next(&it));
}

/* ---- comparing -------------------------------------------------------------------------------------------------------------- */

static bool is_same(const pb_msgdesc_t *fields, void *a, void *b);

static bool is_same_array(const pb_field_iter_t *a, const pb_field_iter_t *b)
{
    pb_size_t n = *(pb_size_t *)a->pSize;
    uint8_t *x = *(void **)a->pField, *y = *(void **)b->pField;

    if (n != *(pb_size_t *)b->pSize || (x == NULL) != (y == NULL))
        return false;
    if (!PB_LTYPE_IS_SUBMSG(a->type))
        return n == 0 || memcmp(x, y, (size_t)n * a->data_size) == 0;
    for (size_t i = 0; i < n; i++)
        if (!is_same(a->submsg_desc, x + i * a->data_size, y + i * a->data_size))
            return false;
    return true;
}

/* Of one payload: views are the same if they point to the same place. */
static bool is_same_field(const pb_field_iter_t *a, const pb_field_iter_t *b)
{
    const struct rpc_bytes *x = a->pData, *y = b->pData;

    if (PB_ATYPE(a->type) == PB_ATYPE_POINTER)
        return is_same_array(a, b);
    if (PB_ATYPE(a->type) == PB_ATYPE_CALLBACK)
        return x->data == y->data && x->len == y->len;
    if (PB_HTYPE(a->type) == PB_HTYPE_OPTIONAL && a->pSize && *(bool *)a->pSize != *(bool *)b->pSize)
        return false;
    return PB_LTYPE_IS_SUBMSG(a->type) ? is_same(a->submsg_desc, a->pData, b->pData) : memcmp(x, y, a->data_size) == 0;
}

static bool is_same(const pb_msgdesc_t *fields, void *a, void *b)
{
    pb_field_iter_t x, y;
    if (!pb_field_iter_begin(&x, fields, a) || !pb_field_iter_begin(&y, fields, b))
        return true;
    do {
        if (!is_same_field(&x, &y))
            return false;
    } while (pb_field_iter_next(&x) && pb_field_iter_next(&y));
    return true;
}

static bool holds_memory(const pb_msgdesc_t *fields, void *msg)
{
    pb_field_iter_t it;
    if (!pb_field_iter_begin(&it, fields, msg))
        return false;
    do {
        if (PB_ATYPE(it.type) == PB_ATYPE_POINTER && *(void **)it.pField)
            return true;
    } while (pb_field_iter_next(&it));
    return false;
}

/* Both accept it, or both refuse it. Whatever is accepted is the same message, and is encoded to the same bytes again. */
static bool decode_both(const struct rpc_codec *c, const uint8_t *payload, size_t len, bool is_encoded_too)
{
    static uint8_t once[PAYLOAD_MAX], again[PAYLOAD_MAX];
    _Alignas(max_align_t) uint8_t mine[STRUCT_MAX], theirs[STRUCT_MAX];

    memset(mine, 0, c->struct_size);
    memset(theirs, 0, c->struct_size);
    enum bt_err err = rpc_decode(c->fields, payload, len, mine);
    assert_int_equal(err, rpc_nanopb_decode(c->fields, payload, len, theirs));
    if (err != BT_OK) {
        assert_false(holds_memory(c->fields, mine));
        return false;
    }
    assert_true(is_same(c->fields, mine, theirs));
    if (is_encoded_too) {
        size_t n = rpc_encode(c->fields, mine, once, sizeof once);
        assert_int_equal(n, rpc_nanopb_encode(c->fields, theirs, again, sizeof again));
        assert_memory_equal(once, again, n);
    }
    rpc_release(c->fields, mine);
    rpc_nanopb_release(c->fields, theirs);
    assert_false(holds_memory(c->fields, mine));
    return true;
}

static size_t encode_random(const struct rpc_codec *c, uint8_t *buf, size_t size, bool is_short)
{
    _Alignas(max_align_t) uint8_t msg[STRUCT_MAX] = { 0 };
    fill(c->fields, msg, is_short);
    size_t len = rpc_encode(c->fields, msg, buf, size);
    rpc_nanopb_release(c->fields, msg);
    return len;
}

/* ---- the tests -------------------------------------------------------------------------------------------------------------- */

static void every_message_has_a_codec_but_those_of_other_kinds(void **state)
{
    size_t n = 0;
    (void)state;
    for (const struct rpc_codec *c = rpc_codecs; c->fields; c++, n++) {
        assert_ptr_equal(rpc_codec_of(c->fields), c);
        assert_true(c->struct_size <= STRUCT_MAX);
    }
    assert_true(n > 100);
    for (const struct rpc_method_info *m = rpc_method_infos; m->id != 0; m++) {
        assert_ptr_equal(m->req_codec, rpc_codec_of(m->req));
        assert_true(m->req_codec || m->req == GetUsersRequest_fields); /* it has a packed list of varints */
        assert_non_null(rpc_codec_of(m->reply));
    }
}

static void a_message_without_a_codec_is_nanopbs(void **state)
{
    uint64_t ids[] = { 1, 300, 0 };
    GetUsersRequest sent = { .user_ids_count = 3, .user_ids = ids }, got = { .user_ids_count = 0 };
    uint8_t buf[16];
    (void)state;
    size_t len = rpc_encode(GetUsersRequest_fields, &sent, buf, sizeof buf);
    assert_int_equal(len, 6);
    assert_int_equal(rpc_size(GetUsersRequest_fields, &sent), 6);
    assert_int_equal(rpc_decode(GetUsersRequest_fields, buf, len, &got), BT_OK);
    assert_int_equal(got.user_ids_count, 3);
    assert_int_equal(got.user_ids[1], 300);
    rpc_release(GetUsersRequest_fields, &got);
    assert_null(got.user_ids);
}

static void the_same_bytes_are_written(void **state)
{
    uint8_t *mine = malloc(PAYLOAD_MAX), *theirs = malloc(PAYLOAD_MAX);
    (void)state;
    for (const struct rpc_codec *c = rpc_codecs; c->fields; c++) {
        for (int i = 0; i < MESSAGES; i++) {
            _Alignas(max_align_t) uint8_t msg[STRUCT_MAX] = { 0 };
            fill(c->fields, msg, i % 2 == 0);
            size_t len = rpc_nanopb_size(c->fields, msg);
            assert_true(len < PAYLOAD_MAX);
            assert_int_equal(rpc_size(c->fields, msg), len);
            assert_int_equal(rpc_encode(c->fields, msg, mine, len), len);
            assert_int_equal(rpc_nanopb_encode(c->fields, msg, theirs, len), len);
            assert_memory_equal(mine, theirs, len);
            if (len > 0)
                assert_int_equal(rpc_encode(c->fields, msg, mine, len - 1), 0);
            rpc_nanopb_release(c->fields, msg);
            assert_true(decode_both(c, theirs, len, true));
        }
    }
    free(mine);
    free(theirs);
}

/* One byte changed, gone or put in; an end cut off; a field, or what looks like one, or a number that is too long, put in. */
static size_t break_once(uint8_t *p, size_t len)
{
    static const uint8_t odd[] = { 0x00, 0x01, 0x07, 0x0f, 0x7f, 0x80, 0x81, 0xff, 0xf0, 0xf8, 0x78, 0x08 };
    uint8_t put[16];
    size_t n = 0, at = below(len + 1);

    switch (below(7)) {
    case 0:
        if (at < len)
            p[at] = (uint8_t)draw();
        return len;
    case 1:
        if (at < len)
            p[at] ^= (uint8_t)(1 << below(8));
        return len;
    case 2:
        return at;
    case 3:
        if (at < len)
            memmove(p + at, p + at + 1, len - at - 1);
        return at < len ? len - 1 : len;
    case 4: /* a key of a likely field, of any type */
        put[n++] = (uint8_t)(below(16) << 3 | below(8));
        put[n++] = (uint8_t)(below(2) ? below(12) : draw());
        break;
    case 5: /* a number longer than its first byte says */
        for (n = below(12); n > 0 && at + n > len + 12; n--)
            ;
        memset(put, below(2) ? 0x80 : 0xff, n);
        put[n++] = odd[below(sizeof odd)];
        break;
    default:
        put[n++] = odd[below(sizeof odd)];
        break;
    }
    if (len + n > BROKEN_MAX)
        return len;
    memmove(p + at + n, p + at, len - at);
    memcpy(p + at, put, n);
    return len + n;
}

/* Bytes that were never a message, though their keys may be. */
static size_t draw_noise(uint8_t *p)
{
    size_t len = below(24);
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(below(3) == 0 ? draw() : below(3) == 0 ? 0x80 | draw() : draw() & 0x7b);
    return len;
}

static void the_same_bytes_are_refused(void **state)
{
    uint8_t *room = malloc(BROKEN_MAX); /* payloads stand at its end, so that reading beyond them is noticed */
    size_t rounds = from_env("CODEC_ROUNDS", ROUNDS), taken = 0, refused = 0;
    (void)state;
    for (const struct rpc_codec *c = rpc_codecs; c->fields; c++) {
        uint8_t like[BROKEN_MAX], bytes[BROKEN_MAX];
        size_t like_len = 0;
        for (size_t i = 0; i < rounds; i++) {
            if (i % 16 == 0)
                like_len = encode_random(c, like, sizeof like, true); /* one too large is empty */
            size_t len = like_len;
            memcpy(bytes, like, like_len);
            if (i % 8 == 7)
                len = draw_noise(bytes);
            for (size_t times = 1 + below(3); times > 0; times--)
                len = break_once(bytes, len);
            memcpy(room + BROKEN_MAX - len, bytes, len);
            if (decode_both(c, room + BROKEN_MAX - len, len, i % 4 == 0))
                taken++;
            else
                refused++;
        }
    }
    print_message("%zu accepted, %zu refused\n", taken, refused);
    assert_true(taken > rounds && refused > rounds);
    free(room);
}

/* Each varint of up to 11 bytes that consists of the bytes at which something changes: as key, length, number and bool. */
static void long_numbers_are_read_alike(void **state)
{
    static const uint8_t heads[][3] = { { 0x08 }, { 0x10 }, { 0x18 }, { 0x0a }, { 0x12 }, { 0 } };
    static const uint8_t lasts[] = { 0x00, 0x01, 0x02, 0x07, 0x08, 0x0f, 0x10, 0x70, 0x78, 0x7f };
    static const uint8_t mids[] = { 0x80, 0xff, 0x81, 0x88, 0x8f, 0xf0, 0xf8 };
    const pb_msgdesc_t *types[] = { Receipt_fields, UserName_fields, PresenceEvent_fields, SetRoleRequest_fields, PushEvent_fields, SessionHere_fields,
                                    AdminNode_fields };
    (void)state;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t h = 0; h < sizeof heads / sizeof *heads; h++)
            for (size_t n = 0; n < 11; n++)
                for (size_t pick = 0; pick < 49 * 10; pick++) {
                    uint8_t bytes[16];
                    size_t len = heads[h][0] ? 1 : 0;
                    bytes[0] = heads[h][0];
                    for (size_t i = 0; i < n; i++)
                        bytes[len++] = mids[i < 4 ? pick / 10 % 7 : pick / 70];
                    bytes[len++] = lasts[pick % 10];
                    decode_both(rpc_codec_of(types[t]), bytes, len, true);
                }
}

/* The plain way. False: it does not end within so many bytes, or is of more than 64 bits. */
static bool read_plainly(const uint8_t *p, size_t left, uint64_t *v_out, size_t *used_out)
{
    uint64_t v = 0;

    for (size_t i = 0; i < left && i < 10; i++) {
        if (i == 9 && p[i] > 1)
            return false;
        v |= (uint64_t)(p[i] & 0x7f) << 7 * i;
        if (p[i] < 0x80) {
            *v_out = v;
            *used_out = i + 1;
            return true;
        }
    }
    return false;
}

/* One of n bytes at the begin of so many that are left: where those end, eight at once can't be read any more. */
static void check_number(size_t n, size_t left, uint8_t behind)
{
    uint8_t *exact = malloc(left); /* so that reading beyond is noticed */
    struct codec_in in = { exact, exact + left };
    uint64_t want = 0, got = 0;
    size_t used = 0;

    memset(exact, behind, left);
    for (size_t i = 0; i < n && i < left; i++)
        exact[i] = (uint8_t)(draw() | 0x80);
    if (n <= left)
        exact[n - 1] = (uint8_t)(n == 10 ? below(3) : draw() & 0x7f);
    bool is_one = read_plainly(exact, left, &want, &used);
    assert_int_equal(rpc_codec_long_varint(&in, &got), is_one);
    if (is_one) {
        assert_true(got == want);
        assert_ptr_equal(in.p, exact + used);
    }
    free(exact);
}

static void a_long_number_is_read_wherever_the_payload_ends(void **state)
{
    static const uint8_t behind[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
    (void)state;
    for (size_t n = 2; n <= 11; n++)
        for (size_t left = 1; left <= 20; left++)
            for (size_t b = 0; b < sizeof behind; b++)
                for (int times = 0; times < 50; times++)
                    check_number(n, left, behind[b]);
}

static void a_number_is_written_into_as_many_bytes_as_it_has(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits <= 64; bits++)
        for (int times = 0; times < 50; times++) {
            uint64_t v = bits == 0 ? 0 : (draw() | UINT64_C(1) << 63) >> (64 - bits), back = 0;
            size_t size = codec_varint_size(v), used = 0;
            uint8_t *exact = malloc(size);
            assert_ptr_equal(codec_put_varint(exact, v), exact + size);
            assert_true(read_plainly(exact, size, &back, &used));
            assert_int_equal(used, size);
            assert_true(back == v);
            free(exact);
        }
}

/* 65,535 elements are as many as a count can say. */
static void arrays_have_the_same_limit(void **state)
{
    enum { MOST = 65535 };
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* nanopb asks for more room at each element, and there each time all of it is copied */
#endif
    uint8_t *payload = calloc(MOST + 1, 2);
    for (size_t i = 0; i <= MOST; i++)
        payload[2 * i] = 0x1a; /* positions = 3, empty */
    assert_true(decode_both(rpc_codec_of(PullRequest_fields), payload, 2 * MOST, true));
    assert_false(decode_both(rpc_codec_of(PullRequest_fields), payload, 2 * (MOST + 1), true));
    free(payload);
}

static void without_memory_nothing_is_decoded_and_nothing_is_kept(void **state)
{
    uint8_t payload[64];
    size_t len = 0;
    bool failed = true;
    (void)state;
    for (int i = 0; i < 9; i++) { /* the array is moved at the first, fifth and ninth */
        payload[len++] = 0x0a;
        payload[len++] = 2;
        payload[len++] = 0x62; /* a conversation's messages = 12 */
        payload[len++] = 0;
    }
    for (long n = 0; failed; n++) {
        PullReply msg = { .conversations_count = 0 };
        bt_mem_fail_after(n);
        enum bt_err err = rpc_decode(PullReply_fields, payload, len, &msg);
        failed = bt_mem_has_failed();
        bt_mem_fail_after(-1);
        assert_int_equal(err, failed ? BT_EINVAL : BT_OK);
        assert_int_equal(msg.conversations_count, failed ? 0 : 9);
        rpc_release(PullReply_fields, &msg);
        assert_null(msg.conversations);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_has_a_codec_but_those_of_other_kinds),
        cmocka_unit_test(a_message_without_a_codec_is_nanopbs),
        cmocka_unit_test(the_same_bytes_are_written),
        cmocka_unit_test(the_same_bytes_are_refused),
        cmocka_unit_test(long_numbers_are_read_alike),
        cmocka_unit_test(a_long_number_is_read_wherever_the_payload_ends),
        cmocka_unit_test(a_number_is_written_into_as_many_bytes_as_it_has),
        cmocka_unit_test(arrays_have_the_same_limit),
        cmocka_unit_test(without_memory_nothing_is_decoded_and_nothing_is_kept),
    };
    rng = from_env("CODEC_SEED", 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)draw();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
