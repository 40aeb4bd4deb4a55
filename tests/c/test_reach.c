/* reach.c: what a zero pivot means. */
#include <math.h>

#include "chain.h"

static pm_where where;

static int expectation(chain *c, const double *theta, double *out) {
    double eight = -1.0;
    pm_at(&where, -1, -1, -1.0);
    const int status = pm_moments(c->plan, c->one, 1, theta, 1, NULL, out, &where);
    CHECK_INT(pm_moments(c->plan, c->eight, 1, theta, 1, NULL, &eight, NULL), status);
    if (status == PM_OK) {
        CHECK(eight == *out);
    }
    return status;
}

/* 0 -> 1, 1 -> 4 at rate 2, 1 -> 2 at rate x, 2 <-> 3 at rate 1, 3 -> 4 at rate y. */
static chain *trap(void) {
    const double x[] = {1.0, 0.0};
    const double y[] = {0.0, 1.0};
    chain *c = chain_new(5, 2, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 4, 2.0, NULL);
    chain_edge(c, 1, 2, 0.0, x);
    chain_edge(c, 2, 3, 1.0, NULL);
    chain_edge(c, 3, 2, 1.0, NULL);
    chain_edge(c, 3, 4, 0.0, y);
    chain_plan(c);
    return c;
}

static void a_trap_that_is_reached(void) {
    chain *c = trap();
    double out = 0.0;
    CHECK_INT(expectation(c, (const double[]){1.0, 0.0}, &out), PM_E_INFINITE);
    CHECK(where.a == 0 && (where.b == 2 || where.b == 3));
    chain_free(c);
}

static void a_trap_that_is_not_reached(void) {
    chain *c = trap();
    double out = 0.0;
    CHECK_INT(expectation(c, (const double[]){0.0, 0.0}, &out), PM_OK);
    CHECK_CLOSE(out, 0.5, 1e-15);
    CHECK_INT(expectation(c, (const double[]){0.0, 1.0}, &out), PM_OK);
    CHECK_CLOSE(out, 0.5, 1e-15);
    CHECK_INT(expectation(c, (const double[]){1.0, 1.0}, &out), PM_OK);
    CHECK_CLOSE(out, 1.0 / 3.0 + 1.0 / 3.0 * (2.0 + 1.0), 1e-15);
    chain_free(c);
}

static void only_the_bad_lane_is_named(void) {
    chain *c = trap();
    double theta[13][2];
    double out[13];
    for (int bad = 0; bad < 13; bad++) {
        for (int i = 0; i < 13; i++) {
            theta[i][0] = i % 2;
            theta[i][1] = i % 2; /* even ones have a zero pivot that does no harm */
        }
        theta[bad][0] = 1.0;
        theta[bad][1] = 0.0;
        CHECK_INT(pm_moments(c->plan, c->eight, 13, theta[0], 1, NULL, out, &where), PM_E_INFINITE);
        CHECK_INT(where.a, bad);
    }
    chain_free(c);
}

/* Inside one block: 1 <-> 2 <-> 3, absorbed from 1; without 2 -> 1 the rest is a trap, without 1 -> 2 it is not reached. */
static void traps_inside_a_block(void) {
    const double x[] = {1.0, 0.0};
    const double y[] = {0.0, 1.0};
    for (int32_t start = 1; start <= 3; start++) {
        chain *c = chain_new(5, 2, 0);
        chain_edge(c, 0, start, 1.0, NULL);
        chain_edge(c, 1, 2, 0.0, x);
        chain_edge(c, 2, 1, 0.0, y);
        chain_edge(c, 2, 3, 1.0, NULL);
        chain_edge(c, 3, 2, 1.0, NULL);
        chain_edge(c, 1, 4, 1.0, NULL);
        chain_plan(c);
        double out = 0.0;
        CHECK_INT(expectation(c, (const double[]){1.0, 0.0}, &out), PM_E_INFINITE);
        CHECK_INT(expectation(c, (const double[]){0.0, 0.0}, &out), start == 1 ? PM_OK : PM_E_INFINITE);
        CHECK_INT(expectation(c, (const double[]){0.0, 1.0}, &out), PM_OK);
        CHECK_INT(expectation(c, (const double[]){1.0, 1.0}, &out), PM_OK);
        chain_free(c);
    }
}

static void nowhere_to_start(void) {
    const double x[] = {1.0};
    chain *c = chain_new(4, 1, 0);
    chain_edge(c, 0, 1, 0.0, x);
    chain_edge(c, 0, 2, 0.0, x);
    chain_edge(c, 1, 3, 1.0, NULL);
    chain_edge(c, 2, 3, 1.0, NULL);
    chain_plan(c);
    double out = 0.0;
    CHECK_INT(expectation(c, (const double[]){0.0}, &out), PM_E_INITIAL);
    CHECK_INT(where.a, 0);
    CHECK_INT(expectation(c, (const double[]){1e-300}, &out), PM_OK);
    CHECK_CLOSE(out, 1.0, 1e-15);
    chain_free(c);
}

/* Absorption is certain but so slow that a pivot underflows: too large, not infinite. */
static void underflow_is_overflow(void) {
    chain *c = chain_birth_death(100, 1e5, 1e-5);
    double out = 0.0;
    CHECK_INT(expectation(c, NULL, &out), PM_E_OVERFLOW);
    chain_free(c);
    c = chain_birth_death(20, 1e5, 1e-5); /* about 1e195 */
    CHECK_INT(expectation(c, NULL, &out), PM_OK);
    CHECK(out > 1e190 && out < 1e200);
    chain_free(c);
}

int main(void) {
    RUN(a_trap_that_is_reached);
    RUN(a_trap_that_is_not_reached);
    RUN(only_the_bad_lane_is_named);
    RUN(traps_inside_a_block);
    RUN(nowhere_to_start);
    RUN(underflow_is_overflow);
    return test_end();
}
