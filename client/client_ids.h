/*
 * client/client_ids.h: ids of messages: milliseconds in the high 42 bits, random below, strictly rising per device.
 *
 * Rising must survive a restart with the clock set back. So a stretch of ids is reserved in the device's store before
 * any of it is used, and after a restart numbering goes on behind what was reserved. Pure.
 */
#ifndef BT_CLIENT_IDS_H
#define BT_CLIENT_IDS_H

#include <stdbool.h>
#include <stdint.h>

enum { CLIENT_ID_RANDOM_BITS = 22, CLIENT_ID_RESERVE_MS = 10000 };

struct client_ids {
    uint64_t last;         /* the id given last, or reserved by an earlier run */
    uint64_t reserved;     /* ids up to here are reserved in the store */
};

/* The next id. *must_reserve_out: ids->reserved was raised, and is to be saved before the id is used. now_ms: since 1970. */
uint64_t client_ids_next(struct client_ids *ids, uint64_t now_ms, uint64_t random, bool *must_reserve_out);

/* What an earlier run had reserved. */
void client_ids_restore(struct client_ids *ids, uint64_t reserved);

#endif
