/* net/layer_proxy.c: reads a PROXY protocol header off the front of a connection, then gets out of the way. */
#include "net/layer_proxy.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "net/conn.h"
#include "net/mem.h"
#include "net/net_internal.h"

/* ---- trusted addresses ---------------------------------------------------------------------------------------------------- */

struct prefix {
    uint8_t ip[16]; /* IPv4 as a mapped address */
    uint8_t bits;
};

struct net_trusted {
    size_t n;
    struct prefix list[];
};

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

static void set_v4(uint8_t ip[16], const void *v4)
{
    memcpy(ip, mapped_prefix, sizeof mapped_prefix);
    memcpy(ip + 12, v4, 4);
}

/* An IPv4 or IPv6 address as text. *bits_out: how many of the 128 bits are before it (96 for IPv4). */
static bool parse_ip(const char *text, uint8_t ip[16], unsigned *bits_out)
{
    uint8_t v4[4];

    if (inet_pton(AF_INET, text, v4) == 1) {
        set_v4(ip, v4);
        *bits_out = 96;
        return true;
    }
    *bits_out = 0;
    return inet_pton(AF_INET6, text, ip) == 1;
}

static bool parse_prefix(char *text, struct prefix *out)
{
    char *slash = strchr(text, '/'), *end;
    unsigned before;
    unsigned long bits;

    if (slash != NULL)
        *slash = '\0';
    if (!parse_ip(text, out->ip, &before))
        return false;
    out->bits = 128;
    if (slash == NULL)
        return true;
    bits = strtoul(slash + 1, &end, 10);
    if (end == slash + 1 || *end != '\0' || slash[1] < '0' || slash[1] > '9' || bits > 128 - before)
        return false;
    out->bits = (uint8_t)(before + bits);
    return true;
}

enum bt_err net_trusted_parse(const char *text, struct net_trusted **out)
{
    char *copy = bt_strdup(text), *rest = NULL;
    size_t max = 1;
    struct net_trusted *t;
    enum bt_err err = BT_OK;

    for (const char *p = text; *p != '\0'; p++)
        max += *p == ',';
    t = bt_calloc(1, sizeof *t + max * sizeof t->list[0]);
    if (copy == NULL || t == NULL)
        err = BT_ENOMEM;
    for (char *word = err == BT_OK ? strtok_r(copy, ", ", &rest) : NULL; word != NULL && err == BT_OK; word = strtok_r(NULL, ", ", &rest)) {
        if (t->n == max || !parse_prefix(word, &t->list[t->n]))
            err = BT_EINVAL;
        else
            t->n++;
    }
    bt_free(copy);
    if (err != BT_OK) {
        bt_free(t);
        return err;
    }
    *out = t;
    return BT_OK;
}

void net_trusted_free(struct net_trusted *t)
{
    bt_free(t);
}

bool net_trusted_has(const struct net_trusted *t, const struct net_conn *c)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct prefix *p = &t->list[i];
        size_t whole = p->bits / 8, rest = p->bits % 8;
        uint8_t mask = (uint8_t)(0xff00 >> rest);
        if (memcmp(p->ip, c->peer_ip, whole) == 0 && (rest == 0 || ((p->ip[whole] ^ c->peer_ip[whole]) & mask) == 0))
            return true;
    }
    return false;
}

/* ---- the layer ---------------------------------------------------------------------------------------------------------------- */

enum {
    V1_MAX = 107,         /* "PROXY TCP6 ... \r\n" */
    V2_HEAD = 16,
    V2_MAX = V2_HEAD + 512, /* addresses and a few extensions */
};

static const uint8_t v1_signature[6] = "PROXY ";
static const uint8_t v2_signature[12] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a };

struct layer_proxy {
    struct net_layer base;
    uint8_t *head; /* what came of the header; NULL: nothing yet, or it is done */
    size_t len;
};

/* Does data begin as the signature does, as far as both go? */
static bool begins(const uint8_t *data, size_t len, const uint8_t *signature, size_t signature_len)
{
    return memcmp(data, signature, len < signature_len ? len : signature_len) == 0;
}

static bool parse_port(const char *text, uint16_t *out)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);

    *out = (uint16_t)port;
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && port <= 65535;
}

/* "PROXY TCP4 source destination sport dport" or "PROXY UNKNOWN ...", without its end of line. */
static enum bt_err parse_v1(struct net_conn *c, char *line)
{
    char *words[6] = { NULL }, *rest = NULL;
    size_t n = 0;
    uint8_t ip[16];
    unsigned before;
    uint16_t port;

