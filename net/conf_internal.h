/* net/conf_internal.h: what the files of net/conf*.c share. */
#ifndef BT_NET_CONF_INTERNAL_H
#define BT_NET_CONF_INTERNAL_H

#include "net/conf.h"

enum { CONF_KEYS_MAX = 512, CONF_NAME_MAX = 64 };

struct conf_entry {
    const struct conf_key *key;
    char *in_file; /* NULL: not there */
    char *in_set;  /* NULL: not set; else it wins */
    char *staged;  /* from the file that is being read */
};

struct conf {
    size_t count;
    struct conf_entry entries[CONF_KEYS_MAX];
};

bool conf_has_section(const struct conf *c, const char *section);

/* The entry of a key if it exists and the value suits it; else NULL, with why. */
struct conf_entry *conf_check(struct conf *c, const char *section, const char *name, const char *value, char *why,
                              size_t size);

/* conf_suggest.c: say that there is no such thing, and what may have been meant. */
void conf_explain_section(const struct conf *c, const char *section, char *why, size_t size);
void conf_explain_key(const struct conf *c, const char *section, const char *name, char *why, size_t size);

#endif
