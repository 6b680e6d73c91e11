/* client/cli_admin_user.c: a user's sessions and where he is connected; who owns a conversation. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli_admin.h"

/* "#12", or "12" where names are not meant. */
static bool parse_id(const char *word, bool is_bare_too, uint64_t *out)
{
    return (*word == '#' || is_bare_too) && cli_parse_u64(word, out) && *out > 0;
}

static enum cli_exit ask_sessions(struct admin *a, const char *user, SessionsOfReply *reply)
{
    SessionsOfRequest req = { .user_id = 0 };

    if (!parse_id(user, false, &req.user_id))
        req.name = rpc_str(user);
    return admin_call(a->link, RPC_NODE_ADMIN_SESSIONS, &req, reply);
}

/* ---- sessions ---- */

static void print_user(const SessionsOfReply *user)
{
    struct admin_table t = { .columns = 3 };
    char *name = cli_escape(admin_text(user->name), false), when[32];

    printf("User %s #%" PRIu64 "%s%s\n", name ? name : "?", user->user_id, user->disabled_ms ? ", shut out since " : "",
           user->disabled_ms ? cli_time(user->disabled_ms, true, when) : "");
    free(name);
    if (user->sessions_count == 0)
        printf("No session: nobody is logged in.\n");
    for (pb_size_t i = 0; i < user->sessions_count; i++) {
        const SessionOf *s = &user->sessions[i];
        if (i == 0) {
            admin_table_word(&t, "SESSION");
            admin_table_word(&t, "BEGUN");
            admin_table_word(&t, "DEVICE");
        }
        admin_table_word(&t, "%" PRIu64, s->session_id);
        admin_table_word(&t, "%s", cli_time(s->created_ms, true, when));
        admin_table_text(&t, s->device);
    }
    admin_table_end(&t);
}

static void print_user_json(const SessionsOfReply *user)
{
    printf("{\"user_id\":%" PRIu64 ",", user->user_id);
    admin_json_text("name", user->name);
    printf(",\"disabled_ms\":%" PRId64 ",\"sessions\":[", user->disabled_ms);
    for (pb_size_t i = 0; i < user->sessions_count; i++) {
        const SessionOf *s = &user->sessions[i];
        printf("%s{\"session_id\":%" PRIu64 ",\"begun_ms\":%" PRId64 ",", i > 0 ? "," : "", s->session_id, s->created_ms);
        admin_json_text("device", s->device);
        putchar('}');
    }
    printf("],\"connected_at\":[");
}

/* What is known of the sessions stays said when presence is away. */
static enum cli_exit print_places(struct admin *a, uint64_t user_id)
{
    WhoIsWhereReply reply = { 0 };
    uint8_t user[8];

    for (int i = 0; i < 8; i++)
        user[i] = (uint8_t)(user_id >> (8 * i));
    enum cli_exit code = admin_call(a->link, RPC_NODE_ADMIN_WHERE, &(WhoIsWhereRequest){ .users = rpc_bytes(user, sizeof user) }, &reply);
    for (pb_size_t i = 0; i < reply.places_count; i++) {
        const UserPlace *p = &reply.places[i];
        if (a->json) {
            printf("%s{", i > 0 ? "," : "");
            admin_json_text("address", p->address);
            printf(",\"epoch\":%" PRIu64 "}", p->epoch);
        } else {
            char *address = cli_escape(admin_text(p->address), false);
            printf("Connected at node %s, epoch %" PRIu64 "\n", address ? address : "?", p->epoch);
            free(address);
        }
    }
    if (a->json)
        printf("]}\n");
    else if (code == CLI_OK && reply.places_count == 0)
        printf("Not connected.\n");
    if (code == CLI_OK)
        admin_done(RPC_NODE_ADMIN_WHERE, &reply);
    return code;
}

enum cli_exit admin_sessions(struct admin *a)
{
    SessionsOfReply reply = { 0 };
    enum cli_exit code = ask_sessions(a, a->argv[1], &reply);

    if (code != CLI_OK)
        return code;
    uint64_t user_id = reply.user_id;
    if (a->json)
        print_user_json(&reply);
    else
        print_user(&reply);
    admin_done(RPC_NODE_ADMIN_SESSIONS, &reply);
    return print_places(a, user_id);
}

