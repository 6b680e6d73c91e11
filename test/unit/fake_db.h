/*
 * test/unit/fake_db.h: a database that answers from a script, for tests of what stands above the store.
 *
 * A test says beforehand what the calls whose SQL begins with a prefix are answered with, and looks afterwards at what
 * was asked. Answers come at the loop's next turn, or, after fake_db_hold(), when the test lets them go. A call that
 * the script does not know fails the test. Pair it with store_over(); closing the store frees the fake.
 */
#ifndef BT_TEST_FAKE_DB_H
#define BT_TEST_FAKE_DB_H

#include "net/loop.h"
#include "store/db.h"

struct fake_db;

struct fake_db *fake_db_new(struct net_loop *loop);
struct db *fake_db_base(struct fake_db *f);

/*
 * Answers to calls whose SQL (a list's first statement, an insert's head) begins with prefix. A rule serves `times`
 * calls (FAKE_ALWAYS: all); of several that match, the one added first that is not used up. Values are copied.
 */
enum { FAKE_ALWAYS = -1 };
void fake_db_rows(struct fake_db *f, const char *prefix, int times, size_t nrows, size_t ncols, const struct db_val *vals);
void fake_db_done(struct fake_db *f, const char *prefix, int times, enum bt_err err, size_t item, int64_t changed);
void fake_db_fail(struct fake_db *f, const char *prefix, int times, enum bt_err err); /* a query or a write */

/* Keep answers back, or let them go on; fake_db_release() lets n of the kept ones go, oldest first. */
void fake_db_hold(struct fake_db *f, bool is_held);
void fake_db_release(struct fake_db *f, size_t n);

/* What was asked, oldest first; valid until fake_db_forget() or the close. */
struct fake_stmt {
    const char *sql;
    size_t nvals;               /* of all rows */
    size_t nrows;               /* inserts; otherwise 1 */
    const struct db_val *vals;
    int64_t expect;
};
struct fake_call {
    enum { FAKE_QUERY, FAKE_LIST, FAKE_INSERT } kind;
    size_t nstmts;
    const struct fake_stmt *stmts;
};
size_t fake_db_ncalls(const struct fake_db *f);
const struct fake_call *fake_db_call(const struct fake_db *f, size_t i);      /* fails the test when there is none */
const struct fake_call *fake_db_last(const struct fake_db *f, const char *prefix);
size_t fake_db_count(const struct fake_db *f, const char *prefix);            /* calls that have a statement like this */
void fake_db_forget(struct fake_db *f);                                       /* calls; rules stay. None may be unanswered. */
void fake_db_clear(struct fake_db *f);                                        /* rules */

void fake_db_set_now(struct fake_db *f, int64_t now_ms); /* the clock; it stands still */
void fake_db_set_up(struct fake_db *f, bool is_up);      /* up again raises the generation */

#endif
