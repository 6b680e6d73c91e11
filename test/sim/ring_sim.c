/*
 * test/sim/ring_sim.c: what moves when a chat node dies or joins, over the server's own ring (rpc/ring.c).
 *
 * For each number of nodes: how even the shares are, how many conversations change their owner, how many of these had no need to, who
 * takes them over. Then what a dead node's heirs read from the database, second by second: a conversation is read anew, in
 * READS statements, when its first message comes. Prints tables in Markdown. Usage: ring-sim [messages/s [conversations]] of one node.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/ring.h"

enum {
    SAMPLE = 60000, /* conversations */
    NODES_MAX = 301,
    NAME_MAX_BYTES = 32,
    READS = 3,      /* tail, members, then rights or the group (roles/chat_conv.c) */
    SECONDS = 60,
};

struct town {
    char names[NODES_MAX][NAME_MAX_BYTES];
    struct ring_member members[NODES_MAX];
    uint64_t hi[SAMPLE], lo[SAMPLE];
};

/* splitmix64: the same figures at every run. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t v = *state += UINT64_C(0x9e3779b97f4a7c15);
    v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
    return v ^ v >> 31;
}

static void town_init(struct town *t)
{
    uint64_t state = 1;
    for (size_t i = 0; i < NODES_MAX; i++) {
        snprintf(t->names[i], sizeof t->names[i], "10.0.%zu.%zu:7500", i / 250, i % 250 + 1);
        t->members[i] = (struct ring_member){ .name = t->names[i], .weight = 1, .arg = (void *)(i + 1) };
    }
    for (size_t i = 0; i < SAMPLE; i++) {
        uint64_t a = next_random(&state) % 100000000 + 1, b = next_random(&state) % 100000000 + 1;
        bool is_group = i % 4 == 0;
        t->hi[i] = is_group || a > b ? a : b;
        t->lo[i] = is_group ? 0 : a > b ? b : a;
    }
}

/* Owner of each conversation, as an index into the town's nodes. */
static void find_owners(const struct town *t, const struct ring_member *members, size_t n, uint16_t *owners)
{
    struct ring *r;
    if (ring_new(members, n, &r) != BT_OK) {
        fprintf(stderr, "ring-sim: out of memory\n");
        exit(1);
    }
    for (size_t i = 0; i < SAMPLE; i++)
        owners[i] = (uint16_t)((uintptr_t)ring_find(r, t->hi[i], t->lo[i], 0)->arg - 1);
    ring_free(r);
}

struct moved {
    double share;      /* of all conversations */
    size_t needless;   /* that neither were the dead node's nor are the new one's */
    size_t heirs;      /* who got some */
    double largest;    /* share of those moved that the busiest heir got */
};

static struct moved compare(const uint16_t *before, const uint16_t *after, size_t node)
{
    size_t got[NODES_MAX] = { 0 }, moved = 0, most = 0;
    struct moved m = { 0 };
    for (size_t i = 0; i < SAMPLE; i++) {
        if (before[i] == after[i])
            continue;
        moved++;
        m.needless += before[i] != node && after[i] != node;
        got[before[i] == node ? after[i] : before[i]]++; /* a death: who got them; a join: who gave them */
    }
    for (size_t n = 0; n < NODES_MAX; n++) {
        m.heirs += got[n] > 0;
        most = got[n] > most ? got[n] : most;
    }
    m.share = (double)moved / SAMPLE;
    m.largest = moved ? (double)most / (double)moved : 0;
    return m;
}

static double largest_share(const uint16_t *owners, size_t n)
{
    size_t got[NODES_MAX] = { 0 }, most = 0;
    for (size_t i = 0; i < SAMPLE; i++)
        got[owners[i]]++;
    for (size_t i = 0; i < n; i++)
        most = got[i] > most ? got[i] : most;
    return (double)most / SAMPLE * (double)n;
}

static void row(const struct town *t, size_t n)
{
    static uint16_t before[SAMPLE], after[SAMPLE];
    struct ring_member left[NODES_MAX];
    size_t dead = n / 2, kept = 0;
    for (size_t i = 0; i < n; i++)
        if (i != dead)
            left[kept++] = t->members[i];
    find_owners(t, t->members, n, before);
    find_owners(t, left, kept, after);
    struct moved death = compare(before, after, dead);
    find_owners(t, t->members, n + 1, after);
    struct moved join = compare(before, after, n);
    printf("| %zu | %.2f | %.2f %% | %.2f %% | %zu | %.0f %% | %.2f %% | %.2f %% | %zu |\n", n, largest_share(before, n), 100 * death.share,
           100.0 / (double)n, death.heirs, 100 * death.largest, 100 * join.share, 100.0 / (double)(n + 1), death.needless + join.needless);
}

/* A draw by Zipf with s = 1: the number of conversations to the power of a uniform number. */
static size_t draw_rank(uint64_t *state, size_t conversations)
{
    double u = (double)(next_random(state) >> 11) / 9007199254740992.0;
    size_t rank = (size_t)(pow((double)conversations, u) - 1);
    return rank < conversations ? rank : conversations - 1;
}

/* First messages of conversations that nobody has open, second by second. */
static void cold(double rate, size_t conversations)
{
    static const int shown[] = { 1, 2, 5, 10, 30, 60 };
    uint64_t state = 2;
    bool *is_open = calloc(conversations, sizeof *is_open);
    if (!is_open) {
        fprintf(stderr, "ring-sim: out of memory\n");
        exit(1);
    }
    size_t at = 0, total = 0;
    for (int second = 1; second <= SECONDS; second++) {
        size_t first = 0;
        for (size_t m = 0; m < (size_t)rate; m++) {
            size_t rank = draw_rank(&state, conversations);
            first += !is_open[rank];
            is_open[rank] = true;
        }
        total += first;
        if (second == shown[at]) {
            printf("| %d | %zu | %zu | %.0f %% |\n", second, READS * first, READS * total, 100.0 * (double)first / rate);
            at++;
        }
    }
    free(is_open);
}

int main(int argc, char **argv)
{
    static const size_t counts[] = { 3, 5, 10, 30, 100, 300 };
    static struct town t;
    double rate = argc > 1 ? strtod(argv[1], NULL) : 5000;
    size_t conversations = argc > 2 ? strtoul(argv[2], NULL, 10) : 100000;

    if (rate < 1 || conversations < 2) {
        fprintf(stderr, "Usage: ring-sim [messages/s [conversations]]\n");
        return 2;
    }
    town_init(&t);
    printf("| chat nodes | largest share × N | a death moves | 1/N | heirs | busiest heir | a join moves | 1/(N+1) | moved needlessly |\n"
           "|---|---|---|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        row(&t, counts[i]);
    printf("\n| second after the death | reads/s | reads so far | of its messages wait for a read |\n|---|---|---|---|\n");
    cold(rate, conversations);
    return 0;
}
