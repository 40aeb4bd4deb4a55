/* sample.c: moments and quantiles of many draws, within bounds that a right sampler leaves once in 10^6 runs or less. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"

#define DRAWS 40000

static double draws[DRAWS];

static pm_sampler *sampler_for(chain *c, const double *theta, const double *rewards) {
    pm_sampler *s = NULL;
    REQUIRE(pm_sampler_new(c->plan, &s) == PM_OK);
    REQUIRE(pm_sampler_set(c->plan, c->one, s, theta, rewards, NULL) == PM_OK);
    return s;
}

static void moments_of_draws(void) {
    for (uint64_t seed = 0; seed < 12; seed++) {
        const int discrete = (int)(seed % 2);
        chain *c = chain_random(seed, 1 + (int32_t)seed, 2, 0.3, 1, discrete);
        const double theta[] = {0.8};
        double rewards[CHAIN_VERTICES];
        for (int32_t v = 0; v < c->n_vertices; v++) {
            rewards[v] = v % 3;
        }
        const double *r = seed % 4 < 2 ? NULL : rewards;
        double m[4];
        chain_moments(c, theta, 4, r, m);
        pm_sampler *s = sampler_for(c, theta, r);
        REQUIRE(pm_sampler_draw(c->plan, s, seed, 0, DRAWS, 1000000, NULL, draws, NULL) == PM_OK);
        double mean = 0.0;
        double square = 0.0;
        for (int i = 0; i < DRAWS; i++) {
            mean += draws[i] / DRAWS;
            square += draws[i] * draws[i] / DRAWS;
            CHECK(draws[i] >= 0.0);
            CHECK(!discrete || r != NULL || draws[i] == floor(draws[i]));
        }
        CHECK(fabs(mean - m[0]) <= 5.0 * sqrt((m[1] - m[0] * m[0]) / DRAWS) + 1e-14);
        CHECK(fabs(square - m[1]) <= 5.0 * sqrt((m[3] - m[1] * m[1]) / DRAWS) + 1e-14);
        pm_sampler_free(s);
        chain_free(c);
    }
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Kolmogorov and Smirnov: sqrt(n) times the largest distance exceeds 2.7 with a probability of 1e-6. */
static void an_exponential(void) {
    chain *c = chain_erlang(1, 2.0);
    pm_sampler *s = sampler_for(c, NULL, NULL);
    REQUIRE(pm_sampler_draw(c->plan, s, 7, 0, DRAWS, 10, NULL, draws, NULL) == PM_OK);
    qsort(draws, DRAWS, sizeof *draws, by_size);
    double distance = 0.0;
    for (int i = 0; i < DRAWS; i++) {
        const double p = -expm1(-2.0 * draws[i]);
        distance = fmax(distance, fmax(fabs(p - (double)i / DRAWS), fabs(p - (i + 1.0) / DRAWS)));
    }
    CHECK(distance * sqrt(DRAWS) < 2.7);
    pm_sampler_free(s);
    chain_free(c);
}

static void streams_do_not_depend_on_the_split(void) {
    chain *c = chain_random(3, 8, 1, 0.3, 0, 0);
    pm_sampler *s = sampler_for(c, NULL, NULL);
    double whole[100];
    double parts[100];
    double other[100];
    CHECK_INT(pm_sampler_draw(c->plan, s, 42, 10, 100, 100000, NULL, whole, NULL), PM_OK);
    for (int64_t i = 0; i < 100; i += 7) {
        CHECK_INT(pm_sampler_draw(c->plan, s, 42, 10 + i, i + 7 <= 100 ? 7 : 100 - i, 100000, NULL, parts + i, NULL), PM_OK);
    }
    CHECK(memcmp(whole, parts, sizeof whole) == 0);
    CHECK_INT(pm_sampler_draw(c->plan, s, 43, 10, 100, 100000, NULL, other, NULL), PM_OK);
    CHECK(memcmp(whole, other, sizeof whole) != 0);
    CHECK_INT(pm_sampler_draw(c->plan, s, 42, 10, 0, 100000, NULL, NULL, NULL), PM_OK);
    pm_sampler_free(s);
    chain_free(c);
}

static void refused(void) {
    const double one[] = {1.0};
    chain *c = chain_new(4, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 1.0, NULL);
    chain_edge(c, 2, 1, 1.0, NULL);
    chain_edge(c, 2, 3, 0.0, one);
    chain_plan(c);
    pm_sampler *s = NULL;
    pm_where where;
    REQUIRE(pm_sampler_new(c->plan, &s) == PM_OK);
    const double theta[] = {0.0, -1.0, TEST_NAN, 1e-9, 1.0};
    const int status[] = {PM_OK, PM_E_NEGATIVE, PM_E_NOT_FINITE, PM_OK, PM_OK};
    for (int i = 0; i < 5; i++) {
        CHECK_INT(pm_sampler_set(c->plan, c->one, s, theta + i, NULL, &where), status[i]);
        if (theta[i] == 1e-9) {
            CHECK_INT(pm_sampler_draw(c->plan, s, 0, 5, 3, 1000, NULL, draws, &where), PM_E_LIMIT);
            CHECK_INT(where.at, 5);
        }
    }
    CHECK_INT(pm_sampler_set(c->plan, c->eight, s, theta + 4, NULL, &where), PM_E_ARGUMENT);
    CHECK_INT(pm_sampler_draw(c->plan, s, 0, 0, 3, 1000, NULL, draws, &where), PM_OK);
    pm_sampler_free(s);
    pm_sampler_free(NULL);
    chain_free(c);
}

