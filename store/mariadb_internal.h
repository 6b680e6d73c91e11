/*
 * store/mariadb_internal.h: what the files of the MariaDB backend share.
 *
 * mariadb.c          calls become jobs; the queue, the answers, closing
 * mariadb_pool.c     which job runs on which connection, how many there are, up and down
 * mariadb_host.c     the hosts: what each is, which one is used, the server's clock
 * mariadb_conn.c     one connection: its states, the library's calls on the loop
 * mariadb_resolve.c  the address of a host's name
 * mariadb_run.c      one job on one connection: prepare, execute, rows, BEGIN and COMMIT
 * mariadb_stmt.c     prepared statements, parameters, rows
 * mariadb_err.c      what error numbers mean
 * mariadb_look.c     what a server says about itself, and whether it may be used
 * mariadb_url.c      [store] url
 * mariadb_schema.c   looking at hosts at the start, creating and upgrading the schema; blocks
 */
#ifndef BT_STORE_MARIADB_INTERNAL_H
#define BT_STORE_MARIADB_INTERNAL_H

#include <mysql.h>
#include <netinet/in.h>

#include "net/loop.h"
#include "net/timer.h"
#include "store/db_internal.h"
#include "store/mariadb.h"

enum {
    MARIADB_STMTS_MAX = 512,       /* prepared statements per connection; beyond it all are let go */
    MARIADB_SPARE_JOBS = 64,       /* answers that can still be given when memory is out */
    MARIADB_TRIES_MAX = 5,         /* how often a job is begun that the server refused for now, or that a lost connection undid */
    MARIADB_ADDRESSES_MAX = 8,     /* of one host name */
    MARIADB_CONNECT_MS = 3000,     /* until a connection is of use */
    MARIADB_LOOK_MS = 1500,        /* until a server says what it is, or that it lives */
    MARIADB_GRACE_MS = 2000,       /* calls wait that long for a database that has gone; then they are refused */
    MARIADB_PING_IDLE_MS = 10000,  /* a connection idle for that long is asked whether it lives */
    MARIADB_SHRINK_IDLE_MS = 60000, /* and one idle for that long is closed, but for the last */
    MARIADB_CLOCK_MS = 30000,      /* how long a reading of the server's clock is used */
    MARIADB_LOCK_WAIT_S = 2,
};

struct mariadb_db;
struct mariadb_host;

/* ---- mariadb_err.c --------------------------------------------------------------------------------------------------- */

/* What an error of a statement says about what it did. */
enum mariadb_class {
    MARIADB_FINE,
    MARIADB_DUPLICATE,  /* a key is there already; nothing was done */
    MARIADB_AGAIN,      /* not done, and may go well in a moment: a deadlock, a lock not got in time */
    MARIADB_FULL,       /* no room; nothing was done */
    MARIADB_READ_ONLY,  /* this host does not write any more; nothing was done */
    MARIADB_TOO_LONG,   /* broken off by the server for its time */
    MARIADB_CUT,        /* broken off by the server, which ends or was told to; the connection is of no use */
    MARIADB_LOST,       /* no connection */
    MARIADB_NO_MEMORY,
    MARIADB_WRONG,      /* the statement is; nothing was done */
};
enum mariadb_class mariadb_class_of(unsigned errnum, const char *text);

/* What a person can do about a connection that is not made: "; is it running?". */
const char *mariadb_advice(unsigned errnum);

/* ---- mariadb_look.c -------------------------------------------------------------------------------------------------- */

/* What a server says about itself. */
struct mariadb_look {
    bool is_read_only;
    bool is_safe;            /* what it acknowledges is synced, and in its binary log */
    int64_t server_ms;       /* its clock */
    uint64_t packet_max;     /* bytes of one statement */
    char unsafe_why[160];    /* what to set */
};
extern const char mariadb_look_sql[];
bool mariadb_look_of(MYSQL_ROW row, unsigned ncols, struct mariadb_look *out);

extern const char mariadb_schema_sql[]; /* the schema's version, one row; fails with MARIADB_NO_TABLE */
enum { MARIADB_NO_TABLE = 1146, MARIADB_NO_DATABASE = 1049 };
/* Whether we can work with a version (0: none). may_be_newer: what ran before an upgrade goes on after it. */
bool mariadb_schema_fits(const struct schema *schema, int version, bool may_be_newer, char *why, size_t why_size);

/* Settings of every session; timeouts of the non-blocking calls are the loop's. */
extern const char mariadb_session_sql[];
bool mariadb_set_options(MYSQL *mysql); /* those before connecting, the same for all */

