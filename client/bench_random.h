/*
 * client/bench_random.h: cheap random numbers, and draws from a Zipf distribution.
 */
#ifndef BT_CLIENT_BENCH_RANDOM_H
#define BT_CLIENT_BENCH_RANDOM_H

#include <stdint.h>

#include "net/err.h"

/* xorshift64*; not for secrets. */
struct bench_random {
    uint64_t state; /* not 0 */
};

void bench_random_init(struct bench_random *r, uint64_t seed);
uint64_t bench_random_next(struct bench_random *r);
double bench_random_unit(struct bench_random *r);                       /* 0 <= x < 1 */
uint32_t bench_random_below(struct bench_random *r, uint32_t limit);    /* 0 <= x < limit */

/* Ranks 0, 1, 2 ... below count, rank n drawn with a probability proportional to 1 / (n + 1)^s. s = 0: all alike. */
struct bench_zipf {
    double *up_to; /* share of all up to and including the rank */
    uint32_t count;
};

/* BT_EINVAL: count 0 or s negative; BT_ENOMEM. */
enum bt_err bench_zipf_init(struct bench_zipf *z, uint32_t count, double s);
void bench_zipf_free(struct bench_zipf *z);
uint32_t bench_zipf_draw(const struct bench_zipf *z, struct bench_random *r);

#endif
