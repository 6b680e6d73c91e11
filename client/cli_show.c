/*
 * client/cli_show.c: messages on the screen, for people or as JSON.
 *
 * A message needs names that may have to be asked for. So messages queue, and leave in the order in which they came,
 * each when its names are known.
 */
#include <stdlib.h>
#include <string.h>

#include "client/cli.h"

struct item {
    struct item *next;
    void (*cb)(void *arg);  /* not NULL: no message, but a mark in the queue */
    void *arg;
    struct bt_message m;    /* its texts stand behind this struct */
    struct bt_membership membership;
    unsigned how;           /* CLI_SHOW_* */
    uint64_t user_id;       /* whose eyes it is for */
};
struct cli_show {
    struct cli *cli;
    struct item *first, *last;
    bool is_asking;
    uint64_t asked_for;     /* the item asked for last: what is unknown then, stays so */
    uint64_t shown;
};

/* ---- lines ---- */

static const char *change_word(enum bt_change change)
{
    static const char *const words[] = {
        [BT_CHANGE_NONE] = "none",     [BT_CREATED] = "created",   [BT_JOINED] = "joined",           [BT_LEFT] = "left",
        [BT_KICKED] = "kicked",        [BT_MUTED] = "muted",       [BT_ROLE_SET] = "role_set",       [BT_TRANSFERRED] = "transferred",
        [BT_UPDATED] = "updated",      [BT_DISBANDED] = "disbanded",
    };
    return (size_t)change < sizeof words / sizeof *words ? words[change] : "unknown";
}

/* "made bob an admin": what the sender did. */
static void membership_text(const struct cli *cli, const struct bt_message *m, char *buf, size_t size)
{
    const struct bt_membership *ms = m->membership;
    char *who = cli_label(cli, ms->user_id), *name = cli_escape(ms->name, false), when[32];
    const char *w = who ? who : "?", *n = name ? name : "";
    bool is_self = ms->user_id == m->sender_id;
    switch (ms->change) {
    case BT_CREATED: snprintf(buf, size, "made the group %s", n); break;
    case BT_JOINED: snprintf(buf, size, is_self ? "joined" : "let %s in", w); break;
    case BT_LEFT: snprintf(buf, size, "left"); break;
    case BT_KICKED: snprintf(buf, size, "removed %s", w); break;
    case BT_MUTED:
        if (ms->until_ms)
            snprintf(buf, size, "muted %s until %s", w, cli_time(ms->until_ms, true, when));
        else
            snprintf(buf, size, "let %s write again", w);
        break;
    case BT_ROLE_SET: snprintf(buf, size, "made %s %s", w, ms->role == BT_ADMIN ? "an admin" : "a plain member"); break;
    case BT_TRANSFERRED: snprintf(buf, size, "made %s the owner", w); break;
    case BT_UPDATED: snprintf(buf, size, "changed the group: it is named %s", n); break;
    case BT_DISBANDED: snprintf(buf, size, "ended the group"); break;
    case BT_CHANGE_NONE: snprintf(buf, size, "changed something that this program does not know"); break;
    }
    free(who);
    free(name);
}