    for (char *word = strtok_r(line, " ", &rest); word != NULL && n < 6; word = strtok_r(NULL, " ", &rest))
        words[n++] = word;
    if (n >= 2 && strcmp(words[1], "UNKNOWN") == 0)
        return BT_OK; /* the balancer itself, checking */
    if (n != 6 || (strcmp(words[1], "TCP4") != 0 && strcmp(words[1], "TCP6") != 0) || !parse_ip(words[2], ip, &before) || !parse_port(words[4], &port))
        return BT_EPROTO;
    memcpy(c->peer_ip, ip, sizeof ip);
    c->peer_port = port;
    return BT_OK;
}

static enum bt_err parse_v2(struct net_conn *c, const uint8_t *head, size_t body_len)
{
    enum { LOCAL = 0x20, PROXY = 0x21, TCP4 = 0x11, TCP6 = 0x21, TCP4_LEN = 12, TCP6_LEN = 36 };
    const uint8_t *body = head + V2_HEAD;

    if (head[12] == LOCAL)
        return BT_OK; /* the balancer itself, checking */
    if (head[12] != PROXY)
        return BT_EPROTO;
    if (head[13] == TCP4 && body_len >= TCP4_LEN) {
        set_v4(c->peer_ip, body);
        c->peer_port = (uint16_t)(body[8] << 8 | body[9]);
    } else if (head[13] == TCP6 && body_len >= TCP6_LEN) {
        memcpy(c->peer_ip, body, 16);
        c->peer_port = (uint16_t)(body[32] << 8 | body[33]);
    } else if (head[13] != 0) {
        return BT_EPROTO;
    }
    return BT_OK;
}

/* Is the header whole? *used_out: its length; 0: not yet. */
static enum bt_err take_header(struct net_conn *c, uint8_t *data, size_t len, size_t *used_out)
{
    *used_out = 0;
    if (begins(data, len, v1_signature, sizeof v1_signature)) {
        uint8_t *end = memchr(data, '\n', len);
        if (end == NULL)
            return len > V1_MAX ? BT_EPROTO : BT_OK;
        if (end - data < 8 || end[-1] != '\r' || memchr(data, '\0', (size_t)(end - data)) != NULL)
            return BT_EPROTO;
        end[-1] = '\0';
        *used_out = (size_t)(end - data) + 1;
        return parse_v1(c, (char *)data);
    }
    if (len >= V2_HEAD) {
        size_t body_len = (size_t)data[14] << 8 | data[15];
        if (body_len > V2_MAX - V2_HEAD)
            return BT_EPROTO;
        if (len < V2_HEAD + body_len)
            return BT_OK;
        *used_out = V2_HEAD + body_len;
        return parse_v2(c, data, body_len);
    }
    return BT_OK;
}

static enum bt_err collect(struct layer_proxy *p, const uint8_t *data, size_t len)
{
    size_t room = V2_MAX - p->len, n = len < room ? len : room, used;
    bool is_header;
    enum bt_err err;

    if (p->head == NULL && (p->head = bt_malloc(V2_MAX + 1)) == NULL)
        return BT_ENOMEM;
    memcpy(p->head + p->len, data, n);
    p->len += n;
    is_header = begins(p->head, p->len, v1_signature, sizeof v1_signature) || begins(p->head, p->len, v2_signature, sizeof v2_signature);
    err = is_header ? take_header(p->base.conn, p->head, p->len, &used) : (used = 0, BT_OK);
    if (err != BT_OK || (is_header && used == 0))
        return err != BT_OK ? err : p->len == V2_MAX ? BT_EPROTO : BT_OK;
    p->base.is_done = true;
    if (p->len > used)
        err = net_layer_up(&p->base, p->head + used, p->len - used);
    bt_free(p->head);
    p->head = NULL;
    return err == BT_OK && len > n ? net_layer_up(&p->base, data + n, len - n) : err;
}

static enum bt_err proxy_in(struct net_layer *l, const uint8_t *data, size_t len)
{
    struct layer_proxy *p = (struct layer_proxy *)l;

    return p->base.is_done ? net_layer_up(l, data, len) : collect(p, data, len);
}

static enum bt_err proxy_out(struct net_layer *l, const uint8_t *data, size_t len)
{
    return net_layer_down(l, data, len);
}

static enum bt_err proxy_ended(struct net_layer *l)
{
    return ((struct layer_proxy *)l)->head == NULL ? BT_OK : BT_EPROTO;
}

static void proxy_free(struct net_layer *l)
{
    bt_free(((struct layer_proxy *)l)->head);
    bt_free(l);
}

static const struct net_layer_ops proxy_ops = {
    .name = "proxy protocol",
    .in = proxy_in,
    .out = proxy_out,
    .ended = proxy_ended,
    .free = proxy_free,
};

struct net_layer *net_layer_proxy_new(void)
{
    struct layer_proxy *p = bt_calloc(1, sizeof *p);

    if (p == NULL)
        return NULL;
    p->base.ops = &proxy_ops;
    return &p->base;
}
