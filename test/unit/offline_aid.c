/* test/unit/offline_aid.c: see offline_aid.h. */
#include "test/unit/offline_aid.h"

#include "test/unit/seed.h"

int offline_setup_with(void **state, const char *const *settings)
{
    aid_start(&aid, &role_offline, settings);
    seed_account(&aid.env, 4, "anna");
    seed_account(&aid.env, 9, "bert");
    *state = &aid;
    return 0;
}

int offline_setup(void **state)
{
    return offline_setup_with(state, NULL);
}

int offline_setup_small(void **state)
{
    static const char *const settings[] = { "offline.reply_max_bytes=16384", "offline.max_positions=100", "offline.max_reads=1", NULL };
    return offline_setup_with(state, settings);
}

int offline_teardown(void **state)
{
    aid_stop(*state);
    return 0;
}
