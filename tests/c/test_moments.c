/* moments.c: closed forms, and dense algebra in long double on random chains. */
#include <math.h>

#include "chain.h"

static void erlang(void) {
    const int32_t n = 7;
    const double rate = 2.5;
    chain *c = chain_erlang(n, rate);
    double out[PM_MAX_MOMENT];
    CHECK_INT(pm_moments(c->plan, c->one, 1, NULL, 10, NULL, out, NULL), PM_OK);
    double expected = 1.0;
    for (int32_t j = 1; j <= 10; j++) {
        expected *= (n + j - 1) / rate;
        CHECK_CLOSE(out[j - 1], expected, 1e-14);
    }
    CHECK_INT(pm_moments(c->plan, c->one, 1, NULL, PM_MAX_MOMENT, NULL, out, NULL), PM_OK);
    CHECK_INT(pm_moments(c->plan, c->one, 1, NULL, 0, NULL, out, NULL), PM_E_ARGUMENT);
    CHECK_INT(pm_moments(c->plan, c->one, 1, NULL, PM_MAX_MOMENT + 1, NULL, out, NULL), PM_E_ARGUMENT);
    chain_free(c);
}

/* Pascal's negative binomial: the number of steps until n successes of probability p. */
static void negative_binomial(void) {
    const double p = 0.3;
    const int32_t n = 4;
    chain *c = chain_new(n + 2, 0, 1);
    chain_edge(c, 0, 1, 1.0, NULL);
    for (int32_t v = 1; v <= n; v++) {
        chain_edge(c, v, v + 1, p, NULL);
    }
    chain_plan(c);
    double out[3];
    CHECK_INT(pm_moments(c->plan, c->eight, 1, NULL, 3, NULL, out, NULL), PM_OK);
    const double mean = n / p;
    const double variance = n * (1 - p) / (p * p);
    const double third = n * (1 - p) * (2 - p) / (p * p * p); /* central */
    CHECK_CLOSE(out[0], mean, 1e-14);
    CHECK_CLOSE(out[1], variance + mean * mean, 1e-14);
    CHECK_CLOSE(out[2], third + 3 * mean * variance + mean * mean * mean, 1e-14);
    chain_free(c);
}

static void random_chains(void) {
    for (uint64_t seed = 0; seed < 80; seed++) {
        const int discrete = (int)(seed % 2);
        chain *c = chain_random(seed, 1 + (int32_t)(seed % 19), 1 + (int32_t)(seed % 3), 0.05 * (double)(seed % 11), 2, discrete);
        uint64_t state = seed;
        const double theta[2] = {random_unit(&state) + 1e-3, random_unit(&state) + 1e-3};
        double rewards[CHAIN_VERTICES];
        double expected[5];
        double out[5];
        for (int32_t v = 0; v < c->n_vertices; v++) {
            rewards[v] = random_below(&state, 3) == 0 ? 0.0 : 10.0 * random_unit(&state);
        }
        pm_workspace *ws[] = {c->one, c->eight};
        for (int w = 0; w < 4; w++) {
            const double *r = w < 2 ? rewards : NULL;
            chain_moments(c, theta, 5, r, expected);
            CHECK_INT(pm_moments(c->plan, ws[w % 2], 1, theta, 5, r, out, NULL), PM_OK);
            for (int j = 0; j < 5; j++) {
                CHECK_CLOSE(out[j], expected[j], 2e-13);
            }
        }
        chain_free(c);
    }
}

