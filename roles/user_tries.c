/* roles/user_tries.c: see user_tries.h. Sets of a few places each, by a keyed hash that nobody can choose names for. */
#include "roles/user_tries.h"

#include <sodium.h>

#include "net/mem.h"

enum { SETS = 2048, PLACES = 8, PAUSE_MAX_MS = 900000 };

struct place {
    uint64_t key;       /* of the name; 0: free */
    uint64_t since_ms;  /* the first of `wrong` */
    uint64_t until_ms;  /* refused until then, once wrong is at its limit */
    uint32_t wrong;
    uint32_t pauses;    /* so many, each twice as long as the one before */
};

struct user_tries {
    uint32_t max, window_ms;
    uint8_t hash_keys[USER_TRIES_BY_NUMBER + 1][crypto_shorthash_KEYBYTES]; /* by what a name is */
    struct place places[SETS][PLACES];
};

enum bt_err user_tries_new(uint32_t max, uint32_t window_ms, struct user_tries **out)
{
    if (sodium_init() < 0)
        return BT_EINTERNAL;
    struct user_tries *t = bt_calloc(1, sizeof *t);
    if (!t)
        return BT_ENOMEM;
    t->max = max;
    t->window_ms = window_ms;
    for (int by = 0; by <= USER_TRIES_BY_NUMBER; by++)
        crypto_shorthash_keygen(t->hash_keys[by]);
    *out = t;
    return BT_OK;
}

void user_tries_free(struct user_tries *t)
{
    bt_free(t);
}

static uint64_t key_of(const struct user_tries *t, enum user_tries_by by, const void *name, size_t len)
{
    _Static_assert(crypto_shorthash_BYTES == sizeof(uint64_t), "a hash is a key");
    uint64_t key;

    crypto_shorthash((uint8_t *)&key, len > 0 ? name : (const void *)"", len, t->hash_keys[by]);
    return key != 0 ? key : 1;
}

static struct place *find(struct user_tries *t, uint64_t key)
{
    struct place *set = t->places[key % SETS];

    for (size_t i = 0; i < PLACES; i++)
        if (set[i].key == key)
            return &set[i];
    return NULL;
}

/* From when on what is known of it matters no more. */
static uint64_t forgotten_ms(const struct user_tries *t, const struct place *p)
{
    return p->wrong < t->max ? p->since_ms + t->window_ms : p->until_ms + PAUSE_MAX_MS;
}

static struct place *place_for(struct user_tries *t, uint64_t key, uint64_t now_ms)
{
    struct place *p = find(t, key), *set = t->places[key % SETS];

    if (p && now_ms < forgotten_ms(t, p))
        return p;
    for (size_t i = 0; !p && i < PLACES; i++)
        if (set[i].key == 0)
            p = &set[i];
    if (!p)
        p = set;
    for (size_t i = 0; p->key != 0 && p->key != key && i < PLACES; i++)
        if (forgotten_ms(t, &set[i]) < forgotten_ms(t, p))
            p = &set[i];
    *p = (struct place){ .key = key, .since_ms = now_ms };
    return p;
}

static uint64_t pause_ms(const struct user_tries *t, const struct place *p)
{
    uint64_t first = t->window_ms / t->max + 1;
    uint64_t ms = p->pauses < 20 ? first << p->pauses : PAUSE_MAX_MS;
    return ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS;
}

static void count(const struct user_tries *t, struct place *p, uint64_t now_ms)
{
    if (p->wrong < t->max)
        p->wrong++;
    if (p->wrong >= t->max) {
        p->until_ms = now_ms + pause_ms(t, p);
        p->pauses++;
    }
}

uint32_t user_tries_begin(struct user_tries *t, uint64_t now_ms, enum user_tries_by by, const void *name, size_t len, uint64_t *key_out)
{
    *key_out = 0;
    if (t->max == 0)
        return 0;
    uint64_t key = key_of(t, by, name, len);
    struct place *p = place_for(t, key, now_ms);

    if (p->wrong >= t->max && now_ms < p->until_ms)
        return (uint32_t)(p->until_ms - now_ms);
    count(t, p, now_ms);
    *key_out = key;
    return 0;
}

void user_tries_more(struct user_tries *t, uint64_t now_ms, uint64_t key)
{
    struct place *p = key != 0 ? find(t, key) : NULL;

    if (p)
        count(t, p, now_ms);
}

void user_tries_end(struct user_tries *t, uint64_t key, enum user_try what)
{
    struct place *p = key != 0 && what != USER_TRY_WRONG ? find(t, key) : NULL;

    if (!p)
        return;
    if (what == USER_TRY_RIGHT) {
        *p = (struct place){ 0 };
    } else if (p->wrong > 0) {
        p->pauses -= p->pauses > 0;
        p->wrong -= p->pauses == 0;
        p->until_ms = 0;
        if (p->wrong == 0)
            *p = (struct place){ 0 }; /* it costs nothing to try so: it takes no place from others */
    }
}
