/* net/err.h: the one list of errors that every module returns, with their names and texts. */
#ifndef BT_NET_ERR_H
#define BT_NET_ERR_H

#define BT_ERR_MAP(X)                                                                              \
    X(BT_OK, "ok")                                                                                 \
    X(BT_EINVAL, "malformed or out of range")                                                      \
    X(BT_ENOAUTH, "not logged in")                                                                 \
    X(BT_EDENIED, "not allowed")                                                                   \
    X(BT_ENOTFOUND, "no such record")                                                              \
    X(BT_EEXIST, "already exists")                                                                 \
    X(BT_ESTATE, "not possible in the present state")                                              \
    X(BT_ERANGE, "beyond the end")                                                                 \
    X(BT_ENOMETHOD, "no such method")                                                              \
    X(BT_ETIMEOUT, "no answer in time")                                                            \
    X(BT_EDOWN, "peer unreachable")                                                                \
    X(BT_EBUSY, "queue full, retry later")                                                         \
    X(BT_ENOMEM, "out of memory")                                                                  \
    X(BT_ECONFLICT, "changed meanwhile, nothing was written")                                      \
    X(BT_EFULL, "no room on the disk, nothing was written")                                        \
    X(BT_ECANCELLED, "cancelled by the caller")                                                    \
    X(BT_ECLOSING, "shutting down")                                                                \
    X(BT_EUNSURE, "write sent, outcome unknown")                                                   \
    X(BT_EPROTO, "peer broke the protocol")                                                        \
    X(BT_EINTERNAL, "internal error")

enum bt_err {
#define BT_ERR_ENUM(name, text) name,
    BT_ERR_MAP(BT_ERR_ENUM)
#undef BT_ERR_ENUM
};

/* The identifier ("BT_EDOWN"), a static string; "BT_E?" for a value outside the list. Any thread. */
const char *bt_err_name(enum bt_err err);

/* A short English text ("peer unreachable"), a static string. Any thread. */
const char *bt_err_text(enum bt_err err);

#endif