/* From every vertex: what the chain gives that starts there. */
static void by_vertex(void) {
    for (uint64_t seed = 0; seed < 20; seed++) {
        const int discrete = (int)(seed % 2);
        chain *c = chain_random(seed, 1 + (int32_t)(seed % 9), 2, 0.3, 1, discrete);
        const double theta[] = {0.4, 0.9};
        double out[2 * 3 * CHAIN_VERTICES];
        double rewards[CHAIN_VERTICES];
        for (int32_t v = 0; v < c->n_vertices; v++) {
            rewards[v] = 0.5 * (v % 4);
        }
        const double *r = seed % 3 == 0 ? NULL : rewards;
        CHECK_INT(pm_vertex_moments(c->plan, seed % 5 == 0 ? c->eight : c->one, 2, theta, 3, r, NULL, out, NULL), PM_OK);
        for (int t = 0; t < 2; t++) {
            for (int32_t start = 1; start < c->n_vertices; start++) {
                chain *from = chain_new(c->n_vertices, 1, discrete);
                chain_edge(from, 0, start, 1.0, NULL);
                for (int32_t e = 0; e < c->n_edges; e++) {
                    if (c->from[e] > 0) {
                        chain_edge(from, c->from[e], c->to[e], c->base[e], c->coef[e]);
                    }
                }
                chain_graph(from);
                double expected[3];
                chain_moments(from, theta + t, 3, r, expected);
                for (int j = 0; j < 3; j++) {
                    CHECK_CLOSE(out[(t * 3 + j) * c->n_vertices + start], expected[j], 1e-12);
                }
                chain_free(from);
            }
        }
        chain_free(c);
    }
}

/* Six decades up, six decades down: no subtraction, no loss. */
static void stiff(void) {
    chain *c = chain_birth_death(24, 1e3, 1e-3);
    double out[3];
    double expected = 0.0;
    /* E[time from n to n - 1] = (1 + up E[n + 1 to n]) / down, from the top. */
    double step = 0.0;
    for (int32_t v = 24; v >= 1; v--) {
        step = v == 24 ? 1.0 / 1e-3 : (1.0 + 1e3 * step) / 1e-3;
        expected += step;
    }
    CHECK_INT(pm_moments(c->plan, c->one, 1, NULL, 1, NULL, out, NULL), PM_OK);
    CHECK_CLOSE(out[0], expected, 1e-14);
    chain_free(c);
}

static void overflow(void) {
    chain *c = chain_erlang(3, 1e-100);
    double out[4];
    pm_where where;
    CHECK_INT(pm_moments(c->plan, c->one, 1, NULL, 3, NULL, out, &where), PM_OK);
    CHECK_INT(pm_moments(c->plan, c->one, 1, NULL, 4, NULL, out, &where), PM_E_OVERFLOW);
    CHECK(where.theta == 0 && where.at == 3);
    chain_free(c);
}

/* Totals that are infinite although no weight is: refused, or right, never something else. */
static void weights_that_sum_to_infinity(void) {
    chain *c = chain_new(5, 0, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 1.2e308, NULL);
    chain_edge(c, 1, 3, 1.2e308, NULL);
    chain_edge(c, 2, 4, 1e200, NULL);
    chain_edge(c, 3, 4, 1e200, NULL);
    chain_plan(c);
    double out = -1.0;
    double sojourn[5];
    CHECK_INT(pm_moments(c->plan, c->one, 1, NULL, 1, NULL, &out, NULL), PM_E_OVERFLOW);
    CHECK_INT(pm_sojourn(c->plan, c->eight, 1, NULL, sojourn, NULL), PM_E_OVERFLOW);
    chain_free(c);
}

static void sojourn(void) {
    for (uint64_t seed = 0; seed < 40; seed++) {
        chain *c = chain_random(seed, 1 + (int32_t)(seed % 15), 2, 0.04 * (double)(seed % 11), 1, (int)(seed % 2));
        const double theta[] = {0.4};
        double out[CHAIN_VERTICES];
        CHECK_INT(pm_sojourn(c->plan, seed % 3 == 0 ? c->eight : c->one, 1, theta, out, NULL), PM_OK);
        for (int32_t v = 0; v < c->n_vertices; v++) {
            double rewards[CHAIN_VERTICES] = {0.0};
            double expected = 0.0;
            rewards[v] = 1.0;
            if (v > 0 && c->edge_ptr[v] < c->edge_ptr[v + 1]) {
                chain_moments(c, theta, 1, rewards, &expected);
            }
            CHECK_CLOSE(out[v], expected, 1e-13);
        }
        chain_free(c);
    }
}

