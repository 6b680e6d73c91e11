/*
 * net/mem.h: allocation with a switch that makes one call fail, so that tests reach every out-of-memory path.
 *
 * The functions behave as their namesakes in libc. Any thread.
 */
#ifndef BT_NET_MEM_H
#define BT_NET_MEM_H

#include <stdbool.h>
#include <stddef.h>

void *bt_malloc(size_t size);
void *bt_calloc(size_t count, size_t size);
void *bt_realloc(void *ptr, size_t size);
void bt_free(void *ptr);

/* A copy for bt_free(); NULL when there is no memory. */
char *bt_strdup(const char *text);

/*
 * How many of what is freed are kept for reuse: n, or none when the address sanitizer watches, as it sees no use of what was
 * given back to us alone. Where it is none, no more room than is needed is asked for, so that it sees who goes beyond.
 */
#ifdef __SANITIZE_ADDRESS__
#define BT_SPARES(n) 0
#else
#define BT_SPARES(n) (n)
#endif

/* For tests: the next n allocations succeed, the one after them fails, later ones succeed. n < 0: none fails. */
void bt_mem_fail_after(long n);

/* Whether the failure asked for has happened since the last bt_mem_fail_after(). */
bool bt_mem_has_failed(void);

#endif
