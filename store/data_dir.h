/* store/data_dir.h: the data directory: made once, locked by the one server that serves it. Blocks; for the start. */
#ifndef BT_STORE_DATA_DIR_H
#define BT_STORE_DATA_DIR_H

#include <stdbool.h>
#include <stddef.h>

#include "net/err.h"

/* Make the directory (mode 0700; its parent must be there) unless it exists. BT_EDENIED, BT_ENOTFOUND, BT_EFULL, BT_EDOWN, with why. */
enum bt_err data_dir_make(const char *dir, char *why, size_t why_size);

/*
 * Lock "<dir>/bytetalk.lock" for this process and write the process id into it. The lock lasts until *fd_out is closed
 * or the process ends, however it ends. BT_EEXIST: another process serves the directory; why names it.
 */
enum bt_err data_dir_lock(const char *dir, int *fd_out, char *why, size_t why_size);

/* What errno says about path, as ours and as a line in why. */
enum bt_err data_dir_errno(const char *path, char *why, size_t why_size);

/* Sync the directory that path stands in, so that a name made or replaced there outlasts a power cut. */
enum bt_err data_dir_sync_parent(const char *path, char *why, size_t why_size);

#endif
