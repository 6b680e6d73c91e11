/*
 * store/mariadb_schema.c: what is done with the hosts before anything is served: looking at them, and making or upgrading
 * the tables. Blocks.
 *
 * MariaDB commits every change of a table by itself. So each step of an upgrade can be begun again where it was broken off,
 * the version is set after each, and a lock keeps others from upgrading at the same time.
 */
#define LOG_MODULE "mariadb"
#include <ctype.h>
#include <mysqld_error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/log.h"
#include "net/mem.h"
#include "net/planted.h"
#include "store/mariadb_internal.h"

enum { CONNECT_S = 3, LOOK_S = 5, MIGRATE_S = 3600, LOCK_WAIT_S = 600 };

/* What the hosts said, one after the other. */
struct survey {
    MYSQL *writable;   /* the last writable host's connection, or NULL */
    char shown[272];   /* its address */
    struct mariadb_look look;
    size_t nwritable, nreached;
    unsigned errnum;   /* of the last that was not reached */
    char why[400];
};

static enum bt_err mysql_why(MYSQL *mysql, const char *shown, char *why, size_t why_size)
{
    unsigned errnum = mysql_errno(mysql);
    snprintf(why, why_size, "%s: %s%s", shown, mysql_error(mysql), mariadb_advice(errnum));
    switch (errnum) {
    case ER_ACCESS_DENIED_ERROR:
    case ER_ACCESS_DENIED_NO_PASSWORD_ERROR:
    case ER_DBACCESS_DENIED_ERROR:
    case ER_TABLEACCESS_DENIED_ERROR:
        return BT_EDENIED;
    case ER_BAD_DB_ERROR:
        return BT_ESTATE;
    default:
        return errnum >= 2000 && errnum < 3000 ? BT_EDOWN : BT_EINTERNAL;
    }
}

static MYSQL *mysql_new(unsigned timeout_s)
{
    MYSQL *mysql = mysql_init(NULL);
    if (mysql != NULL && mariadb_set_options(mysql) &&
        mysql_options(mysql, MYSQL_OPT_CONNECT_TIMEOUT, &(unsigned){ CONNECT_S }) == 0 &&
        mysql_options(mysql, MYSQL_OPT_READ_TIMEOUT, &timeout_s) == 0 &&
        mysql_options(mysql, MYSQL_OPT_WRITE_TIMEOUT, &timeout_s) == 0)
        return mysql;
    if (mysql != NULL)
        mysql_close(mysql);
    return NULL;
}

/* Run one statement; *first_out: the first column of its first row as a number, fallback without one. False: see mysql_errno(). */
static bool run(MYSQL *mysql, const char *sql, long fallback, long *first_out)
{
    if (mysql_query(mysql, sql) != 0)
        return false;
    MYSQL_RES *res = mysql_store_result(mysql);
    if (first_out != NULL)
        *first_out = fallback;
    if (res == NULL)
        return mysql_field_count(mysql) == 0;
    MYSQL_ROW row = mysql_fetch_row(res);
    if (row != NULL && row[0] != NULL && first_out != NULL)
        *first_out = atol(row[0]);
    mysql_free_result(res);
    return true;
}

static bool look_at(MYSQL *mysql, struct mariadb_look *out)
{
    if (mysql_query(mysql, mariadb_look_sql) != 0)
        return false;
    MYSQL_RES *res = mysql_store_result(mysql);
    if (res == NULL)
        return false;
    bool is_fine = mariadb_look_of(mysql_fetch_row(res), mysql_num_fields(res), out);
    mysql_free_result(res);
    return is_fine;
}

static bool host_ask(struct survey *sv, MYSQL *mysql, const struct mariadb_url *url, size_t i, const char *database)
{
    return mysql_real_connect(mysql, url->hosts[i].name, url->user, url->password, database, url->hosts[i].port, NULL, 0) != NULL &&
           mysql_query(mysql, mariadb_session_sql) == 0 && look_at(mysql, &sv->look);
}

static void survey_host(struct survey *sv, const struct mariadb_conf *conf, size_t i, enum store_mode mode)
{
    const struct mariadb_url *url = &conf->url;
    char shown[272];
    struct mariadb_look before = sv->look;
    MYSQL *mysql = mysql_new(mode == STORE_MIGRATE ? MIGRATE_S : LOOK_S);
    if (mysql == NULL) {
        snprintf(sv->why, sizeof sv->why, "no memory");
        return;
    }
    snprintf(shown, sizeof shown, "%s:%u", url->hosts[i].name, url->hosts[i].port);
    /* Who makes the tables makes the database too. */
    if (!host_ask(sv, mysql, url, i, mode == STORE_MIGRATE ? NULL : url->database)) {
        sv->errnum = mysql_errno(mysql);
        mysql_why(mysql, shown, sv->why, sizeof sv->why);
        mysql_close(mysql);
        sv->look = before;
        return;
    }
    sv->nreached++;
    if (sv->look.is_read_only) {
        mysql_close(mysql);
        sv->look = before;
        return;
    }
    sv->nwritable++;
    if (sv->writable != NULL)
        mysql_close(sv->writable);
    sv->writable = mysql;
    snprintf(sv->shown, sizeof sv->shown, "%s", shown);
}

