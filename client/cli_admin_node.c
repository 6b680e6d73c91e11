/* client/cli_admin_node.c: which nodes there are, and telling one to drain. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli_admin.h"

static int compare_bytes(struct rpc_bytes a, struct rpc_bytes b)
{
    int c = memcmp(a.data ? a.data : (const uint8_t *)"", b.data ? b.data : (const uint8_t *)"", a.len < b.len ? a.len : b.len);
    return c != 0 ? c : a.len < b.len ? -1 : a.len > b.len;
}

static int by_unit_and_name(const void *a_arg, const void *b_arg)
{
    const AdminNode *a = a_arg, *b = b_arg;
    int c = compare_bytes(a->unit, b->unit);
    return c != 0 ? c : compare_bytes(a->name, b->name);
}

static const char *state_of(const AdminNode *n)
{
    if (n->is_passed_over)
        return "passed over";
    if (!n->is_registered)
        return "not registered";
    return n->is_self ? "asked" : n->is_connected ? "answers" : "not called yet";
}

static void print_json(const AdminNode *n, const char *roles)
{
    putchar('{');
    admin_json_text("name", n->name);
    putchar(',');
    admin_json_text("unit", n->unit);
    printf(",\"roles\":[");
    for (const char *role = roles; *role;) {
        size_t len = strcspn(role, ",");
        printf("%s\"%.*s\"", role == roles ? "" : ",", (int)len, role);
        role += len + (role[len] == ',');
    }
    printf("],");
    admin_json_text("address", n->address);
    putchar(',');
    admin_json_text("clients_at", n->client_address);
    printf(",\"load\":%" PRIu32 ",\"calls\":%" PRIu32 ",\"weight\":%" PRIu32 ",\"epoch\":%" PRIu64 ",", n->load, n->outstanding, n->weight, n->epoch);
    admin_json_text("version", n->version);
    printf(",\"state\":\"%s\",\"passed_over\":%s,\"registered\":%s,\"self\":%s}\n", state_of(n), n->is_passed_over ? "true" : "false",
           n->is_registered ? "true" : "false", n->is_self ? "true" : "false");
}

static void print_table(const AdminNodesReply *reply)
{
    static const char *const head[] = { "UNIT", "NODE", "ROLES", "ADDRESS", "CLIENTS AT", "LOAD", "CALLS", "WEIGHT", "VERSION", "EPOCH", "STATE" };
    struct admin_table t = { .columns = sizeof head / sizeof *head };
    char roles[128];

    for (size_t i = 0; i < t.columns; i++)
        admin_table_word(&t, "%s", head[i]);
    for (pb_size_t i = 0; i < reply->nodes_count; i++) {
        const AdminNode *n = &reply->nodes[i];
        admin_roles(n->roles, roles, sizeof roles);
        admin_table_text(&t, n->unit);
        admin_table_text(&t, n->name);
        admin_table_word(&t, "%s", *roles ? roles : "-");
        admin_table_text(&t, n->address);
        admin_table_text(&t, n->client_address);
        admin_table_word(&t, "%" PRIu32, n->load);
        admin_table_word(&t, "%" PRIu32, n->outstanding);
        admin_table_word(&t, "%" PRIu32, n->weight);
        admin_table_text(&t, n->version);
        admin_table_word(&t, "%" PRIu64, n->epoch);
        admin_table_word(&t, "%s", state_of(n));
    }
    admin_table_end(&t);
}

enum cli_exit admin_nodes(struct admin *a)
{
    AdminNodesReply reply = { 0 };
    char roles[128];
    enum cli_exit code = admin_call(a->link, RPC_NODE_ADMIN_NODES, &(AdminNodesRequest){ 0 }, &reply);

    if (code != CLI_OK)
        return code;
    qsort(reply.nodes, reply.nodes_count, sizeof *reply.nodes, by_unit_and_name);
    for (pb_size_t i = 0; a->json && i < reply.nodes_count; i++) {
        admin_roles(reply.nodes[i].roles, roles, sizeof roles);
        print_json(&reply.nodes[i], roles);
    }
    if (!a->json)
        print_table(&reply);
    admin_done(RPC_NODE_ADMIN_NODES, &reply);
    return CLI_OK;
}

/* ---- drain ---- */

static const AdminNode *find(const AdminNodesReply *reply, const char *word)
{
    for (pb_size_t i = 0; i < reply->nodes_count; i++)
        if (admin_is(reply->nodes[i].name, word) || admin_is(reply->nodes[i].address, word))
            return &reply->nodes[i];
    return NULL;
}

static enum cli_exit drain(const struct admin *a, struct admin_link *link, const char *name)
{
    AdminDrainReply reply = { 0 };
    enum cli_exit code = admin_call(link, RPC_NODE_ADMIN_DRAIN, &(AdminDrainRequest){ 0 }, &reply);

    if (code != CLI_OK)
        return code;
    admin_done(RPC_NODE_ADMIN_DRAIN, &reply);
    if (a->json) {
        putchar('{');
        admin_json_text("draining", rpc_str(name));
        printf("}\n");
    } else {
        printf("Node %s drains: it finishes what it has begun, and ends.\n", name);
    }
    return CLI_OK;
}

/* By the view of the node that is asked; the node itself is told by a connection of its own. */
enum cli_exit admin_drain(struct admin *a)
{
    const char *word = a->argv[1];
    AdminNodesReply reply = { 0 };
    char address[ADMIN_ADDRESS_SIZE] = "";
    struct admin_link *link;
    bool is_self = false;
    enum cli_exit code = admin_call(a->link, RPC_NODE_ADMIN_NODES, &(AdminNodesRequest){ 0 }, &reply);

    if (code != CLI_OK)
        return code;
    const AdminNode *n = find(&reply, word);
    if (n) {
        snprintf(address, sizeof address, "%.*s", (int)n->address.len, n->address.data ? (const char *)n->address.data : "");
        is_self = n->is_self;
    }
    admin_done(RPC_NODE_ADMIN_NODES, &reply);
    if (!n) {
        admin_say("There is no node %s. See bytetalk-cli admin nodes.", word);
        return CLI_REFUSED;
    }
    if (is_self)
        return drain(a, a->link, word);
    if (!strchr(address, ':')) {
        admin_say("Node %s has no address.", word);
        return CLI_REFUSED;
    }
    code = admin_dial(a, address, &link);
    if (code != CLI_OK)
        return code;
    code = drain(a, link, word);
    admin_close(link);
    return code;
}
