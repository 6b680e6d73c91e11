/*
 * client/client_state.c: a store in a directory: an append-only log, compacted into a new file that replaces the old.
 *
 * The log is read whole at the start. A line that is damaged, be it torn by a crash or not, is passed over, and the file
 * is written anew at once. Records without which a device would be another one are synced; positions are not: those that a
 * crash loses are handed over again.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/client_state_log.h"
#include "net/mem.h"

enum { PATH_SIZE = 4096, SLACK_LINES = 1000, STATE_SIZE_MAX = 64 * 1024 * 1024 };

struct position {
    uint64_t hi, lo, seq;
};
struct file_store {
    struct bt_store store;        /* first */
    enum bt_file_store_mode mode;
    char *dir;
    int lock_fd, log_fd;          /* -1: none */
    size_t lines;                 /* in the log */
    bool must_compact;            /* the log is damaged, or a line was not written whole */
    uint64_t device_id, reserve;
    bool is_synced, has_session;
    struct state_line session;
    struct position *rows;        /* by rising (hi, lo) */
    size_t count, cap;
};

/* ---- what is held ---- */

static size_t find(const struct file_store *f, uint64_t hi, uint64_t lo)
{
    size_t low = 0, high = f->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (f->rows[mid].hi < hi || (f->rows[mid].hi == hi && f->rows[mid].lo < lo))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool position_set(struct file_store *f, uint64_t hi, uint64_t lo, uint64_t seq)
{
    size_t at = find(f, hi, lo);
    if (at == f->count || f->rows[at].hi != hi || f->rows[at].lo != lo) {
        if (f->count == f->cap) {
            size_t cap = f->cap ? f->cap * 2 : 64;
            struct position *rows = bt_realloc(f->rows, cap * sizeof *rows);
            if (!rows)
                return false;
            f->rows = rows;
            f->cap = cap;
        }
        memmove(f->rows + at + 1, f->rows + at, (f->count - at) * sizeof *f->rows);
        f->count++;
    }
    f->rows[at] = (struct position){ hi, lo, seq };
    return true;
}

static void session_set(struct file_store *f, const struct bt_record *r)
{
    struct state_line *s = &f->session;
    if (r->name.len > sizeof s->name || r->token.len > sizeof s->token)
        return;
    s->record = *r;
    if (r->name.len > 0)
        memcpy(s->name, r->name.data, r->name.len);
    if (r->token.len > 0)
        memcpy(s->token, r->token.data, r->token.len);
    s->record.name.data = s->name;
    s->record.token.data = s->token;
    f->has_session = true;
}

static bool apply(struct file_store *f, const struct bt_record *r)
{
    switch (r->kind) {
    case BT_RECORD_DEVICE:
        f->device_id = r->number;
        return true;
    case BT_RECORD_ID_RESERVE:
        f->reserve = r->number;
        return true;
    case BT_RECORD_SESSION:
        session_set(f, r);
        return true;
    case BT_RECORD_SYNCED:
        f->is_synced = r->number != 0;
        return true;
    case BT_RECORD_POSITION:
        return position_set(f, r->hi, r->lo, r->number);
    case BT_RECORD_FORGET:
        f->count = 0;
        f->is_synced = false;
        return true;
    }
    return false;
}

static void each_record(const struct file_store *f, bt_record_cb *each, void *arg)
{
    bool is_writer = f->mode == BT_STORE_WRITE;
    if (f->device_id && is_writer)
        each(&(struct bt_record){ .kind = BT_RECORD_DEVICE, .number = f->device_id }, arg);
    /* A reader can't reserve ids, so it takes them by the clock alone: going on behind the writer's it would meet it. */
    if (f->reserve && is_writer)
        each(&(struct bt_record){ .kind = BT_RECORD_ID_RESERVE, .number = f->reserve }, arg);
    struct bt_record session = f->session.record;
    if (!is_writer) /* two connections of one session would throw each other out for ever */
        session.token = (struct bt_text){ 0 };
    if (f->has_session)
        each(&session, arg);
    if (f->is_synced)
        each(&(struct bt_record){ .kind = BT_RECORD_SYNCED, .number = 1 }, arg);
    for (size_t n = 0; n < f->count; n++)
        each(&(struct bt_record){
            .kind = BT_RECORD_POSITION, .hi = f->rows[n].hi, .lo = f->rows[n].lo, .number = f->rows[n].seq }, arg);
}

/* ---- the file ---- */

static bool path_of(const struct file_store *f, const char *name, char path[PATH_SIZE])
{
    return (size_t)snprintf(path, PATH_SIZE, "%s/%s", f->dir, name) < PATH_SIZE;
}

static void write_record(const struct bt_record *r, void *arg)
{
    char line[STATE_LINE_MAX];
    size_t len = state_line_print(r, line);
    fwrite(line, 1, len, arg);
}

/* Write a new file and put it in the old one's place: at any moment one of the two is there, whole. */
static bool compact(struct file_store *f)
{
    char path[PATH_SIZE], temp[PATH_SIZE];
    if (!path_of(f, "state", path) || !path_of(f, "state.new", temp))
        return false;
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
    if (!out) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    each_record(f, write_record, out);
    bool is_written = fflush(out) == 0 && !ferror(out) && fsync(fd) == 0;
    fclose(out);
    if (!is_written || rename(temp, path) != 0) {
        unlink(temp);
        return false;
    }
    int dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd >= 0) {
        fsync(dir_fd);
        close(dir_fd);
    }
    if (f->log_fd >= 0)
        close(f->log_fd);
    f->log_fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    f->lines = f->count + 4;
    f->must_compact = f->log_fd < 0;
    return !f->must_compact;
}

