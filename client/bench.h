/*
 * client/bench.h: what the files of bytetalk-bench share: options, what is driven (target), a run of one workload
 * against it, and the result. One thread; nothing here outlives main().
 */
#ifndef BT_CLIENT_BENCH_H
#define BT_CLIENT_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/bench_hist.h"
#include "client/bench_net.h"
#include "client/bench_proc.h"
#include "client/bench_random.h"
#include "rpc/status.h"

enum {
    BENCH_ADDRESSES = 16,
    BENCH_TOKEN = 256,
    BENCH_NAME = 64,
    BENCH_SIZES = 8,
    BENCH_STAMP = 16,       /* bytes at the end of a body that say when it was due */
    BENCH_CALLS = 64,       /* calls that a connection may have open: [proxy] max_calls */
    BENCH_STATUSES = 17,
    BENCH_TARGETS = 2,
    BENCH_WORKLOADS = 16,
    BENCH_RESULTS = 512,
    BENCH_BODY_MAX = 65536,
};

enum bench_kind { BENCH_SIGNALS, BENCH_MESSAGES };

/* A size of bodies, and how many of all have it. */
struct bench_size {
    uint32_t bytes;
    double share;           /* of all up to and including this one: rises to 1 */
};

struct bench_wire;

/* What is driven: a server, through one proxy or several, or the bare router. */
struct bench_target {
    const char *name;
    const struct bench_wire *wire;
    struct bench_address addresses[BENCH_ADDRESSES];
    unsigned address_count;
    struct bench_procs procs;
};

struct bench_workload;

struct bench_options {
    struct bench_target targets[BENCH_TARGETS];
    unsigned target_count;
    const struct bench_workload *workloads[BENCH_WORKLOADS];
    unsigned workload_count;
    bool has_kind[2];                /* by enum bench_kind */
    struct bench_size sizes[BENCH_SIZES];
    unsigned size_count;
    uint32_t clients, window, users; /* 0: the workload's own */
    uint32_t members;                /* of the group, absent ones included; 0: as many as clients */
    uint32_t conversations;
    double zipf;
    uint32_t rate;                   /* messages per second, paced */
    uint64_t messages;               /* 0: for `seconds` */
    double seconds, warm_seconds;
    unsigned rounds;
    const char *state_path, *json_path, *dir;
    uint32_t bytes;                  /* appended at a time, disk */
    bool is_held;                    /* idle: wait for a line on standard input, then a message to each */
    bool is_quiet;
};

/* ---- accounts (bench_state.c, bench_accounts.c) ---- */

struct bench_user {
    uint64_t id;                     /* 0: not made yet */
    uint64_t device_id;
    uint16_t token_len;
    uint8_t token[BENCH_TOKEN];
};
struct bench_chat_group {
    uint64_t id;
    uint32_t members;                /* the first so many users */
};
struct bench_state {
    const char *path;
    char tag[20], password[40];      /* names are bench-TAG-NUMBER */
    struct bench_user *users;
    uint32_t user_count, user_cap;
    struct bench_chat_group groups[BENCH_SIZES];
    unsigned group_count;
};

/* Read the file, or begin anew when there is none. False: it was said why. */
bool bench_state_load(struct bench_state *s, const char *path);
bool bench_state_save(const struct bench_state *s);
void bench_state_free(struct bench_state *s);
/* Room for so many users. */
void bench_state_reach(struct bench_state *s, uint32_t users);
void bench_user_name(const struct bench_state *s, uint32_t number, char out[BENCH_NAME]);

/* ---- a run ---- */

struct bench_peer {
    struct bench_conn conn;          /* first */
    uint32_t user;                   /* whom it logs in; its own number unless the workload says otherwise */
    uint64_t user_id;
    uint32_t next_call, open;        /* calls open */
    uint8_t step;                    /* the workload's */
    bool is_ready;                   /* logged in */
    uint64_t due_us[BENCH_CALLS];    /* of open calls by call % BENCH_CALLS: when they were to be sent; 0: not open */
};

struct bench_counts {
    uint64_t sent, ok, failed, delivered;
};

struct bench_result {
    const struct bench_workload *workload;
    enum bench_kind kind;
    const struct bench_target *target;
    unsigned round;
    uint32_t clients, window;
    double seconds;                  /* measured, without warming up */
    uint64_t units;                  /* of what the workload counts: messages, deliveries, logins, connections */
    struct bench_counts all;         /* warming up and the end included: they must add up */
    uint64_t expected;               /* deliveries that had to come in all */
    uint64_t errors[BENCH_STATUSES];
    uint64_t lost, stray, resyncs;   /* connections that broke; deliveries that nobody expected; OnResync events */
    uint64_t cpu_ns[BENCH_GROUPS], own_cpu_ns;
    uint64_t memory;                 /* bytes, of the first group, at the end */
    double bytes_each;               /* idle: per connection */
    struct bench_hist answer, delivery; /* microseconds, from when it was due */
};

