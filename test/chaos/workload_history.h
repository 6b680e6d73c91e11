/*
 * test/chaos/workload_history.h: history.bin: records through a large buffer.
 *
 * A write that fails ends the process with an error line: a run whose history is not whole says nothing.
 */
#ifndef CHAOS_WORKLOAD_HISTORY_H
#define CHAOS_WORKLOAD_HISTORY_H

#include <stddef.h>

#include "test/chaos/history.h"

struct wl_history {
    int fd;
    struct history_record *rows;
    size_t count;
};

/* Make `dir`/history.bin anew; the directory too if it is missing. */
void wl_history_open(struct wl_history *h, const char *dir);

/* Take a record; at_us is set here. */
void wl_history_add(struct wl_history *h, const struct history_record *record);

void wl_history_flush(struct wl_history *h);

#endif
