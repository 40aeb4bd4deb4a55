/* carry.c: in two stretches what is reached in one, and the moments of the whole. */
#include <math.h>
#include <string.h>

#include "chain.h"

enum { K = 3 };

static pm_where where;

static void start(const chain *c, double *state) {
    memset(state, 0, (K + 1) * (size_t)c->n_vertices * sizeof *state);
    double total = 0.0;
    for (int64_t e = 0; e < c->edge_ptr[1]; e++) {
        total += c->base[e];
    }
    for (int64_t e = 0; e < c->edge_ptr[1]; e++) {
        const int32_t v = c->edge_target[e];
        state[c->plan->position[v] >= 0 ? v : 0] += c->base[e] / total;
    }
}

static void advance(const chain *c, pm_uniform *u, const double *theta, double duration, const double *rewards, double *state) {
    double out[(K + 1) * CHAIN_VERTICES];
    CHECK_INT(pm_uniform_advance(c->plan, c->one, u, theta, duration, K, rewards, 10000000, state, out, &where), PM_OK);
    memcpy(state, out, (K + 1) * (size_t)c->n_vertices * sizeof *state);
}

static void stretches(void) {
    for (uint64_t seed = 0; seed < 30; seed++) {
        const int discrete = (int)(seed % 2);
        chain *c = chain_random(seed, 1 + (int32_t)(seed % 9), 1 + (int32_t)(seed % 2), 0.1 * (double)(seed % 5), 1, discrete);
        pm_uniform *u = NULL;
        REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
        const double theta[] = {0.6};
        double rewards[CHAIN_VERTICES];
        double once[(K + 1) * CHAIN_VERTICES];
        double twice[(K + 1) * CHAIN_VERTICES];
        double m[K];
        for (int32_t v = 0; v < c->n_vertices; v++) {
            rewards[v] = 0.5 * (v % 4);
        }
        const double *r = seed % 3 == 0 ? NULL : rewards;
        start(c, once);
        start(c, twice);
        advance(c, u, theta, 7.0, r, once);
        advance(c, u, theta, 3.0, r, twice);
        advance(c, u, theta, 4.0, r, twice);
        double mass = 0.0;
        for (int32_t i = 0; i < (K + 1) * c->n_vertices; i++) {
            CHECK_CLOSE(twice[i], once[i], 1e-11);
            mass += i < c->n_vertices ? once[i] : 0.0;
        }
        CHECK_CLOSE(mass, 1.0, 1e-13);
        const double t[] = {7.0};
        double cdf = 0.0;
        CHECK_INT(pm_uniform_eval(c->plan, c->one, u, 1, theta, NULL, NULL, 1, t, 1e-14, 100000, NULL, &cdf, NULL, NULL), PM_OK);
        CHECK_CLOSE(once[0], cdf, 1e-12);
        /* Long after all is over, entry 0 of each level holds a moment. */
        advance(c, u, theta, discrete ? 20000.0 : 2000.0, r, once);
        chain_moments(c, theta, K, r, m);
        for (int j = 1; j <= K; j++) {
            CHECK_CLOSE(once[j * c->n_vertices], m[j - 1], 1e-10);
        }
        pm_uniform_free(u);
        chain_free(c);
    }
}

/* Two states that flicker and are hardly ever left: whatever rounding takes in 2e5 jumps, mass and moments stay. */
static void long_stretches(void) {
    for (int discrete = 0; discrete < 2; discrete++) {
        chain *c = chain_new(4, 0, discrete);
        chain_edge(c, 0, 1, 1.0, NULL);
        chain_edge(c, 1, 2, 0.9, NULL);
        chain_edge(c, 1, 3, 3e-5, NULL);
        chain_edge(c, 2, 1, 0.3, NULL);
        chain_edge(c, 2, 3, 1.7e-5, NULL);
        chain_plan(c);
        pm_uniform *u = NULL;
        REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
        const double rewards[] = {0.0, 2.0, 0.5, 0.0};
        double state[(K + 1) * CHAIN_VERTICES];
        double m[K];
        start(c, state);
        advance(c, u, NULL, 2e5, rewards, state);
        CHECK_CLOSE(state[0] + state[1] + state[2], 1.0, 1e-13);
        const double t[] = {2e5};
        double cdf = 0.0;
        double sf = 0.0;
        CHECK_INT(pm_uniform_eval(c->plan, c->one, u, 1, NULL, NULL, NULL, 1, t, 1e-14, 1000000, NULL, &cdf, &sf, NULL), PM_OK);
        CHECK_CLOSE(state[0], cdf, 1e-13);
        CHECK_CLOSE(state[1] + state[2], sf, 1e-13);
        advance(c, u, NULL, 3e6, rewards, state);
        chain_moments(c, NULL, K, rewards, m);
        for (int j = 1; j <= K; j++) {
            CHECK_CLOSE(state[j * c->n_vertices], m[j - 1], 1e-12);
        }
        pm_uniform_free(u);
        chain_free(c);
    }
}

static void nothing_happens_in_no_time(void) {
    chain *c = chain_random(5, 6, 1, 0.3, 0, 0);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    double state[(K + 1) * CHAIN_VERTICES];
    double before[(K + 1) * CHAIN_VERTICES];
    start(c, before);
    start(c, state);
    advance(c, u, NULL, 0.0, NULL, state);
    for (int32_t i = 0; i < (K + 1) * c->n_vertices; i++) {
        CHECK_CLOSE(state[i], before[i], 1e-15);
    }
    pm_uniform_free(u);
    chain_free(c);
}

static void refused(void) {
    chain *c = chain_random(5, 6, 1, 0.3, 0, 0);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    double state[(K + 1) * CHAIN_VERTICES];
    double out[(K + 1) * CHAIN_VERTICES];
    start(c, state);
    const double bad[] = {-1.0, TEST_NAN, TEST_INFINITY};
    for (int i = 0; i < 3; i++) {
        CHECK_INT(pm_uniform_advance(c->plan, c->one, u, NULL, bad[i], K, NULL, 1000, state, out, &where), PM_E_TIME);
    }
    CHECK_INT(pm_uniform_advance(c->plan, c->one, u, NULL, 1e6, K, NULL, 1000, state, out, &where), PM_E_LIMIT);
    CHECK_INT(pm_uniform_advance(c->plan, c->one, u, NULL, 1.0, -1, NULL, 1000, state, out, &where), PM_E_ARGUMENT);
    CHECK_INT(pm_uniform_advance(c->plan, c->one, u, NULL, 1.0, PM_MAX_MOMENT + 1, NULL, 1000, state, out, &where), PM_E_ARGUMENT);
    CHECK_INT(pm_uniform_advance(c->plan, c->one, u, NULL, 1.0, K, NULL, 0, state, out, &where), PM_E_ARGUMENT);
    CHECK_INT(pm_uniform_advance(c->plan, c->eight, u, NULL, 1.0, K, NULL, 1000, state, out, &where), PM_E_ARGUMENT);
    pm_uniform_free(u);
    chain_free(c);
}

int main(void) {
    RUN(stretches);
    RUN(long_stretches);
    RUN(nothing_happens_in_no_time);
    RUN(refused);
    return test_end();
}