/*
 * BT_OK: sv->writable is the one to work with, or, with STORE_SERVE, NULL: there is none now. Who is away then is logged by
 * the connections that watch the hosts.
 */
static enum bt_err survey(struct survey *sv, const struct mariadb_conf *conf, enum store_mode mode, char *why, size_t why_size)
{
    memset(sv, 0, sizeof *sv);
    for (size_t i = 0; i < conf->url.nhosts; i++)
        survey_host(sv, conf, i, mode);
    bool is_refused = sv->nreached == 0 && sv->errnum >= 1000 && sv->errnum < 2000; /* by the server: time does not mend it */
    if (sv->nwritable > 1) {
        snprintf(why, why_size, "[store] url: %zu of its hosts are writable: set read_only=1 on all but the right one", sv->nwritable);
        return BT_ESTATE;
    }
    if (sv->nwritable == 1) {
        if (sv->look.is_safe || !conf->is_durable)
            return BT_OK;
        snprintf(why, why_size, "%s: %s, or [store] durable = no here", sv->shown, sv->look.unsafe_why);
        return BT_ESTATE;
    }
    if (sv->nreached > 0)
        snprintf(sv->why, sizeof sv->why, "[store] url: none of its hosts is writable: set read_only=0 on the primary");
    if (mode == STORE_SERVE && !is_refused) {
        if (sv->nreached > 0)
            log_error("%s; serving without it until then", sv->why);
        return BT_OK;
    }
    snprintf(why, why_size, "%s", sv->why);
    return is_refused ? (sv->errnum == MARIADB_NO_DATABASE ? BT_ESTATE : BT_EDENIED) : BT_EDOWN;
}

/* *version_out: 0 when our tables are missing. */
static enum bt_err read_version(MYSQL *mysql, const char *shown, int *version_out, char *why, size_t why_size)
{
    long version = 0;
    bool is_read = run(mysql, mariadb_schema_sql, 0, &version);
    *version_out = (int)version;
    return is_read || mysql_errno(mysql) == MARIADB_NO_TABLE ? BT_OK : mysql_why(mysql, shown, why, why_size);
}

/* ---- making and upgrading -------------------------------------------------------------------------------------------- */

/* What a step that was broken off has done already. */
static bool is_done_already(unsigned errnum)
{
    return errnum == ER_TABLE_EXISTS_ERROR || errnum == ER_DUP_FIELDNAME || errnum == ER_DUP_KEYNAME ||
           errnum == ER_CANT_DROP_FIELD_OR_KEY || errnum == ER_DUP_CONSTRAINT_NAME;
}

/* The end of the statement that begins at sql: its ';', which does not stand in a text, or the end of all. */
static const char *statement_end(const char *sql)
{
    char quote = '\0';
    for (; *sql != '\0' && (quote != '\0' || *sql != ';'); sql++) {
        if (quote == '\0' && (*sql == '\'' || *sql == '"' || *sql == '`'))
            quote = *sql;
        else if (*sql == quote)
            quote = '\0';
    }
    return sql;
}

static bool run_script(MYSQL *mysql, const char *sql)
{
    while (*sql != '\0') {
        const char *end = statement_end(sql);
        while (sql < end && isspace((unsigned char)*sql))
            sql++;
        if (sql < end && mysql_real_query(mysql, sql, (unsigned long)(end - sql)) != 0 && !is_done_already(mysql_errno(mysql)))
            return false;
        sql = *end == ';' ? end + 1 : end;
    }
    return true;
}

static bool set_version(MYSQL *mysql, int version)
{
    char sql[128];
    snprintf(sql, sizeof sql, "REPLACE INTO schema_version (id, version) VALUES (1, %d)", version);
    return run(mysql, sql, 0, NULL);
}

static bool change_schema(MYSQL *mysql, const struct schema *schema, int from)
{
    if (from == 0)
        return run_script(mysql, planted_schema(schema->create)) && set_version(mysql, schema->version);
    for (int v = from; v < schema->version; v++)
        if (!run_script(mysql, schema->steps[v - 1]) || !set_version(mysql, v + 1))
            return false;
    return true;
}

