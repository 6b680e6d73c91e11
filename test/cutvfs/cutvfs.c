/*
 * test/cutvfs/cutvfs.c: a power cut on demand: a library for LD_PRELOAD (or dlopen) that makes itself SQLite's
 * default file system and keeps in the process's memory whatever was not synced.
 *
 * Reads see all writes; the real file gets them at its sync, or when its last user in the process closes it. So
 * kill -9 leaves the files as a power cut could have left them: all that was synced, nothing else. The index of the
 * write-ahead log (-shm) is shared memory, not data, and passes through. One process only: another would not see
 * what is not synced.
 *
 * Faults: the file that CUTVFS_CONTROL names holds one word, read anew when the file changes:
 *   full       writes fail with SQLITE_FULL
 *   ioerr      writes fail with SQLITE_IOERR_WRITE
 *   fsyncfail  syncs fail with SQLITE_IOERR_FSYNC, and what was to be synced stays in memory
 *   slow       syncs take SLOW_US longer, before anything of them is done
 *   heavy      those of the database file take HEAVY_US longer for each block that was written
 * Anything else, or no file: all goes well.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

enum { BLOCK = 4096, BUCKETS = 4096, SLOW_US = 30000, HEAVY_US = 1000 };

struct block {
    struct block *next;
    sqlite3_int64 number;
    unsigned char data[BLOCK];
};

/* What this process wrote to one file and did not sync, shared by all its connections. */
struct overlay {
    struct overlay *next;
    char *path;
    int users;
    sqlite3_int64 base_len; /* so much of the real file still counts */
    sqlite3_int64 size;     /* as readers see it */
    struct block *buckets[BUCKETS];
};

struct cut_file {
    sqlite3_file base;
    struct overlay *overlay;
    sqlite3_file *real;     /* behind this struct */
};

enum fault { FAULT_NONE, FAULT_FULL, FAULT_IOERR, FAULT_FSYNC, FAULT_SLOW, FAULT_HEAVY };

static sqlite3_vfs *real_vfs;
static sqlite3_vfs cut_vfs;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* over all overlays and the fault */
static struct overlay *overlays;

static struct cut_file *cut_of(sqlite3_file *file)
{
    return (struct cut_file *)file;
}

/* ---- faults ---- */

static enum fault fault_of(const char *word)
{
    if (strncmp(word, "fsyncfail", 9) == 0)
        return FAULT_FSYNC;
    if (strncmp(word, "full", 4) == 0)
        return FAULT_FULL;
    if (strncmp(word, "slow", 4) == 0)
        return FAULT_SLOW;
    if (strncmp(word, "heavy", 5) == 0)
        return FAULT_HEAVY;
    return strncmp(word, "ioerr", 5) == 0 ? FAULT_IOERR : FAULT_NONE;
}

/* The word is read again only when the file's time, size or inode changed: one stat() per call otherwise. */
static enum fault fault_now(void)
{
    static struct stat seen;
    static enum fault fault;
    const char *path = getenv("CUTVFS_CONTROL");
    struct stat st;
    if (path == NULL || stat(path, &st) != 0) {
        memset(&seen, 0, sizeof seen);
        return fault = FAULT_NONE;
    }
    if (st.st_ino == seen.st_ino && st.st_size == seen.st_size && st.st_mtim.tv_sec == seen.st_mtim.tv_sec &&
        st.st_mtim.tv_nsec == seen.st_mtim.tv_nsec)
        return fault;
    char word[16] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, word, sizeof word - 1) : 0;
    if (fd >= 0)
        close(fd);
    seen = st;
    return fault = n > 0 ? fault_of(word) : FAULT_NONE;
}

/* ---- overlays; all with the lock held ---- */

static struct block **block_at(struct overlay *o, sqlite3_int64 number)
{
    struct block **at = &o->buckets[number % BUCKETS];
    while (*at != NULL && (*at)->number != number)
        at = &(*at)->next;
    return at;
}

/* Read the real file; what it does not have, or what was cut off it, is zeros. */
static int read_real(struct cut_file *f, void *buf, int len, sqlite3_int64 offset)
{
    sqlite3_int64 have = f->overlay->base_len - offset;
    if (have <= 0) {
        memset(buf, 0, (size_t)len);
        return SQLITE_OK;
    }
    int n = have < len ? (int)have : len;
    memset((char *)buf + n, 0, (size_t)(len - n));
    int rc = f->real->pMethods->xRead(f->real, buf, n, offset);
    return rc == SQLITE_IOERR_SHORT_READ ? SQLITE_OK : rc;
}

