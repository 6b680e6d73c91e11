/* options.h: the command line: what was asked for, and the help that says what can be. */
#ifndef BT_OPTIONS_H
#define BT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "roles/role.h"

/* The process's exit status. */
enum exit_code {
    EXIT_DONE = 0,   /* done; a server was told to end and did so in order */
    EXIT_FAILED = 1, /* could not start or do what was asked; or ended at once by a second signal */
    EXIT_USAGE = 2,  /* wrong arguments or settings */
};

enum action {
    ACTION_SERVE,
    ACTION_HELP,
    ACTION_VERSION,
    ACTION_PRINT_CONFIG,
    ACTION_CHECK,
    ACTION_BACKUP,  /* operand: the file */
    ACTION_PASSWD,  /* operand: the user's name, here and below */
    ACTION_DISABLE,
    ACTION_ENABLE,
    ACTION_UNIT,    /* start the nodes of a unit as processes of their own */
    ACTION_MIGRATE,
};

struct options {
    enum action action;
    const char *operand;
    const char *config;  /* NULL: bytetalk.ini, if there is one */
    const char **sets;   /* "section.key=value" */
    size_t nsets;
    uint32_t roles;      /* bit 1 << enum rpc_role; never 0 */
};

/*
 * Read the command line. roles: what can be served, ends with NULL. Strings are borrowed from argv. False: wrong, and
 * the reason has been written to stderr. options_deinit() in either case.
 */
bool options_parse(int argc, char **argv, const struct role *const *roles, struct options *out);
void options_deinit(struct options *options);

bool options_wants(const struct options *options, const struct role *role);

/* Everything that can be asked for. */
void options_print_help(FILE *out);

#endif
