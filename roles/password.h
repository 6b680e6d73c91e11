/*
 * roles/password.h: hashing and checking passwords (argon2id) in the thread pool, a few at a time.
 *
 * A hash costs tens of milliseconds and megabytes, and the pool's threads are shared: so at most `parallel` run at once,
 * at most `queue` wait, and one whose caller has gone is dropped before it costs anything. Half of the queue is kept for
 * logins: who floods the rest of it locks nobody out. Loop thread only.
 */
#ifndef BT_ROLES_PASSWORD_H
#define BT_ROLES_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/err.h"

struct net_loop;
struct password_pool;

enum { PASSWORD_MAX = 1024, PASSWORD_HASH_SIZE = 128 }; /* bytes; the hash's terminating 0 included */

struct password_opts {
    uint64_t ops;        /* argon2id's passes over its memory */
    size_t memory_bytes;
    uint32_t parallel;
    uint32_t queue;
};

struct password_job;
typedef void password_done_cb(struct password_job *job, enum bt_err err);

/* Embedded in the caller's object, zeroed before first use; it stays until done was called. */
struct password_job {
    /* Asked just before the hashing: BT_OK, or the error (no longer wanted) that done shall get. May be NULL. */
    enum bt_err (*wanted)(struct password_job *job);
    bool is_login;                  /* may fill the whole queue; others half of it */
    /* ---- results, for done ---- */
    bool is_right;                  /* of a check */
    bool is_outdated;               /* of a right one: the hash was made with other options than the pool's */
    char hash[PASSWORD_HASH_SIZE];  /* of a make; terminated */
    /* ---- private ---- */
    struct password_job *next;
    struct password_pool *pool;
    password_done_cb *done;
    bool is_check;
    bool is_dummy;
    enum bt_err err;
    uint64_t took_us;
    size_t len;
    char password[PASSWORD_MAX];
};

/* Make a pool. It costs one hash, on the spot: the one that unknown users are checked against. BT_ENOMEM, BT_EINTERNAL. */
enum bt_err password_pool_new(struct net_loop *loop, const struct password_opts *opts, struct password_pool **out);

/* Jobs that wait are told BT_ECLOSING, running ones end; then closed_cb, not inside this call, and the pool is gone. */
void password_pool_close(struct password_pool *pool, void (*closed_cb)(void *arg), void *arg);

/*
 * Hash a password; or check one against a hash, hash NULL: against one that no password fits, in the same time.
 * The texts are copied; the password's copy is overwritten before done. done is called exactly once, never inside this
 * call: BT_OK, what wanted() answered, BT_ENOMEM, BT_ECLOSING.
 * Errors, then done is not called: BT_EBUSY (the queue, or its half, is full), BT_EINVAL (longer than PASSWORD_MAX, or no hash), BT_ECLOSING.
 */
enum bt_err password_make(struct password_pool *pool, struct password_job *job, const void *password, size_t len,
                          password_done_cb *done);
enum bt_err password_check(struct password_pool *pool, struct password_job *job, const void *password, size_t len,
                           const void *hash, size_t hash_len, password_done_cb *done);

/* Hash at once, in this thread: for a command, not for a server. hash_out is terminated. BT_EINVAL (too long), BT_ENOMEM. */
enum bt_err password_hash(const struct password_opts *opts, const void *password, size_t len, char hash_out[PASSWORD_HASH_SIZE]);

/* About how long it will take until the queue has gone, from what hashes took lately. At least 1. */
uint32_t password_wait_ms(const struct password_pool *pool);

/* Waiting and running. */
uint32_t password_load(const struct password_pool *pool);

/* Overwrite memory that held a secret; the compiler does not leave it out. */
void password_wipe(void *p, size_t size);

#endif
