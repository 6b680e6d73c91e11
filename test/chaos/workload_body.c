/* test/chaos/workload_body.c: making bodies and reading them. */
#include "test/chaos/workload_body.h"

#include <string.h>

#include "test/chaos/history.h"

enum { HEAD = 18 }; /* c, 16 digits, a colon */

static size_t filler_len(uint64_t op)
{
    uint64_t h = op * UINT64_C(0x9E3779B97F4A7C15) >> 40;
    return h % 160 + (h % 200 == 7 ? 2000 + h % 2000 : 0) + (h % 5000 == 11 ? 20000 : 0);
}

/* The letters by rising i, without a division for each. */
struct letters { uint32_t at, step; };

static struct letters letters_of(uint64_t op)
{
    return (struct letters){ (uint32_t)(op * 7 % 26), (uint32_t)((1 + op % 25) % 26) };
}

static char next_letter(struct letters *l)
{
    char c = (char)('a' + l->at);
    l->at += l->step;
    if (l->at >= 26)
        l->at -= 26;
    return c;
}

static void head_make(uint64_t op, char head[HEAD])
{
    head[0] = 'c';
    for (int i = 0; i < 16; i++)
        head[1 + i] = "0123456789abcdef"[op >> (60 - 4 * i) & 15];
    head[17] = ':';
}

size_t wl_body_make(uint64_t op, char buf[WL_BODY_MAX])
{
    size_t len = filler_len(op);
    struct letters l = letters_of(op);
    head_make(op, buf);
    for (size_t i = 0; i < len; i++)
        buf[HEAD + i] = next_letter(&l);
    return HEAD + len;
}

static int digit_of(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

uint64_t wl_body_op(const char *data, size_t len)
{
    uint64_t op = 0;
    if (len == 0)
        return 0;
    if (len < HEAD || data[0] != 'c' || data[17] != ':')
        return HISTORY_BAD_BODY;
    for (int i = 1; i <= 16; i++) {
        int digit = digit_of(data[i]);
        if (digit < 0)
            return HISTORY_BAD_BODY;
        op = op << 4 | (uint64_t)digit;
    }
    if (op == 0 || len != HEAD + filler_len(op))
        return HISTORY_BAD_BODY;
    struct letters l = letters_of(op);
    for (size_t i = HEAD; i < len; i++)
        if (data[i] != next_letter(&l))
            return HISTORY_BAD_BODY;
    return op;
}
