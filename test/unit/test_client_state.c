/* test/unit/test_client_state.c: the store in a directory: what is kept, damage, compaction, locking. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/bytetalk.h"
#include "client/client_state_log.h"

struct seen {
    uint64_t device, reserve, user, synced, position[100];
    size_t positions, records;
    char name[64], token[64];
};

static char dir[64], path[96];

static int setup(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/bt_state_XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    strcat(dir, "/deep/er");
    snprintf(path, sizeof path, "%s/state", dir);
    return 0;
}

static int teardown(void **state)
{
    char command[128];
    (void)state;
    dir[strlen("/tmp/bt_state_XXXXXX")] = '\0';
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static void see(const struct bt_record *r, void *arg)
{
    struct seen *s = arg;
    s->records++;
    switch (r->kind) {
    case BT_RECORD_DEVICE: s->device = r->number; break;
    case BT_RECORD_ID_RESERVE: s->reserve = r->number; break;
    case BT_RECORD_SYNCED: s->synced = r->number; break;
    case BT_RECORD_SESSION:
        s->user = r->number;
        snprintf(s->name, sizeof s->name, "%.*s", (int)r->name.len, r->name.data);
        snprintf(s->token, sizeof s->token, "%.*s", (int)r->token.len, r->token.data);
        break;
    case BT_RECORD_POSITION:
        s->positions++;
        if (r->hi < 100)
            s->position[r->hi] = r->number;
        break;
    case BT_RECORD_FORGET: break;
    }
}

static struct seen look(enum bt_file_store_mode mode)
{
    struct seen s = { 0 };
    struct bt_store *store = bt_file_store_open(dir, mode, NULL, 0);
    assert_non_null(store);
    assert_true(store->load(store, see, &s));
    bt_file_store_close(store);
    return s;
}

static void save_position(struct bt_store *store, uint64_t hi, uint64_t seq)
{
    assert_true(store->save(store, &(struct bt_record){ .kind = BT_RECORD_POSITION, .hi = hi, .lo = 1, .number = seq }));
}

static void fill(void)
{
    struct bt_store *store = bt_file_store_open(dir, BT_STORE_WRITE, NULL, 0);
    assert_non_null(store);
    assert_true(store->save(store, &(struct bt_record){ .kind = BT_RECORD_DEVICE, .number = 77 }));
    assert_true(store->save(store, &(struct bt_record){ .kind = BT_RECORD_ID_RESERVE, .number = 5000 }));
    assert_true(store->save(store, &(struct bt_record){ .kind = BT_RECORD_SESSION, .number = 7, .name = { "al ice", 6 },
                                                        .token = { "to\nken", 6 } }));
    assert_true(store->save(store, &(struct bt_record){ .kind = BT_RECORD_SYNCED, .number = 1 }));
    save_position(store, 5, 10);
    save_position(store, 3, 20);
    save_position(store, 5, 11);
    bt_file_store_close(store);
}

static size_t file_size(void)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (size_t)st.st_size;
}

static void what_was_saved_last_is_found_again(void **state)
{
    (void)state;
    fill();
    struct seen s = look(BT_STORE_WRITE);
    assert_int_equal(s.device, 77);
    assert_int_equal(s.reserve, 5000);
    assert_int_equal(s.user, 7);
    assert_string_equal(s.name, "al ice");
    assert_string_equal(s.token, "to\nken");
    assert_int_equal(s.synced, 1);
    assert_int_equal(s.positions, 2);
    assert_int_equal(s.position[5], 11);
    assert_int_equal(s.position[3], 20);
}

static void nobody_else_may_read_the_files(void **state)
{
    struct stat st;
    (void)state;
    fill();
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void a_torn_tail_costs_only_its_own_line(void **state)
{
    (void)state;
    fill();
    size_t whole = file_size();
    struct bt_store *store = bt_file_store_open(dir, BT_STORE_WRITE, NULL, 0);
    save_position(store, 5, 12);
    bt_file_store_close(store);
    size_t longer = file_size();
    FILE *in = fopen(path, "rb");
    char *bytes = malloc(longer);
    assert_int_equal(fread(bytes, 1, longer, in), longer);
    fclose(in);
    for (size_t cut = whole; cut < longer; cut++) {
        FILE *out = fopen(path, "wb");
        assert_int_equal(fwrite(bytes, 1, cut, out), cut);
        fclose(out);
        struct seen s = look(BT_STORE_WRITE);
        assert_int_equal(s.position[5], 11);
        assert_int_equal(s.position[3], 20);
        assert_int_equal(s.device, 77);
        /* It was mended: what is appended now is not glued to half a line. */
        store = bt_file_store_open(dir, BT_STORE_WRITE, NULL, 0);
        save_position(store, 6, 1);
        bt_file_store_close(store);
        s = look(BT_STORE_WRITE);
        assert_int_equal(s.position[6], 1);
        assert_int_equal(s.positions, 3);
    }
    free(bytes);
}

