/*
 * client/cli_admin_ring.c: the ring of chat nodes: virtual nodes, shares, and what a change would move.
 *
 * All processes compute the same ring from the same members, so it is computed here from the nodes that a node knows; a change is
 * tried out on a second ring, and no node hears of it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli_admin.h"
#include "rpc/ring.h"

enum { KEYS = 262144, WEIGHT_MAX = 100 }; /* conversations that are looked up: a part is right to about 0.1 % */

struct member {
    char address[ADMIN_ADDRESS_SIZE];
    uint32_t weights[2];                   /* now, after */
};

struct plan {
    struct member *members;
    size_t count;
    struct ring *rings[2];
    uint32_t *moved;                       /* count * count: of KEYS, from one to another */
    bool is_change;
};

static enum bt_err make_ring(const struct plan *p, int which, struct ring **out)
{
    struct ring_member *list = calloc(p->count + 1, sizeof *list);
    enum bt_err err;

    if (!list)
        return BT_ENOMEM;
    for (size_t i = 0; i < p->count; i++)
        list[i] = (struct ring_member){ .name = p->members[i].address, .weight = p->members[i].weights[which], .arg = &p->members[i] };
    err = ring_new(list, p->count, out);
    free(list);
    return err;
}

static void free_plan(struct plan *p)
{
    ring_free(p->rings[0]);
    ring_free(p->rings[1]);
    free(p->members);
    free(p->moved);
}

/* ---- the members ---- */

/* With one place to spare. */
static enum cli_exit read_members(struct admin *a, struct plan *p)
{
    AdminNodesReply reply = { 0 };
    enum cli_exit code = admin_call(a->link, RPC_NODE_ADMIN_NODES, &(AdminNodesRequest){ 0 }, &reply);

    if (code != CLI_OK)
        return code;
    p->members = calloc((size_t)reply.nodes_count + 1, sizeof *p->members);
    for (pb_size_t i = 0; p->members && i < reply.nodes_count; i++) {
        const AdminNode *n = &reply.nodes[i];
        struct member *m = &p->members[p->count];
        if (!n->is_registered || !(n->roles & UINT32_C(1) << RPC_ROLE_CHAT) || n->address.len >= sizeof m->address)
            continue;
        snprintf(m->address, sizeof m->address, "%.*s", (int)n->address.len, admin_text(n->address).data);
        m->weights[0] = m->weights[1] = n->weight;
        p->count++;
    }
    admin_done(RPC_NODE_ADMIN_NODES, &reply);
    if (!p->members)
        admin_say("Out of memory.");
    return p->members ? CLI_OK : CLI_REFUSED;
}

static struct member *find(struct plan *p, const char *address)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->members[i].address, address) == 0)
            return &p->members[i];
    return NULL;
}

static int by_address(const void *a, const void *b)
{
    return strcmp(((const struct member *)a)->address, ((const struct member *)b)->address);
}

/* ---- the change ---- */

static enum cli_exit add(struct admin *a, struct plan *p, const char *address, uint32_t weight)
{
    struct member *m = find(p, address);

    if (!m && strlen(address) >= sizeof m->address)
        return admin_usage(a, "That address is too long.");
    if (!m) {
        m = &p->members[p->count++];
        snprintf(m->address, sizeof m->address, "%s", address);
    }
    m->weights[1] += weight;
    return CLI_OK;
}

/* weight 0: all of it. */
static enum cli_exit del(struct plan *p, const char *address, uint32_t weight)
{
    struct member *m = find(p, address);

    if (!m) {
        admin_say("There is no chat node at %s. See bytetalk-cli admin ring.", address);
        return CLI_REFUSED;
    }
    m->weights[1] = weight == 0 || weight > m->weights[1] ? 0 : m->weights[1] - weight;
    return CLI_OK;
}

static enum cli_exit change(struct admin *a, struct plan *p)
{
    bool is_add = a->argc > 1 && strcmp(a->argv[1], "add") == 0;
    uint64_t weight = is_add;

    p->is_change = a->argc > 1;
    if (!p->is_change)
        return CLI_OK;
    if ((!is_add && strcmp(a->argv[1], "del") != 0) || a->argc < 3)
        return admin_usage(a, "What is to change?");
    if (a->argc > 3 && (!cli_parse_u64(a->argv[3], &weight) || weight == 0 || weight > WEIGHT_MAX))
        return admin_usage(a, "A weight is a number from 1 to %d, not %s.", WEIGHT_MAX, a->argv[3]);
    return is_add ? add(a, p, a->argv[2], (uint32_t)weight) : del(p, a->argv[2], (uint32_t)weight);
}

