/*
 * net/planted.h: bugs planted on purpose, for the test of the chaos checker: it must find each of them.
 *
 * Only the server built with BYTETALK_PLANTED has them (make PLANTED=1 all), and only the one that the environment variable
 * BYTETALK_BUG names when it starts; without the variable it works as any other. In every other build planted() is a
 * constant, and neither the bugs nor their names are in the program. Each bug is a mistake that could be made: it changes nothing as long as
 * nothing happens, and breaks a promise when what it forgot does.
 */
#ifndef BT_NET_PLANTED_H
#define BT_NET_PLANTED_H

#include <stdbool.h>

enum planted_bug {
    PLANTED_EARLY_ACK,       /* a sender is answered when his message is given to the database, not when it is committed */
    PLANTED_NO_KEY,          /* seq slipped into the unique key of messages, and a repeat is left to that key to find */
    PLANTED_BLIND_RETRY,     /* what meets the fence is written again with fresh seqs, some times, without a look at what stands */
    PLANTED_STALE_RIGHTS,    /* after the fence the log's end is read again, the members are not */
    PLANTED_EARLY_PRESENCE,  /* who is connected is read while the commit is under way, not after it */
    PLANTED_NO_RESYNC,       /* a connection between chat node and proxy that broke is made again, and that was it */
    PLANTED_PULL_BY_TIME,    /* Pull holds messages of the last seconds only: older ones have been pushed, surely */
    PLANTED_MARK_WITHHOLDS,  /* Pull leaves out what another device of the user has confirmed */
};

enum { PLANTED_AGE_MS = 5000 }; /* what PLANTED_PULL_BY_TIME takes for old */

#ifdef BYTETALK_PLANTED
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Is this the bug that was asked for? Loop thread, and before the loop runs. A name that is none ends the process. */
static inline bool planted(enum planted_bug bug)
{
    static const char *const names[] = {
        [PLANTED_EARLY_ACK] = "early-ack",           [PLANTED_NO_KEY] = "no-key",
        [PLANTED_BLIND_RETRY] = "blind-retry",       [PLANTED_STALE_RIGHTS] = "stale-rights",
        [PLANTED_EARLY_PRESENCE] = "early-presence", [PLANTED_NO_RESYNC] = "no-resync",
        [PLANTED_PULL_BY_TIME] = "pull-by-time",     [PLANTED_MARK_WITHHOLDS] = "mark-withholds",
    };
    static int chosen = -2; /* -2: not read yet; -1: none */
    const char *name;

    if (chosen == -2) {
        name = getenv("BYTETALK_BUG");
        chosen = -1;
        for (int i = 0; name != NULL && i < (int)(sizeof names / sizeof *names); i++)
            if (strcmp(name, names[i]) == 0)
                chosen = i;
        if (chosen == -1 && name != NULL && name[0] != '\0') {
            fprintf(stderr, "BYTETALK_BUG=%s: no such bug\n", name);
            exit(1);
        }
    }
    return chosen == (int)bug;
}

/* The SQL that makes the tables: without a key that holds off a second copy of a message, if that is the bug. */
static inline const char *planted_schema(const char *sql)
{
    static const char key[] = "UNIQUE (hi, lo, sender_id, client_msg_id)", no_key[] = "UNIQUE (hi, lo, sender_id, client_msg_id, seq)";
    const char *at = strstr(sql, key);
    char *changed;

    if (!planted(PLANTED_NO_KEY))
        return sql;
    changed = at != NULL ? malloc(strlen(sql) + sizeof no_key) : NULL;
    if (changed == NULL)
        abort();
    snprintf(changed, strlen(sql) + sizeof no_key, "%.*s%s%s", (int)(at - sql), sql, no_key, at + sizeof key - 1);
    return changed; /* once per process, and kept */
}
#else
static inline bool planted(enum planted_bug bug)
{
    (void)bug;
    return false;
}

static inline const char *planted_schema(const char *sql)
{
    return sql;
}
#endif

#endif