static void show_text(struct cli *cli, const struct bt_message *m, unsigned how, uint64_t user_id)
{
    bool is_group = m->target & BT_GROUP, is_own = m->sender_id == user_id;
    char *conv = cli_label(cli, m->target), *sender = cli_label(cli, m->sender_id), *body = cli_escape(m->body, true);
    char when[32], refers[48] = "", membership[1024];
    const char *dim = cli_paint(cli, CLI_DIM), *plain = cli_paint(cli, CLI_PLAIN), *text = body ? body : "?";
    const char *colour = cli_paint(cli, is_own ? CLI_GREEN : is_group ? CLI_MAGENTA : CLI_CYAN);
    if (m->kind == BT_EDIT)
        snprintf(refers, sizeof refers, "(edits #%llu) ", (unsigned long long)m->refers_to_seq);
    if (m->kind == BT_RECALL)
        snprintf(refers, sizeof refers, "(took back #%llu)", (unsigned long long)m->refers_to_seq);
    if (m->kind == BT_MEMBERSHIP && m->membership) {
        membership_text(cli, m, membership, sizeof membership);
        text = membership;
    } else if (m->kind == BT_APPLICATION) {
        snprintf(membership, sizeof membership, "(%zu bytes of an application)", m->body.len);
        text = membership;
    } else if (m->kind == BT_TEXT && m->body.len == 0) {
        text = "(taken back, or empty)";
    }
    cli_say(cli, "%s%s%s %s%s%s%s%s%s%s %s#%llu%s%s %s%s%s", dim, cli_time(m->sent_ms, how & CLI_SHOW_DATE, when), plain, colour,
            is_group ? conv ? conv : "?" : "", is_group ? "/" : "", is_own ? "you" : sender ? sender : "?", !is_group && is_own ? " > " : "",
            !is_group && is_own && conv ? conv : "", plain, dim, (unsigned long long)m->seq, m->kind == BT_MEMBERSHIP ? "" : ":", plain,
            refers, text, how & CLI_SHOW_EDITED ? " (edited)" : "");
    free(conv);
    free(sender);
    free(body);
}

static void json_name(const char *key, const struct cli *cli, uint64_t target)
{
    const char *name = cli_name_find(cli, target);
    if (!name)
        return;
    putchar(',');
    cli_json_bytes(stdout, key, cli_text(name));
}

static void json_membership(const struct cli *cli, const struct bt_membership *ms)
{
    static const char *const roles[] = { "none", "member", "admin", "owner" };
    printf(",\"change\":\"%s\",\"user_id\":%llu", change_word(ms->change), (unsigned long long)ms->user_id);
    json_name("user", cli, ms->user_id);
    if (ms->change == BT_ROLE_SET && (size_t)ms->role < 4)
        printf(",\"role\":\"%s\"", roles[ms->role]);
    if (ms->change == BT_MUTED)
        printf(",\"until_ms\":%lld", (long long)ms->until_ms);
    if (ms->change == BT_CREATED || ms->change == BT_UPDATED) {
        putchar(',');
        cli_json_bytes(stdout, "group_name", ms->name);
    }
}

static void show_json(struct cli *cli, const struct bt_message *m, unsigned how)
{
    static const char *const kinds[] = { "unknown", "text", "edit", "recall", "membership", "application" };
    cli_json_begin(cli);
    printf("\"%s\":%llu", m->target & BT_GROUP ? "group_id" : "peer_id", (unsigned long long)(m->target & ~BT_GROUP));
    json_name(m->target & BT_GROUP ? "group" : "peer", cli, m->target);
    printf(",\"seq\":%llu,\"kind\":\"%s\",\"sender_id\":%llu", (unsigned long long)m->seq, kinds[(size_t)m->kind < 6 ? m->kind : 0],
           (unsigned long long)m->sender_id);
    json_name("sender", cli, m->sender_id);
    printf(",\"client_msg_id\":\"%llu\",\"sent_ms\":%lld", (unsigned long long)m->client_msg_id, (long long)m->sent_ms);
    if (m->refers_to_seq)
        printf(",\"refers_to_seq\":%llu", (unsigned long long)m->refers_to_seq);
    if (how & CLI_SHOW_EDITED)
        printf(",\"edited\":true");
    if (m->membership) {
        json_membership(cli, m->membership);
    } else {
        putchar(',');
        cli_json_bytes(stdout, "content_type", m->content_type);
        putchar(',');
        cli_json_bytes(stdout, "body", m->body);
    }
    cli_json_end(cli);
}

/* ---- the queue ---- */

static void drain(struct cli_show *s);

static void names_told(void *arg)
{
    struct cli_show *s = arg;
    s->is_asking = false;
    drain(s);
}