/* The block, made from the real file's bytes when it is not there yet. */
static int block_make(struct cut_file *f, sqlite3_int64 number, struct block **out)
{
    struct block **at = block_at(f->overlay, number);
    if (*at == NULL) {
        struct block *b = malloc(sizeof *b);
        if (b == NULL)
            return SQLITE_IOERR_NOMEM;
        int rc = read_real(f, b->data, BLOCK, number * BLOCK);
        if (rc != SQLITE_OK) {
            free(b);
            return rc;
        }
        b->number = number;
        b->next = NULL;
        *at = b;
    }
    *out = *at;
    return SQLITE_OK;
}

/* Let go of all blocks from `from` on. */
static void blocks_drop(struct overlay *o, sqlite3_int64 from)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct block **at = &o->buckets[i]; *at != NULL;) {
            struct block *b = *at;
            if (b->number < from) {
                at = &b->next;
                continue;
            }
            *at = b->next;
            free(b);
        }
    }
}

/* Make the real file what readers see. */
static int overlay_apply(struct cut_file *f)
{
    struct overlay *o = f->overlay;
    const sqlite3_io_methods *real = f->real->pMethods;
    sqlite3_int64 real_len;
    int rc = real->xFileSize(f->real, &real_len);
    if (rc == SQLITE_OK && real_len > o->base_len) {
        rc = real->xTruncate(f->real, o->base_len);
        real_len = o->base_len;
    }
    for (size_t i = 0; i < BUCKETS && rc == SQLITE_OK; i++) {
        for (struct block *b = o->buckets[i]; b != NULL && rc == SQLITE_OK; b = b->next) {
            sqlite3_int64 at = b->number * BLOCK, left = o->size - at;
            if (left > 0)
                rc = real->xWrite(f->real, b->data, left < BLOCK ? (int)left : BLOCK, at);
        }
    }
    if (rc == SQLITE_OK)
        rc = real->xFileSize(f->real, &real_len);
    if (rc == SQLITE_OK && real_len != o->size)
        rc = real->xTruncate(f->real, o->size);
    if (rc == SQLITE_OK) {
        blocks_drop(o, 0);
        o->base_len = o->size;
    }
    return rc;
}

static int overlay_join(struct cut_file *f, const char *path)
{
    struct overlay *o = overlays;
    while (o != NULL && strcmp(o->path, path) != 0)
        o = o->next;
    if (o != NULL) {
        o->users++;
        f->overlay = o;
        return SQLITE_OK;
    }
    o = calloc(1, sizeof *o);
    if (o == NULL || (o->path = strdup(path)) == NULL) {
        free(o);
        return SQLITE_NOMEM;
    }
    int rc = f->real->pMethods->xFileSize(f->real, &o->base_len);
    if (rc != SQLITE_OK) {
        free(o->path);
        free(o);
        return rc;
    }
    o->size = o->base_len;
    o->users = 1;
    o->next = overlays;
    overlays = o;
    f->overlay = o;
    return SQLITE_OK;
}

static int overlay_leave(struct cut_file *f)
{
    struct overlay *o = f->overlay, **at = &overlays;
    if (--o->users > 0)
        return SQLITE_OK;
    int rc = overlay_apply(f);
    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    blocks_drop(o, 0);
    free(o->path);
    free(o);
    return rc;
}

/* ---- files ---- */

static int cut_close(sqlite3_file *file)
{
    struct cut_file *f = cut_of(file);
    pthread_mutex_lock(&lock);
    int rc = overlay_leave(f);
    pthread_mutex_unlock(&lock);
    int rc2 = f->real->pMethods->xClose(f->real);
    return rc != SQLITE_OK ? rc : rc2;
}

