/* net/arena.c: blocks of rising size; a large piece gets a block of its own, so that the current one keeps its room. */
#include "net/arena.h"

#include <stdint.h>
#include <string.h>

#include "net/mem.h"

enum { BLOCK_BYTES = 4096, BLOCK_BYTES_MAX = 65536, ALIGN = _Alignof(max_align_t) };

struct arena_block {
    struct arena_block *next;
    size_t size, used; /* of data */
    max_align_t data[];
};

static struct arena_block *block_new(size_t size)
{
    struct arena_block *b = bt_malloc(sizeof(*b) + size);
    if (!b)
        return NULL;
    b->size = size;
    b->used = 0;
    return b;
}

/* A block with room for size, at the front unless the piece fills it alone. */
static struct arena_block *block_for(struct arena *a, size_t size)
{
    struct arena_block *first = a->blocks, *b;
    size_t normal = first ? first->size * 2 : BLOCK_BYTES; /* so that many pieces need few blocks */
    if (first && first->size - first->used >= size)
        return first;
    if (normal > BLOCK_BYTES_MAX)
        normal = BLOCK_BYTES_MAX;
    if (size <= normal / 4 || !first) {
        b = block_new(size > normal ? size : normal);
        if (!b)
            return NULL;
        b->next = first;
        a->blocks = b;
        return b;
    }
    b = block_new(size);
    if (!b)
        return NULL;
    b->next = first->next;
    first->next = b;
    return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
    struct arena_block *b;
    uint8_t *p;
    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + ALIGN - 1) / ALIGN * ALIGN;
    b = block_for(a, size ? size : ALIGN);
    if (!b)
        return NULL;
    p = (uint8_t *)b->data + b->used;
    b->used += size ? size : ALIGN;
    memset(p, 0, size);
    return p;
}

void *arena_array(struct arena *a, size_t n, size_t size)
{
    if (size && n > SIZE_MAX / size)
        return NULL;
    return arena_alloc(a, n * size);
}

void *arena_copy(struct arena *a, const void *data, size_t len)
{
    void *p = arena_alloc(a, len);
    if (p && len)
        memcpy(p, data, len);
    return p;
}

void arena_free(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *b = a->blocks;
        a->blocks = b->next;
        bt_free(b);
    }
}
