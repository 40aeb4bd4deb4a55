/*
 * A few lines of test harness: checks that report and go on, allocations that are counted and can be made to fail, a random
 * number generator that is the same everywhere.
 *
 * The core is compiled with malloc, calloc, realloc and free renamed to the test_ functions below, so that leaks are found
 * with any compiler, and running out of memory can be acted out.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

/* The macros of math.h are floats. */
#define TEST_NAN ((double)NAN)
#define TEST_INFINITY ((double)INFINITY)

#define CHECK(condition) test_check((condition) != 0, #condition, __FILE__, __LINE__)
#define CHECK_INT(actual, expected) test_check_int((int64_t)(actual), (int64_t)(expected), #actual, __FILE__, __LINE__)
/* Relative to the expected value; an expected zero must be met exactly. */
#define CHECK_CLOSE(actual, expected, tol) test_check_close((actual), (expected), (tol), #actual, __FILE__, __LINE__)
/* For what a test cannot go on without. */
#define REQUIRE(condition) test_require((condition) != 0, #condition, __FILE__, __LINE__)
#define RUN(test) test_run(test, #test)

void test_check(int ok, const char *text, const char *file, int line);
void test_check_int(int64_t actual, int64_t expected, const char *text, const char *file, int line);
void test_check_close(double actual, double expected, double tol, const char *text, const char *file, int line);
void test_require(int ok, const char *text, const char *file, int line);
/* Runs a test and checks that it gave back all memory. */
void test_run(void (*test)(void), const char *name);
/* What main returns. */
int test_end(void);

/* Fails every allocation of the core from the n-th on (0 is the next one); negative: none. */
void test_fail_from(int64_t n);
/* Fails the n-th allocation only. */
void test_fail_only(int64_t n);
/* Allocations asked for since the last test_fail_...(), and blocks that have not been freed. */
int64_t test_allocations(void);
int64_t test_outstanding(void);

void *test_malloc(size_t size);
void *test_calloc(size_t count, size_t size);
void *test_realloc(void *p, size_t size);
void test_free(void *p);

/* The clock of the core: every look at it is one second later than the last, or the time it is set to. */
struct timespec;
int test_timespec_get(struct timespec *time, int base);
void test_set_clock(int64_t seconds, int64_t step);

/* SplitMix64. */
uint64_t random_next(uint64_t *state);
int32_t random_below(uint64_t *state, int32_t n);
double random_unit(uint64_t *state);

#endif
