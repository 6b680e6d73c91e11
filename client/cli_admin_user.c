/* client/cli_admin_user.c: which user is meant; who owns a conversation. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli_admin.h"

/* "#12", or "12" where names are not meant. */
static bool parse_id(const char *word, bool is_bare_too, uint64_t *out)
{
    return (*word == '#' || is_bare_too) && cli_parse_u64(word, out) && *out > 0;
}

enum cli_exit admin_ask_sessions(struct admin *a, const char *user, SessionsOfReply *reply)
{
    SessionsOfRequest req = { .user_id = 0 };

    if (!parse_id(user, false, &req.user_id))
        req.name = rpc_str(user);
    return admin_call(a->link, RPC_NODE_ADMIN_SESSIONS, &req, reply);
}

/* ---- owner ---- */

static enum cli_exit user_id_of(struct admin *a, const char *word, uint64_t *out)
{
    SessionsOfReply reply = { 0 };

    if (parse_id(word, false, out)) /* one who is gone may still have conversations */
        return CLI_OK;
    enum cli_exit code = admin_ask_sessions(a, word, &reply);
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
