/* test/unit/slow_presence.c: see slow_presence.h. */
#include "test/unit/slow_presence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct presence_driver slow_driver;
static const struct presence_driver *real_driver;
static struct {
    presence_read_cb *cb; /* NULL: no read waits */
    void *arg;
    uint64_t generation, position;
} held;

static bool never_current(const struct presence *p, uint64_t generation, uint64_t position)
{
    (void)p;
    (void)generation;
    (void)position;
    return false;
}

static void hold_read(struct presence *p, uint64_t generation, uint64_t position, presence_read_cb *cb, void *arg)
{
    (void)p;
    assert_null(held.cb);
    held.cb = cb;
    held.arg = arg;
    held.generation = generation;
    held.position = position;
}

void slow_presence_hold(struct presence *p)
{
    held.cb = NULL;
    real_driver = p->driver;
    slow_driver = *real_driver;
    slow_driver.read = hold_read;
    slow_driver.is_current = never_current;
    p->driver = &slow_driver;
}

void slow_presence_wait(struct net_loop *loop)
{
    for (int i = 0; held.cb == NULL && i < 1000; i++)
        net_loop_turn(loop, 5);
    assert_non_null(held.cb);
}

void slow_presence_release(struct presence *p)
{
    p->driver = real_driver;
    presence_read(p, held.generation, held.position, held.cb, held.arg);
    held.cb = NULL;
}

void slow_presence_fail(struct presence *p, enum bt_err err)
{
    p->driver = real_driver;
    held.cb(err, NULL, held.arg);
    held.cb = NULL;
}