/* ---- mariadb.c ------------------------------------------------------------------------------------------------------- */

/* Result rows while they are copied: blobs are offsets until the last row is there. */
struct mariadb_rows {
    struct db_val *vals;
    size_t nvals, vals_cap;
    uint8_t *bytes;
    size_t bytes_len, bytes_cap;
    struct db_rows view;
};

/* One call, from when it was made until it is answered. Owned by a queue or by the connection that runs it. */
struct mariadb_job {
    struct mariadb_job *next;
    struct db_list *list;     /* NULL: nothing to run, done.err says why */
    bool is_query, is_spare;
    size_t cost;              /* statements */
    uint64_t due_ms;          /* not begun after this */
    unsigned tries;           /* how often it was begun */
    uint64_t not_before_ms;   /* after a deadlock: when to begin again */
    db_rows_cb *rows_cb;      /* is_query */
    db_done_cb *done_cb;      /* otherwise; NULL: nobody asks */
    void *arg;
    struct db_done done;      /* err for queries too */
    int64_t rows_changed;     /* by all statements */
    struct mariadb_rows rows;
};

struct mariadb_queue {
    struct mariadb_job *head, **tail;
};
void mariadb_queue_init(struct mariadb_queue *q);
void mariadb_queue_push(struct mariadb_queue *q, struct mariadb_job *job);
void mariadb_queue_push_front(struct mariadb_queue *q, struct mariadb_job *job);
struct mariadb_job *mariadb_queue_pop(struct mariadb_queue *q); /* NULL: empty */

void mariadb_job_answer(struct mariadb_db *db, struct mariadb_job *job); /* runs its callback and frees it */
void mariadb_rows_clear(struct mariadb_rows *rows);
void mariadb_tidy_soon(struct mariadb_db *db); /* look after the queue, the pool and the closing, later in this turn */

/* ---- mariadb_stmt.c -------------------------------------------------------------------------------------------------- */

struct mariadb_stmt {
    struct mariadb_stmt *next;
    MYSQL_STMT *handle;
    size_t head_cols;  /* > 0: sql is a db_insert() head, prepared with a row of so many '?' */
    bool is_query;     /* prepared with a limit of its time */
    bool is_prepared;
    uint32_t hash;
    char *text;        /* what is prepared */
    char sql[];
};
struct mariadb_conn;

/* The statement's entry, prepared or still to be; NULL: no memory. */
struct mariadb_stmt *mariadb_stmt_get(struct mariadb_conn *c, const struct db_stmt *s, bool is_query);
void mariadb_stmt_drop(struct mariadb_conn *c, struct mariadb_stmt *e);
void mariadb_stmt_free_all(struct mariadb_conn *c);

/*
 * Bind the parameters of one run (row) of s, or with is_bulk of all its runs; kept in c->bound until the next call.
 * BT_ENOMEM, BT_EINTERNAL.
 */
enum bt_err mariadb_stmt_bind(struct mariadb_conn *c, struct mariadb_stmt *e, const struct db_list *list, const struct db_stmt *s,
                              size_t row, bool is_bulk);
/* Whether every column of a many-row insert has one type (and NULL): only then can it be bound as a whole. */
bool mariadb_stmt_is_even(const struct db_list *list, const struct db_stmt *s);
/* Copy all stored rows. BT_ENOMEM, BT_EINTERNAL. */
enum bt_err mariadb_stmt_rows(struct mariadb_stmt *e, struct mariadb_rows *rows);

/* ---- mariadb_conn.c -------------------------------------------------------------------------------------------------- */

enum mariadb_state {
    MARIADB_CLOSED,     /* nothing is open; the timer may run until the next try */
    MARIADB_RESOLVING,  /* a thread looks the host's name up */
    MARIADB_CONNECTING, /* socket and login */
    MARIADB_SETTLING,   /* settings of the session */
    MARIADB_IDLE,
    MARIADB_BUSY,       /* pool: runs a job; watch: asks the server what it is */
    MARIADB_PINGING,
    MARIADB_NSTATES,
};

/* A call of the library that may be under way. */
enum mariadb_op { OP_NONE, OP_CONNECT, OP_TEXT, OP_RESULT, OP_PING, OP_PREPARE, OP_EXECUTE, OP_ROWS };

enum mariadb_phase { RUN_STMT, RUN_BEGIN, RUN_COMMIT, RUN_ROLLBACK };

