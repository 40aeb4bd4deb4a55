/* covariance.c, variance.c */
#include <math.h>

#include "chain.h"

/* Phases with their own rates and rewards: independent, so the covariance is the sum over phases. */
static void hypoexponential(void) {
    enum { N = 5 };
    chain *c = chain_new(N + 2, 0, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    double rewards[2 * (N + 2)] = {0.0};
    double expected[3] = {0.0};
    double means[2] = {0.0};
    for (int32_t v = 1; v <= N; v++) {
        const double rate = 0.5 * v * v;
        const double a = v % 2;
        const double b = 1.0 / v;
        chain_edge(c, v, v + 1, rate, NULL);
        rewards[v] = a;
        rewards[N + 2 + v] = b;
        means[0] += a / rate;
        means[1] += b / rate;
        expected[0] += a * a / (rate * rate);
        expected[1] += a * b / (rate * rate);
        expected[2] += b * b / (rate * rate);
    }
    rewards[0] = 1e9; /* the start and absorbing vertices count for nothing */
    rewards[N + 1] = 1e9;
    chain_plan(c);
    double mean[2];
    double cov[4];
    pm_workspace *ws[] = {c->one, c->eight};
    for (int w = 0; w < 2; w++) {
        CHECK_INT(pm_covariance(c->plan, ws[w], 1, NULL, 2, rewards, mean, cov, NULL), PM_OK);
        CHECK_CLOSE(mean[0], means[0], 1e-14);
        CHECK_CLOSE(mean[1], means[1], 1e-14);
        CHECK_CLOSE(cov[0], expected[0], 1e-14);
        CHECK_CLOSE(cov[1], expected[1], 1e-14);
        CHECK(cov[2] == cov[1]);
        CHECK_CLOSE(cov[3], expected[2], 1e-14);
    }
    chain_free(c);
}

/* A thousand phases would leave E[T^2] - E[T]^2 with three digits less; here nothing is lost. */
static void no_cancellation(void) {
    chain *c = chain_erlang(120, 3.0);
    double ones[CHAIN_VERTICES];
    double mean;
    double variance;
    for (int i = 0; i < CHAIN_VERTICES; i++) {
        ones[i] = 1.0;
    }
    CHECK_INT(pm_covariance(c->plan, c->one, 1, NULL, 1, ones, &mean, &variance, NULL), PM_OK);
    CHECK_CLOSE(mean, 40.0, 1e-14);
    CHECK_CLOSE(variance, 120.0 / 9.0, 1e-14);
    chain_free(c);
    /* A discrete chain that nearly never waits: variance n p (1 - p) / p^3 with 1 - p = 1e-9. */
    c = chain_new(102, 0, 1);
    chain_edge(c, 0, 1, 1.0, NULL);
    for (int32_t v = 1; v <= 100; v++) {
        chain_edge(c, v, v + 1, 1.0 - 0x1p-30, NULL);
    }
    chain_plan(c);
    const double p = 1.0 - 0x1p-30;
    CHECK_INT(pm_covariance(c->plan, c->one, 1, NULL, 1, ones, &mean, &variance, NULL), PM_OK);
    CHECK_CLOSE(variance, 100.0 * 0x1p-30 / (p * p), 1e-12);
    chain_free(c);
}

static void random_chains(void) {
    for (uint64_t seed = 0; seed < 60; seed++) {
        chain *c = chain_random(seed, 1 + (int32_t)(seed % 17), 1 + (int32_t)(seed % 2), 0.05 * (double)(seed % 9), 2, (int)(seed % 2));
        uint64_t state = seed + 100;
        enum { M = 3 };
        double theta[9][2];
        double rewards[M * CHAIN_VERTICES];
        double mean[9][M];
        double cov[9][M * M];
        for (int i = 0; i < 9; i++) {
            theta[i][0] = random_unit(&state) + 0.01;
            theta[i][1] = random_unit(&state) + 0.01;
        }
        for (int32_t i = 0; i < M * c->n_vertices; i++) {
            rewards[i] = random_unit(&state);
        }
        CHECK_INT(pm_covariance(c->plan, c->eight, 9, theta[0], M, rewards, mean[0], cov[0], NULL), PM_OK);
        for (int i = 0; i < 9; i++) {
            for (int a = 0; a < M; a++) {
                for (int b = 0; b < M; b++) {
                    double both[CHAIN_VERTICES];
                    double ma[2];
                    double mb[2];
                    double mab[2];
                    for (int32_t v = 0; v < c->n_vertices; v++) {
                        both[v] = rewards[a * c->n_vertices + v] + rewards[b * c->n_vertices + v];
                    }
                    chain_moments(c, theta[i], 2, rewards + a * c->n_vertices, ma);
                    chain_moments(c, theta[i], 2, rewards + b * c->n_vertices, mb);
                    chain_moments(c, theta[i], 2, both, mab);
                    const double expected = (mab[1] - ma[1] - mb[1]) / 2 - ma[0] * mb[0];
                    /* The truth is a difference here, so the tolerance is relative to its parts. */
                    CHECK(fabs(cov[i][a * M + b] - expected) <= 1e-13 * (fabs(mab[1]) + ma[0] * mb[0]));
                }
                double single[2];
                chain_moments(c, theta[i], 1, rewards + a * c->n_vertices, single);
                CHECK_CLOSE(mean[i][a], single[0], 1e-13);
            }
        }
        double mean1[M];
        double cov1[M * M];
        CHECK_INT(pm_covariance(c->plan, c->one, 1, theta[4], M, rewards, mean1, cov1, NULL), PM_OK);
        for (int a = 0; a < M * M; a++) {
            CHECK(cov1[a] == cov[4][a]);
        }
        chain_free(c);
    }
}

/* M/M/1/K from empty until full, loads down to 1e-6: passage times from k to k + 1 are independent, and their variances add up. */
static void rare_absorption(void) {
    enum { K = 8 };
    for (int e = 0; e <= 12; e++) {
        const double up = pow(10.0, -e);
        chain *c = chain_new(K + 2, 0, 0);
        double ones[CHAIN_VERTICES];
        chain_edge(c, 0, 1, 1.0, NULL);
        for (int32_t v = 1; v <= K; v++) { /* vertex v: v - 1 customers */
            chain_edge(c, v, v + 1, up, NULL);
            if (v > 1) {
                chain_edge(c, v, v - 1, 1.0, NULL);
            }
        }
        chain_plan(c);
        long double mean = 0.0L;
        long double variance = 0.0L;
        long double m = 0.0L;
        long double s2 = 0.0L;
        for (int k = 0; k < K; k++) {
            const long double down = k > 0 ? 1.0L : 0.0L;
            const long double p_down = down / (down + up);
            const long double previous = m;
            m = (1.0L + down * previous) / up;
            /* T = sojourn + (with p_down) passage back + T again. */
            s2 = (1.0L / ((down + up) * (down + up)) + p_down * s2 + p_down * (1.0L - p_down) * (previous + m) * (previous + m)) / (1.0L - p_down);
            mean += m;
            variance += s2;
        }
        for (int i = 0; i < CHAIN_VERTICES; i++) {
            ones[i] = 1.0;
        }
        double out_mean;
        double out;
        CHECK_INT(pm_covariance(c->plan, c->one, 1, NULL, 1, ones, &out_mean, &out, NULL), PM_OK);
        CHECK_CLOSE(out_mean, (double)mean, 1e-14);
        CHECK_CLOSE(out, (double)variance, 1e-13);
        chain_free(c);
    }
}

/* A coin decides between rewards 0 and 1, then a sure step earns 1e17: variance 1/4. Nothing is left of it in E[Y^2]. */
static void a_coin_before_a_large_reward(void) {
    chain *c = chain_new(5, 0, 1);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 0, 2, 1.0, NULL);
    chain_edge(c, 1, 3, 1.0, NULL);
    chain_edge(c, 2, 3, 1.0, NULL);
    chain_edge(c, 3, 4, 1.0, NULL);
    chain_plan(c);
    const double rewards[2][5] = {{0.0, 0.0, 1.0, 1e17, 0.0}, {0.0, 3.0, 1.0, 0.0, 0.0}};
    double mean[2];
    double out[4];
    CHECK_INT(pm_covariance(c->plan, c->one, 1, NULL, 2, rewards[0], mean, out, NULL), PM_OK);
    CHECK_CLOSE(out[0], 0.25, 1e-15);
    CHECK_CLOSE(out[1], -0.5, 1e-15);
    CHECK_CLOSE(out[3], 1.0, 1e-15);
    chain_free(c);
}