static void read_lines(struct file_store *f, const char *data, size_t len)
{
    struct state_line line;
    while (len > 0) {
        const char *end = memchr(data, '\n', len);
        if (!end || !state_line_parse(data, (size_t)(end - data), &line) || !apply(f, &line.record))
            f->must_compact = true;
        f->lines++;
        if (!end)
            return;
        len -= (size_t)(end + 1 - data);
        data = end + 1;
    }
}

/* False: it is there, but can't be read. */
static bool read_log(struct file_store *f)
{
    char path[PATH_SIZE];
    struct stat st;
    bool is_read = false;
    if (!path_of(f, "state", path))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT;
    char *data = NULL;
    if (fstat(fd, &st) == 0 && st.st_size <= STATE_SIZE_MAX && (data = bt_malloc((size_t)st.st_size + 1))) {
        ssize_t got = pread(fd, data, (size_t)st.st_size, 0); /* a local file is read whole, or there is less of it */
        is_read = got >= 0;
        if (is_read)
            read_lines(f, data, (size_t)got);
    }
    bt_free(data);
    close(fd);
    return is_read;
}

/* ---- the store ---- */

static bool file_load(struct bt_store *store, bt_record_cb *each, void *each_arg)
{
    each_record((const struct file_store *)store, each, each_arg);
    return true;
}

static bool append(struct file_store *f, const struct bt_record *r)
{
    char line[STATE_LINE_MAX];
    size_t len = state_line_print(r, line);
    if (len == 0)
        return false;
    if (write(f->log_fd, line, len) != (ssize_t)len) {
        f->must_compact = true; /* half a line may stand there */
        return false;
    }
    f->lines++;
    return r->kind == BT_RECORD_POSITION || r->kind == BT_RECORD_SYNCED || fdatasync(f->log_fd) == 0;
}

static bool file_save(struct bt_store *store, const struct bt_record *record)
{
    struct file_store *f = (struct file_store *)store;
    if (f->mode == BT_STORE_READ)
        return true;
    if (!apply(f, record))
        return false;
    if (f->must_compact || f->lines > 2 * f->count + SLACK_LINES)
        return compact(f);
    return append(f, record);
}

static bool make_dirs(const char *dir)
{
    char path[PATH_SIZE];
    if ((size_t)snprintf(path, sizeof path, "%s", dir) >= sizeof path)
        return false;
    for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return false;
        *at = '/';
    }
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

/* Take the writer's lock. It is on a file of its own, as the log is replaced. */
static bool lock(struct file_store *f)
{
    char path[PATH_SIZE];
    if (!make_dirs(f->dir) || !path_of(f, "lock", path))
        return false;
    f->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return f->lock_fd >= 0 && flock(f->lock_fd, LOCK_EX | LOCK_NB) == 0;
}

void bt_file_store_close(struct bt_store *store)
{
    struct file_store *f = (struct file_store *)store;
    if (!f)
        return;
    if (f->log_fd >= 0)
        close(f->log_fd);
    if (f->lock_fd >= 0)
        close(f->lock_fd);
    memset(&f->session, 0, sizeof f->session);
    bt_free(f->rows);
    bt_free(f->dir);
    bt_free(f);
}

static struct bt_store *fail(struct file_store *f, char *why, size_t why_size, const char *what)
{
    int error = errno;
    if (why && why_size)
        snprintf(why, why_size, "%s: %s: %s", f && f->dir ? f->dir : "state", what, strerror(error));
    if (f)
        bt_file_store_close(&f->store);
    errno = error;
    return NULL;
}

struct bt_store *bt_file_store_open(const char *dir, enum bt_file_store_mode mode, char *why, size_t why_size)
{
    struct file_store *f = bt_calloc(1, sizeof *f);
    if (!f)
        return fail(NULL, why, why_size, "no memory");
    f->store = (struct bt_store){ .load = file_load, .save = file_save };
    f->mode = mode;
    f->lock_fd = f->log_fd = -1;
    f->dir = bt_strdup(dir);
    if (!f->dir)
        return fail(f, why, why_size, "no memory");
    if (mode == BT_STORE_WRITE && !lock(f))
        return fail(f, why, why_size, errno == EWOULDBLOCK ? "another program uses it" : "can't be written");
    if (!read_log(f))
        return fail(f, why, why_size, "can't be read");
    if (mode == BT_STORE_READ)
        return &f->store;
    char path[PATH_SIZE];
    if (path_of(f, "state", path))
        f->log_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (f->log_fd < 0 || (f->must_compact && !compact(f)))
        return fail(f, why, why_size, "can't be written");
    return &f->store;
}
