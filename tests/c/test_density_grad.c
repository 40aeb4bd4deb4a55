/* density_grad.c and sensitivity.c: closed forms, and differences of the density itself. */
#include <math.h>

#include "chain.h"

static pm_where where;

/* f = x e^(-x t): df/dx = (1 - x t) e^(-x t). */
static void exponential(void) {
    const double one[] = {1.0};
    chain *c = chain_new(3, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 0.0, one);
    chain_plan(c);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double theta[] = {0.5, 1.0, 30.0};
    const double times[] = {0.0, 1e-3, 0.7, 5.0, 15.0};
    double out[15];
    double grad[15];
    CHECK_INT(pm_uniform_grad(c->plan, c->one, u, 3, theta, 5, times, 1e-13, 100000, out, grad, &where), PM_OK);
    for (int i = 0; i < 15; i++) {
        const double x = theta[i / 5];
        const double t = times[i % 5];
        CHECK_CLOSE(out[i], x * exp(-x * t), 1e-12);
        CHECK(fabs(grad[i] - (1.0 - x * t) * exp(-x * t)) <= 1e-12 * (1.0 + x * t) * exp(-x * t));
    }
    pm_uniform_free(u);
    chain_free(c);
}

static void random_chains(void) {
    for (uint64_t seed = 0; seed < 24; seed++) {
        enum { P = 2, T = 4 };
        const int discrete = (int)(seed % 2);
        chain *c = chain_random(seed, 1 + (int32_t)(seed % 11), 1, 0.08 * (double)(seed % 6), P, discrete);
        pm_uniform *u = NULL;
        REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
        const double theta[] = {0.4, 0.7};
        const double times[][T] = {{0.0, 0.1, 1.3, 6.0}, {0.0, 1.0, 4.0, 25.0}};
        const double *t = times[discrete];
        double out[T];
        double plain[T];
        double grad[T][P];
        CHECK_INT(pm_uniform_grad(c->plan, c->one, u, 1, theta, T, t, 1e-13, 100000, out, grad[0], &where), PM_OK);
        CHECK_INT(pm_uniform_eval(c->plan, c->one, u, 1, theta, NULL, NULL, T, t, 1e-13, 100000, plain, NULL, NULL, &where), PM_OK);
        for (int j = 0; j < P; j++) {
            double side[4][T];
            const double h = 1e-3 * theta[j];
            for (int s = 0; s < 4; s++) {
                double moved[P] = {theta[0], theta[1]};
                moved[j] += h * (double[]){-2.0, -1.0, 1.0, 2.0}[s];
                CHECK_INT(pm_uniform_eval(c->plan, c->one, u, 1, moved, NULL, NULL, T, t, 1e-13, 100000, side[s], NULL, NULL, &where), PM_OK);
            }
            for (int i = 0; i < T; i++) {
                CHECK_CLOSE(out[i], plain[i], 1e-13);
                const double difference = (8.0 * (side[2][i] - side[1][i]) - (side[3][i] - side[0][i])) / (12.0 * h);
                CHECK(fabs(grad[i][j] - difference) <= 1e-8 * (fabs(difference) + plain[i]) + 1e-12);
            }
        }
        pm_uniform_free(u);
        chain_free(c);
    }
}

/* The initial probabilities depend on theta; in a discrete chain some mass is absorbed in step 0. */
static void initial_probabilities(void) {
    const double x[] = {1.0};
    for (int discrete = 0; discrete < 2; discrete++) {
        chain *c = chain_new(4, 1, discrete);
        chain_edge(c, 0, 1, 1.0, NULL);
        chain_edge(c, 0, 2, 0.0, x);
        chain_edge(c, 0, 3, 2.0, NULL);
        chain_edge(c, 1, 3, 0.25, NULL);
        chain_edge(c, 2, 3, 0.5, NULL);
        chain_plan(c);
        pm_uniform *u = NULL;
        REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
        const double theta[] = {1.5};
        const double times[] = {0.0, 2.0};
        double out[2];
        double grad[2];
        CHECK_INT(pm_uniform_grad(c->plan, c->one, u, 1, theta, 2, times, 1e-13, 10000, out, grad, &where), PM_OK);
        const double total = 3.0 + theta[0];
        const double slow = discrete ? 0.25 * 0.75 : 0.25 * exp(-0.5);
        const double fast = discrete ? 0.5 * 0.5 : 0.5 * exp(-1.0);
        CHECK_CLOSE(out[0], discrete ? 2.0 / total : (0.25 + 0.5 * theta[0]) / total, 1e-14);
        CHECK_CLOSE(grad[0], discrete ? -2.0 / (total * total) : (0.5 * 3.0 - 0.25) / (total * total), 1e-13);
        CHECK_CLOSE(out[1], (slow + theta[0] * fast) / total, 1e-13);
        CHECK_CLOSE(grad[1], (3.0 * fast - slow) / (total * total), 1e-13);
        pm_uniform_free(u);
        chain_free(c);
    }
}

/* Two of three with repair, one density in 10^6 mean repair times: closed form by the two eigenvalues, derivatives by balls. */
static void many_jumps(void) {
    const double failure[] = {3.0, 0.0};
    const double repair[] = {0.0, 1.0};
    const double second[] = {2.0, 0.0};
    chain *c = chain_new(4, 2, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 0.0, failure);
    chain_edge(c, 2, 1, 0.0, repair);
    chain_edge(c, 2, 3, 0.0, second);
    chain_plan(c);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double theta[] = {1e-4, 1.0};
    const double times[] = {1.0, 1e6};
    double out[2];
    double grad[4];
    CHECK_INT(pm_uniform_grad(c->plan, c->one, u, 1, theta, 2, times, 1e-12, 10000000, out, grad, &where), PM_OK);
    CHECK_CLOSE(out[0], 3.7919307127548344e-08, 1e-12);
    CHECK_CLOSE(grad[0], 0.0007583068868423778, 1e-12);
    CHECK_CLOSE(grad[1], -1.5849649661981004e-08, 1e-12);
    CHECK_CLOSE(out[1], 5.647933327382736e-08, 1e-12);
    CHECK_CLOSE(grad[2], 0.0010615801347723835, 1e-12);
    CHECK_CLOSE(grad[3], -5.3065746869629985e-08, 1e-12);
    pm_uniform_free(u);
    chain_free(c);
}

