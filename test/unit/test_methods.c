/* test/unit/test_methods.c: what the generator makes of the .proto files, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <pb_common.h>

#include "proto/client.pb.h"
#include "proto/methods.h"
#include "proto/node.pb.h"

static void methods_are_found_by_their_number_and_no_others(void **state)
{
    size_t found = 0, listed = 0;
    (void)state;
    while (rpc_method_infos[listed].id != 0)
        listed++;
    for (uint32_t id = 0; id <= UINT16_MAX; id++) {
        const struct rpc_method_info *info = rpc_method_info((uint16_t)id);
        if (!info)
            continue;
        assert_int_equal(info->id, id);
        found++;
    }
    assert_int_equal(found, listed);
    assert_true(listed > 50);
}

static void a_row_says_what_the_proto_file_says(void **state)
{
    const struct rpc_method_info *send = rpc_method_info(RPC_CHAT_SEND), *push = rpc_method_info(RPC_PROXY_PUSH);
    (void)state;
    assert_int_equal(RPC_CHAT_SEND, 0x0601);
    assert_string_equal(send->service, "Chat");
    assert_string_equal(send->name, "Send");
    assert_int_equal(send->role, RPC_ROLE_CHAT);
    assert_int_equal(send->route, RPC_OWNER);
    assert_int_equal(send->repeat, RPC_ID);
    assert_int_equal(send->access, RPC_ACCESS_SESSION);
    assert_false(send->is_event);
    assert_ptr_equal(send->req, SendRequest_fields);
    assert_ptr_equal(send->reply, SendReply_fields);
    assert_int_equal(send->req_size, sizeof(SendRequest));
    assert_int_equal(push->access, RPC_ACCESS_NODE);
    assert_true(push->is_event);
    assert_int_equal(rpc_method_info(RPC_USER_LOGIN)->access, RPC_ACCESS_PUBLIC);
    assert_true(rpc_method_info(RPC_USER_LOGIN)->may_be_late);
    assert_false(rpc_method_info(RPC_USER_UPDATE_PROFILE)->may_be_late);
}

static void every_method_can_be_repeated_unless_it_is_an_event(void **state)
{
    (void)state;
    for (const struct rpc_method_info *m = rpc_method_infos; m->id != 0; m++)
        assert_int_equal(m->repeat == RPC_ONCE, m->is_event);
}

/* Walks submessages too; a view can hold strings, bytes and packed fixed64 lists. */
static void check_fields(const pb_msgdesc_t *desc, int depth)
{
    uint8_t room[4096] = { 0 };
    pb_field_iter_t it;
    if (depth > 4 || !pb_field_iter_begin(&it, desc, room))
        return;
    do {
        if (PB_LTYPE_IS_SUBMSG(it.type))
            check_fields(it.submsg_desc, depth + 1);
        if (PB_ATYPE(it.type) != PB_ATYPE_CALLBACK)
            continue;
        bool list = PB_HTYPE(it.type) == PB_HTYPE_REPEATED;
        bool fits = list ? PB_LTYPE(it.type) == PB_LTYPE_FIXED64
                         : PB_LTYPE(it.type) == PB_LTYPE_STRING || PB_LTYPE(it.type) == PB_LTYPE_BYTES;
        assert_true(fits); /* otherwise: a FT_POINTER line is missing in the .options file */
    } while (pb_field_iter_next(&it));
}

static void every_view_is_of_a_type_that_views_can_hold(void **state)
{
    (void)state;
    for (const struct rpc_method_info *m = rpc_method_infos; m->id != 0; m++) {
        check_fields(m->req, 0);
        check_fields(m->reply, 0);
    }
}

static void roles_have_the_names_of_the_command_line(void **state)
{
    (void)state;
    assert_string_equal(rpc_role_name(RPC_ROLE_OFFLINE), "offline");
    assert_null(rpc_role_name(RPC_ROLE_COUNT));
    for (int role = 0; role < RPC_ROLE_COUNT; role++)
        assert_int_equal(rpc_role_parse(rpc_role_name((enum rpc_role)role)), role);
    assert_int_equal(rpc_role_parse("chats"), RPC_ROLE_COUNT);
    assert_int_equal(rpc_role_parse(""), RPC_ROLE_COUNT);
}

/* Run the generator on a service with these methods; its exit status, and what it said. */
static int generate(const char *methods, char *said, size_t size)
{
    char dir[] = "/tmp/bt-methods-XXXXXX", cmd[1024];
    assert_non_null(mkdtemp(dir));
    snprintf(cmd, sizeof cmd, "cp proto/options.proto %s/", dir);
    assert_int_equal(system(cmd), 0);
    snprintf(cmd, sizeof cmd, "%s/x.proto", dir);
    FILE *f = fopen(cmd, "w");
    assert_non_null(f);
    fprintf(f, "syntax = \"proto3\";\npackage bytetalk;\nimport \"options.proto\";\nmessage M {}\nservice S {\n%s\n}\n", methods);
    fclose(f);
    snprintf(cmd, sizeof cmd, "/usr/bin/python3 proto/gen_methods.py --proto-dir %s --out %s x.proto 2>&1", dir, dir);
    FILE *p = popen(cmd, "r");
    assert_non_null(p);
    size_t len = fread(said, 1, size - 1, p);
    said[len] = '\0';
    int status = pclose(p);
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    assert_int_equal(system(cmd), 0);
    return status;
}

#define METHOD(name, options) "  rpc " name "(M) returns (M) { " options " }\n"
#define OPTION(fields) "option (method) = { " fields " };"

static void the_generator_refuses_what_would_not_work(void **state)
{
    char said[2048];
    (void)state;
    if (access("proto/gen_methods.py", R_OK) != 0)
        skip(); /* not started in the source tree */
    assert_int_equal(generate(METHOD("A", OPTION("id: 1 role: ROLE_USER")), said, sizeof said), 0);
    assert_int_not_equal(generate(METHOD("A", OPTION("id: 1 role: ROLE_USER")) METHOD("B", OPTION("id: 1 role: ROLE_USER")), said, sizeof said), 0);
    assert_non_null(strstr(said, "S.B: id 0x0001 is taken by x.proto: S.A"));
    assert_int_not_equal(generate(METHOD("A", ""), said, sizeof said), 0);
    assert_non_null(strstr(said, "S.A has no option (bytetalk.method)"));
    assert_int_not_equal(generate(METHOD("A", OPTION("role: ROLE_USER")), said, sizeof said), 0);
    assert_non_null(strstr(said, "S.A: id 0x0000"));
    assert_int_not_equal(generate(METHOD("A", OPTION("id: 1 role: ROLE_CHAT event: true")), said, sizeof said), 0);
    assert_non_null(strstr(said, "repeat: ONCE"));
    assert_int_not_equal(generate(METHOD("A", OPTION("id: 1 role: ROLE_CHAT repeat: ID late: true")), said, sizeof said), 0);
    assert_non_null(strstr(said, "repeat: STATE"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_are_found_by_their_number_and_no_others),
        cmocka_unit_test(a_row_says_what_the_proto_file_says),
        cmocka_unit_test(every_method_can_be_repeated_unless_it_is_an_event),
        cmocka_unit_test(every_view_is_of_a_type_that_views_can_hold),
        cmocka_unit_test(roles_have_the_names_of_the_command_line),
        cmocka_unit_test(the_generator_refuses_what_would_not_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
