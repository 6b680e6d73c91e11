/*
 * client/client_state_log.h: the lines of a device's state file: one record each, with a checksum. Pure.
 *
 *   position 12 7 310 - - 9a0c11f2
 *
 * is a word for the kind, hi, lo, number, name and token in hex ("-": empty), and the CRC-32 of all before it.
 */
#ifndef BT_CLIENT_STATE_LOG_H
#define BT_CLIENT_STATE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/bytetalk.h"

enum { STATE_NAME_MAX = 256, STATE_TOKEN_MAX = 256, STATE_LINE_MAX = 2 * (STATE_NAME_MAX + STATE_TOKEN_MAX) + 128 };

/* A record with the bytes of its texts. */
struct state_line {
    struct bt_record record; /* its texts point into the arrays below */
    char name[STATE_NAME_MAX], token[STATE_TOKEN_MAX];
};

/* Print a line, newline included. Returns its length; 0: a text is too long. */
size_t state_line_print(const struct bt_record *record, char buf[STATE_LINE_MAX]);

/* Read a line (without its newline). False: it is damaged, or of a kind that is not known. */
bool state_line_parse(const char *line, size_t len, struct state_line *out);

#endif
