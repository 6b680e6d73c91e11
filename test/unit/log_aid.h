/* test/unit/log_aid.h: for tests in which much goes wrong that would be logged. */
#ifndef BT_TEST_LOG_AID_H
#define BT_TEST_LOG_AID_H

/* What is logged from now on goes nowhere; log_set_sink(NULL, NULL) brings it back. */
void log_nothing(void);

#endif
