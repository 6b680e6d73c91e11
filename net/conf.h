/*
 * net/conf.h: settings: modules declare keys, the ini and --set fill them, modules read them.
 *
 * The parser knows no module by name. Used at start, before the loop runs, and by SIGHUP; one thread.
 */
#ifndef BT_NET_CONF_H
#define BT_NET_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "net/err.h"

struct conf;

enum conf_type {
    CONF_INT,    /* a decimal number in [min, max] */
    CONF_BOOL,   /* yes | no */
    CONF_STRING, /* min..max bytes of UTF-8, no control characters */
    CONF_WORD,   /* one of the words in `words`, separated by '|' */
};

/* One row of a module's table. The table ends with a row whose section is NULL, and is borrowed for good. */
struct conf_key {
    const char *section;
    const char *name;
    enum conf_type type;
    const char *def;      /* default, as it would stand in the ini */
    int64_t min, max;     /* CONF_INT: range; CONF_STRING: length in bytes */
    const char *unit;     /* "ms", "bytes", "connections"; NULL: none */
    const char *words;    /* CONF_WORD: "direct|socket" */
    const char *help;     /* one sentence for bytetalk.ini and --help */
};

/* *out is owned by the caller. BT_ENOMEM. */
enum bt_err conf_new(struct conf **out);
void conf_free(struct conf *c);

/* Add a table; every key gets its default. Declaring the same section and name twice is asserted against. */
void conf_declare(struct conf *c, const struct conf_key *keys);

/*
 * A file has lines of at most 197 bytes: [section], name = value, blank ones. A comment begins with ; or # at the start of
 * a line or after a blank; so "redis://h/0#1" is a value. What an earlier file set and this one does not is default again.
 *
 * Read a file over what is set. Nothing of it is applied when anything in it is wrong. On an error, `why` gets one
 * line a person can act on: "bytetalk.ini:12: [chat] windov: no such key; did you mean window?".
 * Errors: BT_ENOTFOUND (no file), BT_EINVAL (unknown section or key, bad value, line too long, key given twice).
 */
enum bt_err conf_read(struct conf *c, const char *path, char *why, size_t why_size);

/* Apply "section.key=value"; it wins over the file, whatever the order of calls. Errors: BT_EINVAL, with why. */
enum bt_err conf_set(struct conf *c, const char *assignment, char *why, size_t why_size);

/* What is set. The key must have been declared with that type (asserted). Strings are lent until the next read or set. */
int64_t conf_int(const struct conf *c, const char *section, const char *name);
bool conf_bool(const struct conf *c, const char *section, const char *name);
const char *conf_str(const struct conf *c, const char *section, const char *name);

/* Print every declared key as a commented ini with the defaults: what bytetalk.ini is tested against. */
void conf_print(const struct conf *c, FILE *out);

#endif
