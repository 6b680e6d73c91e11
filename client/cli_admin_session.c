/*
 * client/cli_admin_session.c: a user's sessions, and where each is connected: the node that is asked knows at which proxies he is, and each
 * of those which of his sessions it holds.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli_admin.h"

enum { TEXT = 192 };

struct session {
    uint64_t session_id;
    int64_t created_ms, since_ms;           /* since_ms 0: not connected */
    char device[TEXT];
    char node[ADMIN_ADDRESS_SIZE], from[ADMIN_ADDRESS_SIZE];
};

struct place {
    char address[ADMIN_ADDRESS_SIZE];
    uint64_t epoch;
};

struct shown {
    uint64_t user_id;
    int64_t disabled_ms;
    char name[TEXT];
    struct session *sessions;
    size_t nsessions;
    struct place *places;
    size_t nplaces;
};

static void take_text(char *out, size_t size, struct rpc_bytes text)
{
    snprintf(out, size, "%.*s", (int)text.len, admin_text(text).data);
}

/* ---- asking: what an answer holds goes with the next call, so it is copied ---- */

static enum cli_exit no_memory(void)
{
    admin_say("Out of memory.");
    return CLI_REFUSED;
}

static enum cli_exit ask_user(struct admin *a, struct shown *u)
{
    SessionsOfReply reply = { 0 };
    enum cli_exit code = admin_ask_sessions(a, a->argv[1], &reply);

    if (code != CLI_OK)
        return code;
    u->user_id = reply.user_id;
    u->disabled_ms = reply.disabled_ms;
    take_text(u->name, sizeof u->name, reply.name);
    u->sessions = calloc((size_t)reply.sessions_count + 1, sizeof *u->sessions);
    for (pb_size_t i = 0; u->sessions && i < reply.sessions_count; i++) {
        struct session *s = &u->sessions[u->nsessions++];
        s->session_id = reply.sessions[i].session_id;
        s->created_ms = reply.sessions[i].created_ms;
        take_text(s->device, sizeof s->device, reply.sessions[i].device);
    }
    admin_done(RPC_NODE_ADMIN_SESSIONS, &reply);
    return u->sessions ? CLI_OK : no_memory();
}

static enum cli_exit ask_places(struct admin *a, struct shown *u)
{
    WhoIsWhereReply reply = { 0 };
    uint8_t user[8];

    for (int i = 0; i < 8; i++)
        user[i] = (uint8_t)(u->user_id >> (8 * i));
    enum cli_exit code = admin_call(a->link, RPC_NODE_ADMIN_WHERE, &(WhoIsWhereRequest){ .users = rpc_bytes(user, sizeof user) }, &reply);
    if (code != CLI_OK)
        return code;
    u->places = calloc((size_t)reply.places_count + 1, sizeof *u->places);
    for (pb_size_t i = 0; u->places && i < reply.places_count; i++) {
        struct place *p = &u->places[u->nplaces++];
        p->epoch = reply.places[i].epoch;
        take_text(p->address, sizeof p->address, reply.places[i].address);
    }
    admin_done(RPC_NODE_ADMIN_WHERE, &reply);
    return u->places ? CLI_OK : no_memory();
}

static void take_connected(struct shown *u, const struct place *p, const SessionHere *here)
{
    for (size_t i = 0; i < u->nsessions; i++) {
        struct session *s = &u->sessions[i];
        if (s->session_id != here->session_id)
            continue;
        s->since_ms = here->since_ms;
        memcpy(s->node, p->address, sizeof s->node);
        take_text(s->from, sizeof s->from, here->from);
    }
}

static enum cli_exit ask_proxy(struct admin *a, struct shown *u, const struct place *p)
{
    SessionsHereReply reply = { 0 };
    struct admin_link *link = NULL;
    enum cli_exit code = admin_dial(a, p->address, &link);

    if (code == CLI_OK)
        code = admin_call(link, RPC_PROXY_SESSIONS_HERE, &(SessionsHereRequest){ .user_id = u->user_id }, &reply);
    if (code == CLI_OK) {
        for (pb_size_t i = 0; i < reply.sessions_count; i++)
            take_connected(u, p, &reply.sessions[i]);
        admin_done(RPC_PROXY_SESSIONS_HERE, &reply);
    }
    if (link)
        admin_close(link);
    return code;
}

