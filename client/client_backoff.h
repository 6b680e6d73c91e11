/* client/client_backoff.h: how long to wait before trying again: exponential, with full jitter. Pure. */
#ifndef BT_CLIENT_BACKOFF_H
#define BT_CLIENT_BACKOFF_H

#include <stdint.h>

struct client_backoff {
    uint32_t min_ms, max_ms; /* min_ms > 0, max_ms >= min_ms */
    uint32_t tries;          /* since the last success */
};

/* Uniform in 0 .. min(max_ms, min_ms * 2^tries), drawn by `random`; counts the try. */
uint32_t client_backoff_next(struct client_backoff *b, uint64_t random);

/*
 * What was tried held for so long. Start anew, unless that is short of `stable_ms` or of the longest wait: of two that
 * throw each other out, each holds for as long as the other waits, and both are to slow down.
 */
void client_backoff_held(struct client_backoff *b, uint64_t held_ms, uint32_t stable_ms);

/* It worked: start anew. */
void client_backoff_reset(struct client_backoff *b);

#endif
