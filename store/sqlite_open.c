/* store/sqlite_open.c: opening and closing connections to the database file. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/sqlite_internal.h"

enum bt_err sqlite_why(sqlite3 *handle, int rc, const char *path, char *why, size_t why_size)
{
    int sys = handle != NULL ? sqlite3_system_errno(handle) : 0;
    const char *text = handle != NULL ? sqlite3_errmsg(handle) : sqlite3_errstr(rc);
    snprintf(why, why_size, "%s: %s%s%s", path, text, sys != 0 ? ": " : "", sys != 0 ? strerror(sys) : "");
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return BT_EFULL;
    case SQLITE_NOMEM:
        return BT_ENOMEM;
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
        return BT_EDENIED;
    case SQLITE_CANTOPEN:
        return sys == ENOENT ? BT_ENOTFOUND : sys == EACCES ? BT_EDENIED : BT_EDOWN;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return BT_ESTATE;
    case SQLITE_BUSY:
        return BT_ETIMEOUT;
    default:
        return sys == ENOSPC || sys == EDQUOT ? BT_EFULL : BT_EDOWN;
    }
}

/* What memory SQLite uses is asked by nobody, and counting it takes a lock for each allocation. */
static void count_no_memory(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* refused once something has used SQLite: then it counts */
}

enum bt_err sqlite_conn_open(struct sqlite_conn *conn, const char *path, int flags, char *why, size_t why_size)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    (void)pthread_once(&once, count_no_memory);
    int rc = sqlite3_open_v2(path, &conn->handle, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        enum bt_err err = sqlite_why(conn->handle, rc, path, why, why_size);
        sqlite_conn_close(conn);
        return err;
    }
    sqlite3_extended_result_codes(conn->handle, 1);
    return BT_OK;
}

void sqlite_conn_close(struct sqlite_conn *conn)
{
    sqlite_stmt_free_all(conn);
    sqlite3_close(conn->handle);
    conn->handle = NULL;
}

int sqlite_run(sqlite3 *handle, const char *sql)
{
    return sqlite3_exec(handle, sql, NULL, NULL, NULL);
}
