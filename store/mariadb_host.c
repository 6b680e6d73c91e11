/*
 * store/mariadb_host.c: the hosts of [store] url: what each is, which one is used, and what its clock says.
 *
 * One connection to every host asks it several times a second whether it is writable and safe. The one that is writable
 * is used. Two that are mean that a failover went wrong: neither is written to until one is left.
 */
#define LOG_MODULE "mariadb"
#include <errmsg.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/log.h"
#include "net/mem.h"
#include "store/mariadb_internal.h"

enum {
    LOOK_ALONE_MS = 2000, /* between looks at the only host there is */
    LOOK_MS = 500,        /* when there are others */
    LOOK_SEEKING_MS = 250, /* while none can be used */
    RETRY_MS = 1000,      /* between tries of one that is away, while another is used */
};

/* ---- the clock ------------------------------------------------------------------------------------------------------- */

static int64_t monotonic_ms(void)
{
    return (int64_t)(net_clock_us() / 1000);
}

/* Half of the time that the look took is taken for its way back. */
static void clock_measure(struct mariadb_host *host)
{
    uint64_t now_us = net_clock_us();
    host->clock_offset_ms = host->look.server_ms - (int64_t)((host->asked_us + now_us) / 2 / 1000);
}

static void clock_use(struct mariadb_db *db)
{
    uint64_t now_ms = net_now_ms(db->loop);
    if (db->primary == NULL || (db->is_clock_set && now_ms - db->clock_read_ms < MARIADB_CLOCK_MS))
        return;
    db->is_clock_set = true;
    db->clock_read_ms = now_ms;
    db->clock_offset_ms = db->primary->clock_offset_ms;
}

/* Before the first look it is our own clock. Never goes back once it is the server's. */
int64_t mariadb_clock_now(struct mariadb_db *db)
{
    if (!db->is_clock_set) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    }
    int64_t now = monotonic_ms() + db->clock_offset_ms;
    if (now > db->clock_last_ms)
        db->clock_last_ms = now;
    return db->clock_last_ms;
}

/* ---- choosing -------------------------------------------------------------------------------------------------------- */

static void split_set(struct mariadb_db *db, bool is_split)
{
    if (is_split && !db->is_split)
        log_error("two hosts are writable, and none is written to: set read_only=1 on all but the right one");
    else if (!is_split && db->is_split)
        log_info("no longer more than one host is writable");
    db->is_split = is_split;
}

static void choose(struct mariadb_db *db)
{
    struct mariadb_host *found = NULL;
    size_t nwritable = 0;
    for (size_t i = 0; i < db->nhosts; i++) {
        struct mariadb_host *host = &db->hosts[i];
        if (host->view == HOST_UNKNOWN)
            return; /* it may be writable */
        if (host->view == HOST_UNFIT || host->view == HOST_WRITABLE) {
            nwritable++;
            found = host->view == HOST_WRITABLE ? host : NULL;
        }
    }
    split_set(db, nwritable > 1);
    if (nwritable != 1)
        found = NULL;
    if (found != NULL)
        db->packet_max = found->look.packet_max;
    if (found != db->primary)
        db->clock_read_ms = net_now_ms(db->loop) - MARIADB_CLOCK_MS;
    mariadb_pool_use(db, found);
    clock_use(db);
}

/* why: with AWAY and UNFIT, what is wrong and what to do. Only changes are logged. */
static void set_view(struct mariadb_host *host, enum mariadb_view view, const char *why)
{
    bool is_same = host->view == view && strncmp(host->why, why, sizeof host->why - 1) == 0;
    host->view = view;
    snprintf(host->why, sizeof host->why, "%s", why);
    if (!is_same) {
        switch (view) {
        case HOST_UNKNOWN:
            break;
        case HOST_AWAY:
            log_error("%s: %s; trying on", host->shown, why);
            break;
        case HOST_READ_ONLY:
            log_info("%s: read-only", host->shown);
            break;
        case HOST_UNFIT:
            log_error("%s: not used: %s", host->shown, why);
            break;
        case HOST_WRITABLE:
            log_info("%s: writable", host->shown);
            break;
        }
    }
    choose(host->db);
}

/* ---- looking --------------------------------------------------------------------------------------------------------- */

static void host_look(struct mariadb_host *host)
{
    mariadb_conn_set_state(&host->watch, MARIADB_BUSY);
    mariadb_conn_deadline(&host->watch, MARIADB_LOOK_MS);
    host->is_asking_schema = false;
    host->asked_us = net_clock_us();
    mariadb_op_text(&host->watch, mariadb_look_sql);
}

static void host_due(void *arg)
{
    struct mariadb_host *host = arg;
    if (host->watch.state == MARIADB_CLOSED) {
        mariadb_conn_open(&host->watch);
    } else if (host->watch.state == MARIADB_IDLE) {
        host_look(host);
        mariadb_conn_drive(&host->watch);
    }
}

static void host_later(struct mariadb_host *host, uint32_t ms)
{
    net_timer_start(host->db->loop, &host->timer, ms, host_due, host);
}

