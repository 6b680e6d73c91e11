/*
 * roles/proxy_users.c: which connections are whose: a table of the users who have sessions here.
 *
 * It holds each user's first connection, and that has the user's id; so a user with one session costs a slot and nothing more, and to find
 * him is to have what is pushed to. His other ones hang on the first one.
 */
#include "roles/proxy.h"

#include <assert.h>

#include "net/mem.h"

enum { FIRST_SLOTS = 256, CACHE_LINE = 64 };

static size_t home_of(const struct proxy *proxy, uint64_t user_id)
{
    return (size_t)(user_id * UINT64_C(0x9e3779b97f4a7c15) >> 24) & (proxy->users_cap - 1);
}

/* Where the user stands, or would. */
static struct proxy_client **place_of(const struct proxy *proxy, uint64_t user_id)
{
    size_t i = home_of(proxy, user_id);

    while (proxy->users[i] != NULL && proxy->users[i]->user_id != user_id)
        i = (i + 1) & (proxy->users_cap - 1);
    return &proxy->users[i];
}

struct proxy_client *proxy_user_find(const struct proxy *proxy, uint64_t user_id)
{
    return proxy->users_cap > 0 ? *place_of(proxy, user_id) : NULL;
}

struct proxy_client *proxy_user_each(const struct proxy *proxy, size_t *at)
{
    while (*at < proxy->users_cap)
        if (proxy->users[(*at)++] != NULL)
            return proxy->users[*at - 1];
    return NULL;
}

void proxy_user_soon(const struct proxy *proxy, uint64_t user_id)
{
    if (proxy->users_cap > 0)
        __builtin_prefetch(&proxy->users[home_of(proxy, user_id)]);
}

/* The client, and before it in the same piece of memory its link and what a push needs of its connection. */
void proxy_user_next(const struct proxy *proxy, uint64_t user_id)
{
    const char *client = proxy->users_cap > 0 ? (const char *)proxy->users[home_of(proxy, user_id)] : NULL;

    if (client == NULL)
        return;
    __builtin_prefetch(client);
    __builtin_prefetch(client - CACHE_LINE);
    __builtin_prefetch(client - 2 * CACHE_LINE, 1);
}

static enum bt_err reserve(struct proxy *proxy)
{
    size_t old_cap = proxy->users_cap, cap = old_cap != 0 ? old_cap * 2 : FIRST_SLOTS;
    struct proxy_client **old = proxy->users, **users;

    if ((proxy->nusers + 1) * 4 <= old_cap * 3)
        return BT_OK;
    users = bt_calloc(cap, sizeof(struct proxy_client *));
    if (users == NULL)
        return BT_ENOMEM;
    proxy->users = users;
    proxy->users_cap = cap;
    for (size_t i = 0; i < old_cap; i++)
        if (old[i] != NULL)
            *place_of(proxy, old[i]->user_id) = old[i];
    bt_free(old);
    return BT_OK;
}

enum bt_err proxy_user_add(struct proxy_client *client, uint64_t user_id, uint64_t session)
{
    struct proxy *proxy = client->proxy;
    struct proxy_client **place;

    assert(client->user_id == 0 && user_id != 0);
    if (reserve(proxy) != BT_OK)
        return BT_ENOMEM;
    place = place_of(proxy, user_id);
    if (*place == NULL) {
        proxy->nusers++;
        proxy_here_changed(proxy, user_id);
    } else {
        client->is_told = (*place)->is_told;
    }
    client->user_id = user_id;
    client->session = session;
    client->of_user = *place;
    *place = client;
    return BT_OK;
}

/* Free a slot, and move up those that stand after it on its run. */
static void clear(struct proxy *proxy, struct proxy_client **place)
{
    size_t mask = proxy->users_cap - 1, hole = (size_t)(place - proxy->users);

    for (size_t i = (hole + 1) & mask; proxy->users[i] != NULL; i = (i + 1) & mask) {
        size_t home = home_of(proxy, proxy->users[i]->user_id);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            proxy->users[hole] = proxy->users[i];
            hole = i;
        }
    }
    proxy->users[hole] = NULL;
}

void proxy_user_remove(struct proxy_client *client)
{
    struct proxy *proxy = client->proxy;
    uint64_t user_id = client->user_id;
    struct proxy_client **place = place_of(proxy, user_id), **at = place;

    while (*at != client)
        at = &(*at)->of_user;
    if (*place == client && client->of_user == NULL) {
        clear(proxy, place);
        proxy->nusers--;
        proxy_here_changed(proxy, user_id);
    } else {
        if (*place == client)
            client->of_user->is_told = client->is_told;
        *at = client->of_user;
    }
    client->of_user = NULL;
    client->user_id = client->session = 0;
    client->is_told = false;
}
