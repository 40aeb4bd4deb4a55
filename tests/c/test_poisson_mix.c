/* uniform_chain.c and poisson_mix.c: closed forms in centre and tails, limits, and reuse of the scratch. */
#include <math.h>

#include "chain.h"

enum { MAX_TIMES = 64 };

static double pdf[MAX_TIMES];
static double cdf[MAX_TIMES];
static double sf[MAX_TIMES];
static pm_where where;

static int eval(chain *c, pm_uniform *u, int64_t n_times, const double *times) {
    return pm_uniform_eval(c->plan, c->one, u, 1, NULL, NULL, NULL, n_times, times, 1e-14, 1000000, pdf, cdf, sf, &where);
}

static void exponential(void) {
    chain *c = chain_erlang(1, 3.0);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double times[] = {0.0, 1e-270, 1e-10, 0.1, 1.0, 10.0, 100.0, 200.0};
    CHECK_INT(eval(c, u, 8, times), PM_OK);
    for (int i = 0; i < 8; i++) {
        const double tail = exp(-3.0 * times[i]);
        CHECK_CLOSE(sf[i], tail, 1e-13 * (1.0 + 3.0 * times[i]));
        CHECK_CLOSE(pdf[i], 3.0 * tail, 1e-13 * (1.0 + 3.0 * times[i]));
        CHECK_CLOSE(cdf[i], -expm1(-3.0 * times[i]), 1e-13);
    }
    const double far[] = {223.0, 225.0}; /* 3 e^-675, by mpmath */
    CHECK_INT(eval(c, u, 2, far), PM_OK);
    CHECK_CLOSE(sf[1], 7.09945017032607e-294, 2e-13);
    CHECK_CLOSE(pdf[1], 3.0 * 7.09945017032607e-294, 2e-13);
    /* Below 1e-280 only the absolute error counts. */
    const double tiny[] = {1e-300, 5e-324};
    CHECK_INT(eval(c, u, 2, tiny), PM_OK);
    for (int i = 0; i < 2; i++) {
        CHECK(cdf[i] >= 0.0 && cdf[i] <= 3e-300);
        CHECK_CLOSE(sf[i], 1.0, 1e-15);
        CHECK_CLOSE(pdf[i], 3.0, 1e-15);
    }
    pm_uniform_free(u);
    chain_free(c);
}

static void erlang(void) {
    const int32_t n = 12;
    chain *c = chain_erlang(n, 2.0);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    double times[MAX_TIMES];
    for (int i = 0; i < MAX_TIMES; i++) {
        times[i] = 300.0 * i / (MAX_TIMES - 1);
    }
    CHECK_INT(eval(c, u, MAX_TIMES, times), PM_OK);
    for (int i = 0; i < MAX_TIMES; i++) {
        const double x = 2.0 * times[i];
        double term = 1.0;
        double sum = 0.0;
        for (int32_t j = 0; j < n; j++) {
            sum += term;
            if (j < n - 1) {
                term *= x / (j + 1);
            }
        }
        CHECK_CLOSE(pdf[i], 2.0 * term * exp(-x), 1e-12);
        CHECK_CLOSE(sf[i], sum * exp(-x), 1e-12);
        CHECK(fabs(cdf[i] + sf[i] - 1.0) < 1e-13);
    }
    pm_uniform_free(u);
    chain_free(c);
}

/* Two phases of rates a >> b: the tail decays with b, far below what the fast rate would allow. */
static void hypoexponential(void) {
    const double a = 50.0;
    const double b = 0.5;
    chain *c = chain_new(4, 0, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, a, NULL);
    chain_edge(c, 2, 3, b, NULL);
    chain_plan(c);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double times[] = {1e-12, 1e-6, 0.01, 0.5, 3.0, 100.0, 1000.0};
    CHECK_INT(eval(c, u, 7, times), PM_OK);
    for (int i = 0; i < 7; i++) {
        const double t = times[i];
        const double density = a * b / (a - b) * exp(-b * t) * -expm1(-(a - b) * t);
        CHECK_CLOSE(pdf[i], density, 3e-12);
        /* Early, the distribution function is a b t^2 / 2, far below rounding of one minus the survival. */
        if (t < 1e-5) {
            CHECK_CLOSE(cdf[i], a * b * t * t / 2 * (1.0 - (a + b) * t / 3), 1e-7);
        }
    }
    pm_uniform_free(u);
    chain_free(c);
}