static size_t names_of(const struct item *i, uint64_t out[3])
{
    out[0] = i->m.target;
    out[1] = i->m.sender_id;
    out[2] = i->m.membership ? i->m.membership->user_id : 0;
    return 3;
}

static bool is_known(const struct cli *cli, const struct item *i)
{
    uint64_t targets[3];
    size_t n = names_of(i, targets);
    while (n-- > 0)
        if (targets[n] && !cli_name_find(cli, targets[n]))
            return false;
    return true;
}

/* Ask for the names of all that waits in one go. */
static void ask(struct cli_show *s)
{
    size_t count = 0, n = 0;
    for (const struct item *i = s->first; i; i = i->next)
        count++;
    uint64_t *targets = calloc(count, 3 * sizeof *targets);
    for (const struct item *i = s->first; targets && i; i = i->next)
        if (!i->cb)
            n += names_of(i, targets + n);
    s->asked_for = s->shown + count;
    s->is_asking = true;
    cli_names_ask(s->cli, targets, targets ? n : 0, names_told, s);
    free(targets);
}

static void show(struct cli *cli, const struct item *i)
{
    if (i->cb)
        i->cb(i->arg);
    else if (i->how & CLI_SHOW_JSON)
        show_json(cli, &i->m, i->how);
    else
        show_text(cli, &i->m, i->how, i->user_id);
    if (!i->cb && i->how & CLI_SHOW_READ && i->m.sender_id != i->user_id && cli->client && i->user_id == bt_client_user_id(cli->client))
        bt_mark_read(cli->client, i->m.target, i->m.seq);
}

static void drain(struct cli_show *s)
{
    while (s->first && !s->is_asking) {
        struct item *i = s->first;
        if (!i->cb && s->shown >= s->asked_for && !is_known(s->cli, i)) {
            ask(s);
            continue;
        }
        s->first = i->next;
        if (!s->first)
            s->last = NULL;
        s->shown++;
        show(s->cli, i);
        free(i);
    }
}

static void put(struct cli *cli, struct item *i)
{
    struct cli_show *s = cli->show;
    if (!s) {
        s = cli->show = calloc(1, sizeof *s);
        if (!s) {
            free(i);
            return;
        }
        s->cli = cli;
    }
    *(s->last ? &s->last->next : &s->first) = i;
    s->last = i;
    if (!s->is_asking)
        drain(s);
}

static char *keep(struct bt_text *text, char *at)
{
    if (text->len > 0)
        memcpy(at, text->data, text->len);
    text->data = at;
    return at + text->len;
}

void cli_show_message(struct cli *cli, const struct bt_message *m, unsigned how)
{
    const struct bt_membership *ms = m->membership;
    size_t size = m->content_type.len + m->body.len + (ms ? ms->name.len + ms->about.len : 0);
    struct item *i = calloc(1, sizeof *i + size);
    if (!i) {
        cli_error(cli, "Out of memory: a message is not shown.");
        return;
    }
    char *at = (char *)(i + 1);
    i->m = *m;
    i->how = how;
    i->user_id = cli->client ? bt_client_user_id(cli->client) : 0;
    at = keep(&i->m.content_type, at);
    at = keep(&i->m.body, at);
    if (ms) {
        i->membership = *ms;
        i->m.membership = &i->membership;
        at = keep(&i->membership.name, at);
        keep(&i->membership.about, at);
    }
    put(cli, i);
}

void cli_show_then(struct cli *cli, void (*cb)(void *arg), void *arg)
{
    struct item *i = calloc(1, sizeof *i);
    if (!i) {
        cb(arg);
        return;
    }
    i->cb = cb;
    i->arg = arg;
    put(cli, i);
}

void cli_show_clear(struct cli *cli)
{
    struct cli_show *s = cli->show;
    cli->show = NULL;
    while (s && s->first) {
        struct item *i = s->first;
        s->first = i->next;
        if (i->cb)
            i->cb(i->arg); /* someone waits for it */
        free(i);
    }
    free(s);
}