/* A derivative may live on other numbers of jumps than the density: windows of their own, with a bound. */
static void a_derivative_where_the_density_is_zero(void) {
    const double x[] = {1.0};
    chain *c = chain_new(4, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 5.0, NULL);
    chain_edge(c, 2, 1, 7.0, NULL);
    chain_edge(c, 2, 3, 0.0, x);
    chain_plan(c);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double theta[] = {0.0};
    const double times[] = {0.0, 0.1, 3.0, 100.0};
    double out[4];
    double grad[4];
    CHECK_INT(pm_uniform_grad(c->plan, c->one, u, 1, theta, 4, times, 1e-12, 100000, out, grad, &where), PM_OK);
    for (int i = 0; i < 4; i++) {
        CHECK(out[i] == 0.0);
        CHECK_CLOSE(grad[i], -expm1(-12.0 * times[i]) * 5.0 / 12.0, 1e-12);
    }
    pm_uniform_free(u);
    chain_free(c);
}

/* All mass is absorbed in one step, but a derivative of what is left goes on. */
static void no_mass_left(void) {
    const double up[] = {1.0};
    const double down[] = {-1.0};
    chain *c = chain_new(4, 1, 1);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 3, 0.0, up);
    chain_edge(c, 1, 2, 1.0, down);
    chain_edge(c, 2, 3, 0.25, NULL);
    chain_plan(c);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double theta[] = {1.0};
    const double times[] = {0.0, 1.0, 2.0, 10.0, 100.0};
    double out[5];
    double grad[5];
    CHECK_INT(pm_uniform_grad(c->plan, c->one, u, 1, theta, 5, times, 1e-12, 1000, out, grad, &where), PM_OK);
    for (int i = 0; i < 5; i++) {
        CHECK(out[i] == (i == 1 ? 1.0 : 0.0));
        CHECK_CLOSE(grad[i], i == 0 ? 0.0 : i == 1 ? 1.0 : -0.25 * pow(0.75, times[i] - 2.0), 1e-13);
    }
    pm_uniform_free(u);
    chain_free(c);
}

/* Two exponential distributions, of which one has been gone for long: a derivative of each. */
static void far_apart(void) {
    const double fast[] = {1.0, 0.0};
    const double slow[] = {0.0, 1.0};
    chain *c = chain_new(4, 2, 0);
    chain_edge(c, 0, 1, 0.5, NULL);
    chain_edge(c, 0, 2, 0.5, NULL);
    chain_edge(c, 1, 3, 0.0, fast);
    chain_edge(c, 2, 3, 0.0, slow);
    chain_plan(c);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double theta[] = {300.0, 1e-3};
    const double times[] = {0.5, 2.0, 100.0};
    double out[3];
    double grad[6];
    CHECK_INT(pm_uniform_grad(c->plan, c->one, u, 1, theta, 3, times, 1e-12, 1000000, out, grad, &where), PM_OK);
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 2; j++) {
            const double x = theta[j] * times[i];
            CHECK(fabs(grad[2 * i + j] - 0.5 * (1.0 - x) * exp(-x)) <= 1e-12 * (1.0 + x) * exp(-x) + 1e-290);
        }
    }
    pm_uniform_free(u);
    chain_free(c);
}

static void refused(void) {
    chain *c = chain_random(2, 5, 1, 0.3, 1, 0);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double theta[] = {1.0};
    const double t[] = {1.0, 1e9};
    double out[2];
    CHECK_INT(pm_uniform_grad(c->plan, c->eight, u, 1, theta, 1, t, 1e-10, 100, out, out, &where), PM_E_ARGUMENT);
    CHECK_INT(pm_uniform_grad(c->plan, c->one, u, 1, theta, 1, t, 0.0, 100, out, out, &where), PM_E_ARGUMENT);
    CHECK_INT(pm_uniform_grad(c->plan, c->one, u, 1, theta, 1, t, 1e-10, 0, out, out, &where), PM_E_ARGUMENT);
    CHECK_INT(pm_uniform_grad(c->plan, c->one, u, 1, theta, 2, t, 1e-10, 1000, out, out, &where), PM_E_LIMIT);
    CHECK_INT(where.theta, 0);
    const double bad[] = {1.0, TEST_NAN};
    CHECK_INT(pm_uniform_grad(c->plan, c->one, u, 1, theta, 2, bad, 1e-10, 1000, out, out, &where), PM_E_TIME);
    CHECK_INT(pm_uniform_grad(c->plan, c->one, u, 1, theta, 0, t, 1e-10, 1000, out, out, &where), PM_OK);
    CHECK_INT(pm_uniform_grad(c->plan, c->one, u, 0, theta, 1, t, 1e-10, 1000, out, out, &where), PM_OK);
    pm_uniform_free(u);
    chain_free(c);
}

int main(void) {
    RUN(exponential);
    RUN(random_chains);
    RUN(initial_probabilities);
    RUN(many_jumps);
    RUN(a_derivative_where_the_density_is_zero);
    RUN(no_mass_left);
    RUN(far_apart);
    RUN(refused);
    return test_end();
}
