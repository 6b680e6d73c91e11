/* rpc/frame.c: the frame's header, to bytes and back. */
#include "rpc/frame.h"

#include <assert.h>

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)(v >> 16));
    put16(p + 2, (uint16_t)v);
}

static void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)(v >> 32));
    put32(p + 4, (uint32_t)v);
}

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) << 32 | get32(p + 4);
}

void rpc_header_encode(const struct rpc_header *h, uint8_t out[RPC_HEADER_SIZE])
{
    assert((h->kind & 0xf0) == 0 && (h->flags & 0x0f) == 0);
    put32(out, h->length);
    put16(out + 4, h->method);
    out[6] = h->kind | h->flags;
    out[7] = h->status;
    put32(out + 8, h->call);
    put32(out + 12, h->timeout_ms);
    put64(out + 16, h->caller);
    put64(out + 24, h->target);
    put64(out + 32, h->session);
    put64(out + 40, h->trace);
}

static void header_decode(const uint8_t *p, struct rpc_header *h)
{
    h->length = get32(p);
    h->method = get16(p + 4);
    h->kind = p[6] & 0x0f;
    h->flags = p[6] & 0xf0;
    h->status = p[7];
    h->call = get32(p + 8);
    h->timeout_ms = get32(p + 12);
    h->caller = get64(p + 16);
    h->target = get64(p + 24);
    h->session = get64(p + 32);
    h->trace = get64(p + 40);
}

/* Each flag belongs to one kind of frame. */
static bool header_is_known(const struct rpc_header *h, uint8_t allowed_flags)
{
    uint8_t fitting = h->kind == RPC_REQUEST ? RPC_FLAG_RESEND : h->kind == RPC_REPLY ? RPC_FLAG_PUSHED : 0;
    return h->kind >= RPC_REQUEST && h->kind <= RPC_CANCEL && (h->flags & ~(allowed_flags & fitting)) == 0;
}

enum bt_err rpc_frame_take(const uint8_t *data, size_t len, uint32_t max_frame_bytes, uint8_t allowed_flags,
                           struct rpc_frame *frame_out, size_t *used_out, size_t *need_out)
{
    *used_out = 0;
    *need_out = 0;
    if (len < RPC_LENGTH_SIZE)
        return BT_OK;
    uint32_t length = get32(data);
    if (length < RPC_HEADER_SIZE - RPC_LENGTH_SIZE || length > max_frame_bytes)
        return BT_EPROTO;
    size_t size = (size_t)length + RPC_LENGTH_SIZE;
    if (len >= RPC_HEADER_SIZE) {
        header_decode(data, &frame_out->h);
        if (!header_is_known(&frame_out->h, allowed_flags))
            return BT_EPROTO;
    }
    if (len < size) {
        *need_out = size;
        return BT_OK;
    }
    frame_out->payload = data + RPC_HEADER_SIZE;
    frame_out->len = size - RPC_HEADER_SIZE;
    *used_out = size;
    return BT_OK;
}
