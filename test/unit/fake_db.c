/* test/unit/fake_db.c: see fake_db.h. */
#include "test/unit/fake_db.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/db_internal.h"

struct rule {
    struct rule *next;
    char *prefix;
    int times;
    struct db_done done;      /* err for queries too */
    bool has_rows;
    size_t ncols;
    struct db_list *rows;     /* a list's memory keeps copies of values; its one "statement" is the rows */
};

struct call {
    struct call *next;
    struct fake_call seen;
    struct db_list *list;
    db_rows_cb *rows_cb;
    db_done_cb *done_cb;
    void *arg;
    bool is_answered;
    enum bt_err refused;
};

struct fake_db {
    struct db base;
    struct net_loop *loop;
    struct net_task task;
    struct rule *rules;
    struct call *calls, **tail;
    size_t nopen;
    bool is_held, is_closing;
    size_t to_release;
    int64_t now_ms;
    void (*closed_cb)(void *arg);
    void *closed_arg;
};

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void rule_add(struct fake_db *f, const char *prefix, struct rule rule)
{
    struct rule **at = &f->rules, *r = malloc(sizeof *r);
    *r = rule;
    r->prefix = strdup(prefix);
    r->next = NULL;
    while (*at != NULL)
        at = &(*at)->next;
    *at = r;
}

void fake_db_rows(struct fake_db *f, const char *prefix, int times, size_t nrows, size_t ncols, const struct db_val *vals)
{
    struct db_list *rows = db_list_new(&f->base);
    db_list_add_rows(rows, "", false, vals, ncols, nrows, DB_ANY);
    db_list_seal(rows);
    rule_add(f, prefix, (struct rule){ .times = times, .has_rows = true, .ncols = ncols, .rows = rows });
}

void fake_db_done(struct fake_db *f, const char *prefix, int times, enum bt_err err, size_t item, int64_t changed)
{
    rule_add(f, prefix, (struct rule){ .times = times, .done = { .err = err, .item = item, .changed = changed } });
}

void fake_db_fail(struct fake_db *f, const char *prefix, int times, enum bt_err err)
{
    fake_db_done(f, prefix, times, err, 0, 0);
}

/* Use up one turn of the rule for sql; a test whose script has none is wrong. */
static struct rule *rule_take(struct fake_db *f, const char *sql)
{
    for (struct rule *r = f->rules; r != NULL; r = r->next) {
        if (r->times == 0 || !begins(sql, r->prefix))
            continue;
        if (r->times > 0)
            r->times--;
        return r;
    }
    fail_msg("the script has no answer to: %s", sql);
    return NULL;
}

static void call_answer(struct fake_db *f, struct call *c)
{
    struct db_done done = { .err = c->refused };
    struct db_rows rows = { 0 };
    if (c->refused == BT_OK) {
        struct rule *r = rule_take(f, c->seen.stmts[0].sql);
        done = r->done;
        if (c->rows_cb != NULL && done.err == BT_OK) {
            if (!r->has_rows)
                fail_msg("the script answers a query without rows: %s", c->seen.stmts[0].sql);
            rows = (struct db_rows){ .nrows = r->rows->stmts[0].nrows, .ncols = r->ncols, .vals = r->rows->vals };
        }
    }
    c->is_answered = true;
    f->nopen--;
    if (c->rows_cb != NULL)
        c->rows_cb(done.err, done.err == BT_OK ? &rows : NULL, c->arg);
    else if (c->done_cb != NULL)
        c->done_cb(&done, c->arg);
}

static void call_free(struct call *c)
{
    free((void *)c->seen.stmts);
    db_list_drop(c->list);
    free(c);
}

void fake_db_forget(struct fake_db *f)
{
    assert_int_equal(f->nopen, 0);
    while (f->calls != NULL) {
        struct call *c = f->calls;
        f->calls = c->next;
        call_free(c);
    }
    f->tail = &f->calls;
}

void fake_db_clear(struct fake_db *f)
{
    while (f->rules != NULL) {
        struct rule *r = f->rules;
        f->rules = r->next;
        db_list_drop(r->rows);
        free(r->prefix);
        free(r);
    }
}

/* The oldest call that is not answered; NULL: none. */
static struct call *next_open(const struct fake_db *f)
{
    struct call *c = f->calls;
    while (c != NULL && c->is_answered)
        c = c->next;
    return c;
}

/* Answer what was open when the turn began. */
static void answer_all(void *arg)
{
    struct fake_db *f = arg;
    size_t n = f->nopen;
    if (f->is_held && !f->is_closing && f->to_release < n)
        n = f->to_release;
    f->to_release = 0;
    for (; n > 0; n--)
        call_answer(f, next_open(f));
    if (!f->is_closing || f->nopen > 0)
        return;
    void (*closed_cb)(void *a) = f->closed_cb;
    void *closed_arg = f->closed_arg;
    fake_db_forget(f);
    fake_db_clear(f);
    free(f);
    closed_cb(closed_arg);
}

