/*
 * store/sqlite_wal.c: keeps the write-ahead log short without making commits wait for the database file's sync.
 *
 * A passive checkpoint on the reading thread copies the log while commits go on. The log starts over from its
 * beginning only when a write begins on a log that was copied whole, which under continuous load never happens by
 * itself: so after passive rounds the writer is held back for one last round. That one syncs the database file; it is
 * short because each round before it synced what it had copied, and left less to the next.
 */
#define LOG_MODULE "sqlite"
#include "net/log.h"
#include "store/sqlite_internal.h"

enum {
    ROUNDS = 3, /* passive ones: of the log, of what was written while that was synced, and of what was written then */
};

int sqlite_wal_hook(void *arg, sqlite3 *handle, const char *name, int frames)
{
    struct sqlite_db *db = arg;
    (void)handle;
    (void)name;
    pthread_mutex_lock(&db->lock);
    db->wal_frames = (uint32_t)frames;
    if (db->wal_frames >= db->checkpoint_at && !db->checkpoint_wanted) {
        db->checkpoint_wanted = true;
        pthread_cond_signal(&db->to_reader);
    }
    pthread_mutex_unlock(&db->lock);
    return SQLITE_OK;
}

/* One passive round. *log_out: frames in the log, *rest_out: those that are not copied yet. */
static bool checkpoint_round(struct sqlite_conn *conn, int *log_out, int *rest_out)
{
    int in_log = 0, copied = 0;
    int rc = sqlite3_wal_checkpoint_v2(conn->handle, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &copied);
    *log_out = in_log > 0 ? in_log : 0;
    *rest_out = in_log > copied ? in_log - copied : 0;
    if (rc == SQLITE_OK)
        return true;
    if ((rc & 0xff) != SQLITE_BUSY) /* busy: another process checkpoints, which is as good */
        sqlite_err_of(conn, rc);
    return false;
}

/* What was copied reaches the disk while commits go on. A sync that fails ends the process, as any does. */
static bool sync_copied(struct sqlite_conn *conn)
{
    sqlite3_file *file = NULL;
    int rc = sqlite3_file_control(conn->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);

    if (rc == SQLITE_OK && file != NULL && file->pMethods != NULL)
        rc = file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
    if (rc == SQLITE_OK)
        return true;
    sqlite_err_of(conn, rc);
    return false;
}

static void hold_writer(struct sqlite_db *db)
{
    pthread_mutex_lock(&db->lock);
    db->pause_writer = true;
    while (db->in_transaction)
        pthread_cond_wait(&db->to_reader, &db->lock);
    pthread_mutex_unlock(&db->lock);
}

static void release_writer(struct sqlite_db *db)
{
    pthread_mutex_lock(&db->lock);
    db->pause_writer = false;
    pthread_cond_signal(&db->to_writer);
    pthread_mutex_unlock(&db->lock);
}

void sqlite_checkpoint(struct sqlite_db *db)
{
    struct sqlite_conn *conn = &db->read_conn;
    int in_log = 0, rest = 0;
    conn->due_us = UINT64_MAX;
    bool is_good = true;
    for (int i = 0; is_good && i < ROUNDS; i++)
        is_good = checkpoint_round(conn, &in_log, &rest) && (!db->is_durable || sync_copied(conn));
    if (is_good) { /* also with no rest: a write that has begun meanwhile would go on in the old log */
        hold_writer(db);
        is_good = checkpoint_round(conn, &in_log, &rest);
        release_writer(db);
    }

    pthread_mutex_lock(&db->lock);
    db->checkpoint_wanted = false;
    db->checkpoints++;
    /* If a reader of another process keeps the log, or the disk is full, try again only after it has grown. */
    bool is_whole = is_good && rest == 0;
    db->checkpoint_at = is_whole ? db->wal_limit : db->wal_frames + db->wal_limit / 4 + 1;
    pthread_mutex_unlock(&db->lock);
    if (!is_whole)
        log_debug("checkpoint: %d of %d frames are left", rest, in_log);
}
