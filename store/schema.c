/* store/schema.c: the schema's history: a change of schema.sql appends a step here and raises the version. */
#include "store/schema.h"

#include <stddef.h>

const struct schema store_schema = {
    .create = store_schema_sql,
    .version = 1,
    .steps = NULL, /* version 1 is the first that was released */
};
