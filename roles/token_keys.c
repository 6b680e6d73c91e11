/* roles/token_keys.c: the file with the keys of tokens: made at the first start, read, read again when it changed. */
#include "roles/token.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "user"
#include "net/log.h"

enum { KEYS_FILE_MAX = 16 * 1024 };

/* "id key created_ms", as written by us or by an operator's script. */
static bool key_parse(const char *line, struct token_key *out)
{
    char hex[2 * TOKEN_KEY_SIZE + 1];
    const char *hex_end;
    size_t len;
    int used = 0;

    memset(out, 0, sizeof *out);
    if (sscanf(line, "%" SCNu32 " %64[0-9a-fA-F] %" SCNd64 " %n", &out->id, hex, &out->created_ms, &used) != 3 || line[used])
        return false;
    bool is_ok = sodium_hex2bin(out->key, sizeof out->key, hex, strlen(hex), NULL, &len, &hex_end) == 0 && len == sizeof out->key;
    sodium_memzero(hex, sizeof hex);
    return is_ok;
}

/* Read the text's lines into keys, or say which line is wrong. */
static enum bt_err keys_parse(char *text, struct token_keys *keys, char *why, size_t why_size)
{
    char *rest = text;
    int line_no = 0;

    keys->nkeys = 0;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        struct token_key key;
        line_no++;
        line += strspn(line, " \t\r");
        if (*line == '\0' || *line == '#')
            continue;
        if (!key_parse(line, &key)) {
            snprintf(why, why_size, "%s:%d: not \"id key created_ms\" with a key of 64 hex digits", keys->path, line_no);
            return BT_EINVAL;
        }
        for (size_t i = 0; i < keys->nkeys; i++) {
            if (keys->keys[i].id == key.id) {
                snprintf(why, why_size, "%s:%d: key id %" PRIu32 " is there twice", keys->path, line_no, key.id);
                return BT_EINVAL;
            }
        }
        if (keys->nkeys == TOKEN_KEYS_MAX) {
            snprintf(why, why_size, "%s:%d: more than %d keys: take out those whose tokens have expired", keys->path,
                     line_no, TOKEN_KEYS_MAX);
            return BT_EINVAL;
        }
        keys->keys[keys->nkeys++] = key;
        sodium_memzero(&key, sizeof key);
    }
    if (keys->nkeys == 0) {
        snprintf(why, why_size, "%s: no key in it: remove the file to have one made (every client must log in again then)",
                 keys->path);
        return BT_EINVAL;
    }
    return BT_OK;
}

/* BT_ENOTFOUND: there is no file. */
static enum bt_err keys_read(struct token_keys *keys, char *why, size_t why_size)
{
    char text[KEYS_FILE_MAX + 1];
    size_t len = 0;
    ssize_t got = 0;
    enum bt_err err;

    int fd = open(keys->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        err = errno == ENOENT ? BT_ENOTFOUND : BT_EDENIED;
        snprintf(why, why_size, "%s: %s", keys->path, strerror(errno));
        return err;
    }
    if (fstat(fd, &keys->seen) < 0 || !S_ISREG(keys->seen.st_mode)) {
        snprintf(why, why_size, "%s: not a file", keys->path);
        close(fd);
        return BT_EINVAL;
    }
    if (keys->seen.st_mode & (S_IRWXG | S_IRWXO)) {
        snprintf(why, why_size, "%s: others may use this secret file (mode %03o): chmod 600 it, and change the key if they did",
                 keys->path, (unsigned)(keys->seen.st_mode & 0777));
        close(fd);
        return BT_EDENIED;
    }
    while (len < sizeof text && (got = read(fd, text + len, sizeof text - len)) > 0)
        len += (size_t)got;
    close(fd);
    if (got < 0 || len == sizeof text) {
        snprintf(why, why_size, "%s: %s", keys->path, got < 0 ? "can't be read" : "too long for a file of keys");
        err = BT_EINVAL;
    } else {
        text[len] = '\0';
        err = keys_parse(text, keys, why, why_size);
    }
    sodium_memzero(text, sizeof text);
    return err;
}

