/*
 * client/bench_proc.h: what processes of this machine have used: CPU time from their clocks, memory from /proc.
 */
#ifndef BT_CLIENT_BENCH_PROC_H
#define BT_CLIENT_BENCH_PROC_H

#include <stdbool.h>
#include <stdint.h>

enum { BENCH_GROUPS = 4, BENCH_PIDS = 64, BENCH_LABEL = 16 };

/* Processes that are counted together: "server", or "nodes", "redis", "mariadb". */
struct bench_group {
    char label[BENCH_LABEL];
    int pids[BENCH_PIDS];
    unsigned count;
};

/* The first group is what is measured; the others are shown beside it. */
struct bench_procs {
    struct bench_group groups[BENCH_GROUPS];
    unsigned count;
};

/* "PID,PID" (under the label given) or "LABEL=PID,PID"; adds to what is there. False: not that, or too many. */
bool bench_procs_parse(const char *text, const char *label, struct bench_procs *out);

/* Nanoseconds of CPU of a group's processes, threads that have ended included; processes that have ended count 0. */
uint64_t bench_group_cpu_ns(const struct bench_group *g);

/* Their memory in bytes, shared pages counted in parts (PSS); 0 when it can't be read. */
uint64_t bench_group_memory(const struct bench_group *g);

/* Nanoseconds of CPU of this process. */
uint64_t bench_own_cpu_ns(void);

#endif
