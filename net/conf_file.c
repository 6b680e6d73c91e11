/* net/conf_file.c: reads an ini over inih, whose limits it turns into errors that name the line. */
#include <assert.h>
#include <errno.h>
#include <ini.h>
#include <string.h>

#include "net/conf_internal.h"
#include "net/mem.h"

enum { CONF_LINE_MAX = 197 }; /* what inih keeps of a line, less its newline */

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
    if (!conf_has_section(r->conf, section)) {
        conf_explain_section(r->conf, section, what, sizeof what);
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
    e = conf_check(r->conf, section, name, value, what, sizeof what);
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
        r.line++; /* the line that did not come */
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
