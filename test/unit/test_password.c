/* test/unit/test_password.c: the queue of password hashes: its answers, its limits, its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/loop.h"
#include "roles/password.h"

enum { QUEUE = 4 };

struct env {
    struct net_loop *loop;
    struct password_pool *pool;
    int done;                   /* jobs that have ended */
    bool is_closed;
};

struct job {
    struct password_job base;   /* first: jobs convert by a cast */
    struct env *env;
    enum bt_err wanted;         /* what wanted() answers */
    int asked;
    int calls;
    enum bt_err err;
    int order;                  /* the how many-th to end */
};

static enum bt_err job_wanted(struct password_job *base)
{
    struct job *job = (struct job *)base;
    job->asked++;
    return job->wanted;
}

static void job_done(struct password_job *base, enum bt_err err)
{
    struct job *job = (struct job *)base;
    job->calls++;
    job->err = err;
    job->order = ++job->env->done;
}

static int setup(void **state)
{
    /* The least that argon2id can do: the tests are about the queue. */
    static const struct password_opts opts = { .ops = 1, .memory_bytes = 8192, .parallel = 2, .queue = QUEUE };
    struct env *env = calloc(1, sizeof *env);
    assert_int_equal(net_loop_new(&env->loop), BT_OK);
    assert_int_equal(password_pool_new(env->loop, &opts, &env->pool), BT_OK);
    *state = env;
    return 0;
}

static void wait_for(struct env *env, int done)
{
    for (int i = 0; i < 1000 && env->done < done; i++)
        net_loop_turn(env->loop, 10);
    assert_int_equal(env->done, done);
}

static void set_closed(void *arg)
{
    *(bool *)arg = true;
}

static void close_pool(struct env *env)
{
    password_pool_close(env->pool, set_closed, &env->is_closed);
    assert_false(env->is_closed);
    for (int i = 0; i < 1000 && !env->is_closed; i++)
        net_loop_turn(env->loop, 10);
    assert_true(env->is_closed);
}

static int teardown(void **state)
{
    struct env *env = *state;
    if (!env->is_closed)
        close_pool(env);
    net_loop_free(env->loop);
    free(env);
    return 0;
}

static void job_init(struct job *job, struct env *env)
{
    memset(job, 0, sizeof *job);
    job->base.wanted = job_wanted;
    job->env = env;
    job->base.is_login = true; /* may fill the whole queue */
}

static void make(struct env *env, struct job *job, const char *password)
{
    job_init(job, env);
    assert_int_equal(password_make(env->pool, &job->base, password, strlen(password), job_done), BT_OK);
    assert_int_equal(job->calls, 0);
}

static void a_password_fits_its_own_hash_only(void **state)
{
    struct env *env = *state;
    struct job made, right, wrong, empty;

    make(env, &made, "correct horse");
    wait_for(env, 1);
    assert_int_equal(made.err, BT_OK);
    assert_memory_equal(made.base.hash, "$argon2id$", 10);

    size_t len = strlen(made.base.hash);
    job_init(&right, env);
    job_init(&wrong, env);
    job_init(&empty, env);
    assert_int_equal(password_check(env->pool, &right.base, "correct horse", 13, made.base.hash, len, job_done), BT_OK);
    assert_int_equal(password_check(env->pool, &wrong.base, "correct horsf", 13, made.base.hash, len, job_done), BT_OK);
    assert_int_equal(password_check(env->pool, &empty.base, NULL, 0, made.base.hash, len, job_done), BT_OK);
    wait_for(env, 4);
    assert_true(right.base.is_right);
    assert_false(wrong.base.is_right);
    assert_false(empty.base.is_right);
}

static void an_unknown_user_is_checked_and_never_right(void **state)
{
    struct env *env = *state;
    struct job job;

    job_init(&job, env);
    assert_int_equal(password_check(env->pool, &job.base, "x", 1, NULL, 0, job_done), BT_OK);
    wait_for(env, 1);
    assert_int_equal(job.err, BT_OK);
    assert_false(job.base.is_right);
    assert_true(job.base.took_us > 0); /* it was worked on */
}

static void what_is_no_hash_fits_nothing(void **state)
{
    struct env *env = *state;
    struct job job;
    char long_hash[PASSWORD_HASH_SIZE];

    memset(long_hash, 'h', sizeof long_hash);
    job_init(&job, env);
    assert_int_equal(password_check(env->pool, &job.base, "x", 1, long_hash, sizeof long_hash, job_done), BT_EINVAL);
    assert_int_equal(password_check(env->pool, &job.base, "x", 1, "plain", 5, job_done), BT_OK);
    wait_for(env, 1);
    assert_false(job.base.is_right);
}

static void the_secret_is_gone_when_the_job_is_done(void **state)
{
    struct env *env = *state;
    struct job job;
    static const char zeroes[PASSWORD_MAX];

    make(env, &job, "correct horse");
    assert_memory_equal(job.base.password, "correct horse", 13);
    wait_for(env, 1);
    assert_memory_equal(job.base.password, zeroes, sizeof zeroes);
}

