/* See harness.h. */
#include "harness.h"

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int failures = 0;
static int64_t checks = 0;
static const char *running = "";

static void report(const char *file, int line) {
    failures++;
    fprintf(stderr, "%s:%d: in %s: ", file, line, running);
}

void test_check(int ok, const char *text, const char *file, int line) {
    checks++;
    if (!ok) {
        report(file, line);
        fprintf(stderr, "not true: %s\n", text);
    }
}

void test_check_int(int64_t actual, int64_t expected, const char *text, const char *file, int line) {
    checks++;
    if (actual != expected) {
        report(file, line);
        fprintf(stderr, "%s is %" PRId64 ", not %" PRId64 "\n", text, actual, expected);
    }
}

void test_check_close(double actual, double expected, double tol, const char *text, const char *file, int line) {
    checks++;
    if (!(fabs(actual - expected) <= tol * fabs(expected))) {
        report(file, line);
        fprintf(stderr, "%s is %.17g, not %.17g: off by %.3g\n", text, actual, expected, fabs(actual / expected - 1.0));
    }
}

void test_require(int ok, const char *text, const char *file, int line) {
    test_check(ok, text, file, line);
    if (!ok) {
        exit(1);
    }
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

static int64_t clock_now = 0;
static int64_t clock_step = 1;

int test_timespec_get(struct timespec *time, int base) {
    clock_now += clock_step;
    time->tv_sec = clock_now;
    time->tv_nsec = 0;
    return base;
}

void test_set_clock(int64_t seconds, int64_t step) {
    clock_now = seconds;
    clock_step = step;
}

/* ---- allocation ------------------------------------------------------------------------------------------------- */

/* Several threads may ask for memory at a time; how it fails is set while there is one. */
static _Atomic int64_t outstanding = 0;
static _Atomic int64_t asked = 0;
static int64_t fail_at = -1;
static int fail_rest = 0;

void test_fail_from(int64_t n) {
    asked = 0;
    fail_at = n;
    fail_rest = 1;
}

void test_fail_only(int64_t n) {
    asked = 0;
    fail_at = n;
    fail_rest = 0;
}

int64_t test_allocations(void) { return asked; }
int64_t test_outstanding(void) { return outstanding; }

static int refused(void) {
    const int64_t n = asked++;
    return fail_at >= 0 && (n == fail_at || (fail_rest && n > fail_at));
}

static void *counted(void *p) {
    outstanding += p != NULL;
    return p;
}

void *test_malloc(size_t size) {
    if (refused()) {
        return NULL;
    }
    unsigned char *p = counted(malloc(size));
    /* Nobody may rely on fresh memory being zero. */
    for (size_t i = 0; p != NULL && i < size && i < 65536; i++) {
        p[i] = 0xa5;
    }
    return p;
}

void *test_calloc(size_t count, size_t size) { return refused() ? NULL : counted(calloc(count, size)); }

void *test_realloc(void *p, size_t size) {
    if (refused()) {
        return NULL;
    }
    const int fresh = p == NULL;
    void *q = realloc(p, size);
    outstanding += fresh && q != NULL;
    return q;
}

void test_free(void *p) {
    outstanding -= p != NULL;
    free(p);
}

void test_run(void (*test)(void), const char *name) {
    running = name;
    test_fail_from(-1);
    const int64_t before = outstanding;
    test();
    test_fail_from(-1);
    if (outstanding != before) {
        failures++;
        fprintf(stderr, "%s: %" PRId64 " blocks were not freed\n", name, outstanding - before);
        outstanding = before;
    }
}

int test_end(void) {
    printf("%" PRId64 " checks, %d failures\n", checks, failures);
    return failures == 0 && checks > 0 ? 0 : 1;
}

/* ---- random numbers ---------------------------------------------------------------------------------------------- */

uint64_t random_next(uint64_t *state) {
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

int32_t random_below(uint64_t *state, int32_t n) { return (int32_t)(random_next(state) % (uint64_t)n); }

double random_unit(uint64_t *state) { return (double)(random_next(state) >> 11) * 0x1p-53; }
