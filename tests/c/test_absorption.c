/* absorption.c: what a zero pivot means. */
#include <math.h>

#include "chain.h"

static pm_where where;

static int expectation(chain *c, const double *theta, double *out) {
    double eight = -1.0;
    pm_at(&where, -1, -1, -1, -1.0);
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
    CHECK(where.theta == 0 && (where.at == 2 || where.at == 3));
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
        CHECK_INT(where.theta, bad);
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
    CHECK_INT(where.theta, 0);
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

/* E[Y] and Var[Y] of one reward, in one lane and in eight. */
static void check_finite(chain *c, const double *theta, const double *rewards, double mean, double variance) {
    for (int kind = 0; kind < 2; kind++) {
        pm_workspace *ws = kind == 0 ? c->one : c->eight;
        double m[2];
        double joint = 0.0;
        double by_vertex[2 * CHAIN_VERTICES];
        double average = 0.0;
        double spread = 0.0;
        double both[2 * CHAIN_VERTICES];
        for (int32_t v = 0; v < c->n_vertices; v++) {
            both[v] = both[c->n_vertices + v] = rewards[v];
        }
        CHECK_INT(pm_moments(c->plan, ws, 1, theta, 2, rewards, m, NULL), PM_OK);
        CHECK_CLOSE(m[0], mean, 1e-14);
        CHECK_CLOSE(m[1], variance + mean * mean, 1e-14);
        CHECK_INT(pm_joint_moment(c->plan, ws, 1, theta, 2, both, &joint, NULL), PM_OK);
        CHECK_CLOSE(joint, m[1], 1e-14);
        CHECK_INT(pm_vertex_moments(c->plan, ws, 1, theta, 2, rewards, NULL, by_vertex, NULL), PM_OK);
        CHECK(by_vertex[0] == m[0] && by_vertex[c->n_vertices] == m[1]);
        CHECK_INT(pm_covariance(c->plan, ws, 1, theta, 1, rewards, &average, &spread, NULL), PM_OK);
        CHECK(average == m[0]);
        CHECK_CLOSE(spread, variance, 1e-14);
    }
}

/* Y in 1, left at rate 1 for absorption and at rate x for the trap, is exponential of rate 1 + x, wherever the trap is eliminated. */
static void a_trap_without_rewards(void) {
    const double x[] = {1.0, 0.0};
    const double y[] = {0.0, 1.0};
    for (int shape = 0; shape < 4; shape++) {
        for (int32_t first = 1; first <= 3; first++) {
            const int32_t a = first;
            const int32_t b = 1 + first % 3;
            const int32_t d = 1 + (first + 1) % 3;
            chain *c = chain_new(5, 2, 0);
            chain_edge(c, 0, a, 1.0, NULL);
            chain_edge(c, a, 4, 1.0, NULL);
            chain_edge(c, a, b, 0.0, x);
            if (shape % 2 == 0) { /* else b is a trap of one vertex, which nothing leaves */
                chain_edge(c, b, d, 1.0, NULL);
                chain_edge(c, d, b, 1.0, NULL);
            } else {
                chain_edge(c, b, d, 0.0, y);
                chain_edge(c, d, 4, 1.0, NULL);
            }
            chain_edge(c, shape % 2 == 0 ? d : b, shape < 2 ? 4 : a, 0.0, y); /* shape >= 2: inside the block of a */
            chain_plan(c);
            double rewards[] = {5.0, 0.0, 0.0, 0.0, 5.0};
            rewards[a] = 3.0;
            const double theta[] = {2.0, 0.0};
            check_finite(c, theta, rewards, 1.0, 1.0);
            double sojourn[5];
            CHECK_INT(pm_sojourn(c->plan, c->eight, 1, theta, sojourn, NULL), PM_OK);
            CHECK_CLOSE(sojourn[a], 1.0 / 3.0, 1e-15);
            CHECK(sojourn[b] == TEST_INFINITY);
            CHECK(sojourn[d] == (shape % 2 == 0 ? TEST_INFINITY : 0.0));
            rewards[b] = 1.0;
            double out = 0.0;
            CHECK_INT(pm_moments(c->plan, c->one, 1, theta, 1, rewards, &out, &where), PM_E_INFINITE);
            CHECK(where.at == b && where.value == PM_INFINITE_REWARD);
            CHECK_INT(pm_moments(c->plan, c->one, 1, theta, 1, NULL, &out, &where), PM_E_INFINITE);
            CHECK(where.value == PM_INFINITE_TIME);
            chain_free(c);
        }
    }
}

/* 1 -> 2 at rate 1, 2 is left at rate 1/2 for the trap {3, 4}: what is earned in 2, which is never absorbed, is finite. */
static void before_the_trap(void) {
    const double y[] = {1.0};
    chain *c = chain_new(6, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 1.0, NULL);
    chain_edge(c, 1, 5, 3.0, NULL);
    chain_edge(c, 2, 3, 0.5, NULL);
    chain_edge(c, 3, 4, 1.0, NULL);
    chain_edge(c, 4, 3, 1.0, NULL);
    chain_edge(c, 4, 1, 0.0, y);
    chain_plan(c);
    const double theta[] = {0.0};
    const double rewards[] = {0.0, 0.0, 1.0, 0.0, 0.0, 0.0};
    check_finite(c, theta, rewards, 0.5, 2.0 - 0.25); /* 1/4 of an exponential of mean 2: E[Y^2] = 8/4 */
    double sojourn[6];
    CHECK_INT(pm_sojourn(c->plan, c->one, 1, theta, sojourn, NULL), PM_OK);
    CHECK(sojourn[1] == 0.25 && sojourn[2] == 0.5 && sojourn[3] == TEST_INFINITY && sojourn[4] == TEST_INFINITY);
    double out = 0.0;
    CHECK_INT(pm_moments(c->plan, c->one, 1, theta, 1, NULL, &out, &where), PM_E_INFINITE);
    CHECK(where.at == 3 || where.at == 4); /* 2 is left for good */
    chain_free(c);
}

/* Whether there is a derivative depends on what the weights that are zero would do. */
static void derivatives(void) {
    const double x[] = {1.0, 0.0};
    const double y[] = {0.0, 1.0};
    const double earned[] = {0.0, 1.0, 0.0, 0.0, 0.0};
    double value = 0.0;
    double grad[2];
    for (int kind = 0; kind < 2; kind++) { /* 1 -> 4 at 1, 1 -> 2 at x, 2 -> 3 at 1, 3 -> 2 at 1, 3 -> 4 (or 1) at y */
        chain *c = chain_new(5, 2, 0);
        chain_edge(c, 0, 1, 1.0, NULL);
        chain_edge(c, 1, 4, 1.0, NULL);
        chain_edge(c, 1, 2, 0.0, x);
        chain_edge(c, 2, 3, 1.0, NULL);
        chain_edge(c, 3, 2, 1.0, NULL);
        chain_edge(c, 3, kind == 0 ? 4 : 1, 0.0, y);
        chain_plan(c);
        const double theta[] = {1.0, 0.0};
        const int status = pm_moments_grad(c->plan, c->one, 1, theta, 1, earned, &value, grad, &where);
        if (kind == 0) {
            CHECK_INT(status, PM_OK);
            CHECK_CLOSE(value, 0.5, 1e-15);
            CHECK_CLOSE(grad[0], -0.25, 1e-15);
            CHECK(grad[1] == 0.0);
        } else { /* E[Y] is 1 for y > 0, but 1/2 for y = 0 */
            CHECK_INT(status, PM_E_INFINITE);
            CHECK((where.at == 2 || where.at == 3) && where.value == PM_INFINITE_IF_LEFT);
        }
        const double away[] = {0.0, 0.0};
        CHECK_INT(pm_moments_grad(c->plan, c->one, 1, away, 1, earned, &value, grad, &where), kind == 0 ? PM_OK : PM_E_INFINITE);
        if (kind == 0) {
            CHECK_CLOSE(grad[0], -1.0, 1e-15);
        } else {
            CHECK(where.value == PM_INFINITE_IF_ENTERED);
        }
        chain_free(c);
    }
    /* 1 -> 2 -> 3 by the same weight: for any x > 0 the trap 3 is reached, through two edges that are both zero. */
    chain *c = chain_new(5, 2, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 4, 1.0, NULL);
    chain_edge(c, 1, 2, 0.0, x);
    chain_edge(c, 2, 4, 1.0, NULL);
    chain_edge(c, 2, 3, 0.0, x);
    chain_edge(c, 3, 4, 0.0, y);
    chain_plan(c);
    const double theta[] = {0.0, 0.0};
    CHECK_INT(pm_moments(c->plan, c->one, 1, theta, 1, NULL, &value, NULL), PM_OK);
    CHECK_INT(pm_moments_grad(c->plan, c->one, 1, theta, 1, NULL, &value, grad, &where), PM_E_INFINITE);
    CHECK(where.at == 3 && where.value == PM_INFINITE_IF_ENTERED);
    chain_free(c);
}

/* Vertex 3 is no more reached from the start, but the process may be there. */
static void from_where_the_mass_is(void) {
    chain *c = trap();
    const double theta[] = {0.0, 0.0};
    const double here[] = {0.5, 0.5, 0.0, 0.0, 0.0};
    const double there[] = {0.0, 0.5, 0.0, 0.5, 0.0};
    const double earned[] = {0.0, 1.0, 0.0, 0.0, 0.0};
    double out[5];
    CHECK_INT(pm_vertex_moments(c->plan, c->one, 1, theta, 1, NULL, NULL, out, NULL), PM_OK);
    CHECK_INT(pm_vertex_moments(c->plan, c->one, 1, theta, 1, NULL, here, out, NULL), PM_OK);
    CHECK_CLOSE(out[1], 0.5, 1e-15);
    CHECK_INT(pm_vertex_moments(c->plan, c->one, 1, theta, 1, NULL, there, out, &where), PM_E_INFINITE);
    CHECK(where.at == 2 || where.at == 3);
    CHECK_INT(pm_vertex_moments(c->plan, c->one, 1, theta, 1, earned, there, out, NULL), PM_OK);
    CHECK_CLOSE(out[1], 0.5, 1e-15);
    CHECK(out[2] == 0.0 && out[3] == 0.0);
    /* The start would reach the trap, but nothing starts there any more. */
    const double reaching[] = {1.0, 0.0};
    const double gone[] = {1.0, 0.0, 0.0, 0.0, 1.0};
    CHECK_INT(pm_vertex_moments(c->plan, c->one, 1, reaching, 1, NULL, NULL, out, NULL), PM_E_INFINITE);
    CHECK_INT(pm_vertex_moments(c->plan, c->one, 1, reaching, 1, NULL, gone, out, NULL), PM_OK);
    chain_free(c);
}

/* 1 is left for 2 and 3: the one is left for absorption too slowly for a double, the other not at all. */
static void infinite_and_too_large(void) {
    const double x[] = {1.0};
    const double theta[] = {0.0};
    for (int32_t slow = 2; slow <= 3; slow++) {
        chain *c = chain_new(5, 1, 0);
        chain_edge(c, 0, 1, 1.0, NULL);
        chain_edge(c, 1, 2, 1.0, NULL);
        chain_edge(c, 1, 3, 1.0, NULL);
        chain_edge(c, slow, 4, 1e-310, NULL);
        chain_edge(c, 5 - slow, 4, 0.0, x);
        chain_plan(c);
        double out = 0.0;
        CHECK_INT(expectation(c, theta, &out), PM_E_INFINITE);
        CHECK_INT(where.at, 5 - slow);
        double rewards[] = {0.0, 1.0, 1.0, 1.0, 0.0};
        rewards[5 - slow] = 0.0;
        CHECK_INT(pm_moments(c->plan, c->one, 1, theta, 1, rewards, &out, &where), PM_E_OVERFLOW);
        CHECK_INT(where.at, slow);
        chain_free(c);
    }
}

/* 2 is left for the trap 3 only, at 1e-310: what is earned in 2 is finite, and too large. */
static void too_slowly_into_a_trap(void) {
    const double x[] = {1.0};
    const double theta[] = {0.0};
    const double rewards[] = {0.0, 0.0, 1.0, 0.0, 0.0};
    chain *c = chain_new(5, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 1.0, NULL);
    chain_edge(c, 1, 4, 1.0, NULL);
    chain_edge(c, 2, 3, 1e-310, NULL);
    chain_edge(c, 3, 1, 0.0, x);
    chain_plan(c);
    double out[5];
    CHECK_INT(pm_moments(c->plan, c->one, 1, theta, 1, rewards, out, &where), PM_E_OVERFLOW);
    CHECK_INT(where.at, 2);
    CHECK_INT(pm_sojourn(c->plan, c->eight, 1, theta, out, &where), PM_E_OVERFLOW);
    chain_free(c);
}

int main(void) {
    RUN(a_trap_that_is_reached);
    RUN(a_trap_that_is_not_reached);
    RUN(only_the_bad_lane_is_named);
    RUN(traps_inside_a_block);
    RUN(a_trap_without_rewards);
    RUN(before_the_trap);
    RUN(infinite_and_too_large);
    RUN(too_slowly_into_a_trap);
    RUN(derivatives);
    RUN(from_where_the_mass_is);
    RUN(nowhere_to_start);
    RUN(underflow_is_overflow);
    return test_end();
}
