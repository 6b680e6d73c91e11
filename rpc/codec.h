/*
 * rpc/codec.h: what the generated codecs (proto/codec.c, by proto/gen_codec.py) are made of. For them, rpc/bytes.c and tests only:
 * others call rpc_encode() and rpc_decode().
 *
 * Whatever nanopb accepts or refuses is accepted or refused here, and with the same result; test/unit/test_codec.c compares them.
 */
#ifndef BT_RPC_CODEC_H
#define BT_RPC_CODEC_H

#include <assert.h>
#include <pb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "rpc/bytes.h"

/* What is left of a payload. */
struct codec_in {
    const uint8_t *p, *end;
};

/* How one type of message is written and read. */
struct rpc_codec {
    const pb_msgdesc_t *fields;                       /* whose it is */
    size_t struct_size;
    size_t (*size)(const void *msg);
    uint8_t *(*encode)(const void *msg, uint8_t *p);  /* to p, which has room for size(msg); returns its end */
    bool (*decode)(struct codec_in *in, void *msg);   /* all of `in`, into what the caller zeroed; false: call release */
    void (*release)(void *msg);                       /* NULL: it never holds memory */
};

/* All codecs; ends with NULL fields. Messages of other kinds of fields are nanopb's. */
extern const struct rpc_codec rpc_codecs[];

/* NULL: nanopb's. O(1). Any thread. */
const struct rpc_codec *rpc_codec_of(const pb_msgdesc_t *fields);

/* rpc_decode() by one who knows the codec. */
enum bt_err rpc_codec_decode(const struct rpc_codec *codec, const uint8_t *payload, size_t len, void *msg_out);

/* ---- writing ---------------------------------------------------------------------------------------------------------------- */

/* A byte for each 7 bits begun. */
static inline size_t codec_varint_size(uint64_t v)
{
    size_t bits = (size_t)(64 - __builtin_clzll(v | 1));
    return (bits * 9 + 64) / 64;
}

static inline size_t codec_with_length(size_t len)
{
    return codec_varint_size(len) + len;
}

/* The same for one of more than 56 bits: an id of a message, a session, ... */
uint8_t *rpc_codec_put_long_varint(uint8_t *p, uint64_t v);

static inline uint8_t *codec_put_varint(uint8_t *p, uint64_t v)
{
    if (v >> 56 != 0)
        return rpc_codec_put_long_varint(p, v);
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static inline uint8_t *codec_put_view(uint8_t *p, struct rpc_bytes view)
{
    p = codec_put_varint(p, view.len);
    memcpy(p, view.data, view.len);
    return p + view.len;
}

/* Whether a list of fixed64 has anything in it. */
static inline bool codec_is_list(struct rpc_bytes view)
{
    assert(view.len % 8 == 0 || !view.data);
    return view.data && view.len > 0;
}

/* ---- reading: false: this is no such thing, and the message is refused ------------------------------------------------------ */

/* The same for varints of more than one byte, and for what is none. */
bool rpc_codec_long_varint(struct codec_in *in, uint64_t *v_out);
bool rpc_codec_long_varint32(struct codec_in *in, uint32_t *v_out);

static inline bool codec_get_u64(struct codec_in *in, uint64_t *v_out)
{
    if (in->p == in->end || *in->p >= 0x80)
        return rpc_codec_long_varint(in, v_out);
    *v_out = *in->p++;
    return true;
}

static inline bool codec_get_i64(struct codec_in *in, int64_t *v_out)
{
    uint64_t v;
    if (!codec_get_u64(in, &v))
        return false;
    *v_out = (int64_t)v;
    return true;
}

static inline bool codec_get_u32(struct codec_in *in, uint32_t *v_out)
{
    uint64_t v;
    if (!codec_get_u64(in, &v) || v > UINT32_MAX)
        return false;
    *v_out = (uint32_t)v;
    return true;
}

/* Keys, lengths and bools: of 32 bits, but behind those the sign of a negative number, or zeros, may follow. */
static inline bool codec_get_varint32(struct codec_in *in, uint32_t *v_out)
{
    if (in->p == in->end || *in->p >= 0x80)
        return rpc_codec_long_varint32(in, v_out);
    *v_out = *in->p++;
    return true;
}

static inline bool codec_get_bool(struct codec_in *in, bool *v_out)
{
    uint32_t v;
    if (!codec_get_varint32(in, &v))
        return false;
    *v_out = v != 0;
    return true;
}

/* What has its length before it, cut off from `in`. */
static inline bool codec_get_part(struct codec_in *in, struct codec_in *part_out)
{
    uint32_t len;
    if (!codec_get_varint32(in, &len) || len > (size_t)(in->end - in->p))
        return false;
    *part_out = (struct codec_in){ in->p, in->p + len };
    in->p += len;
    return true;
}

static inline bool codec_get_view(struct codec_in *in, struct rpc_bytes *view_out)
{
    struct codec_in part;
    if (!codec_get_part(in, &part))
        return false;
    *view_out = rpc_bytes(part.p, (size_t)(part.end - part.p));
    return true;
}

/* A second piece of the same list can't be shown in one view; no encoder makes any. */
static inline bool codec_get_list(struct codec_in *in, struct rpc_bytes *view)
{
    return view->len == 0 && codec_get_view(in, view) && view->len % 8 == 0;
}

/* Pass over a field that is not known. known: a bit for each number that is (so its type was wrong), and bit 0: no field has that. */
bool rpc_codec_skip(struct codec_in *in, uint32_t key, uint64_t known);

/* Room for one more behind an array's `count`, zeroed; the array, which may have moved. NULL: no memory, or too many; it stays. */
void *rpc_codec_grow(void *array, pb_size_t count, size_t size);

#endif