static void joint(void) {
    for (uint64_t seed = 0; seed < 30; seed++) {
        chain *c = chain_random(seed, 1 + (int32_t)(seed % 12), 1, 0.06 * (double)(seed % 9), 1, (int)(seed % 2));
        const double theta[] = {0.7};
        uint64_t state = seed;
        double rewards[PM_MAX_JOINT][CHAIN_VERTICES];
        double flat[PM_MAX_JOINT * CHAIN_VERTICES];
        double moments[4];
        double out = 0.0;
        for (int32_t v = 0; v < c->n_vertices; v++) {
            rewards[0][v] = random_unit(&state);
            rewards[1][v] = random_unit(&state);
        }
        /* Equal rewards: raw moments. */
        chain_moments(c, theta, 4, rewards[0], moments);
        for (int32_t k = 1; k <= 4; k++) {
            for (int32_t v = 0; v < k * c->n_vertices; v++) {
                flat[v] = rewards[0][v % c->n_vertices];
            }
            CHECK_INT(pm_joint_moment(c->plan, seed % 2 ? c->eight : c->one, 1, theta, k, flat, &out, NULL), PM_OK);
            CHECK_CLOSE(out, moments[k - 1], 1e-13);
        }
        /* Polarisation: 4 E[XY] = E[(X+Y)^2] - E[(X-Y)^2], the latter from E[X^2] and E[Y^2]. */
        double x2[2];
        double y2[2];
        double sum2[2];
        double both[CHAIN_VERTICES];
        for (int32_t v = 0; v < c->n_vertices; v++) {
            flat[v] = rewards[0][v];
            flat[c->n_vertices + v] = rewards[1][v];
            both[v] = rewards[0][v] + rewards[1][v];
        }
        chain_moments(c, theta, 2, rewards[0], x2);
        chain_moments(c, theta, 2, rewards[1], y2);
        chain_moments(c, theta, 2, both, sum2);
        CHECK_INT(pm_joint_moment(c->plan, c->one, 1, theta, 2, flat, &out, NULL), PM_OK);
        CHECK_CLOSE(out, (sum2[1] - x2[1] - y2[1]) / 2, 1e-12);
        chain_free(c);
    }
    chain *c = chain_erlang(2, 1.0);
    double out;
    CHECK_INT(pm_joint_moment(c->plan, c->one, 1, NULL, 0, NULL, &out, NULL), PM_E_ARGUMENT);
    CHECK_INT(pm_joint_moment(c->plan, c->one, 1, NULL, PM_MAX_JOINT + 1, NULL, &out, NULL), PM_E_ARGUMENT);
    chain_free(c);
}

static void absorbed_at_once(void) {
    chain *c = chain_new(3, 0, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 0, 2, 3.0, NULL);
    chain_edge(c, 1, 2, 0.5, NULL);
    chain_plan(c);
    double out[2];
    CHECK_INT(pm_moments(c->plan, c->one, 1, NULL, 2, NULL, out, NULL), PM_OK);
    CHECK_CLOSE(out[0], 0.5, 1e-15);
    CHECK_CLOSE(out[1], 2.0, 1e-15);
    chain_free(c);
    c = chain_new(2, 0, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_plan(c);
    CHECK_INT(pm_moments(c->plan, c->one, 1, NULL, 2, NULL, out, NULL), PM_OK);
    CHECK(out[0] == 0.0 && out[1] == 0.0);
    chain_free(c);
}

int main(void) {
    RUN(erlang);
    RUN(negative_binomial);
    RUN(random_chains);
    RUN(by_vertex);
    RUN(stiff);
    RUN(overflow);
    RUN(weights_that_sum_to_infinity);
    RUN(sojourn);
    RUN(joint);
    RUN(absorbed_at_once);
    return test_end();
}
