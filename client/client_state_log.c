/* client/client_state_log.c: the lines of a device's state file. */
#include "client/client_state_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const words[] = {
    [BT_RECORD_DEVICE] = "device", [BT_RECORD_ID_RESERVE] = "reserve",   [BT_RECORD_SESSION] = "session",
    [BT_RECORD_SYNCED] = "synced", [BT_RECORD_POSITION] = "position",    [BT_RECORD_FORGET] = "forget",
};

static uint32_t crc32(const char *data, size_t len)
{
    uint32_t crc = UINT32_MAX;
    for (size_t n = 0; n < len; n++) {
        crc ^= (uint8_t)data[n];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
    }
    return ~crc;
}

static size_t hex_print(struct bt_text text, char *buf)
{
    if (text.len == 0) {
        buf[0] = '-';
        return 1;
    }
    for (size_t n = 0; n < text.len; n++)
        sprintf(buf + 2 * n, "%02x", (unsigned char)text.data[n]);
    return 2 * text.len;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex_parse(const char *word, char *buf, size_t size, struct bt_text *out)
{
    size_t len = strlen(word);
    out->data = buf;
    out->len = 0;
    if (strcmp(word, "-") == 0)
        return true;
    if (len % 2 != 0 || len / 2 > size)
        return false;
    for (size_t n = 0; n < len / 2; n++) {
        int high = hex_digit(word[2 * n]), low = hex_digit(word[2 * n + 1]);
        if (high < 0 || low < 0)
            return false;
        buf[n] = (char)(high << 4 | low);
    }
    out->len = len / 2;
    return true;
}

size_t state_line_print(const struct bt_record *r, char buf[STATE_LINE_MAX])
{
    if (r->name.len > STATE_NAME_MAX || r->token.len > STATE_TOKEN_MAX)
        return 0;
    size_t len = (size_t)sprintf(buf, "%s %" PRIu64 " %" PRIu64 " %" PRIu64 " ", words[r->kind], r->hi, r->lo, r->number);
    len += hex_print(r->name, buf + len);
    buf[len++] = ' ';
    len += hex_print(r->token, buf + len);
    return len + (size_t)sprintf(buf + len, " %08" PRIx32 "\n", crc32(buf, len));
}

bool state_line_parse(const char *line, size_t len, struct state_line *out)
{
    char text[STATE_LINE_MAX], word[16], name[2 * STATE_NAME_MAX + 2], token[2 * STATE_TOKEN_MAX + 2];
    uint32_t crc;
    int crc_at = 0, end = 0;
    if (len >= sizeof text || memchr(line, '\0', len))
        return false;
    memcpy(text, line, len);
    text[len] = '\0';
    _Static_assert(STATE_NAME_MAX == 256 && STATE_TOKEN_MAX == 256, "the widths below");
    int fields = sscanf(text, "%15s %" SCNu64 " %" SCNu64 " %" SCNu64 " %513s %513s%n %8" SCNx32 "%n", word, &out->record.hi,
                        &out->record.lo, &out->record.number, name, token, &crc_at, &crc, &end);
    if (fields != 7 || (size_t)end != len || crc != crc32(text, (size_t)crc_at))
        return false;
    if (!hex_parse(name, out->name, sizeof out->name, &out->record.name) ||
        !hex_parse(token, out->token, sizeof out->token, &out->record.token))
        return false;
    for (size_t kind = 0; kind < sizeof words / sizeof *words; kind++)
        if (strcmp(word, words[kind]) == 0) {
            out->record.kind = (enum bt_record_kind)kind;
            return true;
        }
    return false;
}
