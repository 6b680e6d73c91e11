/*
 * client/bench_stat.h: the median and the spread of a few figures.
 */
#ifndef BT_CLIENT_BENCH_STAT_H
#define BT_CLIENT_BENCH_STAT_H

struct bench_stat {
    double median, min, max; /* 0 of none */
};

/* Sorts the values. An even number of them: the mean of the middle two. */
struct bench_stat bench_stat_of(double *values, unsigned count);

#endif
