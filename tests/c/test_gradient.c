/* gradient.c: closed forms, and differences of dense moments. */
#include <math.h>

#include "chain.h"

/* E[T^j] = (n)_j / x^j, so its derivative is -j E[T^j] / x. */
static void erlang(void) {
    const double one[] = {1.0};
    chain *c = chain_new(7, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    for (int32_t v = 1; v <= 5; v++) {
        chain_edge(c, v, v + 1, 0.0, one);
    }
    chain_plan(c);
    double theta[10];
    double out[10][4];
    double grad[10][4];
    for (int i = 0; i < 10; i++) {
        theta[i] = pow(10.0, i - 5);
    }
    CHECK_INT(pm_moments_grad(c->plan, c->eight, 10, theta, 4, NULL, out[0], grad[0], NULL), PM_OK);
    for (int i = 0; i < 10; i++) {
        double expected = 1.0;
        for (int j = 1; j <= 4; j++) {
            expected *= (5 + j - 1) / theta[i];
            CHECK_CLOSE(out[i][j - 1], expected, 1e-14);
            CHECK_CLOSE(grad[i][j - 1], -j * expected / theta[i], 1e-14);
        }
    }
    chain_free(c);
}

static void random_chains(void) {
    for (uint64_t seed = 0; seed < 60; seed++) {
        enum { P = 3, K = 4 };
        chain *c = chain_random(seed, 1 + (int32_t)(seed % 13), 1 + (int32_t)(seed % 2), 0.06 * (double)(seed % 8), P, (int)(seed % 2));
        uint64_t state = seed;
        double theta[P];
        double rewards[CHAIN_VERTICES];
        double out[K];
        double plain[K];
        double grad[K][P];
        for (int j = 0; j < P; j++) {
            theta[j] = random_unit(&state) * 0.5 + 0.25;
        }
        for (int32_t v = 0; v < c->n_vertices; v++) {
            rewards[v] = random_below(&state, 4) == 0 ? 0.0 : random_unit(&state);
        }
        pm_workspace *ws = seed % 3 == 0 ? c->eight : c->one;
        const double *r = seed % 5 == 0 ? NULL : rewards;
        CHECK_INT(pm_moments_grad(c->plan, ws, 1, theta, K, r, out, grad[0], NULL), PM_OK);
        CHECK_INT(pm_moments(c->plan, ws, 1, theta, K, r, plain, NULL), PM_OK);
        for (int k = 0; k < K; k++) {
            CHECK_CLOSE(out[k], plain[k], 1e-14);
        }
        for (int j = 0; j < P; j++) {
            /* Central differences, extrapolated once: the error is of order h^4. */
            double side[4][K];
            const double h = 1e-3 * theta[j];
            for (int s = 0; s < 4; s++) {
                double moved[P] = {theta[0], theta[1], theta[2]};
                moved[j] += h * (double[]){-2.0, -1.0, 1.0, 2.0}[s];
                chain_moments(c, moved, K, r, side[s]);
            }
            for (int k = 0; k < K; k++) {
                const double difference = (8.0 * (side[2][k] - side[1][k]) - (side[3][k] - side[0][k])) / (12.0 * h);
                CHECK(fabs(grad[k][j] - difference) <= 1e-8 * (fabs(difference) + out[k]));
            }
        }
        chain_free(c);
    }
}

static void arguments(void) {
    chain *c = chain_erlang(2, 1.0);
    double out[4];
    CHECK_INT(pm_moments_grad(c->plan, c->one, 1, NULL, 0, NULL, out, out, NULL), PM_E_ARGUMENT);
    CHECK_INT(pm_moments_grad(c->plan, c->one, 1, NULL, PM_MAX_MOMENT + 1, NULL, out, out, NULL), PM_E_ARGUMENT);
    CHECK_INT(pm_moments_grad(c->plan, c->one, 1, NULL, 2, NULL, out, out, NULL), PM_OK); /* no parameter, no derivative */
    chain_free(c);
}

/*
 * A vertex that is not reached still has a derivative for the edge that leads to it. If it can be left, that is finite; if not,
 * the expectation jumps to infinity, and no number may be given.
 */
static void edges_of_weight_zero(void) {
    const double x[] = {1.0, 0.0};
    const double y[] = {0.0, 1.0};
    chain *c = chain_new(4, 2, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 3, 2.0, NULL);
    chain_edge(c, 1, 2, 0.0, x);
    chain_edge(c, 2, 3, 0.0, y);
    chain_plan(c);
    double out;
    double grad[2];
    const double reachable[] = {0.0, 4.0};
    CHECK_INT(pm_moments_grad(c->plan, c->one, 1, reachable, 1, NULL, &out, grad, NULL), PM_OK);
    CHECK_CLOSE(out, 0.5, 1e-15);
    CHECK_CLOSE(grad[0], 0.5 * (0.25 - 0.5), 1e-14);
    CHECK(grad[1] == 0.0);
    const double trap[] = {0.0, 0.0};
    CHECK_INT(pm_moments_grad(c->plan, c->one, 1, trap, 1, NULL, &out, grad, NULL), PM_E_INFINITE);
    chain_free(c);
}

int main(void) {
    RUN(erlang);
    RUN(random_chains);
    RUN(arguments);
    RUN(edges_of_weight_zero);
    return test_end();
}
