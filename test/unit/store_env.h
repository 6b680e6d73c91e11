/* test/unit/store_env.h: a loop, settings and a store in a directory of its own, with calls that wait for their answer. */
#ifndef BT_TEST_STORE_ENV_H
#define BT_TEST_STORE_ENV_H

#include "net/conf.h"
#include "net/loop.h"
#include "store/schema.h"
#include "store/store.h"

struct store_env {
    char dir[64];
    struct net_loop *loop;
    struct conf *conf;
    struct store *store; /* NULL: closed */
    struct db *db;
    char why[256];
};

/* A new directory under /tmp and settings that point there; nothing is opened. Asserts that all goes well. */
void env_init(struct store_env *env);
void env_set(struct store_env *env, const char *assignment);
enum bt_err env_open(struct store_env *env, enum store_mode mode, const struct schema *schema); /* NULL: ours */
void env_close(struct store_env *env);  /* the store; it may be opened again */
void env_deinit(struct store_env *env); /* closes and removes everything */

/* cmocka fixtures: *state is a struct store_env, not opened yet. */
int env_setup(void **state);
int env_teardown(void **state);

/* "<dir>/<name>", valid until the next but one call. */
const char *env_path(const struct store_env *env, const char *name);

/* Turn the loop until *flag; fails the test after ten seconds. */
void env_wait(struct store_env *env, const bool *flag);

/* Turn the loop for so long. */
void env_turn_ms(struct store_env *env, uint64_t ms);

/* Milliseconds since net_clock_us() said start_us. */
uint64_t env_ms_since(uint64_t start_us);

/* Run one write, or one query whose first row's first column is an integer (-1: no row). */
struct db_done env_exec(struct store_env *env, const char *sql, const struct db_val *params, size_t nparams, int64_t expect);
struct db_done env_list(struct store_env *env, struct db_list *list);
int64_t env_int(struct store_env *env, const char *sql);

/* A done or rows callback's target for tests that arm several calls at once. */
struct env_answer {
    bool is_done;
    int calls;
    struct db_done done;
    int64_t first; /* queries: see env_int() */
    size_t nrows;
};
void env_answer_done(const struct db_done *done, void *arg);
void env_answer_rows(enum bt_err err, const struct db_rows *rows, void *arg);

#endif