/* ---- showing ---- */

static void print_head(const struct shown *u)
{
    char *name = cli_escape(admin_text(rpc_str(u->name)), false), when[32];

    printf("User %s #%" PRIu64 "%s%s\n", name ? name : "?", u->user_id, u->disabled_ms ? ", shut out since " : "",
           u->disabled_ms ? cli_time(u->disabled_ms, true, when) : "");
    free(name);
    if (u->nsessions == 0)
        printf("No session: nobody is logged in.\n");
}

static void print_sessions(const struct shown *u)
{
    static const char *const head[] = { "SESSION", "BEGUN", "DEVICE", "CONNECTED TO", "SINCE", "FROM" };
    struct admin_table t = { .columns = sizeof head / sizeof *head };
    char when[32];

    for (size_t i = 0; u->nsessions > 0 && i < t.columns; i++)
        admin_table_word(&t, "%s", head[i]);
    for (size_t i = 0; i < u->nsessions; i++) {
        const struct session *s = &u->sessions[i];
        admin_table_word(&t, "%" PRIu64, s->session_id);
        admin_table_word(&t, "%s", cli_time(s->created_ms, true, when));
        admin_table_text(&t, rpc_str(s->device));
        admin_table_text(&t, rpc_str(s->node));
        admin_table_word(&t, "%s", s->since_ms ? cli_time(s->since_ms, true, when) : "-");
        admin_table_text(&t, rpc_str(s->from));
    }
    admin_table_end(&t);
}

static void print_places(const struct shown *u)
{
    for (size_t i = 0; i < u->nplaces; i++) {
        char *address = cli_escape(admin_text(rpc_str(u->places[i].address)), false);
        printf("Connected at node %s, epoch %" PRIu64 "\n", address ? address : "?", u->places[i].epoch);
        free(address);
    }
    if (u->nplaces == 0)
        printf("Not connected.\n");
}

static void print_json(const struct shown *u)
{
    printf("{\"user_id\":%" PRIu64 ",", u->user_id);
    admin_json_text("name", rpc_str(u->name));
    printf(",\"disabled_ms\":%" PRId64 ",\"sessions\":[", u->disabled_ms);
    for (size_t i = 0; i < u->nsessions; i++) {
        const struct session *s = &u->sessions[i];
        printf("%s{\"session_id\":%" PRIu64 ",\"begun_ms\":%" PRId64 ",", i > 0 ? "," : "", s->session_id, s->created_ms);
        admin_json_text("device", rpc_str(s->device));
        putchar(',');
        admin_json_text("connected_to", rpc_str(s->node));
        printf(",\"since_ms\":%" PRId64 ",", s->since_ms);
        admin_json_text("from", rpc_str(s->from));
        putchar('}');
    }
    printf("],\"connected_at\":[");
    for (size_t i = 0; i < u->nplaces; i++) {
        printf("%s{", i > 0 ? "," : "");
        admin_json_text("address", rpc_str(u->places[i].address));
        printf(",\"epoch\":%" PRIu64 "}", u->places[i].epoch);
    }
    printf("]}\n");
}

/* What is known of the sessions stays said when presence is away, or a proxy does not answer. */
enum cli_exit admin_sessions(struct admin *a)
{
    struct shown u = { .user_id = 0 };
    enum cli_exit code = ask_user(a, &u);
    bool is_known = code == CLI_OK, are_places_known;

    if (is_known)
        code = ask_places(a, &u);
    are_places_known = is_known && code == CLI_OK;
    for (size_t i = 0; are_places_known && i < u.nplaces; i++) {
        enum cli_exit asked = ask_proxy(a, &u, &u.places[i]);
        code = code == CLI_OK ? asked : code;
    }
    if (is_known && a->json) {
        print_json(&u);
    } else if (is_known) {
        print_head(&u);
        print_sessions(&u);
        if (are_places_known)
            print_places(&u);
    }
    free(u.sessions);
    free(u.places);
    return code;
}
