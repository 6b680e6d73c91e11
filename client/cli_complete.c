/* client/cli_complete.c: what the word at the cursor may become: a command, or a name that is known. */
#include "client/cli_complete.h"

#include <stdlib.h>
#include <string.h>

#include "client/cli.h"

struct choice {
    const char *common; /* what all have in common, in the first of them */
    size_t len;
    int count;
};

static void choose(struct choice *c, const char *word, const char *typed, size_t len)
{
    if (strncasecmp(word, typed, len) != 0)
        return;
    size_t same = 0;
    if (c->count++ == 0) {
        c->common = word;
        c->len = strlen(word);
        return;
    }
    while (same < c->len && word[same] == c->common[same])
        same++;
    c->len = same;
}

static bool is_listable(const char *name)
{
    char *escaped = cli_escape(cli_text(name), false);
    bool is_same = escaped && strcmp(escaped, name) == 0;
    free(escaped);
    return is_same; /* a name that can't be shown as it is, is not typed for anyone */
}

/* Run over everything that the word may become: print it, or narrow the choice. */
static void each_choice(const struct cli *cli, bool is_command, const char *typed, size_t len, struct choice *c)
{
    for (const struct cli_command *row = cli_commands; is_command && row->name; row++) {
        if (c)
            choose(c, row->name, typed, len);
        else if (strncasecmp(row->name, typed, len) == 0)
            fprintf(stdout, "%s  ", row->name);
    }
    for (size_t n = 0; !is_command && n < cli->names.count; n++) {
        const char *name = cli->names.rows[n].name;
        if (!is_listable(name))
            continue;
        if (c)
            choose(c, name, typed, len);
        else if (strncasecmp(name, typed, len) == 0)
            fprintf(stdout, "%s  ", name);
    }
}

unsigned char cli_complete(EditLine *el, int key)
{
    struct cli *cli;
    const LineInfo *line = el_line(el);
    struct choice choice = { 0 };
    (void)key;
    el_get(el, EL_CLIENTDATA, &cli);
    const char *word = line->cursor;
    while (word > line->buffer && word[-1] != ' ')
        word--;
    bool is_command = word == line->buffer, has_slash = is_command && *word == '/';
    if (has_slash)
        word++;
    if (is_command && !has_slash && cli->current)
        return CC_ERROR; /* that is text */
    size_t len = (size_t)(line->cursor - word);
    char *typed = strndup(word, len); /* libedit's buffer changes below */
    if (!typed)
        return CC_ERROR;
    unsigned char result = CC_ERROR;
    each_choice(cli, is_command, typed, len, &choice);
    if (choice.count > 0 && (choice.len > len || choice.count == 1)) {
        char *insert = strndup(choice.common, choice.len);
        el_deletestr(el, (int)len); /* in the letters' case as they are meant */
        el_insertstr(el, insert ? insert : typed);
        if (choice.count == 1)
            el_insertstr(el, " ");
        free(insert);
        result = CC_REFRESH;
    } else if (choice.count > 1) {
        cli_edit_hide(cli);
        each_choice(cli, is_command, typed, len, NULL);
        fputc('\n', stdout);
        cli_edit_show(cli);
        result = CC_NORM;
    }
    free(typed);
    return result;
}