/* From v customers until empty, each busy period by itself: variances add up, and those of eight thetas stand beside one. */
static void from_every_vertex(void) {
    const double up[] = {1.0};
    chain *c = chain_new(8, 1, 0);
    chain_edge(c, 0, 6, 1.0, NULL);
    for (int32_t v = 1; v <= 6; v++) {
        chain_edge(c, v, v == 1 ? 7 : v - 1, 2.0, NULL);
        if (v < 6) {
            chain_edge(c, v, v + 1, 0.0, up);
        }
    }
    chain_plan(c);
    double theta[9];
    double out[9][8];
    for (int i = 0; i < 9; i++) {
        theta[i] = pow(10.0, i - 2);
    }
    CHECK_INT(pm_vertex_variance(c->plan, c->eight, 9, theta, NULL, NULL, out[0], NULL), PM_OK);
    for (int i = 0; i < 9; i++) {
        long double m = 0.0L;
        long double s2 = 0.0L;
        double expected[8] = {0.0};
        for (int32_t v = 6; v >= 1; v--) { /* passage from v to v - 1 */
            const long double rate = v < 6 ? theta[i] : 0.0L;
            const long double p = rate / (rate + 2.0L);
            const long double previous = m;
            m = (1.0L + rate * previous) / 2.0L;
            s2 = (1.0L / ((rate + 2.0L) * (rate + 2.0L)) + p * s2 + p * (1.0L - p) * (previous + m) * (previous + m)) / (1.0L - p);
            for (int32_t from = v; from <= 6; from++) {
                expected[from] += (double)s2;
            }
        }
        CHECK(out[i][7] == 0.0);
        CHECK_CLOSE(out[i][0], expected[6], 1e-12);
        for (int32_t v = 1; v <= 6; v++) {
            CHECK_CLOSE(out[i][v], expected[v], 1e-12);
        }
        double alone[8];
        CHECK_INT(pm_vertex_variance(c->plan, c->one, 1, theta + i, NULL, NULL, alone, NULL), PM_OK);
        for (int v = 0; v < 8; v++) {
            CHECK(alone[v] == out[i][v]);
        }
    }
    chain_free(c);
}

static void arguments(void) {
    chain *c = chain_erlang(2, 1.0);
    double out[4];
    CHECK_INT(pm_covariance(c->plan, c->one, 1, NULL, 0, out, out, out, NULL), PM_E_ARGUMENT);
    CHECK_INT(pm_covariance(c->plan, c->one, 1, NULL, -3, out, out, out, NULL), PM_E_ARGUMENT);
    chain_free(c);
}

int main(void) {
    RUN(hypoexponential);
    RUN(no_cancellation);
    RUN(random_chains);
    RUN(rare_absorption);
    RUN(a_coin_before_a_large_reward);
    RUN(from_every_vertex);
    RUN(arguments);
    return test_end();
}