/* An edge of weight zero is never taken, not even the last one. */
static void edges_of_weight_zero(void) {
    const double one[] = {1.0};
    chain *c = chain_new(6, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 0, 3, 0.0, one);
    chain_edge(c, 1, 2, 0.0, one);
    chain_edge(c, 1, 4, 1.0, NULL);
    chain_edge(c, 1, 5, 0.0, one);
    chain_edge(c, 2, 4, 1e-9, NULL);
    chain_edge(c, 3, 4, 1e-9, NULL);
    chain_plan(c);
    const double theta[] = {0.0};
    pm_sampler *s = sampler_for(c, theta, NULL);
    REQUIRE(pm_sampler_draw(c->plan, s, 1, 0, DRAWS, 1, NULL, draws, NULL) == PM_OK);
    for (int i = 0; i < DRAWS; i++) {
        CHECK(draws[i] < 40.0);
    }
    pm_sampler_free(s);
    chain_free(c);
}

/* 1 is left for absorption and for 2 <-> 3 -> 4 at the rates 1 and 3; 3 -> 4 and 4 -> 5 (absorbing) have weight theta. */
static void a_draw_that_is_caught(void) {
    const double one[] = {1.0};
    const double theta[] = {0.0};
    chain *c = chain_new(6, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 5, 1.0, NULL);
    chain_edge(c, 1, 2, 3.0, NULL);
    chain_edge(c, 2, 3, 1.0, NULL);
    chain_edge(c, 3, 2, 1.0, NULL);
    chain_edge(c, 3, 4, 0.0, one);
    chain_edge(c, 4, 5, 0.0, one);
    chain_plan(c);
    const double rewards[][6] = {{0.0, 1.0, 0.0, 0.0, 7.0, 9.0}, {0.0, 0.0, 0.0, 1.0, 0.0, 0.0}};
    for (int kind = 0; kind < 3; kind++) {
        pm_sampler *s = sampler_for(c, theta, kind < 2 ? rewards[kind] : NULL);
        /* One jump decides: no draw goes round in the trap. */
        REQUIRE(pm_sampler_draw(c->plan, s, 5, 0, DRAWS, 1, NULL, draws, NULL) == PM_OK);
        int caught = 0;
        double mean = 0.0;
        for (int i = 0; i < DRAWS; i++) {
            caught += draws[i] == TEST_INFINITY;
            mean += draws[i] / DRAWS;
        }
        if (kind == 0) {
            CHECK_INT(caught, 0);
            CHECK(fabs(mean - 0.25) < 5.0 * 0.25 / sqrt(DRAWS));
        } else {
            CHECK(fabs((double)caught / DRAWS - 0.75) < 5.0 * sqrt(0.75 * 0.25 / DRAWS));
        }
        pm_sampler_free(s);
    }
    chain_free(c);
}

/* 1 -> 3 at rate 1, 1 -> 2 at rate 1, 2 -> 3 at rate x. Without a pattern draws are made where absorption is certain, and only there. */
static void without_a_pattern(void) {
    const double x[] = {1.0};
    chain *c = chain_new(4, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 3, 1.0, NULL);
    chain_edge(c, 1, 2, 1.0, NULL);
    chain_edge(c, 2, 3, 0.0, x);
    chain_plan(c);
    pm_plan *alone = NULL;
    pm_workspace *ws = NULL;
    pm_sampler *of_graph = NULL;
    REQUIRE(pm_plan_new(&c->graph, &c->sizes, NULL, 0, 0, NULL, &alone, NULL) == PM_OK);
    REQUIRE(pm_workspace_new(alone, 1, &ws) == PM_OK);
    REQUIRE(pm_sampler_new(alone, &of_graph) == PM_OK);
    const double rewards[] = {0.0, 2.0, 0.0, 0.0};
    const double theta[] = {0.0, 1e-3};
    pm_where where;
    CHECK_INT(pm_sampler_set(alone, ws, of_graph, theta, rewards, &where), PM_E_UNCERTAIN);
    CHECK_INT(where.at, 2);
    CHECK_INT(pm_sampler_set(alone, ws, of_graph, theta + 1, rewards, &where), PM_OK);
    static double more[DRAWS];
    REQUIRE(pm_sampler_draw(alone, of_graph, 5, 0, DRAWS, 2, NULL, draws, NULL) == PM_OK);
    for (int i = 0; i < 2; i++) { /* in state 1 the draws are the same, caught afterwards or not */
        pm_sampler *s = sampler_for(c, theta + i, rewards);
        REQUIRE(pm_sampler_draw(c->plan, s, 5, 0, DRAWS, 2, NULL, more, NULL) == PM_OK);
        CHECK(memcmp(draws, more, sizeof draws) == 0);
        pm_sampler_free(s);
    }
    pm_sampler_free(of_graph);
    pm_workspace_free(ws);
    pm_plan_free(alone);
    chain_free(c);
}

int main(void) {
    RUN(moments_of_draws);
    RUN(an_exponential);
    RUN(streams_do_not_depend_on_the_split);
    RUN(refused);
    RUN(edges_of_weight_zero);
    RUN(a_draw_that_is_caught);
    RUN(without_a_pattern);
    return test_end();
}
