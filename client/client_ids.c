/* client/client_ids.c: ids of messages. */
#include "client/client_ids.h"

uint64_t client_ids_next(struct client_ids *ids, uint64_t now_ms, uint64_t random, bool *must_reserve_out)
{
    const uint64_t mask = (UINT64_C(1) << CLIENT_ID_RANDOM_BITS) - 1;
    uint64_t id = now_ms << CLIENT_ID_RANDOM_BITS | (random & mask);
    if (id <= ids->last) /* the same millisecond, or the clock was set back */
        id = ids->last + 1 + (random & 0xff);
    ids->last = id;
    *must_reserve_out = id > ids->reserved;
    if (*must_reserve_out)
        ids->reserved = id + ((uint64_t)CLIENT_ID_RESERVE_MS << CLIENT_ID_RANDOM_BITS);
    return id;
}

void client_ids_restore(struct client_ids *ids, uint64_t reserved)
{
    if (reserved > ids->last)
        ids->last = ids->reserved = reserved;
}