static int read_locked(struct cut_file *f, unsigned char *buf, int len, sqlite3_int64 offset)
{
    struct overlay *o = f->overlay;
    int rc = read_real(f, buf, len, offset);
    for (sqlite3_int64 n = offset / BLOCK; n * BLOCK < offset + len && rc == SQLITE_OK; n++) {
        struct block *b = *block_at(o, n);
        if (b == NULL)
            continue;
        sqlite3_int64 from = n * BLOCK > offset ? n * BLOCK : offset;
        sqlite3_int64 to = (n + 1) * BLOCK < offset + len ? (n + 1) * BLOCK : offset + len;
        memcpy(buf + (from - offset), b->data + (from - n * BLOCK), (size_t)(to - from));
    }
    if (rc != SQLITE_OK || offset + len <= o->size)
        return rc;
    sqlite3_int64 have = o->size > offset ? o->size - offset : 0;
    memset(buf + have, 0, (size_t)(len - have));
    return SQLITE_IOERR_SHORT_READ;
}

static int cut_read(sqlite3_file *file, void *buf, int len, sqlite3_int64 offset)
{
    pthread_mutex_lock(&lock);
    int rc = read_locked(cut_of(file), buf, len, offset);
    pthread_mutex_unlock(&lock);
    return rc;
}

static int write_locked(struct cut_file *f, const unsigned char *buf, int len, sqlite3_int64 offset)
{
    switch (fault_now()) {
    case FAULT_FULL:
        errno = ENOSPC;
        return SQLITE_FULL;
    case FAULT_IOERR:
        errno = EIO;
        return SQLITE_IOERR_WRITE;
    case FAULT_FSYNC:
    case FAULT_SLOW:
    case FAULT_HEAVY:
    case FAULT_NONE:
        break;
    }
    for (sqlite3_int64 n = offset / BLOCK; n * BLOCK < offset + len; n++) {
        struct block *b;
        int rc = block_make(f, n, &b);
        if (rc != SQLITE_OK)
            return rc;
        sqlite3_int64 from = n * BLOCK > offset ? n * BLOCK : offset;
        sqlite3_int64 to = (n + 1) * BLOCK < offset + len ? (n + 1) * BLOCK : offset + len;
        memcpy(b->data + (from - n * BLOCK), buf + (from - offset), (size_t)(to - from));
    }
    if (offset + len > f->overlay->size)
        f->overlay->size = offset + len;
    return SQLITE_OK;
}

static int cut_write(sqlite3_file *file, const void *buf, int len, sqlite3_int64 offset)
{
    pthread_mutex_lock(&lock);
    int rc = write_locked(cut_of(file), buf, len, offset);
    pthread_mutex_unlock(&lock);
    return rc;
}

static int cut_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct cut_file *f = cut_of(file);
    struct overlay *o = f->overlay;
    pthread_mutex_lock(&lock);
    blocks_drop(o, (size + BLOCK - 1) / BLOCK);
    struct block *last = size % BLOCK != 0 ? *block_at(o, size / BLOCK) : NULL;
    if (last != NULL)
        memset(last->data + size % BLOCK, 0, (size_t)(BLOCK - size % BLOCK));
    if (o->base_len > size)
        o->base_len = size;
    o->size = size;
    pthread_mutex_unlock(&lock);
    return SQLITE_OK;
}

static useconds_t sync_longer_us(const struct cut_file *f)
{
    const struct overlay *o = f->overlay;
    enum fault fault = fault_now();
    size_t len = strlen(o->path);
    useconds_t us = fault == FAULT_SLOW ? SLOW_US : 0;

    if (fault != FAULT_HEAVY || (len > 4 && strcmp(o->path + len - 4, "-wal") == 0))
        return us;
    for (size_t i = 0; i < BUCKETS; i++)
        for (const struct block *b = o->buckets[i]; b != NULL; b = b->next)
            us += HEAVY_US;
    return us;
}

static int cut_sync(sqlite3_file *file, int flags)
{
    struct cut_file *f = cut_of(file);
    pthread_mutex_lock(&lock);
    int rc;
    useconds_t longer_us = sync_longer_us(f);
    if (longer_us > 0) {
        pthread_mutex_unlock(&lock);
        usleep(longer_us);
        pthread_mutex_lock(&lock);
    }
    if (fault_now() == FAULT_FSYNC) {
        errno = EIO;
        rc = SQLITE_IOERR_FSYNC;
    } else {
        rc = overlay_apply(f);
    }
    pthread_mutex_unlock(&lock);
    return rc != SQLITE_OK ? rc : f->real->pMethods->xSync(f->real, flags);
}

