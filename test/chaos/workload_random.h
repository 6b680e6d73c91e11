/* test/chaos/workload_random.h: numbers that follow from a seed: splitmix64. */
#ifndef CHAOS_WORKLOAD_RANDOM_H
#define CHAOS_WORKLOAD_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

struct wl_random { uint64_t state; };

static inline uint64_t wl_random_mix(uint64_t z)
{
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

static inline uint64_t wl_random_next(struct wl_random *r)
{
    return wl_random_mix(r->state += UINT64_C(0x9E3779B97F4A7C15));
}

/* Below n, n > 0; so small against 2^64 that the unevenness does not matter. */
static inline uint64_t wl_random_below(struct wl_random *r, uint64_t n)
{
    return wl_random_next(r) % n;
}

static inline bool wl_random_chance(struct wl_random *r, uint32_t percent)
{
    return wl_random_below(r, 100) < percent;
}

/* 0 <= x < 1. */
static inline double wl_random_unit(uint64_t word)
{
    return (double)(word >> 11) / 9007199254740992.0;
}

/* An own sequence for the n-th of some kind of thing. */
static inline struct wl_random wl_random_of(uint64_t seed, uint64_t kind, uint64_t n)
{
    return (struct wl_random){ wl_random_mix(wl_random_mix(seed + kind * UINT64_C(0xD1342543DE82EF95)) + n) };
}

#endif
