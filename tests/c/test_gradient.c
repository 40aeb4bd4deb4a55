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

typedef struct dual {
    long double value;
    long double up;
    long double down;
} dual;

static dual times(dual a, dual b) {
    const dual r = {a.value * b.value, a.up * b.value + a.value * b.up, a.down * b.value + a.value * b.down};
    return r;
}

static dual over(dual a, dual b) {
    const long double q = a.value / b.value;
    const dual r = {q, (a.up - q * b.up) / b.value, (a.down - q * b.down) / b.value};
    return r;
}

static dual plus(dual a, dual b) {
    const dual r = {a.value + b.value, a.up + b.up, a.down + b.down};
    return r;
}

/* n repairable components, counted: from all up (n) to all down (n + 1). Rates n_up lambda down, n_down mu up. */
static chain *repairable(int32_t n) {
    chain *c = chain_new(n + 2, 2, 0);
    chain_edge(c, 0, n, 1.0, NULL);
    for (int32_t up = 1; up <= n; up++) {
        const double fail[] = {up, 0.0};
        const double mend[] = {0.0, n - up};
        chain_edge(c, up, up == 1 ? n + 1 : up - 1, 0.0, fail);
        if (up < n) {
            chain_edge(c, up, up + 1, 0.0, mend);
        }
    }
    chain_plan(c);
    return c;
}

/* Absorption that is rarer than any double shows: passage times from k to k + 1 failures have only positive terms. */
static void rare_absorption(void) {
    for (int32_t n = 2; n <= 10; n++) {
        chain *c = repairable(n);
        for (int e = 1; e <= 12; e++) {
            const double theta[] = {pow(10.0, -e), 1.0};
            const dual fail = {theta[0], 1.0L, 0.0L};
            const dual mend = {theta[1], 0.0L, 1.0L};
            dual passage = {0.0L, 0.0L, 0.0L};
            dual mean = passage;
            for (int32_t k = 0; k < n; k++) {
                const dual one = {1.0L, 0.0L, 0.0L};
                const dual down = {k, 0.0L, 0.0L};
                const dual working = {n - k, 0.0L, 0.0L};
                passage = over(plus(one, times(times(down, mend), passage)), times(working, fail));
                mean = plus(mean, passage);
            }
            double out;
            double grad[2];
            CHECK_INT(pm_moments_grad(c->plan, c->one, 1, theta, 1, NULL, &out, grad, NULL), PM_OK);
            CHECK_CLOSE(out, (double)mean.value, 1e-14);
            CHECK_CLOSE(grad[0], (double)mean.up, 1e-11);
            CHECK_CLOSE(grad[1], (double)mean.down, 1e-11);
        }
        chain_free(c);
    }
}

/* 2 -> 1 -> 0 at rates a and b: E = 1/a + 1/b, whatever the second rate. And 3 -> {2, 1} -> 0: by a both ways out are alike. */
static void what_comes_later_does_not_enter(void) {
    const double a[] = {1.0, 0.0};
    const double b[] = {0.0, 1.0};
    chain *c = chain_new(4, 2, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 0.0, a);
    chain_edge(c, 2, 3, 0.0, b);
    chain_plan(c);
    for (int e = 0; e <= 280; e += 7) {
        const double theta[] = {1.0, pow(10.0, -e)};
        double out[1];
        double grad[2];
        if (e > 140) {
            CHECK_INT(pm_moments_grad(c->plan, c->one, 1, theta, 1, NULL, out, grad, NULL), e > 154 ? PM_E_OVERFLOW : PM_OK);
            continue;
        }
        CHECK_INT(pm_moments_grad(c->plan, c->one, 1, theta, 1, NULL, out, grad, NULL), PM_OK);
        CHECK_CLOSE(grad[0], -1.0, 1e-14);
        CHECK_CLOSE(grad[1], -1.0 / (theta[1] * theta[1]), 1e-14);
    }
    chain_free(c);
    /* A way out of 1e-17 beside the usual one: no vertex lies on every path, and double precision is not enough. */
    c = chain_new(4, 2, 0);
    const double side[] = {0.0, 1.0};
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 0.0, a);
    chain_edge(c, 1, 3, 0.0, side);
    chain_edge(c, 2, 3, 0.0, side);
    chain_plan(c);
    for (int e = 1; e <= 20; e++) {
        /* E = (1 + a/b) / (a + b) = 1/b, in which a does not occur. */
        const double theta[] = {1.0, pow(10.0, -e)};
        double out[1];
        double grad[2];
        CHECK_INT(pm_moments_grad(c->plan, c->one, 1, theta, 1, NULL, out, grad, NULL), PM_OK);
        CHECK(fabs(grad[0]) <= 1e-19 * out[0]);
        CHECK_CLOSE(grad[1], -1.0 / (theta[1] * theta[1]), 1e-13);
    }
    chain_free(c);
}

/* The same bits alone, in a batch, and beside lanes that need more digits. */
static void lanes_by_themselves(void) {
    chain *c = repairable(6);
    double theta[8][2];
    double out[8][2];
    double grad[8][2][2];
    for (int l = 0; l < 8; l++) {
        theta[l][0] = pow(10.0, -2 * l);
        theta[l][1] = 1.0 + l;
    }
    CHECK_INT(pm_moments_grad(c->plan, c->eight, 8, theta[0], 2, NULL, out[0], grad[0][0], NULL), PM_OK);
    for (int l = 0; l < 8; l++) {
        double alone[2];
        double grad_alone[4];
        CHECK_INT(pm_moments_grad(c->plan, c->one, 1, theta[l], 2, NULL, alone, grad_alone, NULL), PM_OK);
        for (int i = 0; i < 4; i++) {
            CHECK(grad_alone[i] == grad[l][i / 2][i % 2]);
        }
    }
    chain_free(c);
}

int main(void) {
    RUN(erlang);
    RUN(random_chains);
    RUN(arguments);
    RUN(edges_of_weight_zero);
    RUN(rare_absorption);
    RUN(what_comes_later_does_not_enter);
    RUN(lanes_by_themselves);
    return test_end();
}
