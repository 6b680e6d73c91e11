/*
 * net/arena.h: memory that is taken in many pieces and given back at once: what one call gathers for its reply.
 *
 * Loop thread, or any one thread at a time.
 */
#ifndef BT_NET_ARENA_H
#define BT_NET_ARENA_H

#include <stddef.h>

struct arena_block;

/* Zeroed before first use. The field is private. */
struct arena {
    struct arena_block *blocks; /* the one with room first */
};

/* Zeroed bytes, aligned for any object, valid until arena_free(). size 0 is fine. NULL: no memory. */
void *arena_alloc(struct arena *a, size_t size);

/* A zeroed array of n objects of `size` bytes. NULL: no memory, or a product beyond size_t. */
void *arena_array(struct arena *a, size_t n, size_t size);

/* A copy of len bytes. data may be NULL when len is 0; the copy is then a valid pointer all the same. NULL: no memory. */
void *arena_copy(struct arena *a, const void *data, size_t len);

/* Give everything back; the arena is empty again and may be used anew. */
void arena_free(struct arena *a);

#endif
