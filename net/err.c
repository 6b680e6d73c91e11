/* net/err.c: names and texts of the one list of errors. */
#include "net/err.h"

const char *bt_err_name(enum bt_err err)
{
    switch (err) {
#define BT_ERR_NAME(name, text)                                                                                        \
    case name:                                                                                                         \
        return #name;
        BT_ERR_MAP(BT_ERR_NAME)
#undef BT_ERR_NAME
    }
    return "BT_E?";
}

const char *bt_err_text(enum bt_err err)
{
    switch (err) {
#define BT_ERR_TEXT(name, text)                                                                                        \
    case name:                                                                                                         \
        return text;
        BT_ERR_MAP(BT_ERR_TEXT)
#undef BT_ERR_TEXT
    }
    return "unknown error";
}
