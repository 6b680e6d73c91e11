/*
 * test/unit/test_cutvfs.c: what the store promises over power cuts, full disks and failing syncs, with a server in a
 * child process on cutvfs (test/cutvfs/cutvfs.c), which the parent kills.
 */
#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/unit/store_env.h"

#define INSERT "INSERT INTO friend (user_id, peer_id, state, changed_ms) VALUES (?, 1, 0, 0)"

/* In a child a failed check must end it: cmocka's would go on with the parent's tests. */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "child, line %d: %s\n", __LINE__, #cond);                              \
            _exit(99);                                                                             \
        }                                                                                          \
    } while (0)

static int setup(void **state)
{
    env_setup(state);
    env_set(*state, "store.wal_kib=64");
    return 0;
}

/* The library lies beside this program. */
static void load_cutvfs(void)
{
    char path[512];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 16);
    CHECK(n > 0);
    path[n] = '\0';
    strcpy(strrchr(path, '/') + 1, "cutvfs.so");
    if (dlopen(path, RTLD_NOW) == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        _exit(98);
    }
}

static void control(const struct store_env *env, const char *word)
{
    FILE *f = fopen(env_path(env, "control.new"), "w");
    fputs(word, f);
    fclose(f);
    rename(env_path(env, "control.new"), env_path(env, "control"));
}

/* Writes rows 1, 2, 3 ... one after another, four under way, and tells each that was acknowledged through the pipe. */
struct writer {
    struct store_env *env;
    int64_t next_id;
    int pipe_fd;
};
struct write_one {
    struct writer *w;
    int64_t id;
};

static void write_next(struct write_one *one);

static void write_done(const struct db_done *done, void *arg)
{
    struct write_one *one = arg;
    CHECK(done->err == BT_OK);
    CHECK(write(one->w->pipe_fd, &one->id, sizeof one->id) == sizeof one->id);
    write_next(one);
}

static void write_next(struct write_one *one)
{
    one->id = one->w->next_id++;
    struct db_val id = db_int(one->id);
    db_exec(one->w->env->db, INSERT, &id, 1, 1, write_done, one);
}

static void child_writes(struct store_env *env, int pipe_fd)
{
    struct writer w = { .env = env, .next_id = env_int(env, "SELECT COALESCE(MAX(user_id), 0) FROM friend") + 1, .pipe_fd = pipe_fd };
    struct write_one ones[4];
    for (int i = 0; i < 4; i++) {
        ones[i].w = &w;
        write_next(&ones[i]);
    }
    for (;;)
        net_loop_turn(env->loop, 100);
}

/* One life of a server: until it has acknowledged n writes, then the power is cut. Marks what it acknowledged. */
static void live_and_die(struct store_env *env, int n, bool *acknowledged, size_t size)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        close(fds[0]);
        load_cutvfs();
        struct net_loop *loop;
        CHECK(net_loop_new(&loop) == BT_OK);
        env->loop = loop;
        CHECK(env_open(env, STORE_SERVE, NULL) == BT_OK);
        child_writes(env, fds[1]);
    }
    close(fds[1]);
    int64_t id;
    for (int i = 0; i < n; i++) {
        assert_int_equal(read(fds[0], &id, sizeof id), sizeof id);
        assert_in_range(id, 1, size - 1);
        acknowledged[id] = true;
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    while (read(fds[0], &id, sizeof id) == sizeof id) /* what it acknowledged before the kill took it */
        acknowledged[id] = true;
    close(fds[0]);
}

struct present {
    bool is_done;
    size_t lost;
    const bool *acknowledged;
    size_t size;
};

static void count_lost(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct present *p = arg;
    bool *here = calloc(p->size, sizeof *here);
    assert_int_equal(err, BT_OK);
    for (size_t r = 0; r < rows->nrows; r++)
        here[db_at(rows, r, 0)->i] = true;
    for (size_t i = 0; i < p->size; i++)
        p->lost += p->acknowledged[i] && !here[i];
    free(here);
    p->is_done = true;
}

