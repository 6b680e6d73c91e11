/*
 * test/chaos/workload_body.h: bodies that name the operation that wrote them. README.md says how they look.
 */
#ifndef CHAOS_WORKLOAD_BODY_H
#define CHAOS_WORKLOAD_BODY_H

#include <stddef.h>
#include <stdint.h>

enum { WL_BODY_MAX = 32768 };

/* The body of operation op; its length. */
size_t wl_body_make(uint64_t op, char buf[WL_BODY_MAX]);

/* Which operation a body names; 0: it is empty; HISTORY_BAD_BODY: it is none of ours, or damaged. */
uint64_t wl_body_op(const char *data, size_t len);

#endif