/* What was learnt is complete. */
static void host_judge(struct mariadb_host *host, const char *schema_why)
{
    struct mariadb_db *db = host->db;
    mariadb_conn_set_state(&host->watch, MARIADB_IDLE);
    if (host->look.is_read_only)
        set_view(host, HOST_READ_ONLY, "");
    else if (!host->look.is_safe && db->conf.is_durable)
        set_view(host, HOST_UNFIT, host->look.unsafe_why);
    else if (*schema_why != '\0')
        set_view(host, HOST_UNFIT, schema_why);
    else
        set_view(host, HOST_WRITABLE, "");
    host_later(host, db->primary == NULL ? LOOK_SEEKING_MS : db->nhosts == 1 ? LOOK_ALONE_MS : LOOK_MS);
}

static void host_schema_came(struct mariadb_host *host, int version)
{
    char why[200] = "";
    /* Who served before an upgrade of the tables goes on after it. */
    host->is_schema_checked =
        mariadb_schema_fits(host->db->conf.schema, version, host->db->base.generation > 0, why, sizeof why);
    host_judge(host, why);
}

static void host_look_came(struct mariadb_host *host)
{
    clock_measure(host);
    if (host->look.is_read_only || host->is_schema_checked) {
        host_judge(host, "");
        return;
    }
    host->is_asking_schema = true;
    mariadb_op_text(&host->watch, mariadb_schema_sql);
}

static void host_result(struct mariadb_host *host)
{
    struct mariadb_conn *c = &host->watch;
    MYSQL_RES *res = c->ret.res;
    if (res == NULL) {
        mariadb_conn_fail(c, mysql_errno(c->mysql), mysql_error(c->mysql));
        return;
    }
    MYSQL_ROW row = mysql_fetch_row(res);
    bool is_fine = true;
    int version = row != NULL && row[0] != NULL ? atoi(row[0]) : 0;
    if (!host->is_asking_schema)
        is_fine = mariadb_look_of(row, mysql_num_fields(res), &host->look);
    mysql_free_result(res);
    if (!is_fine)
        mariadb_conn_fail(c, CR_MALFORMED_PACKET, "it does not say what it is; is it MariaDB 10.11 or newer?");
    else if (host->is_asking_schema)
        host_schema_came(host, version);
    else
        host_look_came(host);
}

void mariadb_host_advance(struct mariadb_host *host, enum mariadb_op op)
{
    struct mariadb_conn *c = &host->watch;
    if (op == OP_RESULT)
        host_result(host);
    else if (c->ret.code == 0)
        mariadb_op_result(c);
    else if (host->is_asking_schema && mysql_errno(c->mysql) == MARIADB_NO_TABLE)
        host_schema_came(host, 0);
    else
        mariadb_conn_fail(c, mysql_errno(c->mysql), mysql_error(c->mysql));
}

void mariadb_host_connected(struct mariadb_host *host)
{
    host->is_schema_checked = false;
    host_look(host);
}

/* It lives, and has no room for one connection more; what is known of it stays. */
static bool is_crowded(unsigned errnum)
{
    return errnum == ER_CON_COUNT_ERROR || errnum == ER_TOO_MANY_USER_CONNECTIONS || errnum == ER_USER_LIMIT_REACHED;
}

void mariadb_host_lost(struct mariadb_host *host, bool was_open, unsigned errnum, const char *text)
{
    char why[320];
    struct mariadb_db *db = host->db;
    bool is_known = host->view != HOST_UNKNOWN && host->view != HOST_AWAY;
    if (was_open && !host->watch.is_expired) { /* whether it has gone, connecting again will tell */
        host_later(host, 0);
        return;
    }
    if (!(is_crowded(errnum) && is_known)) {
        snprintf(why, sizeof why, "%s%s", text, mariadb_advice(errnum));
        set_view(host, HOST_AWAY, why);
    }
    host_later(host, db->primary == NULL ? LOOK_SEEKING_MS : RETRY_MS);
}

void mariadb_host_is_read_only(struct mariadb_host *host)
{
    if (host->view != HOST_WRITABLE)
        return;
    set_view(host, HOST_READ_ONLY, "");
    mariadb_host_look_soon(host);
}

void mariadb_host_look_soon(struct mariadb_host *host)
{
    if (host->watch.state == MARIADB_IDLE)
        host_later(host, 0);
}

/* ---- start and stop -------------------------------------------------------------------------------------------------- */

enum bt_err mariadb_hosts_start(struct mariadb_db *db)
{
    db->nhosts = db->conf.url.nhosts;
    db->hosts = bt_calloc(db->nhosts, sizeof *db->hosts);
    if (db->hosts == NULL)
        return BT_ENOMEM;
    for (size_t i = 0; i < db->nhosts; i++) {
        struct mariadb_host *host = &db->hosts[i];
        host->db = db;
        host->index = i;
        const char *name = db->conf.url.hosts[i].name;
        snprintf(host->shown, sizeof host->shown, strchr(name, ':') != NULL ? "[%s]:%u" : "%s:%u", name, db->conf.url.hosts[i].port);
        mariadb_conn_init(&host->watch, db, host, true);
        host_later(host, 0);
    }
    return BT_OK;
}

void mariadb_hosts_stop(struct mariadb_db *db)
{
    for (size_t i = 0; i < db->nhosts && db->hosts != NULL; i++) {
        net_timer_stop(db->loop, &db->hosts[i].timer);
        mariadb_conn_close(&db->hosts[i].watch);
        mariadb_conn_deinit(&db->hosts[i].watch);
    }
    bt_free(db->hosts);
    db->hosts = NULL;
}