static void a_flipped_bit_costs_only_its_own_line(void **state)
{
    (void)state;
    fill();
    int fd = open(path, O_RDWR);
    char line[512];
    ssize_t len = read(fd, line, sizeof line - 1);
    assert_true(len > 0);
    line[len] = '\0';
    char *at = strstr(line, "position 3 1 20");
    assert_non_null(at);
    assert_int_equal(pwrite(fd, "9", 1, at - line + 13), 1); /* 20 becomes 90 */
    close(fd);
    struct seen s = look(BT_STORE_WRITE);
    assert_int_equal(s.position[3], 0);
    assert_int_equal(s.position[5], 11);
    assert_int_equal(s.device, 77);
}

static void the_log_is_compacted_and_says_the_same(void **state)
{
    (void)state;
    fill();
    struct bt_store *store = bt_file_store_open(dir, BT_STORE_WRITE, NULL, 0);
    size_t largest = 0;
    for (uint64_t seq = 12; seq < 12 + 5000; seq++) {
        save_position(store, 5, seq);
        if (file_size() > largest)
            largest = file_size();
    }
    bt_file_store_close(store);
    assert_true(largest < 60 * 1024); /* about a thousand lines */
    struct seen s = look(BT_STORE_WRITE);
    assert_int_equal(s.position[5], 5011);
    assert_int_equal(s.position[3], 20);
    assert_int_equal(s.device, 77);
    assert_string_equal(s.token, "to\nken");
}

static void another_user_s_positions_are_forgotten(void **state)
{
    (void)state;
    fill();
    struct bt_store *store = bt_file_store_open(dir, BT_STORE_WRITE, NULL, 0);
    assert_true(store->save(store, &(struct bt_record){ .kind = BT_RECORD_FORGET }));
    save_position(store, 9, 2);
    bt_file_store_close(store);
    struct seen s = look(BT_STORE_WRITE);
    assert_int_equal(s.positions, 1);
    assert_int_equal(s.position[9], 2);
    assert_int_equal(s.synced, 0);
    assert_int_equal(s.device, 77);
}

static void one_process_writes_and_others_read(void **state)
{
    char why[256];
    (void)state;
    fill();
    struct bt_store *writer = bt_file_store_open(dir, BT_STORE_WRITE, NULL, 0);
    assert_non_null(writer);
    assert_null(bt_file_store_open(dir, BT_STORE_WRITE, why, sizeof why));
    assert_int_equal(errno, EWOULDBLOCK);
    assert_non_null(strstr(why, "another program uses it"));
    struct seen s = look(BT_STORE_READ);
    assert_int_equal(s.user, 7);
    assert_int_equal(s.reserve, 0); /* the writer's own */
    assert_int_equal(s.device, 0);
    assert_string_equal(s.name, "al ice");
    assert_string_equal(s.token, ""); /* two connections of one session would throw each other out */
    bt_file_store_close(writer);
    assert_non_null(writer = bt_file_store_open(dir, BT_STORE_WRITE, NULL, 0));
    bt_file_store_close(writer);
}

static void a_reader_leaves_no_trace(void **state)
{
    (void)state;
    struct bt_store *store = bt_file_store_open(dir, BT_STORE_READ, NULL, 0);
    assert_non_null(store);
    assert_true(store->save(store, &(struct bt_record){ .kind = BT_RECORD_DEVICE, .number = 1 }));
    bt_file_store_close(store);
    assert_int_equal(access(dir, F_OK), -1);
}

static void a_place_that_cant_be_made_is_told(void **state)
{
    char why[256];
    (void)state;
    assert_null(bt_file_store_open("/proc/none/here", BT_STORE_WRITE, why, sizeof why));
    assert_non_null(strstr(why, "/proc/none/here"));
}

static void lines_of_any_bytes_survive(void **state)
{
    char buf[STATE_LINE_MAX], text[STATE_NAME_MAX + 1];
    struct state_line line;
    (void)state;
    for (size_t n = 0; n < sizeof text; n++)
        text[n] = (char)n;
    struct bt_record r = { .kind = BT_RECORD_SESSION, .number = UINT64_MAX, .name = { text, 256 }, .token = { text, 256 } };
    size_t len = state_line_print(&r, buf);
    assert_true(len > 0 && buf[len - 1] == '\n');
    assert_true(state_line_parse(buf, len - 1, &line));
    assert_int_equal(line.record.number, UINT64_MAX);
    assert_memory_equal(line.record.token.data, text, 256);
    r.token.len = 257;
    assert_int_equal(state_line_print(&r, buf), 0);
    assert_false(state_line_parse("", 0, &line));
    assert_false(state_line_parse("nonsense", 8, &line));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_saved_last_is_found_again),
        TEST(nobody_else_may_read_the_files),
        TEST(a_torn_tail_costs_only_its_own_line),
        TEST(a_flipped_bit_costs_only_its_own_line),
        TEST(the_log_is_compacted_and_says_the_same),
        TEST(another_user_s_positions_are_forgotten),
        TEST(one_process_writes_and_others_read),
        TEST(a_reader_leaves_no_trace),
        TEST(a_place_that_cant_be_made_is_told),
        cmocka_unit_test(lines_of_any_bytes_survive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