static bool write_synced(int fd, const char *text, size_t len)
{
    return write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
}

/* Make the directory entry durable too: a key that signed must not be gone after a power failure. */
static void sync_dir_of(const char *path)
{
    char dir[sizeof((struct token_keys *)0)->path];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (slash)
        slash[slash == dir] = '\0';
    int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)!fsync(fd);
    close(fd);
}

/* The whole file appears at once under its name, and never in place of another process's. */
static enum bt_err keys_make(const char *path, int64_t now_ms, char *why, size_t why_size)
{
    char temp[1100], hex[2 * TOKEN_KEY_SIZE + 1], text[2 * TOKEN_KEY_SIZE + 64];
    uint8_t key[TOKEN_KEY_SIZE];
    enum bt_err err = BT_OK;

    randombytes_buf(key, sizeof key);
    sodium_bin2hex(hex, sizeof hex, key, sizeof key);
    int len = snprintf(text, sizeof text, "%" PRIu32 " %s %" PRId64 "\n", UINT32_C(1), hex, now_ms);
    snprintf(temp, sizeof temp, "%s.%016" PRIx64, path, token_random_id());
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || !write_synced(fd, text, (size_t)len) || (link(temp, path) < 0 && errno != EEXIST)) {
        snprintf(why, why_size, "%s: can't be made: %s", path, strerror(errno));
        err = errno == EACCES || errno == EPERM || errno == EROFS ? BT_EDENIED : BT_EINTERNAL;
    }
    if (fd >= 0) {
        close(fd);
        unlink(temp);
    }
    if (err == BT_OK)
        sync_dir_of(path);
    sodium_memzero(key, sizeof key);
    sodium_memzero(hex, sizeof hex);
    sodium_memzero(text, sizeof text);
    return err;
}

enum bt_err token_keys_open(struct token_keys *keys, const char *path, int64_t now_ms, char *why, size_t why_size)
{
    memset(keys, 0, sizeof *keys);
    if (sodium_init() < 0) {
        snprintf(why, why_size, "the system gives no random numbers");
        return BT_EINTERNAL;
    }
    if ((size_t)snprintf(keys->path, sizeof keys->path, "%s", path) >= sizeof keys->path) {
        snprintf(why, why_size, "%.60s...: path too long", path);
        return BT_EINVAL;
    }
    enum bt_err err = keys_read(keys, why, why_size);
    if (err != BT_ENOTFOUND)
        return err;
    err = keys_make(path, now_ms, why, why_size);
    if (err != BT_OK)
        return err;
    log_info("made %s, the secret key of session tokens", path);
    return keys_read(keys, why, why_size);
}

bool token_keys_refresh(struct token_keys *keys)
{
    struct token_keys next;
    struct stat st;
    char why[1400];

    if (stat(keys->path, &st) < 0) {
        keys->is_stale = true;
        memset(&keys->seen, 0, sizeof keys->seen); /* read it when it is back */
        return false; /* the keys in memory serve on; a restart would complain */
    }
    if (st.st_mtim.tv_sec == keys->seen.st_mtim.tv_sec && st.st_mtim.tv_nsec == keys->seen.st_mtim.tv_nsec &&
        st.st_ino == keys->seen.st_ino && st.st_size == keys->seen.st_size && st.st_mode == keys->seen.st_mode)
        return false;
    memset(&next, 0, sizeof next);
    memcpy(next.path, keys->path, sizeof next.path);
    enum bt_err err = keys_read(&next, why, sizeof why);
    if (err == BT_OK) {
        *keys = next;
        log_info("%s changed: %zu keys", keys->path, keys->nkeys);
    } else {
        log_error("%s (the keys read before stay in use)", why);
        keys->seen = st; /* once is enough */
        keys->is_stale = true;
    }
    token_keys_wipe(&next);
    return err == BT_OK;
}

bool token_keys_are_current(const struct token_keys *keys)
{
    return !keys->is_stale;
}

void token_keys_wipe(struct token_keys *keys)
{
    sodium_memzero(keys->keys, sizeof keys->keys);
    keys->nkeys = 0;
}