/* A job on a connection. */
struct mariadb_run {
    struct mariadb_job *job;
    enum mariadb_phase phase;
    size_t stmt, row;          /* where in the list */
    bool is_transaction;       /* begun with BEGIN; otherwise the one statement commits itself */
    bool is_committing;        /* what was sent last may make the writes stand, whatever becomes of its answer */
    bool is_again;             /* after the rollback: begin anew, later */
    struct mariadb_stmt *prepared;
};

struct mariadb_conn {
    struct mariadb_db *db;
    struct mariadb_host *host;      /* pool: the one that is used, while open */
    struct mariadb_conn *next_idle; /* pool, MARIADB_IDLE */
    bool is_watch;                  /* the host's own */
    enum mariadb_state state;
    uint64_t since_ms;              /* in this state */
    uint64_t used_ms;               /* pool: when the last job ended */
    uint64_t generation;            /* pool: of the db when it was opened */
    uint32_t backoff_ms;
    uint64_t retry_ms;              /* pool: not opened again before */
    char address[INET6_ADDRSTRLEN]; /* where it is connected, or was last tried */
    MYSQL *mysql;
    struct net_poll *poll;
    int poll_fd;
    struct net_timer timer;         /* the end of the call under way */
    enum mariadb_op op;
    int wait;                       /* what the library waits for; 0: the call has ended */
    bool is_expired;                /* the call was broken off by the timer */
    bool is_driving;
    struct {                        /* what ended calls returned */
        int code;
        MYSQL *mysql;
        MYSQL_RES *res;
    } ret;
    struct mariadb_stmt *buckets[256]; /* by hash of the text */
    size_t nstmts;
    struct {
        MYSQL_BIND *params;
        size_t params_cap;
        uint8_t *bulk;                 /* columns of a many-row insert */
        size_t bulk_cap;
    } bound;
    struct mariadb_run run;            /* pool, MARIADB_BUSY */
    struct mariadb_resolve *resolve;   /* MARIADB_RESOLVING */
};

void mariadb_conn_init(struct mariadb_conn *c, struct mariadb_db *db, struct mariadb_host *host, bool is_watch);
void mariadb_conn_open(struct mariadb_conn *c); /* MARIADB_CLOSED; goes on to MARIADB_IDLE or is lost */
void mariadb_conn_connect(struct mariadb_conn *c); /* MARIADB_CLOSED, MARIADB_RESOLVING: to c->address */
/* Close whatever is open, politely if it is idle. No callback of a job, and none of the pool or the host, is called. */
void mariadb_conn_close(struct mariadb_conn *c);
void mariadb_conn_deinit(struct mariadb_conn *c); /* MARIADB_CLOSED */
void mariadb_conn_set_state(struct mariadb_conn *c, enum mariadb_state state);
void mariadb_conn_ping(struct mariadb_conn *c);   /* MARIADB_IDLE */
/* MARIADB_IDLE: whether the server has not closed it, as far as this machine knows by now: the loop may not have looked yet. */
bool mariadb_conn_is_alive(const struct mariadb_conn *c);
/* It is of no use any more: close it, have its job answered or repeated, tell the pool or the host. */
void mariadb_conn_fail(struct mariadb_conn *c, unsigned errnum, const char *text);
/* Have the calls that were started go on, and wait for the loop. Follows every start outside of an `advance`. */
void mariadb_conn_drive(struct mariadb_conn *c);
void mariadb_conn_deadline(struct mariadb_conn *c, uint32_t ms); /* for all calls until the state is idle */
static inline bool mariadb_conn_is_open(const struct mariadb_conn *c) { return c->state >= MARIADB_IDLE; }

/* Start a call; its end reaches the owner of the state. */
void mariadb_op_text(struct mariadb_conn *c, const char *sql); /* sql: borrowed until it ends */
void mariadb_op_result(struct mariadb_conn *c);
void mariadb_op_prepare(struct mariadb_conn *c, struct mariadb_stmt *e);
void mariadb_op_execute(struct mariadb_conn *c, struct mariadb_stmt *e);
void mariadb_op_rows(struct mariadb_conn *c, struct mariadb_stmt *e);

/* ---- mariadb_resolve.c ----------------------------------------------------------------------------------------------- */

/* Look name up, then connect to its first address; the host keeps the others. MARIADB_CLOSED. */
void mariadb_resolve_start(struct mariadb_conn *c, const char *name);
void mariadb_resolve_forget(struct mariadb_conn *c); /* its end is of no use any more; db->nresolving still counts it */

/* ---- mariadb_run.c --------------------------------------------------------------------------------------------------- */

