/*
 * client/bench_hist.h: a histogram of times in logarithmic buckets: fixed memory, one addition per value.
 *
 * Values below 64 are exact; above, each power of two is cut into 32 buckets, so a quantile is at most 1/32 (3.2 %) above
 * the true one, and never below it.
 */
#ifndef BT_CLIENT_BENCH_HIST_H
#define BT_CLIENT_BENCH_HIST_H

#include <stdint.h>

enum { BENCH_HIST_SUB_BITS = 5, BENCH_HIST_SUB = 1 << BENCH_HIST_SUB_BITS, BENCH_HIST_BUCKETS = (65 - BENCH_HIST_SUB_BITS) * BENCH_HIST_SUB };

/* Zeroed is empty. */
struct bench_hist {
    uint64_t count, max, sum;
    uint64_t buckets[BENCH_HIST_BUCKETS];
};

void bench_hist_add(struct bench_hist *h, uint64_t value);

/* Add all of another's values. */
void bench_hist_merge(struct bench_hist *h, const struct bench_hist *other);

/* The value that a share q (0 to 1) of all values do not exceed; 0 when empty. */
uint64_t bench_hist_quantile(const struct bench_hist *h, double q);

#endif