static void too_long_a_password_is_refused(void **state)
{
    struct env *env = *state;
    struct job job;
    char text[PASSWORD_MAX + 1];

    memset(text, 'p', sizeof text);
    job_init(&job, env);
    assert_int_equal(password_make(env->pool, &job.base, text, sizeof text, job_done), BT_EINVAL);
    assert_int_equal(password_make(env->pool, &job.base, text, PASSWORD_MAX, job_done), BT_OK);
    wait_for(env, 1);
    assert_int_equal(job.err, BT_OK);
}

/* Whoever registers or changes passwords all the time keeps nobody from logging in. */
static void half_of_the_queue_is_kept_for_logins(void **state)
{
    struct env *env = *state;
    struct job others[QUEUE], logins[QUEUE];
    int taken = 0, in = 0;

    for (int i = 0; i < QUEUE; i++) {
        job_init(&others[i], env);
        others[i].base.is_login = false;
        taken += password_make(env->pool, &others[i].base, "p", 1, job_done) == BT_OK;
    }
    assert_int_equal(taken, (QUEUE + 1) / 2);
    for (int i = 0; i < QUEUE; i++) {
        job_init(&logins[i], env);
        logins[i].base.is_login = true;
        in += password_make(env->pool, &logins[i].base, "p", 1, job_done) == BT_OK;
    }
    assert_int_equal(in, QUEUE - taken);
    wait_for(env, QUEUE);
    job_init(&others[0], env);
    others[0].base.is_login = false;
    assert_int_equal(password_make(env->pool, &others[0].base, "p", 1, job_done), BT_OK); /* the places are free again */
    wait_for(env, QUEUE + 1);
}

static void a_full_queue_refuses_and_says_how_long(void **state)
{
    struct env *env = *state;
    struct job jobs[QUEUE], more;

    for (int i = 0; i < QUEUE; i++)
        make(env, &jobs[i], "password");
    job_init(&more, env);
    assert_int_equal(password_make(env->pool, &more.base, "p", 1, job_done), BT_EBUSY);
    assert_true(password_wait_ms(env->pool) >= 1);
    assert_int_equal(password_load(env->pool), QUEUE);
    wait_for(env, QUEUE);
    assert_int_equal(more.calls, 0);
    assert_int_equal(password_load(env->pool), 0);
    make(env, &more, "password");
    wait_for(env, QUEUE + 1);
}

static void what_nobody_waits_for_is_dropped_before_it_costs(void **state)
{
    struct env *env = *state;
    struct job gone, late, good;

    make(env, &gone, "password");
    make(env, &late, "password");
    make(env, &good, "password");
    gone.wanted = BT_ECANCELLED;
    late.wanted = BT_ETIMEOUT;
    wait_for(env, 3);
    assert_int_equal(gone.err, BT_ECANCELLED);
    assert_int_equal(late.err, BT_ETIMEOUT);
    assert_int_equal(gone.base.hash[0], 0);
    assert_int_equal(late.base.took_us, 0);
    assert_int_equal(good.err, BT_OK);
    assert_int_equal(gone.asked + late.asked + good.asked, 3);
}

static void closing_tells_the_waiting_and_finishes_the_running(void **state)
{
    struct env *env = *state;
    struct job jobs[QUEUE], more;

    for (int i = 0; i < QUEUE; i++)
        make(env, &jobs[i], "password");
    net_loop_turn(env->loop, 0); /* two are in the pool's threads now */
    int running = jobs[0].asked + jobs[1].asked + jobs[2].asked + jobs[3].asked;
    assert_in_range(running, 2, 4);
    password_pool_close(env->pool, set_closed, &env->is_closed);
    job_init(&more, env);
    assert_int_equal(password_make(env->pool, &more.base, "p", 1, job_done), BT_ECLOSING);
    for (int i = 0; i < 1000 && !env->is_closed; i++)
        net_loop_turn(env->loop, 10);
    assert_true(env->is_closed);
    for (int i = 0; i < QUEUE; i++) {
        assert_int_equal(jobs[i].calls, 1);
        assert_int_equal(jobs[i].err, i < running ? BT_OK : BT_ECLOSING);
    }
}

static void closing_an_idle_pool_is_told_later(void **state)
{
    close_pool(*state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_password_fits_its_own_hash_only, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_user_is_checked_and_never_right, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_hash_fits_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(the_secret_is_gone_when_the_job_is_done, setup, teardown),
        cmocka_unit_test_setup_teardown(too_long_a_password_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(half_of_the_queue_is_kept_for_logins, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_refuses_and_says_how_long, setup, teardown),
        cmocka_unit_test_setup_teardown(what_nobody_waits_for_is_dropped_before_it_costs, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_tells_the_waiting_and_finishes_the_running, setup, teardown),
        cmocka_unit_test_setup_teardown(closing_an_idle_pool_is_told_later, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
