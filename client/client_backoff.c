/* client/client_backoff.c: exponential backoff with full jitter. */
#include "client/client_backoff.h"

uint32_t client_backoff_next(struct client_backoff *b, uint64_t random)
{
    uint64_t span = b->min_ms;
    for (uint32_t n = 0; n < b->tries && span < b->max_ms; n++)
        span *= 2;
    if (span > b->max_ms)
        span = b->max_ms;
    if (b->tries < UINT32_MAX)
        b->tries++;
    return (uint32_t)(random % (span + 1));
}

void client_backoff_held(struct client_backoff *b, uint64_t held_ms, uint32_t stable_ms)
{
    if (held_ms >= stable_ms && held_ms > b->max_ms)
        client_backoff_reset(b);
}

void client_backoff_reset(struct client_backoff *b)
{
    b->tries = 0;
}
