/* store/sqlite_copy.c: a consistent copy of a database file, also of one that a server is writing to. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/data_dir.h"
#include "store/sqlite_internal.h"

/* VACUUM INTO reads one snapshot, and writes a file without holes and without a log of its own. It does not sync it. */
static enum bt_err vacuum_into(const char *from, const char *to, char *why, size_t why_size)
{
    struct sqlite_conn conn = { 0 };
    enum bt_err err = sqlite_conn_open(&conn, from, SQLITE_OPEN_READWRITE, why, why_size);
    if (err != BT_OK)
        return err;
    sqlite3_busy_timeout(conn.handle, 5000);
    char *sql = sqlite3_mprintf("VACUUM INTO %Q", to);
    int rc = sql != NULL ? sqlite_run(conn.handle, sql) : SQLITE_NOMEM;
    if (rc != SQLITE_OK)
        err = sqlite_why(conn.handle, rc, to, why, why_size);
    sqlite3_free(sql);
    sqlite_conn_close(&conn);
    return err;
}

static enum bt_err sync_file(const char *path, char *why, size_t why_size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return data_dir_errno(path, why, why_size);
    enum bt_err err = fsync(fd) == 0 ? BT_OK : data_dir_errno(path, why, why_size);
    close(fd);
    return err;
}

static enum bt_err put_in_place(const char *made, const char *to, bool may_replace, char *why, size_t why_size)
{
    int rc = may_replace ? rename(made, to) : renameat2(AT_FDCWD, made, AT_FDCWD, to, RENAME_NOREPLACE);
    if (rc != 0)
        return data_dir_errno(to, why, why_size);
    return data_dir_sync_parent(to, why, why_size);
}

enum bt_err sqlite_copy(const char *from, const char *to, bool may_replace, char *why, size_t why_size)
{
    char made[PATH_MAX];
    struct stat st;
    if (!may_replace && lstat(to, &st) == 0) {
        errno = EEXIST;
        return data_dir_errno(to, why, why_size);
    }
    if (stat(from, &st) != 0)
        return data_dir_errno(from, why, why_size);
    if (snprintf(made, sizeof made, "%s.part-%ld", to, (long)getpid()) >= (int)sizeof made) {
        errno = ENAMETOOLONG;
        return data_dir_errno(to, why, why_size);
    }
    int fd = open(made, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return data_dir_errno(made, why, why_size);
    close(fd);
    enum bt_err err = vacuum_into(from, made, why, why_size);
    if (err == BT_OK)
        err = sync_file(made, why, why_size);
    if (err == BT_OK)
        err = put_in_place(made, to, may_replace, why, why_size);
    if (err != BT_OK)
        unlink(made);
    return err;
}