static void call_start(struct fake_db *f, struct call call, struct db_list *list)
{
    struct call *c = malloc(sizeof *c);
    *c = call;
    c->next = NULL;
    c->list = list;
    c->refused = f->is_closing ? BT_ECLOSING : !f->base.is_up ? BT_EDOWN : list == NULL || list->is_broken ? BT_ENOMEM : BT_OK;
    if (list != NULL && !list->is_broken) {
        db_list_seal(list);
        struct fake_stmt *stmts = calloc(list->nstmts, sizeof *stmts);
        for (size_t i = 0; i < list->nstmts; i++) {
            const struct db_stmt *s = &list->stmts[i];
            stmts[i] = (struct fake_stmt){ .sql = s->sql, .nvals = s->nvals * s->nrows, .nrows = s->nrows,
                                           .vals = list->vals + s->first_val, .expect = s->expect };
        }
        c->seen.nstmts = list->nstmts;
        c->seen.stmts = stmts;
    }
    *f->tail = c;
    f->tail = &c->next;
    f->nopen++;
    net_defer(f->loop, &f->task, answer_all, f);
}

static void fake_query(struct db *db, const char *sql, const struct db_val *params, size_t nparams, db_rows_cb *cb, void *arg)
{
    struct db_list *list = db_list_new(db);
    db_list_add(list, sql, params, nparams, DB_ANY);
    call_start((struct fake_db *)db, (struct call){ .seen.kind = FAKE_QUERY, .rows_cb = cb, .arg = arg }, list);
}

static void fake_list_run(struct db *db, struct db_list *list, db_done_cb *cb, void *arg)
{
    call_start((struct fake_db *)db, (struct call){ .seen.kind = FAKE_LIST, .done_cb = cb, .arg = arg }, list);
}

static void fake_insert(struct db *db, const char *head, size_t ncols, const struct db_val *vals, size_t nrows,
                        db_done_cb *cb, void *arg)
{
    struct db_list *list = db_list_new(db);
    db_list_add_rows(list, head, true, vals, ncols, nrows, DB_ANY);
    call_start((struct fake_db *)db, (struct call){ .seen.kind = FAKE_INSERT, .done_cb = cb, .arg = arg }, list);
}

static int64_t fake_now_ms(struct db *db)
{
    return ((struct fake_db *)db)->now_ms;
}

static size_t fake_load(const struct db *db)
{
    return ((const struct fake_db *)db)->nopen;
}

static void fake_close(struct db *db, void (*closed_cb)(void *arg), void *arg)
{
    struct fake_db *f = (struct fake_db *)db;
    f->is_closing = true;
    f->closed_cb = closed_cb;
    f->closed_arg = arg;
    net_defer(f->loop, &f->task, answer_all, f);
}

static const struct db_driver fake_driver = {
    .scheme = "fake",
    .query = fake_query,
    .list_run = fake_list_run,
    .insert = fake_insert,
    .now_ms = fake_now_ms,
    .load = fake_load,
    .close = fake_close,
};

struct fake_db *fake_db_new(struct net_loop *loop)
{
    struct fake_db *f = calloc(1, sizeof *f);
    f->base = (struct db){ .driver = &fake_driver, .generation = 1, .is_up = true };
    f->loop = loop;
    f->tail = &f->calls;
    f->now_ms = 1000000;
    return f;
}

struct db *fake_db_base(struct fake_db *f)
{
    return &f->base;
}

void fake_db_hold(struct fake_db *f, bool is_held)
{
    f->is_held = is_held;
    if (!is_held && f->nopen > 0)
        net_defer(f->loop, &f->task, answer_all, f);
}

void fake_db_release(struct fake_db *f, size_t n)
{
    f->to_release += n;
    net_defer(f->loop, &f->task, answer_all, f);
}

size_t fake_db_ncalls(const struct fake_db *f)
{
    size_t n = 0;
    for (const struct call *c = f->calls; c != NULL; c = c->next)
        n++;
    return n;
}

const struct fake_call *fake_db_call(const struct fake_db *f, size_t i)
{
    const struct call *c = f->calls;
    while (c != NULL && i-- > 0)
        c = c->next;
    if (c == NULL)
        fail_msg("so many calls were not made");
    return &c->seen;
}

static bool has_stmt(const struct call *c, const char *prefix)
{
    for (size_t i = 0; i < c->seen.nstmts; i++)
        if (begins(c->seen.stmts[i].sql, prefix))
            return true;
    return false;
}

const struct fake_call *fake_db_last(const struct fake_db *f, const char *prefix)
{
    const struct call *last = NULL;
    for (const struct call *c = f->calls; c != NULL; c = c->next)
        if (has_stmt(c, prefix))
            last = c;
    if (last == NULL)
        fail_msg("no call was made like: %s", prefix);
    return &last->seen;
}

size_t fake_db_count(const struct fake_db *f, const char *prefix)
{
    size_t n = 0;
    for (const struct call *c = f->calls; c != NULL; c = c->next)
        n += has_stmt(c, prefix);
    return n;
}

void fake_db_set_now(struct fake_db *f, int64_t now_ms)
{
    f->now_ms = now_ms;
}

void fake_db_set_up(struct fake_db *f, bool is_up)
{
    f->base.generation += is_up && !f->base.is_up;
    f->base.is_up = is_up;
}
