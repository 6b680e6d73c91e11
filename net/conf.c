/* net/conf.c: settings: declared keys, and the three places a value comes from: default, file, --set. */
#include "net/conf.h"

#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <unistr.h>

#include "net/mem.h"

enum {
    CONF_KEYS_MAX = 512,
    CONF_LINE_MAX = 197, /* what inih keeps of a line, less its newline */
    CONF_NAME_MAX = 64,
};

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

static struct conf_entry *find(const struct conf *c, const char *section, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (strcmp(c->entries[i].key->section, section) == 0 && strcmp(c->entries[i].key->name, name) == 0)
            return (struct conf_entry *)&c->entries[i];
    return NULL;
}

static bool has_section(const struct conf *c, const char *section)
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

static void explain_section(const struct conf *c, const char *section, char *why, size_t size)
{
    struct nearest n = { .wanted = section };

    for (size_t i = 0; i < c->count; i++)
        consider(&n, c->entries[i].key->section);
    if (n.name)
        snprintf(why, size, "[%s]: no such section; did you mean [%s]?", section, n.name);
    else
        snprintf(why, size, "[%s]: no such section", section);
}

static void explain_key(const struct conf *c, const char *section, const char *name, char *why, size_t size)
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

/* The entry of a key if it exists and the value suits it; else NULL, with why. */
static struct conf_entry *check(const struct conf *c, const char *section, const char *name, const char *value,
                                char *why, size_t size)
{
    struct conf_entry *e = find(c, section, name);
    char expected[160];

    if (!has_section(c, section)) {
        explain_section(c, section, why, size);
        return NULL;
    }
    if (!e) {
        explain_key(c, section, name, why, size);
        return NULL;
    }
    if (!value_fits(e->key, value, expected, sizeof expected)) {
        snprintf(why, size, "[%s] %s = %.60s: %s", section, name, value, expected);
        return NULL;
    }
    return e;
}

/* A file that is being read. The first thing wrong with it is kept, with its line. */
struct reader {
    struct conf *conf;
    FILE *file;
    enum bt_err err;
    int line;       /* the one inih is looking at */
    int wrong_line; /* 0: nothing is wrong so far */
    char wrong[400];
};

static void reader_fail(struct reader *r, enum bt_err err, const char *what)
{
    if (r->wrong_line)
        return;
    r->err = err;
    r->wrong_line = r->line;
    if (what)
        snprintf(r->wrong, sizeof r->wrong, "%s", what);
}

/* Cut off blanks at the end and a comment that follows a blank: inih knows those after ';' only. */
static void trim_end(char *text)
{
    size_t len;

    for (char *p = text; *p; p++) {
        if ((*p == '#' || *p == ';') && p > text && (p[-1] == ' ' || p[-1] == '\t')) {
            *p = '\0';
            break;
        }
    }
    for (len = strlen(text); len > 0 && strchr(" \t\r", text[len - 1]); len--)
        text[len - 1] = '\0';
}

static void check_section_line(struct reader *r, const char *text)
{
    char section[CONF_LINE_MAX + 1], what[300];
    size_t len = strcspn(text + 1, "]");

    if (text[1 + len] != ']')
        return; /* inih objects by itself */
    memcpy(section, text + 1, len);
    section[len] = '\0';
    if (!has_section(r->conf, section)) {
        explain_section(r->conf, section, what, sizeof what);
        reader_fail(r, BT_EINVAL, what);
    }
}

/* Read one line without its newline. False: end of file. inih would cut what is too long, and go on with the rest. */
static bool read_raw(struct reader *r, char *text, size_t size, bool *is_whole)
{
    size_t len = 0;
    int ch = getc(r->file);

    if (ch == EOF)
        return false;
    *is_whole = true;
    for (; ch != EOF && ch != '\n'; ch = getc(r->file)) {
        if (len + 1 < size && ch != '\0')
            text[len++] = (char)ch;
        else
            *is_whole = false;
    }
    text[len] = '\0';
    return true;
}

/* inih's fgets: hands it lines that begin at the margin, because it takes an indented one for a continuation. */
static char *read_line(char *out, int out_size, void *arg)
{
    struct reader *r = arg;
    char raw[CONF_LINE_MAX + 1], *text;
    bool is_whole;

    assert(out_size > CONF_LINE_MAX + 1);
    if (r->wrong_line || !read_raw(r, raw, sizeof raw, &is_whole))
        return NULL;
    r->line++;
    text = raw + strspn(raw, " \t");
    if (!is_whole && *text != '#' && *text != ';') {
        char what[80];

        snprintf(what, sizeof what, "line is longer than %d bytes, or holds a NUL", CONF_LINE_MAX);
        reader_fail(r, BT_EINVAL, what);
        return NULL;
    }
    trim_end(text);
    if (*text == '[')
        check_section_line(r, text);
    snprintf(out, (size_t)out_size, "%s\n", text);
    return out;
}

static int stage(void *arg, const char *section, const char *name, const char *value)
{
    struct reader *r = arg;
    struct conf_entry *e;
    char what[400];

    if (r->wrong_line)
        return 0;
    if (!*section) {
        snprintf(what, sizeof what, "%s: stands before any [section]", name);
        reader_fail(r, BT_EINVAL, what);
        return 0;
    }
    e = check(r->conf, section, name, value, what, sizeof what);
    if (!e) {
        reader_fail(r, BT_EINVAL, what);
        return 0;
    }
    if (e->staged) {
        snprintf(what, sizeof what, "[%s] %s: given twice", section, name);
        reader_fail(r, BT_EINVAL, what);
        return 0;
    }
    e->staged = bt_strdup(value);
    if (!e->staged) {
        reader_fail(r, BT_ENOMEM, bt_err_text(BT_ENOMEM));
        return 0;
    }
    return 1;
}

/* Make what was staged the file's values, or forget it. */
static void settle(struct conf *c, bool is_good)
{
    for (size_t i = 0; i < c->count; i++) {
        struct conf_entry *e = &c->entries[i];

        bt_free(is_good ? e->in_file : e->staged);
        if (is_good)
            e->in_file = e->staged;
        e->staged = NULL;
    }
}

enum bt_err conf_read(struct conf *c, const char *path, char *why, size_t why_size)
{
    struct reader r = { .conf = c };
    int bad_line;

    r.file = fopen(path, "re");
    if (!r.file) {
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
        return errno == ENOENT ? BT_ENOTFOUND : BT_EINVAL;
    }
    bad_line = ini_parse_stream(read_line, &r, stage, &r);
    if (ferror(r.file)) {
        r.wrong_line = 0;
        reader_fail(&r, BT_EINVAL, "cannot be read");
    } else if (bad_line > 0 && (!r.wrong_line || bad_line < r.wrong_line)) {
        r.wrong_line = 0;
        r.line = bad_line;
        reader_fail(&r, BT_EINVAL, "neither a [section] nor name = value");
    }
    fclose(r.file);
    settle(c, !r.wrong_line);
    if (!r.wrong_line)
        return BT_OK;
    snprintf(why, why_size, "%s:%d: %s", path, r.wrong_line, r.wrong);
    return r.err;
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
    e = check(c, section, name, equals + 1, what, sizeof what);
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