/* How many acknowledged rows the files do not hold. */
static size_t lost_rows(struct store_env *env, const bool *acknowledged, size_t size)
{
    struct present p = { .acknowledged = acknowledged, .size = size };
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    db_query(env->db, "SELECT user_id FROM friend", NULL, 0, count_lost, &p);
    env_wait(env, &p.is_done);
    env_close(env);
    return p.lost;
}

enum { IDS = 20000 };

static void nothing_acknowledged_is_lost_over_power_cuts(void **state)
{
    struct store_env *env = *state;
    static bool acknowledged[IDS];
    for (int life = 0; life < 8; life++) { /* some end before, some after checkpoints of the 64 KiB log */
        live_and_die(env, 37 + life * 53, acknowledged, IDS);
        assert_int_equal(lost_rows(env, acknowledged, IDS), 0);
    }
}

static void without_durable_a_power_cut_loses_acknowledged_rows(void **state)
{
    struct store_env *env = *state;
    static bool acknowledged[IDS];
    env_set(env, "store.durable=no");
    live_and_die(env, 50, acknowledged, IDS);
    assert_true(lost_rows(env, acknowledged, IDS) >= 50);
}

static struct db_done insert_row(struct store_env *env, int64_t id)
{
    struct db_val v = db_int(id);
    return env_exec(env, INSERT, &v, 1, 1);
}

/* Run one scenario in a child on cutvfs; returns its exit status. */
static int in_child(struct store_env *env, void (*scenario)(struct store_env *env))
{
    pid_t child = fork();
    if (child == 0) {
        struct net_loop *loop;
        setenv("CUTVFS_CONTROL", env_path(env, "control"), 1);
        load_cutvfs();
        CHECK(net_loop_new(&loop) == BT_OK);
        env->loop = loop;
        CHECK(env_open(env, STORE_SERVE, NULL) == BT_OK);
        CHECK(insert_row(env, 1).err == BT_OK);
        scenario(env);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int64_t rows_after(struct store_env *env)
{
    assert_int_equal(env_open(env, STORE_SERVE, NULL), BT_OK);
    int64_t n = env_int(env, "SELECT COUNT(*) FROM friend");
    env_close(env);
    return n;
}

static void disk_fills_and_empties(struct store_env *env)
{
    struct env_answer burst[6] = { 0 };
    control(env, "full");
    CHECK(insert_row(env, 2).err == BT_EFULL);
    for (int i = 0; i < 6; i++) { /* together in one transaction */
        struct db_val v = db_int(10 + i);
        db_exec(env->db, INSERT, &v, 1, 1, env_answer_done, &burst[i]);
    }
    for (int i = 0; i < 6; i++) {
        env_wait(env, &burst[i].is_done);
        CHECK(burst[i].done.err == BT_EFULL);
    }
    CHECK(env_int(env, "SELECT COUNT(*) FROM friend") == 1);
    control(env, "");
    CHECK(insert_row(env, 2).err == BT_OK);
    CHECK(env_int(env, "SELECT COUNT(*) FROM friend") == 2);
}

static void a_full_disk_is_refused_reads_go_on_and_writes_return(void **state)
{
    struct store_env *env = *state;
    assert_int_equal(in_child(env, disk_fills_and_empties), 0);
    assert_int_equal(rows_after(env), 2);
}

/* The log cannot be copied while the disk is full, and is once there is room. */
static void disk_fills_at_a_checkpoint(struct store_env *env)
{
    int64_t id = 2;
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 60; i++, id++)
            CHECK(insert_row(env, id).err == BT_OK);
        control(env, "full");
        CHECK(insert_row(env, id).err == BT_EFULL);
        CHECK(env_int(env, "SELECT COUNT(*) FROM friend") == id - 1);
        control(env, "");
    }
    CHECK(insert_row(env, id).err == BT_OK);
}

static void a_full_disk_between_checkpoints_loses_nothing(void **state)
{
    struct store_env *env = *state;
    assert_int_equal(in_child(env, disk_fills_at_a_checkpoint), 0);
    assert_int_equal(rows_after(env), 302);
}

