/* store/schema.c: the schema's history: a change of schema.sql appends a step here and raises the version. */
#include "store/schema.h"

#include <stddef.h>

/* Version 1 is the first that was released. */
static const char *const steps[] = {
    /* to 2: how many members a group has, and who owns it, stand with the group */
    "ALTER TABLE chat_group ADD COLUMN member_count INT NOT NULL DEFAULT 0;"
    " ALTER TABLE chat_group ADD COLUMN owner_id BIGINT NOT NULL DEFAULT 0;"
    " UPDATE chat_group SET"
    " member_count = (SELECT COUNT(*) FROM member m WHERE m.hi = chat_group.group_id AND m.lo = 0 AND m.role > 0),"
    " owner_id = COALESCE((SELECT MIN(o.user_id) FROM member o WHERE o.hi = chat_group.group_id AND o.lo = 0 AND o.role = 3), 0)",
};

const struct schema store_schema = {
    .create = store_schema_sql,
    .version = 1 + sizeof steps / sizeof steps[0],
    .steps = steps,
};
