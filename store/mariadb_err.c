/* store/mariadb_err.c: what error numbers of the server and the library say about what was done. */
#include <errmsg.h>
#include <mysqld_error.h>
#include <string.h>

#include "store/mariadb_internal.h"

/* Some errors carry the storage engine's errno in their text only. */
static bool is_no_room(const char *text)
{
    return strstr(text, "rror 28 ") != NULL || strstr(text, "errno: 28 ") != NULL || strstr(text, "rror: 28 ") != NULL;
}

enum mariadb_class mariadb_class_of(unsigned errnum, const char *text)
{
    switch (errnum) {
    case 0:
        return MARIADB_FINE;
    case ER_DUP_ENTRY:
    case ER_DUP_ENTRY_WITH_KEY_NAME:
    case ER_DUP_KEY:
        return MARIADB_DUPLICATE;
    case ER_LOCK_WAIT_TIMEOUT:
    case ER_LOCK_DEADLOCK:
    case ER_CHECKREAD:
    case ER_NEED_REPREPARE:
    case ER_MAX_PREPARED_STMT_COUNT_REACHED:
        return MARIADB_AGAIN;
    case ER_RECORD_FILE_FULL:
    case ER_DISK_FULL:
        return MARIADB_FULL;
    case ER_GET_ERRNO:
    case ER_ERROR_ON_WRITE:
        return is_no_room(text) ? MARIADB_FULL : MARIADB_WRONG;
    case ER_OPTION_PREVENTS_STATEMENT: /* --read-only */
    case ER_READ_ONLY_MODE:
    case ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION:
        return MARIADB_READ_ONLY;
    case ER_STATEMENT_TIMEOUT:
        return MARIADB_TOO_LONG;
    case ER_QUERY_INTERRUPTED:
    case ER_SERVER_SHUTDOWN:
    case ER_CONNECTION_KILLED:
    case ER_ERROR_DURING_COMMIT:
        return MARIADB_CUT;
    case CR_SERVER_GONE_ERROR:
    case CR_SERVER_LOST:
    case CR_SERVER_LOST_EXTENDED:
    case CR_MALFORMED_PACKET:
    case CR_COMMANDS_OUT_OF_SYNC:
    case CR_CONNECTION_ERROR:
    case CR_CONN_HOST_ERROR:
    case ER_ABORTING_CONNECTION:
    case ER_NEW_ABORTING_CONNECTION:
    case ER_NET_READ_ERROR:
    case ER_NET_READ_INTERRUPTED:
    case ER_NET_ERROR_ON_WRITE:
    case ER_NET_WRITE_INTERRUPTED:
    case ER_NET_PACKETS_OUT_OF_ORDER:
        return MARIADB_LOST;
    case CR_OUT_OF_MEMORY:
        return MARIADB_NO_MEMORY;
    case ER_OUTOFMEMORY: /* the server's */
    case ER_OUT_OF_RESOURCES:
        return MARIADB_AGAIN;
    default:
        return MARIADB_WRONG;
    }
}

const char *mariadb_advice(unsigned errnum)
{
    switch (errnum) {
    case CR_CONNECTION_ERROR:
    case CR_CONN_HOST_ERROR:
    case CR_SERVER_LOST:
    case CR_SERVER_GONE_ERROR:
    case CR_SERVER_LOST_EXTENDED:
        return "; is it running, and is [store] url right?";
    case CR_UNKNOWN_HOST:
        return "; is the host in [store] url spelled right?";
    case ER_ACCESS_DENIED_ERROR:
    case ER_ACCESS_DENIED_NO_PASSWORD_ERROR:
    case ER_DBACCESS_DENIED_ERROR:
        return "; check user and password in [store] url or password_file, and what the user was granted";
    case ER_BAD_DB_ERROR:
        return "; bytetalk --migrate makes it";
    case ER_CON_COUNT_ERROR:
    case ER_TOO_MANY_USER_CONNECTIONS:
    case ER_USER_LIMIT_REACHED:
        return "; raise the server's max_connections, or lower [store] connections";
    case ER_HOST_NOT_PRIVILEGED:
        return "; grant the user access from this host";
    default:
        return "";
    }
}