/* One commit, in microseconds. */
static uint64_t insert_us(struct store_env *env, const char *sql, const struct db_val *row, size_t n)
{
    uint64_t from_us = net_clock_us();
    CHECK(env_exec(env, sql, row, n, 1).err == BT_OK);
    return net_clock_us() - from_us;
}

/* Fill the log with long rows, then write short ones until it was copied. Of three rounds one at least must not be held up by the machine. */
static void database_syncs_are_heavy(struct store_env *env)
{
    static uint8_t body[16384];
    uint64_t least_us = UINT64_MAX;
    int64_t id = 2;
    CHECK(env_exec(env, "CREATE TABLE t (id BIGINT NOT NULL PRIMARY KEY, body BLOB)", NULL, 0, DB_ANY).err == BT_OK);
    control(env, "heavy");
    for (int round = 0; round < 3; round++) {
        uint64_t checkpoints = env->db->stats.checkpoints, begun_us = net_clock_us(), longest_us = 0;
        for (int i = 0; env->db->stats.checkpoints == checkpoints && net_clock_us() - begun_us < 10000000; i++, id++) {
            const struct db_val row[] = { db_int(id), db_bytes(body, sizeof body) };
            bool is_long = i < 50; /* what they fill takes 100 ms and more to sync */
            uint64_t took_us = insert_us(env, is_long ? "INSERT INTO t (id, body) VALUES (?, ?)" : INSERT, row, is_long ? 2 : 1);
            longest_us = took_us > longest_us ? took_us : longest_us;
        }
        CHECK(env->db->stats.checkpoints > checkpoints);
        least_us = longest_us < least_us ? longest_us : least_us;
    }
    if (least_us >= 40000)
        fprintf(stderr, "the longest commit took %llu us\n", (unsigned long long)least_us);
    CHECK(least_us < 40000);
}

static void commits_go_on_while_the_database_file_is_synced(void **state)
{
    struct store_env *env = *state;
    env_set(env, "store.wal_kib=768");
    assert_int_equal(in_child(env, database_syncs_are_heavy), 0);
}

static void writes_fail(struct store_env *env)
{
    control(env, "ioerr");
    enum bt_err err = insert_row(env, 2).err;
    CHECK(err == BT_EUNSURE || err == BT_EDOWN);
    CHECK(env_int(env, "SELECT COUNT(*) FROM friend") == 1);
    control(env, "");
    err = insert_row(env, 2).err; /* settled by writing the same again */
    CHECK(err == BT_OK || err == BT_EEXIST);
    CHECK(env_int(env, "SELECT COUNT(*) FROM friend") == 2);
}

static void a_failed_write_is_no_acknowledgement_and_the_server_goes_on(void **state)
{
    struct store_env *env = *state;
    assert_int_equal(in_child(env, writes_fail), 0);
    assert_int_equal(rows_after(env), 2);
}

static void never_acknowledged(const struct db_done *done, void *arg)
{
    (void)done;
    (void)arg;
    _exit(97);
}

static void sync_fails(struct store_env *env)
{
    struct db_val v = db_int(2);
    control(env, "fsyncfail");
    db_exec(env->db, INSERT, &v, 1, 1, never_acknowledged, NULL);
    for (int i = 0; i < 100; i++)
        net_loop_turn(env->loop, 50);
}

static void a_failed_sync_ends_the_process_before_any_answer(void **state)
{
    struct store_env *env = *state;
    assert_int_equal(in_child(env, sync_fails), 70);
    int64_t rows = rows_after(env);
    assert_true(rows == 1 || rows == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_acknowledged_is_lost_over_power_cuts, setup, env_teardown),
        cmocka_unit_test_setup_teardown(without_durable_a_power_cut_loses_acknowledged_rows, setup, env_teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_refused_reads_go_on_and_writes_return, setup, env_teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_between_checkpoints_loses_nothing, setup, env_teardown),
        cmocka_unit_test_setup_teardown(commits_go_on_while_the_database_file_is_synced, setup, env_teardown),
        cmocka_unit_test_setup_teardown(a_failed_write_is_no_acknowledgement_and_the_server_goes_on, setup, env_teardown),
        cmocka_unit_test_setup_teardown(a_failed_sync_ends_the_process_before_any_answer, setup, env_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
