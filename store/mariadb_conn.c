/*
 * store/mariadb_conn.c: one connection: its states, and the library's non-blocking calls on the loop.
 *
 * A call of the library ends at once or says what it waits for; then the loop watches its socket. What follows a call is
 * decided by the owner of the connection's state: here while it is being made, the host for its watch, mariadb_run.c
 * for a job. A call that ends at once is followed in a loop, never by recursion.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errmsg.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "net/mem.h"
#include "store/mariadb_internal.h"

/* ---- states ---------------------------------------------------------------------------------------------------------- */

#define TO(state) (1u << MARIADB_##state)
static const unsigned legal_moves[MARIADB_NSTATES] = {
    [MARIADB_CLOSED] = TO(RESOLVING) | TO(CONNECTING),
    [MARIADB_RESOLVING] = TO(CLOSED) | TO(CONNECTING),
    [MARIADB_CONNECTING] = TO(CLOSED) | TO(SETTLING),
    [MARIADB_SETTLING] = TO(CLOSED) | TO(IDLE),
    [MARIADB_IDLE] = TO(CLOSED) | TO(BUSY) | TO(PINGING),
    [MARIADB_BUSY] = TO(CLOSED) | TO(IDLE),
    [MARIADB_PINGING] = TO(CLOSED) | TO(IDLE),
};

static void idle_remove(struct mariadb_conn *c)
{
    struct mariadb_conn **at = &c->db->idle;
    while (*at != c)
        at = &(*at)->next_idle;
    *at = c->next_idle;
    c->next_idle = NULL;
}

void mariadb_conn_set_state(struct mariadb_conn *c, enum mariadb_state state)
{
    assert(legal_moves[c->state] & (1u << state));
    if (!c->is_watch && c->state == MARIADB_IDLE)
        idle_remove(c);
    c->state = state;
    c->since_ms = net_now_ms(c->db->loop);
    if (state == MARIADB_IDLE) {
        net_timer_stop(c->db->loop, &c->timer);
        if (!c->is_watch) {
            c->next_idle = c->db->idle;
            c->db->idle = c;
        }
    }
}

void mariadb_conn_init(struct mariadb_conn *c, struct mariadb_db *db, struct mariadb_host *host, bool is_watch)
{
    c->db = db;
    c->host = host;
    c->is_watch = is_watch;
    c->poll_fd = -1;
}

void mariadb_conn_deinit(struct mariadb_conn *c)
{
    assert(c->state == MARIADB_CLOSED);
    bt_free(c->bound.params);
    bt_free(c->bound.bulk);
    c->bound.params = NULL;
    c->bound.bulk = NULL;
}

/* ---- calls ----------------------------------------------------------------------------------------------------------- */

static void op_begin(struct mariadb_conn *c, enum mariadb_op op)
{
    assert(c->op == OP_NONE);
    c->op = op;
    c->is_expired = false;
    memset(&c->ret, 0, sizeof c->ret);
}

static void op_connect(struct mariadb_conn *c)
{
    const struct mariadb_url *url = &c->db->conf.url;
    op_begin(c, OP_CONNECT);
    c->wait = mysql_real_connect_start(&c->ret.mysql, c->mysql, c->address, url->user, url->password, url->database,
                                       url->hosts[c->host->index].port, NULL, CLIENT_FOUND_ROWS);
}

void mariadb_op_text(struct mariadb_conn *c, const char *sql)
{
    op_begin(c, OP_TEXT);
    c->wait = mysql_real_query_start(&c->ret.code, c->mysql, sql, (unsigned long)strlen(sql));
}

void mariadb_op_result(struct mariadb_conn *c)
{
    op_begin(c, OP_RESULT);
    c->wait = mysql_store_result_start(&c->ret.res, c->mysql);
}

static void op_ping(struct mariadb_conn *c)
{
    op_begin(c, OP_PING);
    c->wait = mysql_ping_start(&c->ret.code, c->mysql);
}

void mariadb_op_prepare(struct mariadb_conn *c, struct mariadb_stmt *e)
{
    op_begin(c, OP_PREPARE);
    c->run.prepared = e;
    c->wait = mysql_stmt_prepare_start(&c->ret.code, e->handle, e->text, (unsigned long)strlen(e->text));
}

void mariadb_op_execute(struct mariadb_conn *c, struct mariadb_stmt *e)
{
    op_begin(c, OP_EXECUTE);
    c->run.prepared = e;
    c->wait = mysql_stmt_execute_start(&c->ret.code, e->handle);
}