static int cut_file_size(sqlite3_file *file, sqlite3_int64 *size_out)
{
    pthread_mutex_lock(&lock);
    *size_out = cut_of(file)->overlay->size;
    pthread_mutex_unlock(&lock);
    return SQLITE_OK;
}

/* Hints about the size would lengthen the real file behind the overlay's back. */
static int cut_file_control(sqlite3_file *file, int op, void *arg)
{
    sqlite3_file *real = cut_of(file)->real;
    if (op == SQLITE_FCNTL_SIZE_HINT || op == SQLITE_FCNTL_CHUNK_SIZE)
        return SQLITE_OK;
    return real->pMethods->xFileControl(real, op, arg);
}

/* Everything else is the real file's matter. */
#define REAL(file) (cut_of(file)->real)
static int cut_lock(sqlite3_file *file, int level) { return REAL(file)->pMethods->xLock(REAL(file), level); }
static int cut_unlock(sqlite3_file *file, int level) { return REAL(file)->pMethods->xUnlock(REAL(file), level); }
static int cut_check(sqlite3_file *file, int *out) { return REAL(file)->pMethods->xCheckReservedLock(REAL(file), out); }
static int cut_sector(sqlite3_file *file) { return REAL(file)->pMethods->xSectorSize(REAL(file)); }
static int cut_device(sqlite3_file *file) { return REAL(file)->pMethods->xDeviceCharacteristics(REAL(file)); }
static int cut_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **out)
{
    return REAL(file)->pMethods->xShmMap(REAL(file), page, size, extend, out);
}
static int cut_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return REAL(file)->pMethods->xShmLock(REAL(file), offset, n, flags);
}
static void cut_shm_barrier(sqlite3_file *file) { REAL(file)->pMethods->xShmBarrier(REAL(file)); }
static int cut_shm_unmap(sqlite3_file *file, int remove) { return REAL(file)->pMethods->xShmUnmap(REAL(file), remove); }

static sqlite3_io_methods cut_methods = {
    .iVersion = 2, /* 3 would be memory-mapped reads, which would miss the overlay */
    .xClose = cut_close,
    .xRead = cut_read,
    .xWrite = cut_write,
    .xTruncate = cut_truncate,
    .xSync = cut_sync,
    .xFileSize = cut_file_size,
    .xLock = cut_lock,
    .xUnlock = cut_unlock,
    .xCheckReservedLock = cut_check,
    .xFileControl = cut_file_control,
    .xSectorSize = cut_sector,
    .xDeviceCharacteristics = cut_device,
    .xShmMap = cut_shm_map,
    .xShmLock = cut_shm_lock,
    .xShmBarrier = cut_shm_barrier,
    .xShmUnmap = cut_shm_unmap,
};

static int cut_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *flags_out)
{
    (void)vfs;
    int kept = SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_WAL;
    if (path == NULL || (flags & kept) == 0 || (flags & SQLITE_OPEN_DELETEONCLOSE) != 0)
        return real_vfs->xOpen(real_vfs, path, file, flags, flags_out);
    struct cut_file *f = cut_of(file);
    f->base.pMethods = NULL;
    f->real = (sqlite3_file *)(f + 1);
    int rc = real_vfs->xOpen(real_vfs, path, f->real, flags, flags_out);
    if (rc != SQLITE_OK)
        return rc;
    pthread_mutex_lock(&lock);
    rc = overlay_join(f, path);
    pthread_mutex_unlock(&lock);
    if (rc == SQLITE_OK)
        f->base.pMethods = &cut_methods;
    else
        f->real->pMethods->xClose(f->real);
    return rc;
}

__attribute__((constructor)) static void cut_register(void)
{
    real_vfs = sqlite3_vfs_find(NULL);
    if (real_vfs == NULL)
        return;
    cut_vfs = *real_vfs; /* its other functions do not care whose vfs they get */
    cut_vfs.zName = "cut";
    cut_vfs.pNext = NULL;
    cut_vfs.szOsFile = (int)sizeof(struct cut_file) + real_vfs->szOsFile;
    cut_vfs.xOpen = cut_open;
    sqlite3_vfs_register(&cut_vfs, 1);
}
