/* rpc/nanopb.c: messages from and to payloads as nanopb does it, with views for strings, bytes and packed lists. */

/* Debian's library is built with it; the header hides pb_release() without. Views need nothing of it, repeated fields do. */
#ifndef PB_ENABLE_MALLOC
#define PB_ENABLE_MALLOC 1
#endif
#include "rpc/nanopb.h"

#include <assert.h>
#include <pb_decode.h>
#include <pb_encode.h>

static bool is_fixed64_list(const pb_field_iter_t *field)
{
    return PB_HTYPE(field->type) == PB_HTYPE_REPEATED && PB_LTYPE(field->type) == PB_LTYPE_FIXED64;
}

static bool is_string_or_bytes(const pb_field_iter_t *field)
{
    return PB_LTYPE(field->type) == PB_LTYPE_STRING || PB_LTYPE(field->type) == PB_LTYPE_BYTES;
}

/*
 * The source of rpc_nanopb_decode(): as nanopb's own for buffers. A field that comes as a number where bytes belong is shown to
 * us from a copy on nanopb's stack, with nanopb's source: so this one tells what may be kept as a view.
 */
static bool payload_read(pb_istream_t *in, pb_byte_t *buf, size_t count)
{
    const pb_byte_t *from = in->state;
    in->state = (pb_byte_t *)in->state + count;
    if (buf)
        memcpy(buf, from, count);
    return true;
}

static bool view_decode(pb_istream_t *in, const pb_field_iter_t *field, struct rpc_bytes *view)
{
    if (in->callback != payload_read)
        return false;
    size_t len = in->bytes_left;
    if (is_fixed64_list(field)) {
        /* A second chunk of the same list can't be shown in one view; no encoder makes any. */
        if (len % 8 != 0 || view->len > 0)
            return false;
    } else if (!is_string_or_bytes(field)) {
        return false;
    }
    *view = rpc_bytes(in->state, len);
    in->state = (pb_byte_t *)in->state + len; /* pb_read() would skip 16 bytes at a time */
    in->bytes_left = 0;
    return true;
}

static bool view_encode(pb_ostream_t *out, const pb_field_iter_t *field, const struct rpc_bytes *view)
{
    if (!view->data)
        return true;
    if (is_fixed64_list(field)) {
        assert(view->len % 8 == 0);
        return view->len == 0 || (pb_encode_tag(out, PB_WT_STRING, field->tag) && pb_encode_string(out, view->data, view->len));
    }
    assert(is_string_or_bytes(field));
    return pb_encode_tag(out, PB_WT_STRING, field->tag) && pb_encode_string(out, view->data, view->len);
}

bool rpc_bytes_field(pb_istream_t *in, pb_ostream_t *out, const pb_field_iter_t *field)
{
    return in ? view_decode(in, field, field->pData) : view_encode(out, field, field->pData);
}

enum bt_err rpc_nanopb_decode(const pb_msgdesc_t *fields, const uint8_t *payload, size_t len, void *msg_out)
{
    static const pb_byte_t none[1]; /* an empty field's view must not be NULL */
    pb_istream_t in = { .callback = payload_read, .state = (void *)(uintptr_t)(payload ? payload : none), .bytes_left = payload ? len : 0 };
    return pb_decode_ex(&in, fields, msg_out, PB_DECODE_NOINIT) ? BT_OK : BT_EINVAL;
}

void rpc_nanopb_release(const pb_msgdesc_t *fields, void *msg)
{
    pb_release(fields, msg);
}

size_t rpc_nanopb_size(const pb_msgdesc_t *fields, const void *msg)
{
    size_t size = 0;
    return pb_get_encoded_size(&size, fields, msg) ? size : 0;
}

size_t rpc_nanopb_encode(const pb_msgdesc_t *fields, const void *msg, uint8_t *buf, size_t size)
{
    pb_ostream_t out = pb_ostream_from_buffer(buf, size);
    return pb_encode(&out, fields, msg) ? out.bytes_written : 0;
}
