/* net/mem.c: allocation with a switch that makes one call fail. */
#include "net/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic bool mem_is_armed;
static _Atomic bool mem_failed;
static _Atomic long mem_left;

static bool mem_fails_now(void)
{
    if (!atomic_load_explicit(&mem_is_armed, memory_order_relaxed))
        return false;
    if (atomic_fetch_sub(&mem_left, 1) != 0)
        return false;
    mem_is_armed = false;
    mem_failed = true;
    return true;
}

void *bt_malloc(size_t size)
{
    return mem_fails_now() ? NULL : malloc(size);
}

void *bt_calloc(size_t count, size_t size)
{
    return mem_fails_now() ? NULL : calloc(count, size);
}

void *bt_realloc(void *ptr, size_t size)
{
    return mem_fails_now() ? NULL : realloc(ptr, size);
}

void bt_free(void *ptr)
{
    free(ptr);
}

char *bt_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = bt_malloc(size);

    return copy ? memcpy(copy, text, size) : NULL;
}

void bt_mem_fail_after(long n)
{
    mem_failed = false;
    mem_left = n;
    mem_is_armed = n >= 0;
}

bool bt_mem_has_failed(void)
{
    return mem_failed;
}
