/* client/bench_disk.c: what the disk itself takes to keep something: append to a file, sync, again. No server. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/bench.h"

enum { WRAP_BYTES = 64 * 1024 * 1024 }; /* then from the front, as a write-ahead log does */

static bool sync_for(struct bench_run *run, int fd, const uint8_t *block)
{
    struct bench_result *r = run->result;
    uint32_t bytes = run->o->bytes;
    uint64_t began_us = bench_clock_us(), now_us = began_us, until_us = began_us + (uint64_t)(run->o->seconds * 1e6), count = 0;
    off_t at = 0;
    bench_run_measure(run);
    while (run->o->messages ? count < run->o->messages : now_us < until_us) {
        uint64_t from_us = now_us;
        if (pwrite(fd, block, bytes, at) != (ssize_t)bytes || fdatasync(fd) != 0)
            return false;
        now_us = bench_clock_us();
        bench_hist_add(&r->answer, now_us - from_us);
        at = at + bytes > WRAP_BYTES ? 0 : at + bytes;
        count++;
    }
    bench_run_measured(run, count);
    return true;
}

bool bench_disk(struct bench_run *run)
{
    char path[4096];
    uint8_t *block = calloc(1, run->o->bytes);
    int len = snprintf(path, sizeof path, "%s/bytetalk-bench.XXXXXX", run->o->dir);
    int fd = block && len < (int)sizeof path ? mkostemp(path, O_CLOEXEC) : -1;
    bool is_ok = fd >= 0 && sync_for(run, fd, block);
    if (!is_ok)
        bench_run_fail(run, "%s: %s", run->o->dir, strerror(errno));
    if (fd >= 0) {
        close(fd);
        unlink(path);
    }
    free(block);
    return is_ok;
}
