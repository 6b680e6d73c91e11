/* client/bench_stat.c: the median and the spread of a few figures. */
#include "client/bench_stat.h"

#include <stdlib.h>

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct bench_stat bench_stat_of(double *values, unsigned count)
{
    if (count == 0)
        return (struct bench_stat){ 0 };
    qsort(values, count, sizeof *values, by_size);
    double upper = values[count / 2], lower = values[(count - 1) / 2];
    return (struct bench_stat){ .median = lower + (upper - lower) / 2, .min = values[0], .max = values[count - 1] };
}
