/* test/chaos/workload_store.c: a device's storage in memory. */
#include "test/chaos/workload_store.h"

#include <string.h>

#include "net/mem.h"

static bool load(struct bt_store *base, bt_record_cb *each, void *arg)
{
    const struct wl_store *s = (const struct wl_store *)base;
    if (s->device_id)
        each(&(struct bt_record){ .kind = BT_RECORD_DEVICE, .number = s->device_id }, arg);
    if (s->reserved)
        each(&(struct bt_record){ .kind = BT_RECORD_ID_RESERVE, .number = s->reserved }, arg);
    if (s->has_session)
        each(&(struct bt_record){ .kind = BT_RECORD_SESSION, .number = s->user_id, .name = { s->name, s->name_len },
                                  .token = { s->token, s->token_len } }, arg);
    if (s->is_synced)
        each(&(struct bt_record){ .kind = BT_RECORD_SYNCED, .number = s->is_synced }, arg);
    for (size_t n = 0; n < s->count; n++)
        each(&(struct bt_record){ .kind = BT_RECORD_POSITION, .hi = s->rows[n].hi, .lo = s->rows[n].lo, .number = s->rows[n].saved }, arg);
    return true;
}

static size_t find(const struct wl_store *s, uint64_t hi, uint64_t lo)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct wl_position *p = &s->rows[mid];
        if (p->hi < hi || (p->hi == hi && p->lo < lo))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool save_position(struct wl_store *s, const struct bt_record *r)
{
    size_t at = find(s, r->hi, r->lo);
    if (at < s->count && s->rows[at].hi == r->hi && s->rows[at].lo == r->lo) {
        s->rows[at].saved = r->number;
        return true;
    }
    if (s->count == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 16;
        struct wl_position *rows = bt_realloc(s->rows, cap * sizeof *rows);
        if (!rows)
            return false;
        s->rows = rows;
        s->cap = cap;
    }
    memmove(s->rows + at + 1, s->rows + at, (s->count - at) * sizeof *s->rows);
    s->rows[at] = (struct wl_position){ .hi = r->hi, .lo = r->lo, .saved = r->number };
    s->count++;
    return true;
}

static bool save_session(struct wl_store *s, const struct bt_record *r)
{
    if (r->name.len > sizeof s->name || r->token.len > sizeof s->token)
        return false;
    s->has_session = true;
    s->user_id = r->number;
    s->name_len = r->name.len;
    s->token_len = r->token.len;
    if (r->name.len > 0)
        memcpy(s->name, r->name.data, r->name.len);
    if (r->token.len > 0)
        memcpy(s->token, r->token.data, r->token.len);
    return true;
}

static bool save(struct bt_store *base, const struct bt_record *r)
{
    struct wl_store *s = (struct wl_store *)base;
    switch (r->kind) {
    case BT_RECORD_DEVICE:
        s->device_id = r->number;
        return true;
    case BT_RECORD_ID_RESERVE:
        s->reserved = r->number;
        return true;
    case BT_RECORD_SESSION:
        return save_session(s, r);
    case BT_RECORD_SYNCED:
        s->is_synced = r->number;
        return true;
    case BT_RECORD_POSITION:
        return save_position(s, r);
    case BT_RECORD_FORGET:
        s->count = 0;
        s->is_synced = 0;
        return true;
    }
    return false;
}

void wl_store_init(struct wl_store *s)
{
    s->base = (struct bt_store){ .load = load, .save = save };
}

void wl_store_sync(struct wl_store *s)
{
    for (size_t n = 0; n < s->count; n++)
        s->rows[n].synced = s->rows[n].saved;
}

void wl_store_crash(struct wl_store *s)
{
    size_t kept = 0;
    for (size_t n = 0; n < s->count; n++)
        if (s->rows[n].synced > 0) {
            s->rows[kept] = s->rows[n];
            s->rows[kept++].saved = s->rows[n].synced;
        }
    s->count = kept;
}
