/* rpc/zk_data.c: writes and reads a node's entry. What is read was written by anybody: it is checked. */
#include "rpc/zk_data.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void write_roles(uint32_t roles, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (int role = 0; role < RPC_ROLE_COUNT; role++) {
        if (roles & UINT32_C(1) << role && len < size)
            len += (size_t)snprintf(out + len, size - len, "%s%s", len > 0 ? "," : "", rpc_role_name((enum rpc_role)role));
    }
}

size_t zk_data_write(const struct registry_node *node, char out[ZK_DATA_SIZE])
{
    char roles[96];
    write_roles(node->roles, roles, sizeof roles);
    return (size_t)snprintf(out, ZK_DATA_SIZE,
                            "address=%s\nclient_address=%s\nepoch=%" PRIu64 "\nversion=%s\nweight=%" PRIu32 "\nload=%" PRIu32 "\nroles=%s\n",
                            node->address, node->client_address, node->epoch, node->version, node->weight, node->load, roles);
}

/* A decimal number of up to max. */
static bool read_number(const char *text, size_t len, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = v;
    return len > 0;
}

static bool read_u32(const char *text, size_t len, uint32_t *out)
{
    uint64_t v;
    if (!read_number(text, len, UINT32_MAX, &v))
        return false;
    *out = (uint32_t)v;
    return true;
}

static bool read_text(const char *text, size_t len, char *out, size_t size)
{
    if (len >= size)
        return false;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] <= 0x20 || text[i] == 0x7f)
            return false;
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return true;
}

static bool read_pair(const char *key, size_t key_len, const char *v, size_t len, struct registry_node *out)
{
#define KEY_IS(word) (key_len == sizeof word - 1 && memcmp(key, word, key_len) == 0)
    if (KEY_IS("address"))
        return read_text(v, len, out->address, sizeof out->address);
    if (KEY_IS("client_address"))
        return read_text(v, len, out->client_address, sizeof out->client_address);
    if (KEY_IS("version"))
        return read_text(v, len, out->version, sizeof out->version);
    if (KEY_IS("epoch"))
        return read_number(v, len, UINT64_MAX, &out->epoch);
    if (KEY_IS("weight"))
        return read_u32(v, len, &out->weight);
    if (KEY_IS("load"))
        return read_u32(v, len, &out->load);
#undef KEY_IS
    return true;
}

enum bt_err zk_data_read(const char *data, size_t len, struct registry_node *out)
{
    const char *end = data + len;

    out->address[0] = out->client_address[0] = out->version[0] = '\0';
    out->epoch = 0;
    out->weight = 1;
    out->load = 0;
    for (const char *line = data; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line)), *line_end = newline ? newline : end;
        const char *equals = memchr(line, '=', (size_t)(line_end - line));
        if (equals && !read_pair(line, (size_t)(equals - line), equals + 1, (size_t)(line_end - equals - 1), out))
            return BT_EINVAL;
        line = line_end + 1;
    }
    return out->address[0] != '\0' && out->epoch != 0 ? BT_OK : BT_EINVAL;
}
