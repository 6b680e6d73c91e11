/*
 * client/client_order.h: one conversation's messages put in order: by seq, without gaps, each once. Pure.
 *
 * The position is the highest seq up to which everything was handed over. A message that comes too early is kept,
 * within limits; one that finds no room is forgotten, and fetched when its turn comes, as any gap is.
 */
#ifndef BT_CLIENT_ORDER_H
#define BT_CLIENT_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/bytetalk.h"

enum { CLIENT_ORDER_MAX_KEPT = 1000, CLIENT_ORDER_MAX_BYTES = 4 * 1024 * 1024 };

/* A message kept until its turn; m's views point behind it. Freed with bt_free(). */
struct client_kept {
    struct client_kept *next;
    size_t size_bytes;
    struct bt_message m;
};

/* Zeroed before first use. */
struct client_order {
    bool is_open;              /* the position is known; before, everything is kept */
    uint64_t position;
    uint64_t head;             /* the highest seq heard of */
    struct client_kept *kept;  /* by rising seq, each once */
    size_t kept_count, kept_bytes;
};

enum client_order_verdict {
    CLIENT_ORDER_NOW,   /* its turn: the position has moved over it; hand it over, then client_order_pop() */
    CLIENT_ORDER_KEPT,  /* too early (or forgotten for want of room: the gap stays visible) */
    CLIENT_ORDER_OLD,   /* known already */
};

/* A message was learnt: by reply, push or pull. m is borrowed. */
enum client_order_verdict client_order_offer(struct client_order *o, const struct bt_message *m);

/* The next kept message whose turn has come: the position has moved over it, the caller frees it. NULL: none. */
struct client_kept *client_order_pop(struct client_order *o);

/* A seq is known to exist. */
void client_order_note_head(struct client_order *o, uint64_t seq);

/* The position is now known: the first message to hand over is the one after it. */
void client_order_open(struct client_order *o, uint64_t position);

/* Nothing below first_seq can be seen (any more): the position moves over what is below. True: it moved. */
bool client_order_floor(struct client_order *o, uint64_t first_seq);

/* True: messages are missing, *from_out being the first of them. */
bool client_order_gap(const struct client_order *o, uint64_t *from_out);

/* The lowest seq that is kept; 0: none. */
uint64_t client_order_lowest(const struct client_order *o);

void client_order_deinit(struct client_order *o);

#endif
