/* client/cli_find.c: what the user typed, to whom it means. Group names need not be unique: then he is asked. */
#include <stdlib.h>
#include <string.h>

#include "client/cli.h"

enum { MAX_FOUND = 20 };

struct find {
    struct cli_run *run;
    enum cli_what what;
    cli_found_cb *cb;
    char *word;
    struct { uint64_t target; char *name; } found[MAX_FOUND];
    size_t count;
};

static void search_groups(struct find *f, uint64_t after);

static void find_free(struct find *f)
{
    for (size_t n = 0; n < f->count; n++)
        free(f->found[n].name);
    free(f->word);
    free(f);
}

static void add(struct find *f, uint64_t target, struct bt_text name)
{
    if (f->count == MAX_FOUND)
        return;
    f->found[f->count].target = target;
    f->found[f->count].name = cli_escape(name, false);
    f->count++;
    cli_name_set(f->run->cli, target, name);
}

static void found(struct find *f, uint64_t target)
{
    struct cli_run *run = f->run;
    cli_found_cb *cb = f->cb;
    find_free(f);
    cb(run, target);
}

static const char *kind(enum cli_what what)
{
    return what == CLI_A_USER ? "user" : what == CLI_A_GROUP ? "group of yours" : "user, and no group of yours,";
}

static void chosen(struct cli *cli, const char *answer, void *arg)
{
    struct find *f = arg;
    uint64_t n = 0;
    if (answer && cli_parse_u64(answer, &n) && *answer != '#' && n >= 1 && n <= f->count) {
        found(f, f->found[n - 1].target);
        return;
    }
    (void)cli;
    struct cli_run *run = f->run;
    find_free(f);
    cli_end_failed(run, CLI_USAGE, "Nothing was done.");
}

static void list_found(struct find *f)
{
    for (size_t n = 0; n < f->count; n++)
        cli_say(f->run->cli, "  %zu. %s %s, #%llu", n + 1, f->found[n].target & BT_GROUP ? "group" : "user",
                f->found[n].name ? f->found[n].name : "?", (unsigned long long)(f->found[n].target & ~BT_GROUP));
}

static void decide(struct find *f)
{
    struct cli_run *run = f->run;
    if (f->count == 1) {
        found(f, f->found[0].target);
        return;
    }
    char *word = cli_escape(cli_text(f->word), false);
    if (f->count == 0) {
        enum cli_what what = f->what;
        find_free(f);
        cli_end_failed(run, CLI_REFUSED, "There is no %s named %s.%s", kind(what), word ? word : "that",
                       what == CLI_A_GROUP ? " Of other groups, give the number: #12." : "");
    } else if (cli_can_ask(run->cli)) {
        list_found(f);
        cli_ask(run->cli, "Which one? Type its number in this list; Enter gives up.", chosen, f);
    } else {
        list_found(f);
        find_free(f);
        cli_end_failed(run, CLI_USAGE, "%s means more than one; say which: its #number, with --group for a group.", word ? word : "That");
    }
    free(word);
}

static void groups_listed(const struct bt_result *r, const struct bt_group *groups, size_t n, bool more, void *arg)
{
    struct find *f = arg;
    size_t len = strlen(f->word);
    if (r->outcome != BT_DONE) {
        struct cli_run *run = f->run;
        find_free(f);
        cli_end_refused(run, r);
        return;
    }
    for (size_t k = 0; k < n; k++)
        if (groups[k].name.len == len && strncasecmp(groups[k].name.data, f->word, len) == 0 && !groups[k].disbanded)
            add(f, BT_GROUP | groups[k].group_id, groups[k].name);
    if (more && n > 0)
        search_groups(f, groups[n - 1].group_id);
    else
        decide(f);
}

static void search_groups(struct find *f, uint64_t after)
{
    struct cli_run *run = f->run;
    if (!cli_armed(run, bt_groups_list(run->cli->client, after, 500, groups_listed, f)))
        find_free(f);
}

static void user_found(const struct bt_result *r, const struct bt_user *user, void *arg)
{
    struct find *f = arg;
    if (user) {
        add(f, user->user_id, user->name);
    } else if (r->status != BT_STATUS_NOT_FOUND && r->status != BT_STATUS_INVALID_ARGUMENT) {
        struct cli_run *run = f->run;
        find_free(f);
        cli_end_refused(run, r);
        return;
    }
    if (f->what & CLI_A_GROUP)
        search_groups(f, 0);
    else
        decide(f);
}

static void by_number(struct cli_run *run, uint64_t id, enum cli_what what, cli_found_cb *cb)
{
    if (what == CLI_A_GROUP)
        cb(run, BT_GROUP | id);
    else
        cb(run, id);
}

void cli_find(struct cli_run *run, const char *word, enum cli_what what, cli_found_cb *cb)
{
    uint64_t id;
    if (run->is_group && what == CLI_ANYONE)
        what = CLI_A_GROUP;
    if (cli_parse_u64(word, &id) && id > 0) {
        by_number(run, id, what, cb);
        return;
    }
    struct find *f = calloc(1, sizeof *f);
    if (!f || !(f->word = strdup(*word == '@' ? word + 1 : word))) {
        free(f);
        cli_end_failed(run, CLI_REFUSED, "Out of memory.");
        return;
    }
    f->run = run;
    f->what = what;
    f->cb = cb;
    if (what == CLI_A_GROUP)
        search_groups(f, 0);
    else if (!cli_armed(run, bt_user_find(run->cli->client, f->word, user_found, f)))
        find_free(f);
}
