/*
 * test/unit/test_store_sql.c: every statement of store/<subject>.c on SQLite and on MariaDB: neither finds one wrong, and both
 * answer the same.
 *
 * One story calls every function of the subjects that makes a statement, in every width that it has, and writes down what
 * came back. It is told over one backend, then over the other, and the two tales are compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/account.h"
#include "store/conversation.h"
#include "store/friend.h"
#include "store/group.h"
#include "store/history.h"
#include "store/member.h"
#include "store/message.h"
#include "store/session.h"
#include "test/unit/mariadb_env.h"
#include "test/unit/store_env.h"

struct tale {
    struct store_env env;
    FILE *out;
    char *text;
    size_t len;
    bool is_done;
    enum bt_err expected;
    bool is_unordered; /* the rows of the next answers have no order: they are written down sorted */
};

static const struct store_text none = { NULL, 0 };

static struct store_text text(const char *s)
{
    return (struct store_text){ s, strlen(s) };
}

/* ---- writing down ------------------------------------------------------------------------------------------------------ */

static void write_val(FILE *out, const struct db_val *v)
{
    if (v->type == DB_NULL)
        fputs(" NULL", out);
    else if (v->type == DB_INT)
        fprintf(out, " %lld", (long long)v->i);
    else
        fprintf(out, " '%.*s'", (int)v->len, (const char *)v->p);
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void tell_rows(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct tale *t = arg;
    t->is_done = true;
    fprintf(t->out, "%s\n", bt_err_name(err));
    assert_int_equal(err, BT_OK);
    char **lines = calloc(rows->nrows + 1, sizeof *lines);
    for (size_t r = 0; r < rows->nrows; r++) {
        size_t len;
        FILE *line = open_memstream(&lines[r], &len);
        for (size_t c = 0; c < rows->ncols; c++)
            write_val(line, db_at(rows, r, c));
        fclose(line);
    }
    if (t->is_unordered)
        qsort(lines, rows->nrows, sizeof *lines, compare_lines);
    for (size_t r = 0; r < rows->nrows; r++) {
        fprintf(t->out, "%s\n", lines[r]);
        free(lines[r]);
    }
    free(lines);
}

static void tell_done(const struct db_done *done, void *arg)
{
    struct tale *t = arg;
    t->is_done = true;
    fprintf(t->out, "%s item=%zu changed=%lld\n", bt_err_name(done->err), done->item, done->err == BT_OK ? (long long)done->changed : 0);
    assert_int_equal(done->err, t->expected);
}

static void tell_id(enum bt_err err, uint64_t id, void *arg)
{
    struct tale *t = arg;
    t->is_done = true;
    fprintf(t->out, "%s %llu\n", bt_err_name(err), (unsigned long long)id);
    assert_int_equal(err, BT_OK);
}

/* Run one call, whose callback and its argument end it: READ(store_x, args...), WRITE(expected, store_x, args...). */
static void before(struct tale *t, const char *what)
{
    fprintf(t->out, "%s: ", what);
    t->is_done = false;
}
#define READ(call, ...) (before(t, #call), call(t->env.store, __VA_ARGS__, tell_rows, t), env_wait(&t->env, &t->is_done))
#define WRITE(err, call, ...) \
    (before(t, #call), t->expected = (err), call(t->env.store, __VA_ARGS__, tell_done, t), env_wait(&t->env, &t->is_done))

static void run_list(struct tale *t, const char *what, enum bt_err err, struct db_list *list)
{
    before(t, what);
    t->expected = err;
    db_list_run(t->env.db, list, tell_done, t);
    env_wait(&t->env, &t->is_done);
}

/* ---- the story --------------------------------------------------------------------------------------------------------- */

enum { ALICE = 1, BOB = 2, CAROL = 3, GROUP = 100, GROUP_2 = 101 };

static void accounts(struct tale *t)
{
    static const char *const names[] = { "Alice", "Bob", "Carol" };
    static const char *const canon[] = { "alice", "bob", "carol" };
    uint64_t ids[STORE_ACCOUNT_NAMES_MAX];
    for (uint64_t i = 0; i < 3; i++) {
        struct store_account a = { .user_id = i + 1, .name = text(names[i]), .hash = text("hash"), .created_ms = 10 };
        WRITE(BT_OK, store_account_insert, &a, text(canon[i]));
    }
    struct store_account again = { .user_id = 9, .name = text("ALICE"), .hash = text("h"), .created_ms = 11 };
    WRITE(BT_EEXIST, store_account_insert, &again, text("alice"));
    READ(store_account_by_name, text("bob"));
    READ(store_account_by_name, text("nobody"));
    READ(store_account_by_id, ALICE);
    WRITE(BT_OK, store_account_set_profile, ALICE, text("about alice"), none);
    WRITE(BT_OK, store_account_set_profile, ALICE, none, text("http://a"));
    WRITE(BT_ECONFLICT, store_account_set_profile, 77, text("x"), none);
    READ(store_account_by_id, ALICE);
    for (size_t i = 0; i < STORE_ACCOUNT_NAMES_MAX; i++)
        ids[i] = i + 1;
    READ(store_account_names, ids, 3);
    READ(store_account_names, ids, STORE_ACCOUNT_NAMES_MAX);
}

static void sessions(struct tale *t)
{
    const uint64_t replaced[] = { 501 };
    struct store_login login = { .user_id = ALICE, .hash = text("hash"), .reason = 1,
                                 .session = { .session_id = 501, .device_id = 5, .device = text("phone"), .created_ms = 20 } };
    WRITE(BT_OK, store_session_begin, &login);
    WRITE(BT_EEXIST, store_session_begin, &(struct store_login){ .user_id = ALICE, .hash = text("hash"), .nleft = 1,
          .session = { .session_id = 502, .device_id = 5, .device = text("phone"), .created_ms = 21 } });
    WRITE(BT_ECONFLICT, store_session_begin, &(struct store_login){ .user_id = ALICE, .hash = text("wrong"),
          .session = { .session_id = 503, .device_id = 6, .device = text("phone"), .created_ms = 21 } });
    login.session.session_id = 504;
    login.session.created_ms = 22;
    login.replaced = replaced;
    login.nreplaced = 1;
    WRITE(BT_OK, store_session_begin, &login);
    login.session.device = text("new phone");
    WRITE(BT_OK, store_session_again, &login);
    READ(store_session_live, ALICE);
    READ(store_session_find, ALICE, 501);
    READ(store_session_find, ALICE, 999);
    WRITE(BT_OK, store_session_end, ALICE, 504, 2, 30);
    WRITE(BT_OK, store_session_end, ALICE, 504, 2, 31); /* changes nothing */
    READ(store_session_ended, 1);
    READ(store_session_ended, 25);
    WRITE(BT_OK, store_session_end_later, ALICE, 504, 40);
    WRITE(BT_OK, store_session_end_later, ALICE, 504, 39); /* changes nothing */
    READ(store_session_ended, 31);
    WRITE(BT_OK, store_account_set_password, BOB, text("hash"), text("hash 2"), 0, 3);
    WRITE(BT_ECONFLICT, store_account_set_password, BOB, text("hash"), text("hash 3"), 0, 3);
    WRITE(BT_OK, store_account_set_hash, BOB, text("hash 2"), text("hash 2 anew"));
    WRITE(BT_ECONFLICT, store_account_set_hash, BOB, text("hash 2"), text("too late"));
    WRITE(BT_OK, store_account_disable, CAROL, 4);
    WRITE(BT_OK, store_account_enable, CAROL);
    READ(store_account_by_id, CAROL);
}

static struct store_friend_pair pair(enum store_friend_state own, bool blocks, enum store_friend_state peer)
{
    return (struct store_friend_pair){ .own = { own, blocks }, .peer = { peer, false } };
}

static void friend_change(struct tale *t, enum bt_err err, uint64_t user, uint64_t peer, struct store_friend_pair old, struct store_friend_pair new)
{
    WRITE(err, store_friend_change, user, peer, &old, &new);
}

/* The time of a friendship's change is the store's: it is not in what is compared. */
static void tell_friends(enum bt_err err, const struct db_rows *rows, void *arg)
{
    struct tale *t = arg;
    t->is_done = true;
    assert_int_equal(err, BT_OK);
    for (size_t r = 0; r < rows->nrows; r++) {
        struct store_friend f;
        assert_true(store_friend_list_at(rows, r, &f));
        assert_true(f.changed_ms > 1600000000000);
        fprintf(t->out, "%llu %.*s %d %d\n", (unsigned long long)f.user_id, (int)f.name.len, (const char *)f.name.p, f.side.state, f.side.blocked);
    }
}

static void friends(struct tale *t)
{
    const struct store_friend_pair nothing = pair(0, false, 0), asked = pair(STORE_REQUEST_SENT, false, STORE_REQUEST_RECEIVED);
    const struct store_friend_pair both = pair(STORE_FRIENDS, false, STORE_FRIENDS), blocked = pair(0, true, 0);
    t->is_unordered = true;
    READ(store_friend_facts, ALICE, BOB);
    friend_change(t, BT_OK, ALICE, BOB, nothing, asked);
    friend_change(t, BT_EEXIST, ALICE, BOB, nothing, asked);
    friend_change(t, BT_OK, ALICE, BOB, asked, both);
    friend_change(t, BT_ECONFLICT, ALICE, BOB, asked, both);
    friend_change(t, BT_OK, CAROL, ALICE, nothing, blocked);
    READ(store_friend_facts, ALICE, BOB);
    READ(store_friend_facts, ALICE, CAROL);
    READ(store_friend_ids, ALICE, 0, 10);
    READ(store_conversation_pair, BOB, ALICE);
    READ(store_conversation_pair, CAROL, ALICE);
    before(t, "store_friend_list");
    store_friend_list(t->env.store, ALICE, 0, 10, tell_friends, t);
    env_wait(&t->env, &t->is_done);
    t->is_unordered = false;
    friend_change(t, BT_OK, ALICE, BOB, both, nothing);
    READ(store_friend_ids, ALICE, 0, 10);
}

static struct store_message message(uint64_t hi, uint64_t lo, uint64_t seq, uint64_t sender, const char *body)
{
    return (struct store_message){ .hi = hi, .lo = lo, .seq = seq, .sender_id = sender, .client_msg_id = seq * 1000, .sent_ms = 50 + (int64_t)seq,
                                   .kind = STORE_TEXT, .digest = 0xfedcba9876543210u, .content_type = "text/plain", .content_type_len = 10,
                                   .body = body, .body_len = (uint32_t)strlen(body) };
}

static void add_groups(struct tale *t)
{
    const struct store_new_group g = { .group_id = GROUP, .creator_id = ALICE, .request_id = 7, .name = "chess", .name_len = 5, .about = "", .created_ms = 60 };
    struct store_new_group h = g;
    struct store_message first = message(GROUP, 0, 1, ALICE, "made");
    struct db_list *list = db_list_new(t->env.db);
    store_conversation_add_group(list, &g);
    store_conversation_add_join(list, GROUP, ALICE, STORE_OWNER, 1, NULL);
    store_message_add(list, &first);
    run_list(t, "a group is made", BT_OK, list);
    h.group_id = GROUP_2;
    list = db_list_new(t->env.db);
    store_conversation_add_group(list, &h);
    run_list(t, "and again, by its request", BT_EEXIST, list);
}

static void group_life(struct tale *t)
{
    const struct store_member asked = { .user_id = CAROL, .pending = STORE_ASKING };
    add_groups(t);
    WRITE(BT_OK, store_group_set_pending, GROUP, CAROL, false, 0, STORE_INVITED);
    WRITE(BT_OK, store_group_set_pending, GROUP, CAROL, true, STORE_INVITED, STORE_ASKING);
    READ(store_group_members, GROUP, STORE_ASKING, 0, 10);
    struct db_list *list = db_list_new(t->env.db);
    store_conversation_add_join(list, GROUP, BOB, STORE_MEMBER, 2, NULL);
    store_conversation_add_join(list, GROUP, CAROL, STORE_MEMBER, 2, &asked);
    store_conversation_add_role(list, GROUP, BOB, STORE_MEMBER, STORE_ADMIN);
    store_conversation_add_mute(list, GROUP, CAROL, STORE_MEMBER, 99);
    store_conversation_add_update(list, GROUP, "chess club", 10, "we play", 7, 2);
    run_list(t, "two join", BT_OK, list);
    READ(store_group_get, GROUP, ALICE);
    READ(store_group_get, GROUP, UINT64_MAX);
    READ(store_group_find, ALICE, 7);
    READ(store_group_list, BOB, 0, 10);
    READ(store_group_get, GROUP, BOB);
    READ(store_group_joined, BOB);
    READ(store_group_other, GROUP, CAROL, ALICE);
    READ(store_group_other, GROUP, 77, ALICE);
    READ(store_group_members, GROUP, 0, 0, 10);
    READ(store_group_admins, GROUP);
    READ(store_group_pending, GROUP, 1);
    READ(store_group_pending, GROUP, 9);
    READ(store_conversation_members, GROUP, 0);
    READ(store_conversation_member, GROUP, 0, CAROL);
    READ(store_conversation_group, GROUP);
}

static void group_ends(struct tale *t)
{
    struct db_list *list = db_list_new(t->env.db);
    store_conversation_add_leave(list, GROUP, CAROL, STORE_MEMBER, 3);
    run_list(t, "one leaves", BT_OK, list);
    list = db_list_new(t->env.db);
    store_conversation_add_leave(list, GROUP, CAROL, STORE_MEMBER, 4);
    run_list(t, "and again", BT_ECONFLICT, list);
    list = db_list_new(t->env.db);
    store_conversation_add_disband(list, GROUP, 777);
    run_list(t, "the end", BT_OK, list);
    list = db_list_new(t->env.db);
    store_conversation_add_leave(list, GROUP, ALICE, STORE_OWNER, 4);
    run_list(t, "the owner leaves", BT_OK, list);
    assert_int_equal(env_int(&t->env, "SELECT owner_id FROM chat_group WHERE disbanded_ms = 777"), 0);
    READ(store_group_list, ALICE, 0, 10);
    READ(store_group_list, BOB, 0, 10);
    READ(store_conversation_group, GROUP);
    READ(store_conversation_members, GROUP, 0);
}

static void talk(struct tale *t)
{
    struct store_message many[70];
    struct db_list *list = db_list_new(t->env.db);
    store_conversation_add_user(list, BOB, ALICE, ALICE);
    store_conversation_add_user(list, BOB, ALICE, BOB);
    run_list(t, "a pair's places", BT_OK, list);
    for (uint64_t i = 0; i < 70; i++)
        many[i] = message(BOB, ALICE, i + 1, 1 + i % 2, i % 3 == 0 ? "" : "hello");
    WRITE(BT_OK, store_message_insert, many, 70);
    WRITE(BT_EEXIST, store_message_insert, many + 30, 40);
    many[0] = message(GROUP, 0, 2, BOB, "in the group");
    WRITE(BT_OK, store_message_insert, many, 1);
    struct store_message edit = message(BOB, ALICE, 71, ALICE, ""), recall = message(BOB, ALICE, 72, BOB, "");
    edit.kind = STORE_EDIT;
    edit.refers_to_seq = 3;
    edit.content_type = "text/markdown";
    edit.content_type_len = 13;
    edit.body = "*edited*";
    edit.body_len = 8;
    recall.kind = STORE_RECALL;
    recall.refers_to_seq = 2;
    list = db_list_new(t->env.db);
    store_message_add_replace(list, &edit);
    edit.content_type_len = edit.body_len = 0; /* its text stands in the message that it edits */
    store_message_add(list, &edit);
    store_message_add_empty(list, BOB, ALICE, 2);
    store_message_add(list, &recall);
    run_list(t, "an edit and a recall", BT_OK, list);
    assert_int_equal(env_int(&t->env, "SELECT COUNT(*) FROM message WHERE digest = 0 AND LENGTH(content_type) + LENGTH(body) > 0"), 0);
    list = db_list_new(t->env.db);
    edit.refers_to_seq = 2;
    store_message_add_replace(list, &edit);
    run_list(t, "an edit of what is recalled", BT_ECONFLICT, list);
}

static void look_back(struct tale *t)
{
    struct store_message_id ids[STORE_FIND_MAX];
    struct store_range ranges[STORE_RANGES_MAX];
    memset(ids, 0, sizeof ids);
    memset(ranges, 0, sizeof ranges);
    for (uint64_t i = 0; i < STORE_FIND_MAX; i++)
        ids[i] = (struct store_message_id){ .hi = BOB, .lo = ALICE, .sender_id = 1 + i % 2, .client_msg_id = (i + 1) * 1000, .seq = 60 + i };
    for (uint64_t i = 0; i < STORE_RANGES_MAX; i++)
        ranges[i] = i % 2 == 0 ? (struct store_range){ BOB, ALICE, 1 + i * 5, 3 + i * 5, i, BOB } : (struct store_range){ GROUP, 0, 1 + i, 9, 0, ALICE };
    READ(store_message_newest, BOB, ALICE, 3);
    READ(store_message_at, BOB, ALICE, 71);
    static const size_t widths[] = { 1, 3, 16 };
    for (size_t i = 0; i < 3; i++) {
        READ(store_history, ranges, widths[i]);
        t->is_unordered = true;
        READ(store_message_find, ids, widths[i]);
        READ(store_message_find_seqs, ids, widths[i]);
        READ(store_outlines, ALICE, ranges, widths[i], true);
        READ(store_outlines, ALICE, ranges, widths[i], false);
        t->is_unordered = false;
    }
}

static void marks(struct tale *t)
{
    struct store_place keys[STORE_PLACES_MAX];
    for (uint64_t i = 0; i < STORE_PLACES_MAX; i++)
        keys[i] = (struct store_place){ .hi = i % 2 ? GROUP : BOB, .lo = i % 2 ? 0 : ALICE, .user_id = 1 + i % 3 };
    struct db_list *list = db_list_new(t->env.db);
    store_marks_add(list, &(struct store_place){ .hi = BOB, .lo = ALICE, .user_id = BOB, .delivered_seq = 40, .read_seq = 30 });
    store_marks_add(list, &(struct store_place){ .hi = GROUP, .user_id = BOB, .delivered_seq = 2, .read_seq = 2 });
    run_list(t, "marks", BT_OK, list);
    list = db_list_new(t->env.db);
    store_marks_add(list, &(struct store_place){ .hi = BOB, .lo = ALICE, .user_id = BOB, .delivered_seq = 10, .read_seq = 35 });
    run_list(t, "marks only rise", BT_OK, list);
    READ(store_places, ALICE, 0, 0, UINT64_MAX, UINT64_MAX, 10);
    READ(store_places, BOB, BOB, ALICE, GROUP, 0, 10);
    READ(store_places_find, keys, 1);
    READ(store_places_find, keys, 16);
    READ(store_receipt_counts, GROUP, 0, 2, ALICE, true);
    READ(store_receipt_counts, BOB, ALICE, 20, ALICE, true);
    READ(store_receipt_counts, BOB, ALICE, 20, ALICE, false);
    READ(store_receipts, BOB, ALICE, 20, ALICE, 0, 10);
    READ(store_receipts, GROUP, 0, 2, ALICE, 0, 10);
}

static void ids(struct tale *t)
{
    for (int i = 0; i < 5; i++) { /* from two leases */
        before(t, "store_next_id");
        store_next_id(t->env.store, "entity", tell_id, t);
        env_wait(&t->env, &t->is_done);
    }
}

static void tell(struct tale *t)
{
    t->out = open_memstream(&t->text, &t->len);
    env_set(&t->env, "store.id_lease=3");
    assert_int_equal(env_open(&t->env, STORE_MIGRATE, NULL), BT_OK);
    assert_int_equal(env_open(&t->env, STORE_SERVE, NULL), BT_OK);
    accounts(t);
    sessions(t);
    friends(t);
    group_life(t);
    talk(t);
    look_back(t);
    marks(t);
    group_ends(t);
    ids(t);
    fclose(t->out);
    env_deinit(&t->env);
}

/* ---- */

/* The first line in which the two differ, with the call that it answers. */
static void assert_same_tales(const char *a, const char *b)
{
    size_t at = 0, call = 0;
    while (a[at] != '\0' && a[at] == b[at]) {
        if (a[at] == '\n' && strncmp(a + at + 1, "store_", 6) == 0)
            call = at + 1;
        at++;
    }
    if (a[at] != b[at])
        fail_msg("SQLite:\n%.400s\n\nMariaDB:\n%.400s", a + call, b + call);
}

static void both_databases_tell_the_same_tale(void **state)
{
    struct tale lite = { 0 }, maria = { 0 };
    char url[128];
    (void)state;
    env_init(&lite.env);
    tell(&lite);
    env_init(&maria.env);
    snprintf(url, sizeof url, "store.url=mariadb://root@127.0.0.1:%d/bytetalk", mariadb.port);
    env_set(&maria.env, url);
    tell(&maria);
    assert_true(lite.len > 5000);
    assert_same_tales(lite.text, maria.text);
    free(lite.text);
    free(maria.text);
}

static char *read_file(const char *path)
{
    char *text = calloc(1, 1 << 17);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        fail_msg("%s: run this in the source directory", path);
    assert_true(fread(text, 1, (1 << 17) - 1, f) > 0);
    fclose(f);
    return text;
}

/* Those declared as "void store_...(": they run or add a statement. */
static void the_story_calls_every_function_that_makes_a_statement(void **state)
{
    static const char *const headers[] = { "store/account.h", "store/conversation.h", "store/friend.h", "store/group.h",
                                           "store/history.h", "store/member.h", "store/message.h", "store/session.h" };
    char *story = read_file(__FILE__);
    int functions = 0;
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        char *header = read_file(headers[i]);
        for (char *at = header; (at = strstr(at, "\nvoid store_")) != NULL; at++) {
            char name[80];
            snprintf(name, sizeof name, "%.*s", (int)strcspn(at + 6, "("), at + 6);
            bool is_reader = strstr(name, "_facts_at") != NULL; /* takes rows */
            functions++;
            if (strstr(story, name) == NULL && !is_reader)
                fail_msg("%s: %s is not called here", headers[i], name);
        }
        free(header);
    }
    assert_true(functions > 50);
    free(story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_databases_tell_the_same_tale),
        cmocka_unit_test(the_story_calls_every_function_that_makes_a_statement),
    };
    return cmocka_run_group_tests(tests, mariadb_group_setup, mariadb_group_teardown);
}