/* ---- owner ---- */

static enum cli_exit user_id_of(struct admin *a, const char *word, uint64_t *out)
{
    SessionsOfReply reply = { 0 };

    if (parse_id(word, false, out)) /* one who is gone may still have conversations */
        return CLI_OK;
    enum cli_exit code = ask_sessions(a, word, &reply);
    if (code != CLI_OK)
        return code;
    *out = reply.user_id;
    admin_done(RPC_NODE_ADMIN_SESSIONS, &reply);
    return CLI_OK;
}

/* The conversation's key, as the store has it. other NULL: a group. */
static enum cli_exit key_of(struct admin *a, const char *one, const char *other, AdminOwnerRequest *req)
{
    uint64_t x, y;

    if (!other)
        return parse_id(one, true, &req->hi) ? CLI_OK : admin_usage(a, "A group is its number, like #12; a conversation of two needs both.");
    enum cli_exit code = user_id_of(a, one, &x);
    if (code == CLI_OK)
        code = user_id_of(a, other, &y);
    if (code != CLI_OK)
        return code;
    if (x == y)
        return admin_usage(a, "A conversation has two different users.");
    *req = (AdminOwnerRequest){ .hi = x > y ? x : y, .lo = x > y ? y : x };
    return CLI_OK;
}

static void print_owner(const struct admin *a, const AdminOwnerRequest *key, const AdminOwnerReply *reply)
{
    struct admin_table t = { .columns = 2 };

    if (a->json)
        printf("{\"hi\":%" PRIu64 ",\"lo\":%" PRIu64 ",\"nodes\":[", key->hi, key->lo);
    for (pb_size_t i = 0; i < reply->nodes_count; i++) {
        const AdminOwner *n = &reply->nodes[i];
        if (a->json) {
            printf("%s{", i > 0 ? "," : "");
            admin_json_text("address", n->address);
            printf(",\"passed_over\":%s}", n->is_passed_over ? "true" : "false");
        } else {
            admin_table_word(&t, "%s", i == 0 ? "owner" : "then");
            admin_table_word(&t, "%.*s%s", (int)n->address.len, admin_text(n->address).data, n->is_passed_over ? " (passed over)" : "");
        }
    }
    if (a->json)
        printf("]}\n");
    else
        printf("Conversation (%" PRIu64 ", %" PRIu64 ")\n", key->hi, key->lo);
    admin_table_end(&t);
}

static enum cli_exit show_owner(struct admin *a, const char *one, const char *other)
{
    AdminOwnerRequest req = { .hi = 0 };
    AdminOwnerReply reply = { 0 };
    enum cli_exit code = key_of(a, one, other, &req);

    if (code == CLI_OK)
        code = admin_call(a->link, RPC_NODE_ADMIN_OWNER, &req, &reply);
    if (code != CLI_OK)
        return code;
    if (reply.nodes_count > 0) {
        print_owner(a, &req, &reply);
    } else {
        admin_say("No chat node is known there: nobody owns the conversation.");
        code = CLI_REFUSED;
    }
    admin_done(RPC_NODE_ADMIN_OWNER, &reply);
    return code;
}

/* "-": each line of the input is a conversation. */
static enum cli_exit show_owners(struct admin *a)
{
    static const char blanks[] = " \t\r\n";
    enum cli_exit code = CLI_OK;
    char *line = NULL, *rest;
    size_t size = 0;

    while (code == CLI_OK && getline(&line, &size, stdin) >= 0) {
        char *one = strtok_r(line, blanks, &rest), *other = strtok_r(NULL, blanks, &rest);
        if (one)
            code = strtok_r(NULL, blanks, &rest) ? admin_usage(a, "A line names one conversation.") : show_owner(a, one, other);
    }
    free(line);
    return code;
}

enum cli_exit admin_owner(struct admin *a)
{
    if (a->argc == 2 && strcmp(a->argv[1], "-") == 0)
        return show_owners(a);
    return show_owner(a, a->argv[1], a->argc > 2 ? a->argv[2] : NULL);
}
