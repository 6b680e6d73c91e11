/* store/mariadb_look.c: what a server says about itself, whether that will do, and the settings of our sessions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/mariadb_internal.h"

enum { LOOK_COLUMNS = 6 };

const char mariadb_look_sql[] =
    "SELECT @@GLOBAL.read_only, @@GLOBAL.innodb_flush_log_at_trx_commit, @@GLOBAL.log_bin, @@GLOBAL.sync_binlog,"
    " @@GLOBAL.max_allowed_packet, CAST(UNIX_TIMESTAMP(SYSDATE(3)) * 1000 AS SIGNED)";

const char mariadb_schema_sql[] = "SELECT version FROM schema_version WHERE id = 1";

/*
 * A part of a condition that is one value for all rows is computed before it is decided how to read them, however much it costs:
 * else a page of sessions that ended would read the whole table.
 *
 * Writes have no limit of time in the server: one that waits for its semi-synchronous replica, and were broken off there,
 * would stand and be acknowledged without the replica having it. Queries carry their limit with them.
 */
const char mariadb_session_sql[] =
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO', autocommit = 1,"
    " tx_isolation = 'READ-COMMITTED', innodb_lock_wait_timeout = 2, lock_wait_timeout = 2, idle_transaction_timeout = 2,"
    " max_statement_time = 0, expensive_subquery_limit = 4294967295, default_storage_engine = InnoDB, time_zone = '+00:00', wait_timeout = 600";

bool mariadb_set_options(MYSQL *mysql)
{
    return mysql_options(mysql, MYSQL_OPT_PROTOCOL, &(unsigned){ MYSQL_PROTOCOL_TCP }) == 0 &&
           mysql_options(mysql, MYSQL_SET_CHARSET_NAME, "utf8mb4") == 0 &&
           mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &(unsigned){ 0 }) == 0 &&
           mysql_options(mysql, MYSQL_REPORT_DATA_TRUNCATION, &(my_bool){ 1 }) == 0;
}

/* What has to be set so that an acknowledged commit outlasts a power cut and reaches the replicas. */
static void judge(struct mariadb_look *look, long flush, long log_bin, long sync_binlog)
{
    look->is_safe = flush == 1 && log_bin == 1 && sync_binlog == 1;
    if (!look->is_safe)
        snprintf(look->unsafe_why, sizeof look->unsafe_why, "it may lose acknowledged messages: set%s%s%s in the server",
                 flush == 1 ? "" : " innodb_flush_log_at_trx_commit=1", log_bin == 1 ? "" : " log_bin",
                 sync_binlog == 1 ? "" : " sync_binlog=1");
}

bool mariadb_look_of(MYSQL_ROW row, unsigned ncols, struct mariadb_look *out)
{
    memset(out, 0, sizeof *out);
    if (row == NULL || ncols != LOOK_COLUMNS)
        return false;
    for (unsigned i = 0; i < ncols; i++)
        if (row[i] == NULL)
            return false;
    out->is_read_only = atol(row[0]) != 0;
    judge(out, atol(row[1]), atol(row[2]), atol(row[3]));
    out->packet_max = strtoull(row[4], NULL, 10);
    out->server_ms = strtoll(row[5], NULL, 10);
    return true;
}

bool mariadb_schema_fits(const struct schema *schema, int version, bool may_be_newer, char *why, size_t why_size)
{
    if (version == schema->version || (version > schema->version && may_be_newer))
        return true;
    if (version == 0)
        snprintf(why, why_size, "ByteTalk's tables are missing; run bytetalk --migrate");
    else if (version < schema->version)
        snprintf(why, why_size, "schema %d, this program needs %d; run bytetalk --migrate", version, schema->version);
    else
        snprintf(why, why_size, "schema %d is newer than this program, which knows %d; start the newer program", version,
                 schema->version);
    return false;
}
