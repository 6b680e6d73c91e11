/* client/cli_names.c: the names of users and groups, learnt from whatever tells them. */
#include <stdlib.h>
#include <string.h>

#include "client/cli.h"

enum { ASK_AT_ONCE = 200 };

/* ---- the table ---- */

static size_t at(const struct cli *cli, uint64_t target)
{
    size_t low = 0, high = cli->names.count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (cli->names.rows[mid].target < target)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

const char *cli_name_find(const struct cli *cli, uint64_t target)
{
    size_t n = at(cli, target);
    return n < cli->names.count && cli->names.rows[n].target == target ? cli->names.rows[n].name : NULL;
}

void cli_name_set(struct cli *cli, uint64_t target, struct bt_text name)
{
    struct cli_names *t = &cli->names;
    size_t n = at(cli, target);
    char *copy = name.len > 0 ? strndup(name.data, name.len) : NULL;
    if (!copy)
        return;
    if (n < t->count && t->rows[n].target == target) {
        free(t->rows[n].name);
        t->rows[n].name = copy;
        return;
    }
    if (t->count == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        struct cli_name *rows = realloc(t->rows, cap * sizeof *rows);
        if (!rows) {
            free(copy);
            return;
        }
        t->rows = rows;
        t->cap = cap;
    }
    memmove(t->rows + n + 1, t->rows + n, (t->count - n) * sizeof *t->rows);
    t->rows[n] = (struct cli_name){ target, copy };
    t->count++;
}

void cli_names_clear(struct cli *cli)
{
    for (size_t n = 0; n < cli->names.count; n++)
        free(cli->names.rows[n].name);
    free(cli->names.rows);
    cli->names = (struct cli_names){ 0 };
}

char *cli_label(const struct cli *cli, uint64_t target)
{
    const char *name = cli_name_find(cli, target);
    char id[24];
    if (name)
        return cli_escape(cli_text(name), false);
    snprintf(id, sizeof id, "#%llu", (unsigned long long)(target & ~BT_GROUP));
    return strdup(id);
}

/* ---- asking ---- */

struct ask {
    struct cli *cli;
    void (*cb)(void *arg);
    void *arg;
    int open;       /* calls under way, and one for the asking itself */
    uint64_t *targets;
    size_t count;
};

static void part_done(struct ask *a)
{
    if (--a->open > 0)
        return;
    a->cb(a->arg);
    free(a->targets);
    free(a);
}

static void users_told(const struct bt_result *r, const struct bt_user *users, size_t n, void *arg)
{
    struct ask *a = arg;
    (void)r; /* not told: they are shown by their ids */
    for (size_t k = 0; k < n; k++)
        cli_name_set(a->cli, users[k].user_id, users[k].name);
    part_done(a);
}

static void group_told(const struct bt_result *r, const struct bt_group *group, void *arg)
{
    struct ask *a = arg;
    (void)r;
    if (group)
        cli_name_set(a->cli, BT_GROUP | group->group_id, group->name);
    part_done(a);
}

static void ask_users(struct ask *a)
{
    uint64_t ids[ASK_AT_ONCE];
    size_t n = 0;
    for (size_t k = 0; k < a->count; k++) {
        if (!(a->targets[k] & BT_GROUP))
            ids[n++] = a->targets[k];
        if (n > 0 && (n == ASK_AT_ONCE || k + 1 == a->count)) {
            a->open += bt_users_get(a->cli->client, ids, n, users_told, a);
            n = 0;
        }
    }
}

void cli_names_ask(struct cli *cli, const uint64_t *targets, size_t n, void (*cb)(void *arg), void *arg)
{
    struct ask *a = calloc(1, sizeof *a);
    uint64_t *unknown = n ? calloc(n, sizeof *unknown) : NULL;
    size_t count = 0;
    for (size_t k = 0; unknown && k < n; k++)
        if (targets[k] && !cli_name_find(cli, targets[k]))
            unknown[count++] = targets[k];
    if (!a || count == 0 || !cli->client) {
        free(unknown);
        free(a);
        cb(arg);
        return;
    }
    *a = (struct ask){ .cli = cli, .cb = cb, .arg = arg, .open = 1, .targets = unknown, .count = count };
    ask_users(a);
    for (size_t k = 0; k < count; k++)
        if (unknown[k] & BT_GROUP)
            a->open += bt_group_get(cli->client, unknown[k] & ~BT_GROUP, group_told, a);
    part_done(a);
}