struct bench_run {
    const struct bench_options *o;
    const struct bench_target *target;
    const struct bench_workload *workload;
    struct bench_state *state;
    enum bench_kind kind;
    struct bench_net net;
    struct bench_peer *peers;
    uint32_t peer_count, ready_count;
    bool is_group;                   /* what is sent goes to the group */
    uint64_t group_id;
    uint64_t next_id;                /* client_msg_id */
    uint64_t begun_us, measure_us;
    uint64_t looked_us;              /* for quiet connections */
    bool is_measuring;               /* not warming up, nor ending */
    bool has_failed;                 /* it was said why: stop */
    struct bench_counts counts;
    struct bench_random random;
    uint8_t *frames[BENCH_SIZES];    /* what is sent, but for call, target, id and stamp */
    uint32_t frame_lens[BENCH_SIZES];
    struct bench_result *result;
    void *load;                      /* the workload's */
    /* What the workload does about events; may be NULL. login: instead of the wire's, and its replies come like others. */
    void (*login)(struct bench_run *run, struct bench_peer *p);
    void (*ready)(struct bench_run *run, struct bench_peer *p);
    void (*replied)(struct bench_run *run, struct bench_peer *p, uint8_t status, const uint8_t *payload, size_t len);
    void (*delivered)(struct bench_run *run, struct bench_peer *p);
    void (*broke)(struct bench_run *run, struct bench_peer *p);
};

/* How a target is spoken to. */
struct bench_wire {
    bool has_replies;                /* a send is answered; else only its delivery tells that it arrived */
    /* Build run->frames for run->kind and the sizes. */
    bool (*prepare)(struct bench_run *run);
    /* Queue what logs a connection in. */
    void (*login)(struct bench_run *run, struct bench_peer *p);
    /* Queue a message that was due then; to: the receiver's number, none to a group. */
    void (*send)(struct bench_run *run, struct bench_peer *from, uint32_t to, uint64_t due_us);
    /* Queue what keeps a quiet connection open; NULL: nothing need be done. */
    void (*ping)(struct bench_run *run, struct bench_peer *p);
    size_t (*bytes)(struct bench_run *run, struct bench_peer *p, const uint8_t *data, size_t len);
};
extern const struct bench_wire bench_wire_bytetalk, bench_wire_router;

/* Any other call, on a connection to a server; fields, msg: a nanopb message. */
void bench_call(struct bench_run *run, struct bench_peer *p, uint16_t method, uint64_t target, const void *fields, const void *msg);

/* Whether a connection may send now: a call is free. */
static inline bool bench_may_send(const struct bench_peer *p)
{
    return p->is_ready && p->open < BENCH_CALLS;
}

/* bench_run.c */
bool bench_run_begin(struct bench_run *run, uint32_t clients);  /* makes peers; connects nobody */
bool bench_run_connect(struct bench_run *run, uint32_t count);  /* the next so many; returns when they are logged in */
void bench_run_dial(struct bench_run *run, struct bench_peer *p);
void bench_run_end(struct bench_run *run);
bool bench_run_turn(struct bench_run *run, uint64_t wait_us);   /* false: it has failed */
void bench_run_measure(struct bench_run *run);                  /* from here on figures count */
void bench_run_measured(struct bench_run *run, uint64_t units); /* up to here */
void bench_run_fail(struct bench_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
unsigned bench_size_pick(struct bench_run *run);

/* Stamps at the end of bodies: 16 printable bytes, so that text stays text. False: this is none of this run. */
void bench_stamp_write(uint8_t *out, uint64_t due_us, uint64_t number);
bool bench_stamp_read(const uint8_t *at, uint64_t *due_us_out);

/* What the wires tell. */
void bench_told_ready(struct bench_run *run, struct bench_peer *p);
void bench_told_reply(struct bench_run *run, struct bench_peer *p, uint32_t call, uint8_t status, const uint8_t *payload, size_t len);
void bench_told_delivery(struct bench_run *run, struct bench_peer *p, const uint8_t *payload, size_t len);

/* ---- workloads ---- */

struct bench_workload {
    const char *name, *letter, *unit, *what;
    uint32_t clients, window, users; /* unless options say otherwise; users 0: one for each client */
    bool has_kinds;                  /* runs once for signals and once for messages; else kind is messages */
    bool has_router;                 /* the router can do it too */
    bool (*run)(struct bench_run *run); /* NULL: accounts are made, and that is all */
};
extern const struct bench_workload bench_workloads[]; /* ends with a NULL name */
bool bench_load_pairs(struct bench_run *run);
bool bench_load_group(struct bench_run *run);
bool bench_load_skew(struct bench_run *run);
bool bench_paced(struct bench_run *run);
bool bench_idle(struct bench_run *run);
bool bench_login(struct bench_run *run);
bool bench_store(struct bench_run *run);
bool bench_drain(struct bench_run *run);
bool bench_disk(struct bench_run *run);

/* Make accounts until there are so many. False: it was said why. */
bool bench_accounts_make(const struct bench_options *o, const struct bench_target *t, struct bench_state *s, uint32_t count);
/* The group of the first so many users, made if there is none; 0: it was said why. */
uint64_t bench_group_make(const struct bench_options *o, const struct bench_target *t, struct bench_state *s, uint32_t members);

/* ---- options and report ---- */

/* -1: go on; else the exit status. */
int bench_options_parse(int argc, char **argv, struct bench_options *o);

void bench_progress(const struct bench_run *run, double seconds, uint64_t units);
/* What is compared: CPU seconds of the first group per million, or bytes for each. */
double bench_result_cost(const struct bench_result *r);

void bench_report_row(const struct bench_result *r);
void bench_report_summary(const struct bench_options *o, const struct bench_result *results, unsigned count);
bool bench_report_json(const struct bench_options *o, const struct bench_result *results, unsigned count);

#endif
