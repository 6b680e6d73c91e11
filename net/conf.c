/* net/conf.c: settings: declared keys, and the three places a value comes from: default, file, --set. */
#include "net/conf.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

#include "net/conf_internal.h"
#include "net/mem.h"

enum bt_err conf_new(struct conf **out)
{
    *out = bt_calloc(1, sizeof **out);
    return *out ? BT_OK : BT_ENOMEM;
}

void conf_free(struct conf *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->count; i++) {
        bt_free(c->entries[i].in_file);
        bt_free(c->entries[i].in_set);
    }
    bt_free(c);
}

static const struct conf_entry *find(const struct conf *c, const char *section, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->entries[i].key->section, section) == 0 && strcmp(c->entries[i].key->name, name) == 0)
            return &c->entries[i];
    return NULL;
}

bool conf_has_section(const struct conf *c, const char *section)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->entries[i].key->section, section) == 0)
            return true;
    return false;
}

static bool parse_int(const char *text, int64_t *out)
{
    char *end;
    const char *digits = *text == '-' ? text + 1 : text;

    if (*digits < '0' || *digits > '9')
        return false;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0';
}

/* Whether `word` is one of the words in "a|b|c". */
static bool is_word_of(const char *words, const char *word)
{
    size_t len = strlen(word);

    while (len > 0 && *words) {
        size_t n = strcspn(words, "|");

        if (n == len && memcmp(words, word, n) == 0)
            return true;
        words += n;
        if (*words == '|')
            words++;
    }
    return false;
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

/* Check a value against its key; on false `why` says what it should have been. */
static bool value_fits(const struct conf_key *key, const char *value, char *why, size_t size)
{
    const char *unit = key->unit ? key->unit : "", *space = key->unit ? " " : "";
    int64_t number, len = (int64_t)strlen(value);

    switch (key->type) {
    case CONF_INT:
        if (parse_int(value, &number) && number >= key->min && number <= key->max)
            return true;
        snprintf(why, size, "must be a number from %lld to %lld%s%s", (long long)key->min, (long long)key->max, space,
                 unit);
        return false;
    case CONF_BOOL:
        if (strcmp(value, "yes") == 0 || strcmp(value, "no") == 0)
            return true;
        snprintf(why, size, "must be yes or no");
        return false;
    case CONF_WORD:
        if (is_word_of(key->words, value))
            return true;
        snprintf(why, size, "must be one of %s", key->words);
        return false;
    case CONF_STRING:
        if (has_control(value) || u8_check((const uint8_t *)value, (size_t)len) != NULL) {
            snprintf(why, size, "must be UTF-8 without control characters");
            return false;
        }
        if (len >= key->min && len <= key->max)
            return true;
        snprintf(why, size, "must be %lld to %lld bytes long", (long long)key->min, (long long)key->max);
        return false;
    }
    return false;
}

void conf_declare(struct conf *c, const struct conf_key *keys)
{
    for (; keys->section; keys++) {
        char why[128];

        assert(c->count < CONF_KEYS_MAX);
        assert(!find(c, keys->section, keys->name));
        assert(value_fits(keys, keys->def, why, sizeof why));
        (void)why;
        c->entries[c->count++] = (struct conf_entry){ .key = keys };
    }
}

struct conf_entry *conf_check(struct conf *c, const char *section, const char *name, const char *value, char *why,
                              size_t size)
{
    const struct conf_entry *e = find(c, section, name);
    char expected[160];

    if (!conf_has_section(c, section)) {
        conf_explain_section(c, section, why, size);
        return NULL;
    }
    if (!e) {
        conf_explain_key(c, section, name, why, size);
        return NULL;
    }
    if (!value_fits(e->key, value, expected, sizeof expected)) {
        snprintf(why, size, "[%s] %s = %.60s: %s", section, name, value, expected);
        return NULL;
    }
    return &c->entries[e - c->entries];
}

enum bt_err conf_set(struct conf *c, const char *assignment, char *why, size_t why_size)
{
    const char *equals = strchr(assignment, '='), *dot = strchr(assignment, '.');
    char section[CONF_NAME_MAX], name[CONF_NAME_MAX], what[400], *copy;
    struct conf_entry *e;

    if (!equals || !dot || dot > equals || dot == assignment || dot + 1 == equals ||
        (size_t)(dot - assignment) >= sizeof section || (size_t)(equals - dot - 1) >= sizeof name) {
        snprintf(why, why_size, "%s: not of the form section.key=value", assignment);
        return BT_EINVAL;
    }
    snprintf(section, sizeof section, "%.*s", (int)(dot - assignment), assignment);
    snprintf(name, sizeof name, "%.*s", (int)(equals - dot - 1), dot + 1);
    e = conf_check(c, section, name, equals + 1, what, sizeof what);
    if (!e) {
        snprintf(why, why_size, "%s: %s", assignment, what);
        return BT_EINVAL;
    }
    copy = bt_strdup(equals + 1);
    if (!copy) {
        snprintf(why, why_size, "%s", bt_err_text(BT_ENOMEM));
        return BT_ENOMEM;
    }
    bt_free(e->in_set);
    e->in_set = copy;
    return BT_OK;
}

static const char *value_of(const struct conf *c, const char *section, const char *name, enum conf_type type)
{
    const struct conf_entry *e = find(c, section, name);

    assert(e && (e->key->type == type || (type == CONF_STRING && e->key->type == CONF_WORD)));
    (void)type;
    return e->in_set ? e->in_set : e->in_file ? e->in_file : e->key->def;
}

int64_t conf_int(const struct conf *c, const char *section, const char *name)
{
    int64_t number = 0;

    parse_int(value_of(c, section, name, CONF_INT), &number); /* it was checked when it was set */
    return number;
}

bool conf_bool(const struct conf *c, const char *section, const char *name)
{
    return strcmp(value_of(c, section, name, CONF_BOOL), "yes") == 0;
}

const char *conf_str(const struct conf *c, const char *section, const char *name)
{
    return value_of(c, section, name, CONF_STRING);
}

static void print_key(const struct conf_key *key, FILE *out)
{
    fprintf(out, "# %s", key->help);
    if (key->type == CONF_INT)
        fprintf(out, " (%lld to %lld%s%s)", (long long)key->min, (long long)key->max, key->unit ? " " : "",
                key->unit ? key->unit : "");
    else if (key->type == CONF_WORD)
        fprintf(out, " (%s)", key->words);
    else if (key->type == CONF_BOOL)
        fputs(" (yes|no)", out);
    fprintf(out, "\n%s = %s\n", key->name, key->def);
}

void conf_print(const struct conf *c, FILE *out)
{
    for (size_t i = 0; i < c->count; i++) {
        const char *section = c->entries[i].key->section;
        size_t first = 0;

        while (strcmp(c->entries[first].key->section, section) != 0)
            first++;
        if (first < i)
            continue; /* printed with the first of its section */
        fprintf(out, "%s[%s]\n", i > 0 ? "\n" : "", section);
        for (size_t j = i; j < c->count; j++)
            if (strcmp(c->entries[j].key->section, section) == 0)
                print_key(c->entries[j].key, out);
    }
}