void mariadb_run_start(struct mariadb_conn *c, struct mariadb_job *job); /* MARIADB_IDLE; drives */
void mariadb_run_advance(struct mariadb_conn *c, enum mariadb_op op);    /* a call has ended */
void mariadb_run_lost(struct mariadb_conn *c);                           /* MARIADB_CLOSED by now: answer or repeat the job */

/* ---- mariadb_host.c -------------------------------------------------------------------------------------------------- */

enum mariadb_view {
    HOST_UNKNOWN,    /* not looked at yet */
    HOST_AWAY,       /* can't be reached */
    HOST_READ_ONLY,
    HOST_UNFIT,      /* writable, and refused */
    HOST_WRITABLE,
};

struct mariadb_host {
    struct mariadb_db *db;
    size_t index;                /* in conf.url.hosts */
    char shown[272];             /* "host:port" */
    struct mariadb_conn watch;
    struct net_timer timer;      /* until the next look or try */
    enum mariadb_view view;
    struct mariadb_look look;
    char why[320];               /* the last thing said about it, to log changes only */
    uint64_t asked_us;           /* when the look was sent */
    int64_t clock_offset_ms;     /* its clock minus the monotonic one, by the last look */
    bool is_schema_checked;      /* since it was connected */
    bool is_asking_schema;
    /* Its name's addresses; the watch takes one after the other, the pool's connections follow the watch. */
    char addresses[MARIADB_ADDRESSES_MAX][INET6_ADDRSTRLEN];
    size_t naddresses, next_address;
};

enum bt_err mariadb_hosts_start(struct mariadb_db *db);
void mariadb_hosts_stop(struct mariadb_db *db); /* closes the watches and frees */
void mariadb_host_connected(struct mariadb_host *host);                         /* its watch is idle for the first time */
void mariadb_host_advance(struct mariadb_host *host, enum mariadb_op op);       /* a call of its watch has ended */
void mariadb_host_lost(struct mariadb_host *host, bool was_open, unsigned errnum, const char *text);
void mariadb_host_is_read_only(struct mariadb_host *host);                      /* a write was told so */
void mariadb_host_look_soon(struct mariadb_host *host);                         /* something is wrong with it */
int64_t mariadb_clock_now(struct mariadb_db *db);

/* ---- mariadb_pool.c -------------------------------------------------------------------------------------------------- */

void mariadb_pool_use(struct mariadb_db *db, struct mariadb_host *host); /* NULL: none; connections to another are closed */
void mariadb_pool_opened(struct mariadb_conn *c);                        /* idle for the first time */
void mariadb_pool_lost(struct mariadb_conn *c, bool was_open, unsigned errnum, const char *text); /* closed by now */
void mariadb_pool_dispatch(struct mariadb_db *db);
void mariadb_pool_tick(struct mariadb_db *db);                           /* see to it that there is a next look at all this */
bool mariadb_pool_is_hopeless(const struct mariadb_db *db);              /* down for longer than calls wait */
void mariadb_pool_stop(struct mariadb_db *db);

struct mariadb_db {
    struct db base;
    struct net_loop *loop;
    struct mariadb_conf conf;
    char limited[64];                /* what stands before a query: the limit of its time */
    size_t load;                     /* statements not answered yet */
    struct mariadb_queue queue;      /* to be run */
    struct mariadb_queue refused;    /* to be answered */
    struct net_task tidy_task;
    struct net_timer tick;
    uint32_t tick_ms;                /* what it was started with */
    bool is_closing, is_stopped;
    void (*closed_cb)(void *arg);
    void *closed_arg;
    struct mariadb_job *spares;
    struct mariadb_job spare_mem[MARIADB_SPARE_JOBS];

    struct mariadb_host *hosts;
    size_t nhosts;
    struct mariadb_host *primary;    /* the one that is used; NULL: none */
    bool is_split;                   /* two are writable */
    uint64_t packet_max;

    struct mariadb_conn *conns;      /* conf.connections of them */
    struct mariadb_conn *idle;       /* the last used first */
    size_t nresolving;               /* look-ups in threads, pool and watches */
    bool is_generation_due;          /* a connection of the present generation was lost */
    uint64_t warned_ms;              /* when a failing connection was logged last */
    bool is_connected;               /* to the primary; base.is_up, but for closing */
    uint64_t down_since_ms;          /* while not is_connected */

    bool is_clock_set;
    int64_t clock_offset_ms;         /* server minus monotonic */
    uint64_t clock_read_ms;          /* when, monotonic */
    int64_t clock_last_ms;           /* what was told last */
};

#endif
