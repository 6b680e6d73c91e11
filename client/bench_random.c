/* client/bench_random.c: random numbers, and draws from a Zipf distribution. */
#include "client/bench_random.h"

#include <math.h>
#include <stdlib.h>

void bench_random_init(struct bench_random *r, uint64_t seed)
{
    /* Seeds that differ little must not begin alike (splitmix64's step). */
    uint64_t x = seed + UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    r->state = (x ^ x >> 31) | 1;
}

uint64_t bench_random_next(struct bench_random *r)
{
    uint64_t x = r->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    r->state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}

double bench_random_unit(struct bench_random *r)
{
    return (double)(bench_random_next(r) >> 11) / (double)(UINT64_C(1) << 53);
}

uint32_t bench_random_below(struct bench_random *r, uint32_t limit)
{
    return (uint32_t)((bench_random_next(r) >> 32) * limit >> 32);
}

enum bt_err bench_zipf_init(struct bench_zipf *z, uint32_t count, double s)
{
    double sum = 0;
    if (count == 0 || !(s >= 0))
        return BT_EINVAL;
    z->up_to = malloc(count * sizeof(double));
    if (!z->up_to)
        return BT_ENOMEM;
    z->count = count;
    for (uint32_t n = 0; n < count; n++)
        z->up_to[n] = sum += pow((double)n + 1, -s);
    for (uint32_t n = 0; n < count; n++)
        z->up_to[n] /= sum;
    return BT_OK;
}

void bench_zipf_free(struct bench_zipf *z)
{
    free(z->up_to);
    z->up_to = NULL;
}

uint32_t bench_zipf_draw(const struct bench_zipf *z, struct bench_random *r)
{
    double x = bench_random_unit(r);
    uint32_t low = 0, high = z->count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (z->up_to[middle] > x)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}
