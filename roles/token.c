/* roles/token.c: making and checking tokens. */
#include "roles/token.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

enum {
    TOKEN_VERSION = 1,
    TOKEN_HEAD = 1 + 4 + 8 + 8 + 8 + 8 + 1, /* version, key id, user, session, issued, expires, length of the name */
    TOKEN_MAC = 32,
};
_Static_assert(TOKEN_HEAD + TOKEN_NAME_MAX + TOKEN_MAC <= TOKEN_MAX, "every token fits");
_Static_assert((int)crypto_generichash_KEYBYTES_MAX >= (int)TOKEN_KEY_SIZE, "the key is taken whole");

static uint8_t *put(uint8_t *p, uint64_t v, int nbytes)
{
    for (int i = nbytes - 1; i >= 0; i--)
        *p++ = (uint8_t)(v >> (8 * i));
    return p;
}

static uint64_t take(const uint8_t **p, int nbytes)
{
    uint64_t v = 0;
    for (int i = 0; i < nbytes; i++)
        v = v << 8 | *(*p)++;
    return v;
}

static void token_mac(const struct token_key *key, const uint8_t *data, size_t len, uint8_t mac_out[TOKEN_MAC])
{
    int rc = crypto_generichash(mac_out, TOKEN_MAC, data, len, key->key, sizeof key->key);
    assert(rc == 0); /* it only refuses sizes */
    (void)rc;
}

/* Keys that are still to come have not reached every node, perhaps. */
static const struct token_key *key_that_signs(const struct token_keys *keys, int64_t now_ms)
{
    const struct token_key *best = &keys->keys[0];

    for (size_t i = 1; i < keys->nkeys; i++) {
        const struct token_key *k = &keys->keys[i];
        bool is_newer = k->created_ms != best->created_ms ? k->created_ms > best->created_ms : k->id > best->id;
        bool is_due = k->created_ms <= now_ms, best_is_due = best->created_ms <= now_ms;
        if (is_due != best_is_due ? is_due : is_due == is_newer)
            best = k;
    }
    return best;
}

size_t token_sign(const struct token_keys *keys, const struct token *t, uint8_t out[TOKEN_MAX])
{
    const struct token_key *key = key_that_signs(keys, t->issued_ms);
    uint8_t *p = out;

    assert(keys->nkeys > 0 && t->name_len <= TOKEN_NAME_MAX);
    p = put(p, TOKEN_VERSION, 1);
    p = put(p, key->id, 4);
    p = put(p, t->user_id, 8);
    p = put(p, t->session_id, 8);
    p = put(p, (uint64_t)t->issued_ms, 8);
    p = put(p, (uint64_t)t->expires_ms, 8);
    p = put(p, t->name_len, 1);
    if (t->name_len > 0)
        memcpy(p, t->name, t->name_len);
    p += t->name_len;
    token_mac(key, out, (size_t)(p - out), p);
    return (size_t)(p - out) + TOKEN_MAC;
}

static const struct token_key *key_find(const struct token_keys *keys, uint32_t id)
{
    for (size_t i = 0; i < keys->nkeys; i++)
        if (keys->keys[i].id == id)
            return &keys->keys[i];
    return NULL;
}

enum bt_err token_verify(const struct token_keys *keys, const uint8_t *data, size_t len, int64_t now_ms, int64_t life_ms,
                         struct token *out)
{
    const uint8_t *p = data;
    uint8_t mac[TOKEN_MAC];
    struct token t = { 0 };

    if (!data || len < TOKEN_HEAD + TOKEN_MAC || len > TOKEN_MAX || take(&p, 1) != TOKEN_VERSION)
        return BT_ENOAUTH;
    const struct token_key *key = key_find(keys, (uint32_t)take(&p, 4));
    if (!key)
        return BT_ENOTFOUND;
    token_mac(key, data, len - TOKEN_MAC, mac);
    if (sodium_memcmp(mac, data + len - TOKEN_MAC, TOKEN_MAC) != 0)
        return BT_ENOAUTH;

    t.user_id = take(&p, 8);
    t.session_id = take(&p, 8);
    t.issued_ms = (int64_t)take(&p, 8);
    t.expires_ms = (int64_t)take(&p, 8);
    t.name_len = take(&p, 1);
    t.name = p;
    if (t.name_len != len - TOKEN_HEAD - TOKEN_MAC)
        return BT_ENOAUTH;
    if (now_ms >= t.expires_ms || t.issued_ms < now_ms - life_ms)
        return BT_ENOAUTH;
    *out = t;
    return BT_OK;
}

uint64_t token_random_id(void)
{
    uint64_t id;
    do {
        randombytes_buf(&id, sizeof id);
        id >>= 2;
    } while (id == 0);
    return id;
}
