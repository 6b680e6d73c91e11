/*
 * rpc/bytes.h: how messages hold strings, bytes and packed fixed64 lists: as views, never as copies.
 *
 * After decoding, a view points into the payload that was decoded, and is valid as long as that is lent.
 * For encoding, it points at whatever the caller keeps alive until the encoding call returns.
 */
#ifndef BT_RPC_BYTES_H
#define BT_RPC_BYTES_H

#include <endian.h>
#include <pb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "net/err.h"

/* data NULL: the field is absent (decoding), or is left out (encoding). An empty field that is present has data, and len 0. */
struct rpc_bytes {
    const uint8_t *data;
    size_t len; /* bytes; of a packed fixed64 list: 8 for each element, little-endian */
};

static inline struct rpc_bytes rpc_bytes(const void *data, size_t len) { return (struct rpc_bytes){ data, len }; }
static inline struct rpc_bytes rpc_str(const char *s) { return (struct rpc_bytes){ (const uint8_t *)s, strlen(s) }; }

/* The n-th element of a packed fixed64 list, n < len / 8. */
static inline uint64_t rpc_bytes_u64(struct rpc_bytes b, size_t n)
{
    uint64_t v;
    memcpy(&v, b.data + n * 8, sizeof v);
    return le64toh(v);
}

/* nanopb's callback for every such field; generated code names it. Rejects an unpacked fixed64 and a length that is no multiple of 8. */
bool rpc_bytes_field(pb_istream_t *in, pb_ostream_t *out, const pb_field_iter_t *field);

/*
 * Decode a payload into a message that the caller zeroed. On BT_OK the views point into payload, and rpc_release() must be called
 * for its repeated fields. BT_EINVAL: not that message (nothing to release). Strings are not checked to be UTF-8.
 */
enum bt_err rpc_decode(const pb_msgdesc_t *fields, const uint8_t *payload, size_t len, void *msg_out);
void rpc_release(const pb_msgdesc_t *fields, void *msg);

/* Encoded size, then the bytes. rpc_encode() returns the length, or 0 if it does not fit (an empty message is 0 too: ask the size). */
size_t rpc_size(const pb_msgdesc_t *fields, const void *msg);
size_t rpc_encode(const pb_msgdesc_t *fields, const void *msg, uint8_t *buf, size_t size);

/*
 * rpc_encode() by one who has room for the longest that it can be: what its views show, and RPC_WIDEST times the size of the struct, which has
 * no messages in it. No other field takes more than that: a bool 3 bytes, a number of 32 bits 7, of 64 bits 12, a key and a length 12.
 */
enum { RPC_WIDEST = 3 };
size_t rpc_encode_sure(const pb_msgdesc_t *fields, const void *msg, uint8_t *buf, size_t size);

#endif
