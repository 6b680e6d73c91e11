/* rpc/ring.c: the consistent hash ring: points sorted by hash, looked up by bisection. */
#include "rpc/ring.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "net/mem.h"

struct point {
    uint64_t hash;
    uint32_t member;
};

struct ring {
    struct ring_member *members; /* those with a weight; names are ours */
    size_t member_count;
    struct point *points;        /* by rising hash */
    size_t point_count;
};

/* A bijection in which every input bit moves about half of the output's (the finalizer of splitmix64). */
static uint64_t mix(uint64_t v)
{
    v += UINT64_C(0x9e3779b97f4a7c15);
    v = (v ^ v >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    v = (v ^ v >> 27) * UINT64_C(0x94d049bb133111eb);
    return v ^ v >> 31;
}

uint64_t ring_hash(uint64_t hi, uint64_t lo)
{
    return mix(mix(hi) + lo);
}

/* FNV-1a: only names go through it, and mix() does the spreading. */
static uint64_t hash_name(const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return h;
}

static int compare_points(const void *a_arg, const void *b_arg)
{
    const struct point *a = a_arg, *b = b_arg;
    if (a->hash != b->hash)
        return a->hash < b->hash ? -1 : 1;
    return a->member < b->member ? -1 : a->member > b->member;
}

static int compare_members(const void *a, const void *b)
{
    return strcmp(((const struct ring_member *)a)->name, ((const struct ring_member *)b)->name);
}

static void add_points(struct ring *r, uint32_t member)
{
    uint64_t name = hash_name(r->members[member].name);
    uint32_t count = r->members[member].weight * RING_POINTS;
    for (uint32_t i = 0; i < count; i++)
        r->points[r->point_count++] = (struct point){ ring_hash(name, i), member };
}

static enum bt_err copy_members(struct ring *r, const struct ring_member *members, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (members[i].weight == 0)
            continue;
        struct ring_member *copy = &r->members[r->member_count];
        *copy = members[i];
        copy->name = bt_strdup(members[i].name);
        if (!copy->name)
            return BT_ENOMEM;
        r->member_count++;
    }
    /* Equal points go to the member that comes first, so the order must be the same everywhere. */
    qsort(r->members, r->member_count, sizeof *r->members, compare_members);
    return BT_OK;
}

enum bt_err ring_new(const struct ring_member *members, size_t n, struct ring **out)
{
    size_t points = 0;
    for (size_t i = 0; i < n; i++)
        points += (size_t)members[i].weight * RING_POINTS;
    struct ring *r = bt_calloc(1, sizeof *r);
    if (!r)
        return BT_ENOMEM;
    r->members = bt_calloc(n + 1, sizeof *r->members);
    r->points = bt_calloc(points + 1, sizeof *r->points);
    if (!r->members || !r->points || copy_members(r, members, n) != BT_OK) {
        ring_free(r);
        return BT_ENOMEM;
    }
    for (uint32_t i = 0; i < r->member_count; i++)
        add_points(r, i);
    qsort(r->points, r->point_count, sizeof *r->points, compare_points);
    *out = r;
    return BT_OK;
}

void ring_free(struct ring *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->member_count; i++)
        bt_free((char *)(uintptr_t)r->members[i].name);
    bt_free(r->members);
    bt_free(r->points);
    bt_free(r);
}

/* The first point at or after the hash. */
static size_t first_point(const struct ring *r, uint64_t hash)
{
    size_t low = 0, high = r->point_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (r->points[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low == r->point_count ? 0 : low;
}

static bool is_among(const uint32_t *list, size_t n, uint32_t member)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i] == member)
            return true;
    }
    return false;
}

/* The one after the owner is asked for only when nodes fail, so looking for it may take longer. */
static const struct ring_member *find_after(const struct ring *r, size_t at, size_t nth)
{
    enum { PASSED_MAX = 64 };
    uint32_t passed[PASSED_MAX];
    size_t count = 0;

    if (nth >= PASSED_MAX)
        return NULL;
    for (size_t i = 0; i < r->point_count; i++) {
        uint32_t member = r->points[(at + i) % r->point_count].member;
        if (is_among(passed, count, member))
            continue;
        if (count == nth)
            return &r->members[member];
        passed[count++] = member;
    }
    return NULL;
}

const struct ring_member *ring_find(const struct ring *r, uint64_t hi, uint64_t lo, size_t nth)
{
    if (nth >= r->member_count)
        return NULL;
    if (r->member_count == 1) /* all roles in one process: no need to look */
        return &r->members[0];
    size_t at = first_point(r, ring_hash(hi, lo));
    return nth == 0 ? &r->members[r->points[at].member] : find_after(r, at, nth);
}

size_t ring_members(const struct ring *r)
{
    return r->member_count;
}

double ring_share(const struct ring *r, const char *name)
{
    double share = 0;
    for (size_t i = 0; i < r->point_count; i++) {
        const struct point *before = &r->points[i > 0 ? i - 1 : r->point_count - 1];
        uint64_t arc = r->points[i].hash - before->hash; /* wraps around at the first one */
        if (strcmp(r->members[r->points[i].member].name, name) == 0)
            share += r->point_count == 1 ? 1.0 : (double)arc / 18446744073709551616.0;
    }
    return share;
}
