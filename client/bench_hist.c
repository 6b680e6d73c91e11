/* client/bench_hist.c: a histogram in logarithmic buckets. */
#include "client/bench_hist.h"

/*
 * A value's bucket: its highest BENCH_HIST_SUB_BITS + 1 bits, and how many bits follow them. Values that have no more
 * bits than that have buckets of their own.
 */
static unsigned bucket_of(uint64_t value)
{
    if (value < 2 * BENCH_HIST_SUB)
        return (unsigned)value;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - BENCH_HIST_SUB_BITS;
    return shift * BENCH_HIST_SUB + (unsigned)(value >> shift);
}

/* The largest value of a bucket. */
static uint64_t top_of(unsigned bucket)
{
    if (bucket < 2 * BENCH_HIST_SUB)
        return bucket;
    unsigned shift = bucket / BENCH_HIST_SUB - 1;
    uint64_t lead = BENCH_HIST_SUB + bucket % BENCH_HIST_SUB;
    return (lead << shift) + ((UINT64_C(1) << shift) - 1);
}

void bench_hist_add(struct bench_hist *h, uint64_t value)
{
    h->buckets[bucket_of(value)]++;
    h->count++;
    h->sum += value;
    if (value > h->max)
        h->max = value;
}

void bench_hist_merge(struct bench_hist *h, const struct bench_hist *other)
{
    for (unsigned n = 0; n < BENCH_HIST_BUCKETS; n++)
        h->buckets[n] += other->buckets[n];
    h->count += other->count;
    h->sum += other->sum;
    if (other->max > h->max)
        h->max = other->max;
}

uint64_t bench_hist_quantile(const struct bench_hist *h, double q)
{
    double exact = q * (double)h->count;
    uint64_t rank = (uint64_t)exact, seen = 0;
    if (h->count == 0)
        return 0;
    if ((double)rank < exact || rank == 0)
        rank++;
    for (unsigned n = 0; n < BENCH_HIST_BUCKETS; n++) {
        seen += h->buckets[n];
        if (seen >= rank)
            return top_of(n) < h->max ? top_of(n) : h->max;
    }
    return h->max;
}
