/* client/cli_admin_table.c: tables for people, and pieces of JSON for programs. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli_admin.h"
#include "rpc/method.h"

static void add(struct admin_table *t, char *cell)
{
    if (t->count == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        char **cells = realloc(t->cells, cap * sizeof *cells);
        if (!cells) {
            free(cell);
            return;
        }
        t->cells = cells;
        t->cap = cap;
    }
    t->cells[t->count++] = cell;
}

void admin_table_text(struct admin_table *t, struct rpc_bytes text)
{
    add(t, text.len > 0 ? cli_escape(admin_text(text), false) : strdup("-"));
}

void admin_table_word(struct admin_table *t, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0)
        text = NULL;
    va_end(args);
    add(t, text);
}

/* In characters. */
static int width_of(const char *cell)
{
    int n = 0;
    for (; cell && *cell; cell++)
        n += ((unsigned char)*cell & 0xc0) != 0x80;
    return n;
}

void admin_table_end(struct admin_table *t)
{
    int widths[ADMIN_COLUMNS_MAX] = { 0 };

    for (size_t i = 0; i < t->count; i++) {
        int width = width_of(t->cells[i]);
        if (width > widths[i % t->columns])
            widths[i % t->columns] = width;
    }
    for (size_t i = 0; i < t->count; i++) {
        bool is_last = i % t->columns == t->columns - 1;
        const char *cell = t->cells[i] ? t->cells[i] : "";
        printf("%s%*s", cell, is_last ? 0 : widths[i % t->columns] - width_of(cell) + 2, "");
        if (is_last)
            putchar('\n');
    }
    for (size_t i = 0; i < t->count; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct admin_table){ .columns = t->columns };
}

void admin_json_text(const char *key, struct rpc_bytes text)
{
    printf("\"%s\":", key);
    if (cli_is_utf8(admin_text(text))) {
        cli_json_string(stdout, admin_text(text));
    } else { /* names are checked when they are made; what is none is shown as people see it */
        char *escaped = cli_escape(admin_text(text), false);
        cli_json_string(stdout, cli_text(escaped ? escaped : ""));
        free(escaped);
    }
}

void admin_roles(uint32_t roles, char *out, size_t size)
{
    size_t len = 0;

    *out = '\0';
    for (int role = 0; role < RPC_ROLE_COUNT && len < size; role++)
        if (roles & UINT32_C(1) << role && rpc_role_name((enum rpc_role)role))
            len += (size_t)snprintf(out + len, size - len, "%s%s", len > 0 ? "," : "", rpc_role_name((enum rpc_role)role));
}