/* A database with tables that are not ours stays as it is. */
static enum bt_err check_empty(MYSQL *mysql, const struct mariadb_conf *conf, const char *shown, char *why, size_t why_size)
{
    long others = 0;
    if (!run(mysql, "SELECT COUNT(*) FROM information_schema.tables t WHERE t.table_schema = DATABASE() AND NOT EXISTS"
                    " (SELECT 1 FROM information_schema.tables o WHERE o.table_schema = DATABASE() AND o.table_name = 'schema_version')",
             0, &others))
        return mysql_why(mysql, shown, why, why_size);
    if (others == 0)
        return BT_OK;
    snprintf(why, why_size, "%s: database %s holds tables of something else; name another one in [store] url", shown, conf->url.database);
    return BT_ESTATE;
}

static enum bt_err migrate_locked(MYSQL *mysql, const struct mariadb_conf *conf, const char *shown, char *why, size_t why_size)
{
    int version;
    enum bt_err err = read_version(mysql, shown, &version, why, why_size);
    if (err == BT_OK && version == 0)
        err = check_empty(mysql, conf, shown, why, why_size);
    if (err != BT_OK)
        return err;
    if (version > conf->schema->version) {
        mariadb_schema_fits(conf->schema, version, false, why, why_size);
        return BT_ESTATE;
    }
    if (version == conf->schema->version) {
        log_info("%s: schema %d is there already", shown, version);
        return BT_OK;
    }
    if (!change_schema(mysql, conf->schema, version))
        return mysql_why(mysql, shown, why, why_size);
    if (version == 0)
        log_info("%s: schema %d made in database %s", shown, conf->schema->version, conf->url.database);
    else
        log_info("%s: schema upgraded from %d to %d", shown, version, conf->schema->version);
    return BT_OK;
}

static enum bt_err migrate(MYSQL *mysql, const struct mariadb_conf *conf, const char *shown, char *why, size_t why_size)
{
    char sql[256];
    long got = 0;
    /* Only tried when it is not there: whoever owns just the database may not make any. */
    if (mysql_select_db(mysql, conf->url.database) != 0) {
        snprintf(sql, sizeof sql, "CREATE DATABASE IF NOT EXISTS `%s`", conf->url.database);
        if (!run(mysql, sql, 0, NULL) || mysql_select_db(mysql, conf->url.database) != 0)
            return mysql_why(mysql, shown, why, why_size);
    }
    if (!run(mysql, "SET SESSION lock_wait_timeout = 60", 0, NULL)) /* readers of a table may take their time */
        return mysql_why(mysql, shown, why, why_size);
    snprintf(sql, sizeof sql, "SELECT GET_LOCK('bytetalk %.40s', %d)", conf->url.database, LOCK_WAIT_S);
    if (!run(mysql, sql, 0, &got))
        return mysql_why(mysql, shown, why, why_size);
    if (got != 1) {
        snprintf(why, why_size, "%s: another --migrate has been at it for %d minutes; see what it does", shown, LOCK_WAIT_S / 60);
        return BT_EBUSY;
    }
    return migrate_locked(mysql, conf, shown, why, why_size); /* the lock goes with the connection */
}

/* read_only=1 does not stop everybody: whom it does not stop may write to a host that was just replaced. */
static void warn_of_rights(MYSQL *mysql, const char *shown)
{
    long n = 0;
    if (run(mysql, "SELECT COUNT(*) FROM information_schema.user_privileges WHERE privilege_type = 'READ_ONLY ADMIN'", 0, &n) && n > 0)
        log_warn("%s: our user may write to a read-only server; for a safe failover give it rights on the database only", shown);
}

static enum bt_err check(MYSQL *mysql, const struct mariadb_conf *conf, const char *shown, char *why, size_t why_size)
{
    int version;
    char what[200];
    enum bt_err err = read_version(mysql, shown, &version, why, why_size);
    if (err != BT_OK || mariadb_schema_fits(conf->schema, version, false, what, sizeof what))
        return err;
    snprintf(why, why_size, "%s: database %s: %s", shown, conf->url.database, what);
    return BT_ESTATE;
}

enum bt_err mariadb_bring_up(const struct mariadb_conf *conf, enum store_mode mode, char *why, size_t why_size)
{
    struct survey sv;
    enum bt_err err = survey(&sv, conf, mode, why, why_size);
    if (err == BT_OK && sv.writable != NULL)
        err = mode == STORE_MIGRATE ? migrate(sv.writable, conf, sv.shown, why, why_size)
                                    : check(sv.writable, conf, sv.shown, why, why_size);
    if (err == BT_OK && sv.writable != NULL && mode == STORE_SERVE && conf->url.nhosts > 1)
        warn_of_rights(sv.writable, sv.shown);
    if (sv.writable != NULL)
        mysql_close(sv.writable);
    return err;
}
