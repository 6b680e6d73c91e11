/* client/cli_text.c: text to and from people: escaping, numbers, times, JSON. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/cli.h"

/* The length of the UTF-8 character at the start; 0: it is none. */
static size_t utf8_len(const unsigned char *s, size_t len, uint32_t *code_out)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (s[0] < 0x80) {
        *code_out = s[0];
        return 1;
    }
    size_t n = s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : 0;
    if (n == 0 || n > len)
        return 0;
    uint32_t code = s[0] & (0xffu >> (n + 1));
    for (size_t k = 1; k < n; k++) {
        if ((s[k] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (s[k] & 0x3f);
    }
    *code_out = code;
    return code < least[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n;
}

/* What would move the cursor, change direction or hide: C0, DEL, C1, and the marks that reorder text. */
static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) ||
           code == 0x200e || code == 0x200f || code == 0x2028 || code == 0x2029 || code == 0xfeff;
}

char *cli_escape(struct bt_text text, bool keep_newlines)
{
    char *out = malloc(text.len * 8 + 1), *at = out;
    const unsigned char *s = (const unsigned char *)text.data;
    if (!out)
        return NULL;
    for (size_t n = 0; n < text.len;) {
        uint32_t code;
        size_t len = utf8_len(s + n, text.len - n, &code);
        if (len == 0) {
            at += sprintf(at, "\\x%02x", s[n]);
            len = 1;
        } else if (keep_newlines && code == '\n') {
            at += sprintf(at, "\n    ");
        } else if (code == '\t') {
            *at++ = ' ';
        } else if (is_control(code)) {
            at += sprintf(at, code < 0x100 ? "\\x%02" PRIx32 : "\\u%04" PRIx32, code);
        } else {
            memcpy(at, s + n, len);
            at += len;
        }
        n += len;
    }
    *at = '\0';
    return out;
}

bool cli_is_utf8(struct bt_text text)
{
    uint32_t code;
    for (size_t n = 0; n < text.len;) {
        size_t len = utf8_len((const unsigned char *)text.data + n, text.len - n, &code);
        if (len == 0)
            return false;
        n += len;
    }
    return true;
}

struct bt_text cli_text(const char *s)
{
    return (struct bt_text){ s, strlen(s) };
}

bool cli_parse_u64(const char *word, uint64_t *out)
{
    char *end;
    if (*word == '#')
        word++;
    if (*word < '0' || *word > '9' || strlen(word) > 19)
        return false;
    *out = strtoull(word, &end, 10);
    return *end == '\0';
}

bool cli_parse_duration(const char *word, uint64_t *ms_out)
{
    char *end;
    if (*word < '0' || *word > '9' || strlen(word) > 9)
        return false;
    uint64_t n = strtoull(word, &end, 10);
    uint64_t unit_ms = strcmp(end, "s") == 0 ? 1000 : *end == '\0' || strcmp(end, "m") == 0 ? 60000 : strcmp(end, "h") == 0 ? 3600000
                       : strcmp(end, "d") == 0 ? 86400000 : 0;
    *ms_out = n * unit_ms;
    return unit_ms != 0;
}

char *cli_time(int64_t ms, bool with_date, char buf[32])
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    if (!localtime_r(&s, &tm) || strftime(buf, 32, with_date ? "%Y-%m-%d %H:%M:%S" : "%H:%M:%S", &tm) == 0)
        strcpy(buf, "?");
    return buf;
}

void cli_json_string(FILE *out, struct bt_text text)
{
    fputc('"', out);
    for (size_t n = 0; n < text.len; n++) {
        unsigned char c = (unsigned char)text.data[n];
        if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            fprintf(out, "\\u%04x", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void base64(FILE *out, struct bt_text bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *s = (const unsigned char *)bytes.data;
    for (size_t n = 0; n < bytes.len; n += 3) {
        size_t left = bytes.len - n;
        uint32_t v = (uint32_t)s[n] << 16 | (left > 1 ? (uint32_t)s[n + 1] << 8 : 0) | (left > 2 ? s[n + 2] : 0);
        fputc(digits[v >> 18], out);
        fputc(digits[v >> 12 & 63], out);
        fputc(left > 1 ? digits[v >> 6 & 63] : '=', out);
        fputc(left > 2 ? digits[v & 63] : '=', out);
    }
}

void cli_json_bytes(FILE *out, const char *key, struct bt_text bytes)
{
    if (cli_is_utf8(bytes)) {
        fprintf(out, "\"%s\":", key);
        cli_json_string(out, bytes);
        return;
    }
    fprintf(out, "\"%s_base64\":\"", key);
    base64(out, bytes);
    fputc('"', out);
}
