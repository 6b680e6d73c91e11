/*
 * rpc/nanopb.h: messages that have no codec, by nanopb; and what it says of the others, for the test that compares them.
 */
#ifndef BT_RPC_NANOPB_H
#define BT_RPC_NANOPB_H

#include "rpc/bytes.h"

/* As the functions of rpc/bytes.h, for any message. */
enum bt_err rpc_nanopb_decode(const pb_msgdesc_t *fields, const uint8_t *payload, size_t len, void *msg_out);
void rpc_nanopb_release(const pb_msgdesc_t *fields, void *msg);
size_t rpc_nanopb_size(const pb_msgdesc_t *fields, const void *msg);
size_t rpc_nanopb_encode(const pb_msgdesc_t *fields, const void *msg, uint8_t *buf, size_t size);

#endif