static void geometric(void) {
    const double p = 0.125;
    chain *c = chain_new(4, 0, 1);
    chain_edge(c, 0, 1, 3.0, NULL);
    chain_edge(c, 0, 3, 1.0, NULL); /* a quarter is absorbed at once */
    chain_edge(c, 1, 3, p, NULL);
    chain_edge(c, 2, 3, p, NULL); /* not reached */
    chain_plan(c);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double times[] = {0, 1, 2, 3, 10, 100, 1000, 4000, 6000, 1e6, 1e15};
    CHECK_INT(eval(c, u, 11, times), PM_OK);
    for (int i = 0; i < 11; i++) {
        const double tail = 0.75 * pow(1.0 - p, times[i]);
        if (tail > 1e-280) {
            CHECK_CLOSE(sf[i], tail, 1e-12);
            CHECK_CLOSE(pdf[i], i == 0 ? 0.25 : tail * p / (1.0 - p), 1e-12);
        } else {
            CHECK(sf[i] < 1e-280 && pdf[i] < 1e-280);
        }
        CHECK_CLOSE(cdf[i], 1.0 - tail, 1e-13);
    }
    pm_uniform_free(u);
    chain_free(c);
}

/* Every state is left for good at rate 1, so the time is exponential, whatever else the chain does. */
static void a_constant_hazard(void) {
    enum { N = 100 };
    chain *c = chain_new(N + 2, 0, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    for (int32_t i = 1; i <= N; i++) {
        chain_edge(c, i, N + 1, 1.0, NULL);
        if (i < N) {
            chain_edge(c, i, i + 1, 300.1, NULL);
            chain_edge(c, i + 1, i, 700.3, NULL);
        }
    }
    chain_plan(c);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double times[] = {1e-3, 1.0, 230.0, 600.0, 640.0, 680.0};
    CHECK_INT(eval(c, u, 6, times), PM_OK);
    for (int i = 0; i < 6; i++) {
        CHECK_CLOSE(sf[i], exp(-times[i]), i < 5 ? 3e-13 : 1e-12);
        CHECK_CLOSE(pdf[i], exp(-times[i]), i < 5 ? 3e-13 : 1e-12);
        CHECK_CLOSE(cdf[i], -expm1(-times[i]), 3e-13);
    }
    pm_uniform_free(u);
    chain_free(c);
}

/*
 * Two pairs that flicker with nearly no exit, and so at rest: what rounding takes from one pair and not from the other is a change of
 * the mixture, which no sum of all mass shows. The density by balls of 600 bits.
 */
static void rounding_does_not_add_up(void) {
    chain *c = chain_new(6, 0, 0);
    chain_edge(c, 0, 1, 0.75, NULL);
    chain_edge(c, 0, 3, 0.25, NULL);
    chain_edge(c, 1, 2, 0.71, NULL);
    chain_edge(c, 2, 1, 0.93, NULL);
    chain_edge(c, 1, 5, 1e-12, NULL);
    chain_edge(c, 3, 4, 0.61, NULL);
    chain_edge(c, 4, 3, 1.0 / 3.0, NULL);
    chain_edge(c, 4, 5, 2e-9, NULL);
    chain_plan(c);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double times[] = {5e6};
    CHECK_INT(pm_uniform_eval(c->plan, c->one, u, 1, NULL, NULL, NULL, 1, times, 1e-13, 10000000, pdf, cdf, sf, &where), PM_OK);
    CHECK_CLOSE(pdf[0], 3.216628673430602e-10, 3e-13);
    CHECK_CLOSE(cdf[0], 0.001613518360445152, 3e-13);
    pm_uniform_free(u);
    chain_free(c);
}

static void times_that_are_refused(void) {
    chain *c = chain_erlang(2, 1.0);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double bad[] = {-1.0, -5e-324, TEST_NAN, TEST_INFINITY, -TEST_INFINITY};
    for (int i = 0; i < 5; i++) {
        const double times[] = {1.0, 2.0, bad[i], bad[i]};
        CHECK_INT(eval(c, u, 4, times), PM_E_TIME);
        CHECK_INT(where.at, 2);
    }
    c->plan->graph.discrete = 1;
    const double half[] = {1.0, 0.5};
    CHECK_INT(eval(c, u, 2, half), PM_E_TIME);
    CHECK_INT(where.at, 1);
    pm_uniform_free(u);
    chain_free(c);
}

static void arguments_that_are_refused(void) {
    chain *c = chain_erlang(2, 1.0);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double t[] = {1.0};
    const double tols[] = {0.0, 1.0, -1.0, TEST_NAN, TEST_INFINITY};
    for (int i = 0; i < 5; i++) {
        CHECK_INT(pm_uniform_eval(c->plan, c->one, u, 1, NULL, NULL, NULL, 1, t, tols[i], 100, pdf, cdf, sf, NULL), PM_E_ARGUMENT);
    }
    CHECK_INT(pm_uniform_eval(c->plan, c->one, u, 1, NULL, NULL, NULL, 1, t, 1e-10, 0, pdf, cdf, sf, NULL), PM_E_ARGUMENT);
    CHECK_INT(pm_uniform_eval(c->plan, c->eight, u, 1, NULL, NULL, NULL, 1, t, 1e-10, 100, pdf, cdf, sf, NULL), PM_E_ARGUMENT);
    CHECK_INT(pm_uniform_rate(c->plan, c->eight, 1, NULL, pdf, NULL), PM_E_ARGUMENT);
    CHECK_INT(pm_uniform_eval(c->plan, c->one, u, 1, NULL, NULL, NULL, 0, NULL, 1e-10, 100, NULL, NULL, NULL, NULL), PM_OK);
    CHECK_INT(pm_uniform_eval(c->plan, c->one, u, 0, NULL, NULL, NULL, 1, t, 1e-10, 100, pdf, cdf, sf, NULL), PM_OK);
    CHECK_INT(pm_uniform_eval(c->plan, c->one, u, 1, NULL, NULL, NULL, 1, t, 1e-10, 100, NULL, NULL, NULL, NULL), PM_OK);
    pm_uniform_free(u);
    chain_free(c);
}

/* A defective chain keeps mass for ever, so its sweep never ends by itself. */
static void the_limit_of_steps(void) {
    const double one[] = {1.0};
    chain *c = chain_new(4, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 0.0, one);
    chain_edge(c, 2, 1, 0.0, one);
    chain_edge(c, 1, 3, 1.0, NULL);
    chain_plan(c);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double theta[] = {1.0, 1e6};
    const double t[] = {1.0, 50.0};
    double out[4];
    CHECK_INT(pm_uniform_eval(c->plan, c->one, u, 2, theta, NULL, NULL, 2, t, 1e-10, 10000, out, NULL, NULL, &where), PM_E_LIMIT);
    CHECK_INT(where.theta, 1);
    CHECK(where.value > 5e7);
    CHECK_INT(pm_uniform_eval(c->plan, c->one, u, 1, theta, NULL, NULL, 2, t, 1e-10, 10000, out, NULL, NULL, &where), PM_OK);
    pm_uniform_free(u);
    chain_free(c);
}

/* After no mass is left, any later time is answered. */
static void far_beyond_the_end(void) {
    chain *c = chain_erlang(3, 1e6);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double t[] = {1.0, 1e10, 1e300, 1.7e308};
    CHECK_INT(eval(c, u, 4, t), PM_OK);
    for (int i = 0; i < 4; i++) {
        CHECK(pdf[i] < 1e-280 && sf[i] < 1e-280 && cdf[i] == 1.0);
    }
    pm_uniform_free(u);
    chain_free(c);
}

static void mass_at_zero(void) {
    chain *c = chain_new(3, 0, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 0, 2, 3.0, NULL);
    chain_edge(c, 1, 2, 2.0, NULL);
    chain_plan(c);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double t[] = {0.0, 1.0};
    CHECK_INT(eval(c, u, 2, t), PM_OK);
    CHECK_CLOSE(pdf[0], 0.5, 1e-15);
    CHECK_CLOSE(cdf[0], 0.75, 1e-15);
    CHECK_CLOSE(sf[0], 0.25, 1e-15);
    CHECK_CLOSE(pdf[1], 0.5 * exp(-2.0), 1e-14);
    CHECK_CLOSE(cdf[1], 1.0 - 0.25 * exp(-2.0), 1e-14);
    pm_uniform_free(u);
    chain_free(c);
    c = chain_new(2, 0, 0); /* nothing but the mass at zero */
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_plan(c);
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    CHECK_INT(eval(c, u, 2, t), PM_OK);
    CHECK(pdf[0] == 0.0 && cdf[0] == 1.0 && sf[0] == 0.0 && pdf[1] == 0.0 && cdf[1] == 1.0 && sf[1] == 0.0);
    pm_uniform_free(u);
    chain_free(c);
}

static void initial_that_sums_to_zero(void) {
    const double one[] = {1.0};
    chain *c = chain_new(3, 1, 0);
    chain_edge(c, 0, 1, 0.0, one);
    chain_edge(c, 1, 2, 1.0, NULL);
    chain_plan(c);
    pm_uniform *u = NULL;
    REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
    const double theta[] = {1.0, 0.0};
    const double t[] = {1.0};
    double out[2];
    CHECK_INT(pm_uniform_eval(c->plan, c->one, u, 2, theta, NULL, NULL, 1, t, 1e-10, 1000, out, NULL, NULL, &where), PM_E_INITIAL);
    CHECK_INT(where.theta, 1);
    pm_uniform_free(u);
    chain_free(c);
}

/* The same scratch, whatever was computed with it before. */
static void reuse(void) {
    chain *c = chain_random(8, 20, 2, 0.2, 1, 0);
    pm_uniform *used = NULL;
    REQUIRE(pm_uniform_new(c->plan, &used) == PM_OK);
    uint64_t state = 4;
    for (int i = 0; i < 40; i++) {
        const double theta[] = {random_unit(&state) * 5.0 + 0.01};
        const double times[] = {random_unit(&state) * (i % 7 == 0 ? 500.0 : 5.0), random_unit(&state)};
        double a[6];
        double b[6];
        pm_uniform *fresh = NULL;
        REQUIRE(pm_uniform_new(c->plan, &fresh) == PM_OK);
        CHECK_INT(pm_uniform_eval(c->plan, c->one, used, 1, theta, NULL, NULL, 2, times, 1e-12, 100000, a, a + 2, a + 4, NULL), PM_OK);
        CHECK_INT(pm_uniform_eval(c->plan, c->one, fresh, 1, theta, NULL, NULL, 2, times, 1e-12, 100000, b, b + 2, b + 4, NULL), PM_OK);
        for (int j = 0; j < 6; j++) {
            CHECK(a[j] == b[j]);
        }
        pm_uniform_free(fresh);
    }
    pm_uniform_free(used);
    chain_free(c);
}

/* Moments of the survival function by quadrature: integral of sf = E[T]. */
static void agrees_with_the_mean(void) {
    for (uint64_t seed = 0; seed < 4; seed++) {
        chain *c = chain_random(seed, 10, 1, 0.3, 0, 0);
        pm_uniform *u = NULL;
        REQUIRE(pm_uniform_new(c->plan, &u) == PM_OK);
        double mean = 0.0;
        CHECK_INT(pm_moments(c->plan, c->one, 1, NULL, 1, NULL, &mean, NULL), PM_OK);
        /* Gauss-Legendre with three points on pieces that grow: time is the cube of x. */
        const double node = 0.774596669241483377;
        const double end = cbrt(60.0 * mean);
        const int pieces = 300;
        double sum = 0.0;
        for (int i = 0; i < pieces; i++) {
            const double h = end / pieces;
            const double x[] = {(i + 0.5) * h - node * h / 2, (i + 0.5) * h, (i + 0.5) * h + node * h / 2};
            const double times[] = {x[0] * x[0] * x[0], x[1] * x[1] * x[1], x[2] * x[2] * x[2]};
            CHECK_INT(eval(c, u, 3, times), PM_OK);
            sum += h * (5.0 * sf[0] * 3.0 * x[0] * x[0] + 8.0 * sf[1] * 3.0 * x[1] * x[1] + 5.0 * sf[2] * 3.0 * x[2] * x[2]) / 18.0;
        }
        CHECK_CLOSE(sum, mean, 1e-9);
        pm_uniform_free(u);
        chain_free(c);
    }
}

static void free_nothing(void) { pm_uniform_free(NULL); }

int main(void) {
    RUN(exponential);
    RUN(erlang);
    RUN(hypoexponential);
    RUN(geometric);
    RUN(a_constant_hazard);
    RUN(rounding_does_not_add_up);
    RUN(times_that_are_refused);
    RUN(arguments_that_are_refused);
    RUN(the_limit_of_steps);
    RUN(far_beyond_the_end);
    RUN(mass_at_zero);
    RUN(initial_that_sums_to_zero);
    RUN(reuse);
    RUN(agrees_with_the_mean);
    RUN(free_nothing);
    return test_end();
}
