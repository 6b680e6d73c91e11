/* store/sqlite_schema.c: makes, checks and upgrades the schema of a database file, before anything is served. */
#define LOG_MODULE "sqlite"
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/log.h"
#include "net/planted.h"
#include "store/data_dir.h"
#include "store/sqlite_internal.h"

enum { EMPTY = 0, BUSY_WAIT_MS = 5000 };

/* Read one integer. */
static int read_int(sqlite3 *handle, const char *sql, int *out)
{
    sqlite3_stmt *stmt;
    int rc = sqlite3_prepare_v2(handle, sql, -1, &stmt, NULL);
    if (rc != SQLITE_OK)
        return rc;
    rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *out = sqlite3_column_int(stmt, 0);
    int end = sqlite3_finalize(stmt);
    return rc == SQLITE_ROW ? SQLITE_OK : end != SQLITE_OK ? end : SQLITE_CORRUPT;
}

/* *version_out: EMPTY when there is no table at all. BT_ESTATE: a database, but none of ours. */
static enum bt_err read_version(sqlite3 *handle, const char *path, int *version_out, char *why, size_t why_size)
{
    int tables, ours;
    int rc = read_int(handle, "SELECT COUNT(*) FROM sqlite_master", &tables);
    if (rc == SQLITE_OK)
        rc = read_int(handle, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'schema_version'", &ours);
    if (rc != SQLITE_OK)
        return sqlite_why(handle, rc, path, why, why_size);
    if (tables > 0 && ours == 0) {
        snprintf(why, why_size, "%s: a database of something else; name another file in [store] url", path);
        return BT_ESTATE;
    }
    if (tables == 0) {
        *version_out = EMPTY;
        return BT_OK;
    }
    rc = read_int(handle, "SELECT version FROM schema_version WHERE id = 1", version_out);
    return rc == SQLITE_OK ? BT_OK : sqlite_why(handle, rc, path, why, why_size);
}

/* Run SQL and set the version, in one transaction. */
static enum bt_err change_schema(sqlite3 *handle, const char *path, const struct schema *schema, int from, char *why, size_t why_size)
{
    char set[128];
    snprintf(set, sizeof set, from == EMPTY ? "INSERT INTO schema_version (id, version) VALUES (1, %d)"
                                            : "UPDATE schema_version SET version = %d WHERE id = 1", schema->version);
    int rc = sqlite_run(handle, "BEGIN IMMEDIATE");
    if (rc == SQLITE_OK && from == EMPTY)
        rc = sqlite_run(handle, planted_schema(schema->create));
    for (int v = from; from != EMPTY && v < schema->version && rc == SQLITE_OK; v++)
        rc = sqlite_run(handle, schema->steps[v - 1]);
    if (rc == SQLITE_OK)
        rc = sqlite_run(handle, set);
    if (rc == SQLITE_OK)
        rc = sqlite_run(handle, "COMMIT");
    if (rc == SQLITE_OK)
        return BT_OK;
    enum bt_err err = sqlite_why(handle, rc, path, why, why_size);
    sqlite_run(handle, "ROLLBACK");
    return err;
}

static enum bt_err upgrade(sqlite3 *handle, const char *path, const struct schema *schema, int from, char *why, size_t why_size)
{
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof copy, "%s.v%d", path, from) >= (int)sizeof copy) {
        snprintf(why, why_size, "%s: path too long", path);
        return BT_EINVAL;
    }
    enum bt_err err = sqlite_copy(path, copy, true, why, why_size);
    if (err == BT_OK)
        err = change_schema(handle, path, schema, from, why, why_size);
    if (err == BT_OK)
        log_info("%s: schema upgraded from %d to %d; the old one is kept as %s", path, from, schema->version, copy);
    return err;
}

/* Make the file with our mode; SQLite gives its log and index the same one. The new name is synced with the directory. */
static enum bt_err make_file(const char *path, char *why, size_t why_size)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return data_dir_errno(path, why, why_size);
    close(fd);
    return data_dir_sync_parent(path, why, why_size);
}

static enum bt_err bring_up(sqlite3 *handle, const char *path, enum store_mode mode, const struct schema *schema, char *why, size_t why_size)
{
    int version;
    enum bt_err err = read_version(handle, path, &version, why, why_size);
    if (err != BT_OK || version == schema->version)
        return err;
    if (version > schema->version) {
        snprintf(why, why_size, "%s: schema %d is newer than this program, which knows %d; start the newer program",
                 path, version, schema->version);
        return BT_ESTATE;
    }
    if (mode == STORE_LOOK) {
        if (version != EMPTY)
            snprintf(why, why_size, "%s: schema %d will be upgraded to %d at the next start", path, version, schema->version);
        return BT_OK;
    }
    if (mode == STORE_OPERATE) {
        snprintf(why, why_size, "%s: schema %d, this program needs %d; start the server once to upgrade it", path, version,
                 schema->version);
        return BT_ESTATE;
    }
    return version == EMPTY ? change_schema(handle, path, schema, EMPTY, why, why_size)
                            : upgrade(handle, path, schema, version, why, why_size);
}

/*
 * Opening a database for reading makes SQLite create its index beside it, unless it is told that nobody writes. That
 * is so when no log lies there; if one does, a server is running (and the index is there) or has crashed.
 */
static enum bt_err open_to_look(struct sqlite_conn *conn, const char *path, char *why, size_t why_size)
{
    char name[PATH_MAX + 32];
    struct stat st;
    snprintf(name, sizeof name, "%s-wal", path);
    if (stat(name, &st) == 0 && st.st_size > 0)
        return sqlite_conn_open(conn, path, SQLITE_OPEN_READONLY, why, why_size);
    sqlite3_snprintf(sizeof name, name, "file:%s?immutable=1", path);
    return sqlite_conn_open(conn, strpbrk(path, "?#%") == NULL ? name : path, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, why, why_size);
}

enum bt_err sqlite_bring_up(const char *path, enum store_mode mode, const struct schema *schema, char *why, size_t why_size)
{
    struct sqlite_conn conn = { 0 };
    enum bt_err err;
    if (mode == STORE_SERVE) {
        err = make_file(path, why, why_size);
        if (err != BT_OK)
            return err;
    } else if (access(path, F_OK) != 0) {
        err = data_dir_errno(path, why, why_size);
        return mode == STORE_LOOK && err == BT_ENOTFOUND ? BT_OK : err;
    }
    err = mode == STORE_LOOK ? open_to_look(&conn, path, why, why_size)
                             : sqlite_conn_open(&conn, path, SQLITE_OPEN_READWRITE, why, why_size);
    if (err != BT_OK)
        return err;
    sqlite3_busy_timeout(conn.handle, BUSY_WAIT_MS);
    int rc = mode == STORE_SERVE ? sqlite_run(conn.handle, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL") : SQLITE_OK;
    err = rc == SQLITE_OK ? bring_up(conn.handle, path, mode, schema, why, why_size)
                          : sqlite_why(conn.handle, rc, path, why, why_size);
    sqlite_conn_close(&conn);
    return err;
}
