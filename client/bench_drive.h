/*
 * client/bench_drive.h: the course of a run: warming up, measuring, ending; and sends that were refused for a while.
 */
#ifndef BT_CLIENT_BENCH_DRIVE_H
#define BT_CLIENT_BENCH_DRIVE_H

#include "client/bench.h"

struct bench_drive {
    void (*tick)(struct bench_run *run);                    /* after every turn */
    uint64_t (*next_us)(const struct bench_run *run);       /* when tick() wants to be called at the latest; NULL: whenever */
    void (*stop)(struct bench_run *run);                    /* begin nothing any more */
    uint64_t (*units)(const struct bench_run *run);         /* what has been done */
    uint64_t (*expected)(const struct bench_run *run);      /* deliveries that have to come for what was sent */
};

/* Warm up, measure, stop, and wait for what is still under way. False: it has failed. */
bool bench_drive(struct bench_run *run, const struct bench_drive *ops);

/* Connections that were refused a send, and when each of them is to send again. Zeroed is empty. */
struct bench_later {
    struct { uint64_t due_us; uint32_t peer; } *waits;
    uint32_t count, cap;
};
/* payload: the Error that refused; it may say for how long. */
void bench_later_add(struct bench_later *l, struct bench_run *run, struct bench_peer *p, const uint8_t *payload, size_t len);
/* Call send for those whose time has come. */
void bench_later_due(struct bench_later *l, struct bench_run *run, void (*send)(struct bench_run *run, struct bench_peer *p));
void bench_later_free(struct bench_later *l);

#endif
