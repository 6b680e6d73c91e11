/* store/sqlite_err.c: SQLite's result codes become ours, and the ones that end the process do so here. */
#define LOG_MODULE "sqlite"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "net/log.h"
#include "store/sqlite_internal.h"

/* After a failed sync the kernel may drop the pages and report later syncs as good: only a restart reads what is true. */
static _Noreturn void sync_failed(sqlite3 *handle)
{
    log_error("a sync of the database failed (errno %d): ending, because nothing could be promised any more; "
              "check the disk, then start again", sqlite3_system_errno(handle));
    _exit(70);
}

static enum bt_err err_of_io(sqlite3 *handle, int rc)
{
    switch (rc) {
    case SQLITE_IOERR_FSYNC:
    case SQLITE_IOERR_DIR_FSYNC:
        sync_failed(handle);
    case SQLITE_IOERR_NOMEM:
        return BT_ENOMEM;
    default:
        break;
    }
    int sys = sqlite3_system_errno(handle);
    return sys == ENOSPC || sys == EDQUOT || sys == EFBIG ? BT_EFULL : BT_EDOWN;
}

static enum bt_err err_of(sqlite3 *handle, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return BT_OK;
    case SQLITE_CONSTRAINT:
        return rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_ROWID
                   ? BT_EEXIST : BT_EINTERNAL;
    case SQLITE_FULL:
        return BT_EFULL;
    case SQLITE_IOERR:
        return err_of_io(handle, rc);
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
        return BT_EDOWN;
    case SQLITE_NOMEM:
        return BT_ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_INTERRUPT:
        return BT_ETIMEOUT;
    case SQLITE_TOOBIG:
        return BT_EINVAL;
    default:
        return BT_EINTERNAL;
    }
}

enum bt_err sqlite_err_of(struct sqlite_conn *conn, int rc)
{
    enum bt_err err = err_of(conn->handle, rc);
    if (err == BT_EINTERNAL) {
        log_error("%s: %s (code %d)", conn->what, sqlite3_errmsg(conn->handle), rc);
    } else if (err == BT_EFULL || err == BT_EDOWN) {
        if (conn->health != err)
            log_error("%s fail: %s (code %d, errno %d)", conn->what, sqlite3_errmsg(conn->handle), rc,
                      sqlite3_system_errno(conn->handle));
        conn->health = err;
    }
    return err;
}

void sqlite_healthy(struct sqlite_conn *conn)
{
    if (conn->health != BT_OK)
        log_info("%s go on", conn->what);
    conn->health = BT_OK;
}
