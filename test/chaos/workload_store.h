/*
 * test/chaos/workload_store.h: what a device keeps, in memory: it outlives the device's clients, as a phone's storage does.
 *
 * It can lose the positions that were saved last, as a device that crashes before they reach its storage.
 */
#ifndef CHAOS_WORKLOAD_STORE_H
#define CHAOS_WORKLOAD_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/bytetalk.h"

struct wl_position {
    uint64_t hi, lo;
    uint64_t saved, synced; /* synced: what a crash leaves; 0: nothing */
};

struct wl_store {
    struct bt_store base;
    uint64_t device_id, reserved, user_id, is_synced;
    bool has_session;
    char name[64];
    size_t name_len;
    char token[256];
    size_t token_len;
    struct wl_position *rows; /* by rising (hi, lo) */
    size_t count, cap;
};

void wl_store_init(struct wl_store *s);
void wl_store_sync(struct wl_store *s);  /* what has been saved outlives a crash */
void wl_store_crash(struct wl_store *s); /* the positions are again what they were at the last sync */

#endif