void mariadb_op_rows(struct mariadb_conn *c, struct mariadb_stmt *e)
{
    op_begin(c, OP_ROWS);
    c->run.prepared = e;
    c->wait = mysql_stmt_store_result_start(&c->ret.code, e->handle);
}

static void op_continue(struct mariadb_conn *c, int events)
{
    switch (c->op) {
    case OP_NONE:
        return;
    case OP_CONNECT:
        c->wait = mysql_real_connect_cont(&c->ret.mysql, c->mysql, events);
        return;
    case OP_TEXT:
        c->wait = mysql_real_query_cont(&c->ret.code, c->mysql, events);
        return;
    case OP_RESULT:
        c->wait = mysql_store_result_cont(&c->ret.res, c->mysql, events);
        return;
    case OP_PING:
        c->wait = mysql_ping_cont(&c->ret.code, c->mysql, events);
        return;
    case OP_PREPARE:
        c->wait = mysql_stmt_prepare_cont(&c->ret.code, c->run.prepared->handle, events);
        return;
    case OP_EXECUTE:
        c->wait = mysql_stmt_execute_cont(&c->ret.code, c->run.prepared->handle, events);
        return;
    case OP_ROWS:
        c->wait = mysql_stmt_store_result_cont(&c->ret.code, c->run.prepared->handle, events);
        return;
    }
}

/* Have the call under way end with an error, whatever the server does: nothing comes through the socket any more. */
static void op_break_off(struct mariadb_conn *c)
{
    int fd = mysql_get_socket(c->mysql);
    if (fd >= 0)
        shutdown(fd, SHUT_RDWR);
    while (c->op != OP_NONE && c->wait != 0)
        op_continue(c, MYSQL_WAIT_TIMEOUT);
}

/* ---- the loop's side ------------------------------------------------------------------------------------------------- */

static void conn_ready(int events, void *arg)
{
    struct mariadb_conn *c = arg;
    int ready = 0;
    if (c->op == OP_NONE) {
        if (c->state == MARIADB_IDLE) /* nothing was asked: it says goodbye, or is gone */
            mariadb_conn_fail(c, CR_SERVER_LOST, "closed by the server");
        return;
    }
    if (events & NET_READABLE)
        ready |= c->wait & MYSQL_WAIT_READ;
    if (events & NET_WRITABLE)
        ready |= c->wait & MYSQL_WAIT_WRITE;
    if (ready != 0) {
        op_continue(c, ready);
        mariadb_conn_drive(c);
    }
}

static void conn_unwatch(struct mariadb_conn *c)
{
    if (c->poll != NULL)
        net_poll_close(c->poll);
    c->poll = NULL;
    c->poll_fd = -1;
}

/* Watch for what is waited for; of an idle connection only that it ends. */
static void conn_watch(struct mariadb_conn *c)
{
    int fd = c->mysql != NULL ? mysql_get_socket(c->mysql) : -1;
    if (fd != c->poll_fd)
        conn_unwatch(c);
    if (fd < 0)
        return;
    if (c->poll == NULL && net_poll_new(c->db->loop, fd, conn_ready, c, &c->poll) != BT_OK) {
        c->poll = NULL;
        mariadb_conn_fail(c, CR_OUT_OF_MEMORY, "no memory");
        return;
    }
    c->poll_fd = fd;
    int events = 0;
    if (c->op == OP_NONE || (c->wait & MYSQL_WAIT_READ))
        events |= NET_READABLE;
    if (c->op != OP_NONE && (c->wait & MYSQL_WAIT_WRITE))
        events |= NET_WRITABLE;
    net_poll_set(c->poll, events);
}

static void conn_advance(struct mariadb_conn *c, enum mariadb_op op)
{
    switch (c->state) {
    case MARIADB_CONNECTING:
        if (c->ret.mysql == NULL) {
            mariadb_conn_fail(c, mysql_errno(c->mysql), mysql_error(c->mysql));
            return;
        }
        mariadb_conn_set_state(c, MARIADB_SETTLING);
        mariadb_op_text(c, mariadb_session_sql);
        return;
    case MARIADB_SETTLING:
    case MARIADB_PINGING:
        if (c->ret.code != 0) {
            mariadb_conn_fail(c, mysql_errno(c->mysql), mysql_error(c->mysql));
            return;
        }
        bool is_new = c->state == MARIADB_SETTLING;
        mariadb_conn_set_state(c, MARIADB_IDLE);
        if (is_new && c->is_watch)
            mariadb_host_connected(c->host);
        else if (is_new)
            mariadb_pool_opened(c);
        else
            mariadb_tidy_soon(c->db);
        return;
    case MARIADB_BUSY:
        if (c->is_watch)
            mariadb_host_advance(c->host, op);
        else
            mariadb_run_advance(c, op);
        return;
    default:
        assert(false); /* no call is under way in the other states */
    }
}

