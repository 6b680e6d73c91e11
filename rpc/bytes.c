/* rpc/bytes.c: messages from and to payloads: by the message's own codec, or by nanopb where it has none. */
#include "rpc/bytes.h"

#include "rpc/codec.h"
#include "rpc/nanopb.h"

enum bt_err rpc_decode(const pb_msgdesc_t *fields, const uint8_t *payload, size_t len, void *msg_out)
{
    const struct rpc_codec *codec = rpc_codec_of(fields);
    return codec ? rpc_codec_decode(codec, payload, len, msg_out) : rpc_nanopb_decode(fields, payload, len, msg_out);
}

void rpc_release(const pb_msgdesc_t *fields, void *msg)
{
    const struct rpc_codec *codec = rpc_codec_of(fields);

    if (!codec)
        rpc_nanopb_release(fields, msg);
    else if (codec->release)
        codec->release(msg);
}

size_t rpc_size(const pb_msgdesc_t *fields, const void *msg)
{
    const struct rpc_codec *codec = rpc_codec_of(fields);
    return codec ? codec->size(msg) : rpc_nanopb_size(fields, msg);
}

size_t rpc_encode_sure(const pb_msgdesc_t *fields, const void *msg, uint8_t *buf, size_t size)
{
    const struct rpc_codec *codec = rpc_codec_of(fields);

    return codec ? (size_t)(codec->encode(msg, buf) - buf) : rpc_nanopb_encode(fields, msg, buf, size);
}

size_t rpc_encode(const pb_msgdesc_t *fields, const void *msg, uint8_t *buf, size_t size)
{
    const struct rpc_codec *codec = rpc_codec_of(fields);

    if (!codec)
        return rpc_nanopb_encode(fields, msg, buf, size);
    return codec->size(msg) <= size ? (size_t)(codec->encode(msg, buf) - buf) : 0;
}
