/* roles/password.c: the queue of password hashes before the thread pool. */
#include "roles/password.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "net/loop.h"
#include "net/mem.h"

#define LOG_MODULE "user"
#include "net/log.h"

_Static_assert((int)PASSWORD_HASH_SIZE == (int)crypto_pwhash_argon2id_STRBYTES, "a hash fits");

struct password_pool {
    struct net_loop *loop;
    struct password_opts opts;
    struct password_job *first, **last; /* waiting */
    uint32_t waiting, running;
    uint32_t waiting_others;            /* of those that wait: no logins */
    uint64_t hash_us;                   /* what one takes, smoothed */
    struct net_task pump;
    bool is_closing;
    void (*closed_cb)(void *arg);
    void *closed_arg;
    char dummy[PASSWORD_HASH_SIZE];
};

static void password_work(void *arg);
static void password_work_done(void *arg, enum bt_err err);

enum bt_err password_hash(const struct password_opts *opts, const void *password, size_t len, char hash_out[PASSWORD_HASH_SIZE])
{
    if (len > PASSWORD_MAX)
        return BT_EINVAL;
    if (sodium_init() < 0)
        return BT_EINTERNAL;
    return crypto_pwhash_argon2id_str(hash_out, password, len, opts->ops, opts->memory_bytes) == 0 ? BT_OK : BT_ENOMEM;
}

enum bt_err password_pool_new(struct net_loop *loop, const struct password_opts *opts, struct password_pool **out)
{
    uint8_t random[32];

    if (sodium_init() < 0)
        return BT_EINTERNAL;
    struct password_pool *pool = bt_calloc(1, sizeof *pool);
    if (!pool)
        return BT_ENOMEM;
    pool->loop = loop;
    pool->opts = *opts;
    pool->last = &pool->first;
    randombytes_buf(random, sizeof random);
    uint64_t start_us = net_clock_us();
    enum bt_err err = password_hash(opts, random, sizeof random, pool->dummy);
    if (err != BT_OK) {
        bt_free(pool);
        return err;
    }
    pool->hash_us = net_clock_us() - start_us;
    *out = pool;
    return BT_OK;
}

static void job_finish(struct password_job *job, enum bt_err err)
{
    sodium_memzero(job->password, sizeof job->password);
    job->done(job, err);
}

static struct password_job *pool_shift(struct password_pool *pool)
{
    struct password_job *job = pool->first;
    pool->first = job->next;
    if (!pool->first)
        pool->last = &pool->first;
    pool->waiting--;
    pool->waiting_others -= !job->is_login;
    job->next = NULL;
    return job;
}

/* Start what may start. A task of its own, so that no job ends inside the call that began it. */
static void password_pump(void *arg)
{
    struct password_pool *pool = arg;

    while (pool->first && (pool->is_closing || pool->running < pool->opts.parallel)) {
        struct password_job *job = pool_shift(pool);
        enum bt_err err = pool->is_closing ? BT_ECLOSING : job->wanted ? job->wanted(job) : BT_OK;
        if (err == BT_OK)
            err = net_work(pool->loop, password_work, password_work_done, job);
        if (err == BT_OK)
            pool->running++;
        else
            job_finish(job, err);
    }
    if (pool->is_closing && pool->running == 0) {
        void (*closed_cb)(void *) = pool->closed_cb;
        void *closed_arg = pool->closed_arg;
        bt_free(pool);
        closed_cb(closed_arg);
    }
}

void password_pool_close(struct password_pool *pool, void (*closed_cb)(void *arg), void *arg)
{
    assert(!pool->is_closing);
    pool->is_closing = true;
    pool->closed_cb = closed_cb;
    pool->closed_arg = arg;
    net_defer(pool->loop, &pool->pump, password_pump, pool);
}

/* In a thread of the pool: touches the job and the pool's settings, nothing else. */
static void password_work(void *arg)
{
    struct password_job *job = arg;
    const struct password_opts *opts = &job->pool->opts;
    uint64_t start_us = net_clock_us();

    if (job->is_check) {
        bool fits = crypto_pwhash_argon2id_str_verify(job->hash, job->password, job->len) == 0;
        job->is_right = fits && !job->is_dummy;
        job->is_outdated = job->is_right && crypto_pwhash_argon2id_str_needs_rehash(job->hash, opts->ops, opts->memory_bytes) != 0;
    } else {
        job->err = password_hash(opts, job->password, job->len, job->hash);
    }
    job->took_us = net_clock_us() - start_us;
}

static void password_work_done(void *arg, enum bt_err err)
{
    struct password_job *job = arg;
    struct password_pool *pool = job->pool;

    pool->running--;
    net_defer(pool->loop, &pool->pump, password_pump, pool);
    if (err == BT_OK) {
        log_debug("a password was hashed in %llu us, %u wait", (unsigned long long)job->took_us, (unsigned)pool->waiting);
        pool->hash_us = (pool->hash_us * 7 + job->took_us) / 8;
        err = job->err;
    }
    job_finish(job, err);
}

static enum bt_err password_enqueue(struct password_pool *pool, struct password_job *job, const void *password, size_t len,
                                    password_done_cb *done)
{
    if (len > PASSWORD_MAX)
        return BT_EINVAL;
    if (pool->is_closing)
        return BT_ECLOSING;
    if (pool->waiting >= pool->opts.queue || (!job->is_login && pool->waiting_others >= (pool->opts.queue + 1) / 2))
        return BT_EBUSY;
    if (len > 0)
        memcpy(job->password, password, len);
    job->len = len;
    job->pool = pool;
    job->done = done;
    job->is_right = job->is_outdated = false;
    job->err = BT_OK;
    job->next = NULL;
    *pool->last = job;
    pool->last = &job->next;
    pool->waiting++;
    pool->waiting_others += !job->is_login;
    net_defer(pool->loop, &pool->pump, password_pump, pool);
    return BT_OK;
}

enum bt_err password_make(struct password_pool *pool, struct password_job *job, const void *password, size_t len,
                          password_done_cb *done)
{
    job->is_check = job->is_dummy = false;
    return password_enqueue(pool, job, password, len, done);
}

enum bt_err password_check(struct password_pool *pool, struct password_job *job, const void *password, size_t len,
                           const void *hash, size_t hash_len, password_done_cb *done)
{
    if (hash && hash_len >= sizeof job->hash)
        return BT_EINVAL;
    job->is_check = true;
    job->is_dummy = !hash;
    memset(job->hash, 0, sizeof job->hash);
    memcpy(job->hash, hash ? hash : pool->dummy, hash ? hash_len : sizeof pool->dummy);
    return password_enqueue(pool, job, password, len, done);
}

uint32_t password_wait_ms(const struct password_pool *pool)
{
    uint64_t left = (uint64_t)pool->waiting + pool->running + 1;
    uint64_t ms = left * pool->hash_us / pool->opts.parallel / 1000;
    return ms == 0 ? 1 : ms > 60000 ? 60000 : (uint32_t)ms;
}

uint32_t password_load(const struct password_pool *pool)
{
    return pool->waiting + pool->running;
}

void password_wipe(void *p, size_t size)
{
    sodium_memzero(p, size);
}