void mariadb_conn_drive(struct mariadb_conn *c)
{
    if (c->is_driving)
        return;
    c->is_driving = true;
    while (c->op != OP_NONE && c->wait == 0) {
        enum mariadb_op op = c->op;
        c->op = OP_NONE;
        conn_advance(c, op);
    }
    c->is_driving = false;
    conn_watch(c);
}

static void conn_expired(void *arg)
{
    struct mariadb_conn *c = arg;
    if (c->state == MARIADB_RESOLVING) {
        mariadb_conn_fail(c, CR_UNKNOWN_HOST, "the host's name was not found in time");
        return;
    }
    op_break_off(c);
    c->is_expired = true;
    mariadb_conn_drive(c);
}

void mariadb_conn_deadline(struct mariadb_conn *c, uint32_t ms)
{
    net_timer_start(c->db->loop, &c->timer, ms, conn_expired, c);
}

bool mariadb_conn_is_alive(const struct mariadb_conn *c)
{
    char byte;
    int fd = mysql_get_socket(c->mysql);
    return fd >= 0 && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

void mariadb_conn_ping(struct mariadb_conn *c)
{
    mariadb_conn_set_state(c, MARIADB_PINGING);
    mariadb_conn_deadline(c, MARIADB_LOOK_MS);
    op_ping(c);
    mariadb_conn_drive(c);
}

/* ---- opening --------------------------------------------------------------------------------------------------------- */

void mariadb_conn_connect(struct mariadb_conn *c)
{
    mariadb_conn_set_state(c, MARIADB_CONNECTING);
    c->mysql = mysql_init(NULL);
    if (c->mysql == NULL || !mariadb_set_options(c->mysql) || mysql_options(c->mysql, MYSQL_OPT_NONBLOCK, NULL) != 0) {
        mariadb_conn_fail(c, CR_OUT_OF_MEMORY, "no memory");
        return;
    }
    op_connect(c);
    mariadb_conn_drive(c);
}

static bool is_numeric(const char *name)
{
    struct in6_addr to;
    return inet_pton(AF_INET, name, &to) == 1 || inet_pton(AF_INET6, name, &to) == 1;
}

void mariadb_conn_open(struct mariadb_conn *c)
{
    struct mariadb_host *host = c->host;
    const char *name = c->db->conf.url.hosts[host->index].name;
    mariadb_conn_deadline(c, MARIADB_CONNECT_MS);
    if (!c->is_watch) {
        memcpy(c->address, host->watch.address, sizeof c->address);
        mariadb_conn_connect(c);
    } else if (is_numeric(name)) {
        snprintf(c->address, sizeof c->address, "%s", name);
        mariadb_conn_connect(c);
    } else if (host->next_address < host->naddresses) {
        memcpy(c->address, host->addresses[host->next_address++], sizeof c->address);
        mariadb_conn_connect(c);
    } else {
        mariadb_resolve_start(c, name);
    }
}

/* ---- closing --------------------------------------------------------------------------------------------------------- */

void mariadb_conn_close(struct mariadb_conn *c)
{
    if (c->state == MARIADB_CLOSED)
        return;
    net_timer_stop(c->db->loop, &c->timer);
    conn_unwatch(c);
    mariadb_resolve_forget(c);
    if (c->mysql != NULL) {
        if (c->state != MARIADB_IDLE) /* else saying goodbye could wait for a server that does not read */
            op_break_off(c);
        if (c->op == OP_RESULT && c->ret.res != NULL)
            mysql_free_result(c->ret.res);
        c->op = OP_NONE;
        mysql_close(c->mysql); /* lets go of the statements, so that freeing them sends nothing */
        c->mysql = NULL;
    }
    mariadb_stmt_free_all(c);
    mariadb_conn_set_state(c, MARIADB_CLOSED);
}

void mariadb_conn_fail(struct mariadb_conn *c, unsigned errnum, const char *text)
{
    char copy[256];
    bool was_open = mariadb_conn_is_open(c);
    snprintf(copy, sizeof copy, "%s", c->is_expired ? "no answer in time" : text);
    mariadb_conn_close(c);
    if (c->is_watch) {
        mariadb_host_lost(c->host, was_open, errnum, copy);
        return;
    }
    if (c->run.job != NULL)
        mariadb_run_lost(c);
    mariadb_pool_lost(c, was_open, errnum, copy);
}
