/* client/bench_proc.c: CPU time and memory of processes. */
#include "client/bench_proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

bool bench_procs_parse(const char *text, const char *label, struct bench_procs *out)
{
    const char *equals = strchr(text, '=');
    size_t len = equals ? (size_t)(equals - text) : strlen(label);
    if (out->count == BENCH_GROUPS || len == 0 || len >= BENCH_LABEL)
        return false;
    struct bench_group *g = &out->groups[out->count++];
    memcpy(g->label, equals ? text : label, len);
    g->label[len] = '\0';
    g->count = 0;
    for (const char *p = equals ? equals + 1 : text;; p++) {
        char *end;
        long pid = strtol(p, &end, 10);
        if (end == p || pid <= 0 || pid > INT32_MAX || g->count == BENCH_PIDS)
            return false;
        g->pids[g->count++] = (int)pid;
        p = end;
        if (*p == '\0')
            return true;
        if (*p != ',')
            return false;
    }
}

/* Of threads that have ended too. 0 when there is no such process. */
static uint64_t process_ns(int pid)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t bench_group_cpu_ns(const struct bench_group *g)
{
    uint64_t ns = 0;
    for (unsigned n = 0; n < g->count; n++)
        ns += process_ns(g->pids[n]);
    return ns;
}

static uint64_t process_memory(int pid)
{
    char path[64], line[256];
    uint64_t kib = 0, value;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "Pss: %" SCNu64 " kB", &value) == 1)
            kib = value;
    fclose(f);
    return kib * 1024;
}

uint64_t bench_group_memory(const struct bench_group *g)
{
    uint64_t bytes = 0;
    for (unsigned n = 0; n < g->count; n++)
        bytes += process_memory(g->pids[n]);
    return bytes;
}

static uint64_t timeval_ns(struct timeval t)
{
    return ((uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec) * 1000;
}

uint64_t bench_own_cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return timeval_ns(u.ru_utime) + timeval_ns(u.ru_stime);
}
