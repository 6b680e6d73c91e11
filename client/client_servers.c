/* client/client_servers.c: the servers known: given by the application or learnt from servers; which one to take. */
#include <string.h>

#include "client/client_internal.h"
#include "net/mem.h"

static struct client_server *find(const struct client_servers *s, const char *name, size_t len)
{
    for (size_t n = 0; n < s->count; n++)
        if (strlen(s->rows[n].name) == len && memcmp(s->rows[n].name, name, len) == 0)
            return &s->rows[n];
    return NULL;
}

static struct client_server *add(struct client_servers *s, const char *name, size_t len)
{
    struct client_server *row = find(s, name, len);
    if (row)
        return row;
    if (len == 0 || len >= CLIENT_SERVER_MAX || s->count >= CLIENT_MAX_SERVERS)
        return NULL;
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 8;
        struct client_server *rows = bt_realloc(s->rows, cap * sizeof *rows);
        if (!rows)
            return NULL;
        s->rows = rows;
        s->cap = cap;
    }
    row = &s->rows[s->count++];
    memset(row, 0, sizeof *row);
    memcpy(row->name, name, len);
    return row;
}

bool client_servers_give(struct client_servers *s, const char *name)
{
    struct client_server *row = add(s, name, strlen(name));
    if (row)
        row->is_given = true;
    return row != NULL;
}

/* A server that listens everywhere and was told no better may name an address that means nothing elsewhere. */
static bool is_usable(struct rpc_bytes address)
{
    static const char any4[] = "0.0.0.0:", any6[] = "[::]:";
    if (address.len == 0 || memchr(address.data, '\0', address.len))
        return false;
    return !(address.len >= sizeof any4 - 1 && memcmp(address.data, any4, sizeof any4 - 1) == 0) &&
           !(address.len >= sizeof any6 - 1 && memcmp(address.data, any6, sizeof any6 - 1) == 0);
}

void client_servers_learn(struct client_servers *s, const DirectoryEntry *rows, size_t n)
{
    for (size_t k = 0; k < s->count; k++)
        s->rows[k].is_learnt = false;
    for (size_t k = 0; k < n; k++) {
        struct client_server *row = is_usable(rows[k].address) ? add(s, (const char *)rows[k].address.data, rows[k].address.len) : NULL;
        if (!row)
            continue;
        if (!row->is_learnt) /* the first of those that serve there */
            row->connections = row->weight = 0;
        row->is_learnt = true;
        row->connections += rows[k].connections;
        row->weight += rows[k].weight;
    }
    size_t kept = 0;
    for (size_t k = 0; k < s->count; k++)
        if (s->rows[k].is_given || s->rows[k].is_learnt)
            s->rows[kept++] = s->rows[k];
    s->count = kept;
}

/* Clients per unit of weight, compared without dividing. */
static bool is_less_loaded(const struct client_server *a, const struct client_server *b)
{
    uint64_t weight_a = a->weight ? a->weight : 1, weight_b = b->weight ? b->weight : 1;
    return a->connections * weight_b < b->connections * weight_a;
}

static const struct client_server *nth(const struct client_servers *s, bool (*fits)(const struct client_server *, uint64_t),
                                       uint64_t now_ms, size_t skip)
{
    for (size_t n = 0; n < s->count; n++)
        if (fits(&s->rows[n], now_ms) && skip-- == 0)
            return &s->rows[n];
    return NULL;
}

static bool learnt_and_well(const struct client_server *row, uint64_t now_ms)
{
    return row->is_learnt && row->shun_until_ms <= now_ms;
}

static bool well(const struct client_server *row, uint64_t now_ms)
{
    return row->shun_until_ms <= now_ms;
}

static bool any(const struct client_server *row, uint64_t now_ms)
{
    (void)row, (void)now_ms;
    return true;
}

/* Of those that are best known to live, two at random, and of these the less loaded. */
const char *client_servers_pick(const struct client_servers *s, uint64_t now_ms, uint64_t random)
{
    static bool (*const tiers[])(const struct client_server *, uint64_t) = { learnt_and_well, well, any };
    for (size_t t = 0; t < sizeof tiers / sizeof *tiers; t++) {
        size_t count = 0;
        for (size_t n = 0; n < s->count; n++)
            count += tiers[t](&s->rows[n], now_ms);
        if (count == 0)
            continue;
        size_t first = (uint32_t)random % count;
        const struct client_server *a = nth(s, tiers[t], now_ms, first), *b = a;
        if (count > 1)
            b = nth(s, tiers[t], now_ms, (first + 1 + (random >> 32) % (count - 1)) % count);
        return is_less_loaded(b, a) ? b->name : a->name;
    }
    return NULL;
}

void client_servers_failed(struct client_servers *s, const char *name, uint64_t now_ms)
{
    struct client_server *row = find(s, name, strlen(name));
    if (!row)
        return;
    row->shun_until_ms = now_ms + ((uint64_t)CLIENT_SHUN_MS << (row->failures < 4 ? row->failures : 4));
    row->failures++;
}

void client_servers_worked(struct client_servers *s, const char *name)
{
    struct client_server *row = find(s, name, strlen(name));
    if (row)
        row->failures = 0, row->shun_until_ms = 0;
}

void client_servers_shun(struct client_servers *s, const char *name, uint64_t until_ms)
{
    struct client_server *row = find(s, name, strlen(name));
    if (row)
        row->shun_until_ms = until_ms;
}

void client_servers_deinit(struct client_servers *s)
{
    bt_free(s->rows);
    s->rows = NULL;
    s->count = s->cap = 0;
}