static void count_moves(struct plan *p)
{
    for (uint64_t key = 1; key <= KEYS; key++) {
        const struct ring_member *from = ring_find(p->rings[0], key, 0, 0), *to = ring_find(p->rings[1], key, 0, 0);
        if (from && to && from->arg != to->arg)
            p->moved[(size_t)((struct member *)from->arg - p->members) * p->count + (size_t)((struct member *)to->arg - p->members)]++;
    }
}

static enum bt_err work_out(struct plan *p)
{
    qsort(p->members, p->count, sizeof *p->members, by_address);
    enum bt_err err = make_ring(p, 0, &p->rings[0]);
    if (err == BT_OK)
        err = make_ring(p, 1, &p->rings[1]);
    if (err != BT_OK || !p->is_change)
        return err;
    p->moved = calloc(p->count * p->count + 1, sizeof *p->moved);
    if (!p->moved)
        return BT_ENOMEM;
    count_moves(p);
    return BT_OK;
}

/* ---- showing ---- */

static double share(const struct plan *p, size_t i, int which)
{
    return p->members[i].weights[which] > 0 ? ring_share(p->rings[which], p->members[i].address) : 0;
}

static void print_members(const struct plan *p)
{
    struct admin_table t = { .columns = p->is_change ? 7 : 4 };

    admin_table_word(&t, "NODE");
    for (int which = 0; which <= p->is_change; which++) {
        admin_table_word(&t, "%sWEIGHT", which ? "THEN: " : "");
        admin_table_word(&t, "VIRTUAL NODES");
        admin_table_word(&t, "SHARE");
    }
    for (size_t i = 0; i < p->count; i++) {
        admin_table_word(&t, "%s", p->members[i].address);
        for (int which = 0; which <= p->is_change; which++) {
            admin_table_word(&t, "%" PRIu32, p->members[i].weights[which]);
            admin_table_word(&t, "%" PRIu32, p->members[i].weights[which] * RING_POINTS);
            admin_table_word(&t, "%.1f %%", 100 * share(p, i, which));
        }
    }
    admin_table_end(&t);
}

static void print_moves(const struct plan *p)
{
    uint64_t sum = 0;

    if (ring_members(p->rings[1]) == 0) {
        printf("\nNothing was changed. No chat node would be left: nobody could send anything.\n");
        return;
    }
    for (size_t i = 0; i < p->count * p->count; i++)
        sum += p->moved[i];
    printf("\nNothing was changed. It would move about %.1f %% of the conversations%s\n", 100.0 * (double)sum / KEYS, sum > 0 ? ":" : ".");
    for (size_t from = 0; from < p->count; from++)
        for (size_t to = 0; to < p->count; to++)
            if (p->moved[from * p->count + to] > 0)
                printf("  %.1f %% from %s to %s\n", 100.0 * p->moved[from * p->count + to] / KEYS, p->members[from].address, p->members[to].address);
}

static void print_json(const struct plan *p)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct member *m = &p->members[i];
        putchar('{');
        admin_json_text("address", rpc_str(m->address));
        printf(",\"weight\":%" PRIu32 ",\"virtual_nodes\":%" PRIu32 ",\"share\":%.4f", m->weights[0], m->weights[0] * RING_POINTS, share(p, i, 0));
        if (p->is_change)
            printf(",\"then\":{\"weight\":%" PRIu32 ",\"virtual_nodes\":%" PRIu32 ",\"share\":%.4f}", m->weights[1], m->weights[1] * RING_POINTS,
                   share(p, i, 1));
        printf("}\n");
    }
    for (size_t i = 0; p->is_change && i < p->count * p->count; i++) {
        if (p->moved[i] == 0)
            continue;
        putchar('{');
        admin_json_text("from", rpc_str(p->members[i / p->count].address));
        putchar(',');
        admin_json_text("to", rpc_str(p->members[i % p->count].address));
        printf(",\"moved\":%.4f}\n", (double)p->moved[i] / KEYS);
    }
}

static enum cli_exit show(const struct admin *a, const struct plan *p)
{
    if (a->json) {
        print_json(p);
        return CLI_OK;
    }
    if (p->count == 0) {
        printf("There is no chat node.\n");
        return CLI_OK;
    }
    print_members(p);
    if (p->is_change)
        print_moves(p);
    return CLI_OK;
}

enum cli_exit admin_ring(struct admin *a)
{
    struct plan p = { .count = 0 };
    enum cli_exit code = read_members(a, &p);

    if (code == CLI_OK)
        code = change(a, &p);
    if (code == CLI_OK && work_out(&p) != BT_OK) {
        admin_say("Out of memory.");
        code = CLI_REFUSED;
    }
    if (code == CLI_OK)
        code = show(a, &p);
    free_plan(&p);
    return code;
}
