/* store/schema.h: the schema's version and how an older one becomes the present one. */
#ifndef BT_STORE_SCHEMA_H
#define BT_STORE_SCHEMA_H

/* From version i + 1 to version i + 2: SQL of any number of statements, run in one transaction with the rest. */
struct schema {
    const char *create;       /* SQL that makes the present version in an empty database */
    int version;              /* the present one, from 1 */
    const char *const *steps; /* version - 1 of them */
};

/* schema.sql and its history. */
extern const struct schema store_schema;

/* schema.sql without its comments; made at build time. */
extern const char store_schema_sql[];

#endif
