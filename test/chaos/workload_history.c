/* test/chaos/workload_history.c: writing history.bin. */
#include "test/chaos/workload_history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/loop.h"
#include "test/chaos/workload.h"

enum { ROWS = 65536 };

void wl_history_open(struct wl_history *h, const char *dir)
{
    char path[4096];
    if (mkdir(dir, 0755) != 0 && errno != EEXIST)
        wl_fail("mkdir %s: %s", dir, strerror(errno));
    if ((size_t)snprintf(path, sizeof path, "%s/history.bin", dir) >= sizeof path)
        wl_fail("--dir is too long");
    h->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (h->fd < 0)
        wl_fail("%s: %s", path, strerror(errno));
    h->rows = wl_alloc(ROWS, sizeof *h->rows);
}

void wl_history_flush(struct wl_history *h)
{
    const char *data = (const char *)h->rows;
    size_t left = h->count * sizeof *h->rows;
    h->count = 0; /* a failure ends the process, which must not come here again */
    while (left > 0) {
        ssize_t n = write(h->fd, data, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            wl_fail("history.bin: %s", n < 0 ? strerror(errno) : "nothing was written");
        data += n;
        left -= (size_t)n;
    }
}

void wl_history_add(struct wl_history *h, const struct history_record *record)
{
    if (h->count == ROWS)
        wl_history_flush(h);
    h->rows[h->count] = *record;
    h->rows[h->count++].at_us = net_clock_us();
}
