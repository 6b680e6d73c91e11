/* rpc/codec.c: the rarer parts of reading messages, and finding a message's codec. */
#include "rpc/codec.h"

#include "net/mem.h"

enum { SLOTS = 512, SLOT_BITS = 9, FIRST_ROOM = 4 };

/* By a hash of the address of a message's description; where two meet, the later one stands in the next free slot. */
static const struct rpc_codec *slots[SLOTS];

static size_t slot_of(const pb_msgdesc_t *fields)
{
    return (size_t)((uint64_t)(uintptr_t)fields * UINT64_C(0x9e3779b97f4a7c15) >> (64 - SLOT_BITS));
}

/* Before main(), so that it never changes while threads read it. */
__attribute__((constructor)) static void slots_fill(void)
{
    size_t n = 0;
    for (const struct rpc_codec *c = rpc_codecs; c->fields; c++) {
        size_t i = slot_of(c->fields);
        while (slots[i])
            i = (i + 1) % SLOTS;
        slots[i] = c;
        n++;
    }
    assert(n <= SLOTS / 2);
    (void)n;
}

const struct rpc_codec *rpc_codec_of(const pb_msgdesc_t *fields)
{
    size_t i = slot_of(fields);
    while (slots[i] && slots[i]->fields != fields)
        i = (i + 1) % SLOTS;
    return slots[i];
}

enum bt_err rpc_codec_decode(const struct rpc_codec *codec, const uint8_t *payload, size_t len, void *msg_out)
{
    static const uint8_t none[1]; /* an empty field's view must not be NULL */
    struct codec_in in = { payload ? payload : none, payload ? payload + len : none };

    if (codec->decode(&in, msg_out))
        return BT_OK;
    if (codec->release)
        codec->release(msg_out);
    return BT_EINVAL;
}

/* Eight bytes of a varint at once: the low 7 bits of each put together, by two neighbours each time. And back, for writing. */
static uint64_t join_bits(uint64_t w)
{
    w = (w & UINT64_C(0x007f007f007f007f)) | (w & UINT64_C(0x7f007f007f007f00)) >> 1;
    w = (w & UINT64_C(0x00003fff00003fff)) | (w & UINT64_C(0x3fff00003fff0000)) >> 2;
    return (w & UINT64_C(0x000000000fffffff)) | (w & UINT64_C(0x0fffffff00000000)) >> 4;
}

static uint64_t part_bits(uint64_t v)
{
    v = (v & UINT64_C(0x000000000fffffff)) | (v & UINT64_C(0x00fffffff0000000)) << 4;
    v = (v & UINT64_C(0x00003fff00003fff)) | (v & UINT64_C(0x0fffc0000fffc000)) << 2;
    return (v & UINT64_C(0x007f007f007f007f)) | (v & UINT64_C(0x3f803f803f803f80)) << 1;
}

enum { WORD = 8 };
#define GOES_ON UINT64_C(0x8080808080808080) /* the bit of each byte that says that another one follows */

static bool took(struct codec_in *in, const uint8_t *end, uint64_t v, uint64_t *v_out)
{
    in->p = end;
    *v_out = v;
    return true;
}

/* Near the end of the payload. */
static bool short_varint(struct codec_in *in, uint64_t *v_out)
{
    const uint8_t *p = in->p;
    uint64_t v = 0;

    for (unsigned shift = 0; p < in->end; shift += 7) {
        uint8_t byte = *p++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return took(in, p, v, v_out);
    }
    return false;
}

/* 64 bits are 9 times 7 and one more: the tenth byte is 0 or 1, and the last. */
bool rpc_codec_long_varint(struct codec_in *in, uint64_t *v_out)
{
    const uint8_t *p = in->p;
    size_t left = (size_t)(in->end - p);
    uint64_t w, v;

    if (left < WORD)
        return short_varint(in, v_out);
    memcpy(&w, p, sizeof w);
    w = le64toh(w);
    uint64_t ends = ~w & GOES_ON;
    if (ends != 0) {
        unsigned bits = (unsigned)__builtin_ctzll(ends) + 1;
        return took(in, p + bits / 8, join_bits(w & UINT64_MAX >> (64 - bits)), v_out);
    }
    v = join_bits(w);
    if (left > WORD && p[8] < 0x80)
        return took(in, p + 9, v | (uint64_t)p[8] << 56, v_out);
    if (left > WORD + 1 && p[9] <= 1)
        return took(in, p + 10, v | (uint64_t)(p[8] & 0x7f) << 56 | (uint64_t)p[9] << 63, v_out);
    return false;
}

uint8_t *rpc_codec_put_long_varint(uint8_t *p, uint64_t v)
{
    uint64_t w = htole64(part_bits(v) | GOES_ON);

    memcpy(p, &w, sizeof w);
    p[8] = (uint8_t)(v >> 56);
    if (p[8] < 0x80)
        return p + 9;
    p[9] = 1;
    return p + 10;
}

bool rpc_codec_long_varint32(struct codec_in *in, uint32_t *v_out)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < 10 && in->p < in->end; i++) {
        uint8_t byte = *in->p++, low = byte & 0x7f;
        if (i < 4) {
            v |= (uint32_t)low << 7 * i;
        } else if (i == 4) { /* 4 bits still belong to it; the other 3 are zeros, or repeat a sign */
            if (low > 0x0f && low < 0x78)
                return false;
            v |= (uint32_t)(low & 0x0f) << 28;
        } else if (low != 0 && (v >> 31 == 0 || byte != (i < 9 ? 0xff : 0x01))) {
            return false;
        }
        if (byte < 0x80) {
            *v_out = v;
            return true;
        }
    }
    return false;
}

static bool skip_bytes(struct codec_in *in, size_t n)
{
    if (n > (size_t)(in->end - in->p))
        return false;
    in->p += n;
    return true;
}

static bool skip_varint(struct codec_in *in)
{
    while (in->p < in->end)
        if (*in->p++ < 0x80)
            return true;
    return false;
}

bool rpc_codec_skip(struct codec_in *in, uint32_t key, uint64_t known)
{
    struct codec_in part;
    uint32_t number = key >> 3;

    if (number < 64 && (known >> number & 1) != 0)
        return false;
    switch (key & 7) {
    case 0:
        return skip_varint(in);
    case 1:
        return skip_bytes(in, 8);
    case 2:
        return codec_get_part(in, &part);
    case 5:
        return skip_bytes(in, 4);
    default:
        return false; /* groups, and what is no type */
    }
}

/* The room doubles, so that it follows from the count: it is full when that is a power of two. */
void *rpc_codec_grow(void *array, pb_size_t count, size_t size)
{
    size_t n = count;

    if (n == PB_SIZE_MAX)
        return NULL;
    if (n == 0)
        array = bt_realloc(array, FIRST_ROOM * size);
    else if (n >= FIRST_ROOM && (n & (n - 1)) == 0)
        array = bt_realloc(array, 2 * n * size);
    if (array)
        memset((uint8_t *)array + n * size, 0, size);
    return array;
}
