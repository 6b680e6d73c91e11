/* net/conf_suggest.c: "did you mean": the declared name that is nearest to what was written. */
#include <stdio.h>
#include <string.h>

#include "net/conf_internal.h"

/* How many letters to insert, drop or change to get from a to b. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[CONF_NAME_MAX + 1];
    size_t b_len = strlen(b);

    if (b_len > CONF_NAME_MAX || strlen(a) > CONF_NAME_MAX)
        return UINT32_MAX;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b_len];
}

/* The nearest of the candidates seen so far, if it is near enough to have been meant. */
struct nearest {
    const char *wanted;
    const char *name;
    unsigned distance;
};

static void consider(struct nearest *n, const char *name)
{
    unsigned d = distance(n->wanted, name);
    size_t limit = strlen(n->wanted) / 3 > 2 ? strlen(n->wanted) / 3 : 2;

    if (d <= limit && d < strlen(name) && (!n->name || d < n->distance)) {
        n->name = name;
        n->distance = d;
    }
}

void conf_explain_section(const struct conf *c, const char *section, char *why, size_t size)
{
    struct nearest n = { .wanted = section };

    for (size_t i = 0; i < c->count; i++)
        consider(&n, c->entries[i].key->section);
    if (n.name)
        snprintf(why, size, "[%s]: no such section; did you mean [%s]?", section, n.name);
    else
        snprintf(why, size, "[%s]: no such section", section);
}

void conf_explain_key(const struct conf *c, const char *section, const char *name, char *why, size_t size)
{
    struct nearest n = { .wanted = name };

    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->entries[i].key->section, section) == 0)
            consider(&n, c->entries[i].key->name);
    if (n.name) {
        snprintf(why, size, "[%s] %s: no such key; did you mean %s?", section, name, n.name);
        return;
    }
    for (size_t i = 0; i < c->count; i++) {
        if (strcmp(c->entries[i].key->name, name) == 0) {
            snprintf(why, size, "[%s] %s: no such key; did you mean the one in [%s]?", section, name,
                     c->entries[i].key->section);
            return;
        }
    }
    snprintf(why, size, "[%s] %s: no such key", section, name);
}
