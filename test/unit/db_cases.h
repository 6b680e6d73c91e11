/*
 * test/unit/db_cases.h: what db.h promises of every backend, as tests over a store_env that is open with [store] queue = 100.
 *
 * Each test finds the schema's tables empty but for the version, and no other table named t.
 */
#ifndef BT_TEST_DB_CASES_H
#define BT_TEST_DB_CASES_H

#include "store/db.h"

#define DB_CASE_INSERT "INSERT INTO id_range (name, next_id) VALUES (?, ?)"

/* DB_CASE_INSERT's parameters, valid until the next call; the name is lent. */
struct db_val *db_case_row(const char *name, int64_t id);

void values_come_back_as_they_went_in(void **state);
void digits_stay_bytes_in_a_varbinary_column(void **state);
void a_duplicate_key_is_named_and_nothing_of_the_list_stands(void **state);
void a_failed_expectation_is_named_and_nothing_of_the_list_stands(void **state);
void changed_counts_the_last_statement(void **state);
void a_many_row_insert_is_all_or_nothing(void **state);
void a_wrong_statement_is_an_internal_error(void **state);
void beyond_the_queue_limit_calls_are_refused(void **state);
void a_read_sees_every_write_whose_callback_has_run(void **state);
void closing_finishes_what_is_queued_and_refuses_the_rest(void **state);
void a_failed_allocation_is_answered_and_harms_nothing(void **state);
void the_lists_of_failed_allocations_are_accepted_everywhere(void **state);

/* All of them, for a table of tests. */
#define DB_CASES(setup, teardown)                                                                                                           \
    cmocka_unit_test_setup_teardown(values_come_back_as_they_went_in, setup, teardown),                                                     \
    cmocka_unit_test_setup_teardown(digits_stay_bytes_in_a_varbinary_column, setup, teardown),                                              \
    cmocka_unit_test_setup_teardown(a_duplicate_key_is_named_and_nothing_of_the_list_stands, setup, teardown),                              \
    cmocka_unit_test_setup_teardown(a_failed_expectation_is_named_and_nothing_of_the_list_stands, setup, teardown),                         \
    cmocka_unit_test_setup_teardown(changed_counts_the_last_statement, setup, teardown),                                                    \
    cmocka_unit_test_setup_teardown(a_many_row_insert_is_all_or_nothing, setup, teardown),                                                  \
    cmocka_unit_test_setup_teardown(a_wrong_statement_is_an_internal_error, setup, teardown),                                               \
    cmocka_unit_test_setup_teardown(beyond_the_queue_limit_calls_are_refused, setup, teardown),                                             \
    cmocka_unit_test_setup_teardown(a_read_sees_every_write_whose_callback_has_run, setup, teardown),                                       \
    cmocka_unit_test_setup_teardown(closing_finishes_what_is_queued_and_refuses_the_rest, setup, teardown),                                 \
    cmocka_unit_test_setup_teardown(a_failed_allocation_is_answered_and_harms_nothing, setup, teardown),                                    \
    cmocka_unit_test_setup_teardown(the_lists_of_failed_allocations_are_accepted_everywhere, setup, teardown)

#endif
