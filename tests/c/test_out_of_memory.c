/*
 * Each public function that allocates, with its first, second, third ... allocation refused: PM_E_MEMORY, nothing leaked, outputs
 * NULL, and the same call succeeds afterwards.
 */
#include "chain.h"

static chain *c;
static pm_uniform *kept;

static int try_symbolic(void) {
    pm_symbolic *s = NULL;
    const int status = pm_symbolic_new(&c->graph, 0, 0, NULL, NULL, NULL, NULL, &s, NULL);
    CHECK_INT(s == NULL, status != PM_OK);
    pm_symbolic_free(s);
    return status;
}

static int try_symbolic_given(void) {
    pm_symbolic *s = NULL;
    const int status = pm_symbolic_new(&c->graph, c->pattern.n_rows, c->pattern.n_blocks, c->pattern.order, c->pattern.block_ptr, NULL,
                                       NULL, &s, NULL);
    CHECK_INT(s == NULL, status != PM_OK);
    pm_symbolic_free(s);
    return status;
}

static int try_plan(void) {
    pm_plan *p = NULL;
    const int status = pm_plan_new(&c->graph, &c->sizes, &c->pattern, c->n_lower, c->n_upper, NULL, &p, NULL);
    CHECK_INT(p == NULL, status != PM_OK);
    pm_plan_free(p);
    return status;
}

static int try_plan_without_pattern(void) {
    pm_plan *p = NULL;
    const int status = pm_plan_new(&c->graph, &c->sizes, NULL, 0, 0, NULL, &p, NULL);
    CHECK_INT(p == NULL, status != PM_OK);
    pm_plan_free(p);
    return status;
}

static int try_workspace(void) {
    pm_workspace *w = NULL;
    const int status = pm_workspace_new(c->plan, 8, &w);
    CHECK_INT(w == NULL, status != PM_OK);
    pm_workspace_free(w);
    return status;
}

static int try_uniform(void) {
    pm_uniform *u = NULL;
    const int status = pm_uniform_new(c->plan, &u);
    CHECK_INT(u == NULL, status != PM_OK);
    pm_uniform_free(u);
    return status;
}

static const double theta[] = {0.4, 0.5, 0.6, 0.7};
static const double times[] = {1.0, 40.0};
static double rewards[3 * CHAIN_VERTICES];
static double out[4096];
static double more[4096];

static int try_moments(void) { return pm_moments(c->plan, c->eight, 2, theta, 3, NULL, out, NULL); }
static int try_joint(void) { return pm_joint_moment(c->plan, c->eight, 2, theta, 3, rewards, out, NULL); }

/* With workspaces of their own, since those keep what they needed once. */
static int try_covariance(void) {
    pm_workspace *w = NULL;
    int status = pm_workspace_new(c->plan, 8, &w);
    if (status == PM_OK) {
        status = pm_covariance(c->plan, w, 2, theta, 3, rewards, out, more, NULL);
    }
    pm_workspace_free(w);
    return status;
}

static int try_gradient(void) {
    pm_workspace *w = NULL;
    int status = pm_workspace_new(c->plan, 8, &w);
    if (status == PM_OK) {
        status = pm_moments_grad(c->plan, w, 2, theta, 3, NULL, out, more, NULL);
    }
    pm_workspace_free(w);
    return status;
}

static int try_distribution(void) {
    return pm_uniform_eval(c->plan, c->one, kept, 2, theta, NULL, NULL, 2, times, 1e-10, 1000000, out, more, more + 100, NULL);
}

static int try_fresh_distribution(void) {
    pm_uniform *u = NULL;
    int status = pm_uniform_new(c->plan, &u);
    if (status == PM_OK) {
        status = pm_uniform_eval(c->plan, c->one, u, 2, theta, NULL, NULL, 2, times, 1e-10, 1000000, out, more, more + 100, NULL);
    }
    pm_uniform_free(u);
    return status;
}

static int try_distribution_grad(void) {
    return pm_uniform_grad(c->plan, c->one, kept, 2, theta, 2, times, 1e-10, 1000000, out, more, NULL);
}

static int try_advance(void) {
    double state[4 * CHAIN_VERTICES] = {0.0};
    state[1] = 1.0;
    return pm_uniform_advance(c->plan, c->one, kept, theta, 2.0, 3, NULL, 1000000, state, out, NULL);
}

static int try_sampler(void) {
    /* A new workspace, because the search for traps keeps a list in it. */
    pm_workspace *w = NULL;
    pm_sampler *s = NULL;
    int status = pm_workspace_new(c->plan, 1, &w);
    if (status == PM_OK) {
        status = pm_sampler_new(c->plan, &s);
        CHECK_INT(s == NULL, status != PM_OK);
    }
    if (status == PM_OK) {
        status = pm_sampler_set(c->plan, w, s, theta, NULL, NULL);
    }
    pm_sampler_free(s);
    pm_workspace_free(w);
    return status;
}

static int try_censored(void) {
    uint8_t keep[CHAIN_VERTICES];
    for (int32_t v = 0; v < CHAIN_VERTICES; v++) {
        keep[v] = v % 3 == 0;
    }
    pm_censored *watched = NULL;
    const int status = pm_censored_new(c->plan, keep, NULL, &watched, NULL);
    CHECK_INT(watched == NULL, status != PM_OK);
    pm_censored_free(watched);
    return status;
}

/* Returns how many allocations there were to refuse. */
static int64_t refuse_each(int (*function)(void)) {
    int64_t n = 0;
    for (;; n++) {
        for (int rest = 0; rest < 2; rest++) {
            const int64_t before = test_outstanding();
            if (rest) {
                test_fail_from(n);
            } else {
                test_fail_only(n);
            }
            const int status = function();
            const int reached = test_allocations() > n;
            test_fail_from(-1);
            CHECK_INT(status, reached ? PM_E_MEMORY : PM_OK);
            /* Scratch that lives on may grow; nothing else may stay. */
            CHECK(function == try_distribution || test_outstanding() == before);
            if (!reached) {
                CHECK_INT(function(), PM_OK);
                return n;
            }
        }
    }
}

static void every_function(void) {
    for (int discrete = 0; discrete < 2; discrete++) {
        c = chain_random(21, 30, 2, 0.15, 2, discrete);
        for (int i = 0; i < 3 * CHAIN_VERTICES; i++) {
            rewards[i] = 1.0 + i % 5;
        }
        REQUIRE(pm_uniform_new(c->plan, &kept) == PM_OK);
        CHECK(refuse_each(try_symbolic) > 15);
        CHECK(refuse_each(try_symbolic_given) > 12);
        CHECK(refuse_each(try_plan) == 3);
        CHECK(refuse_each(try_plan_without_pattern) == 2);
        CHECK(refuse_each(try_workspace) == 5);
        CHECK(refuse_each(try_uniform) == 3);
        CHECK(refuse_each(try_moments) == 1);
        CHECK(refuse_each(try_joint) == 2);
        CHECK(refuse_each(try_covariance) >= 5);
        CHECK(refuse_each(try_gradient) == 11);
        CHECK(refuse_each(try_fresh_distribution) >= 6);
        CHECK(refuse_each(try_distribution) >= 3);
        CHECK(refuse_each(try_distribution) == 0); /* the last good call has grown it */
        CHECK(refuse_each(try_distribution_grad) >= 9);
        CHECK(refuse_each(try_advance) >= 6);
        CHECK(refuse_each(try_sampler) == 10);
        CHECK(refuse_each(try_censored) >= 15);
        pm_uniform_free(kept);
        chain_free(c);
    }
}

/* Zero weights make the edges by target be listed, once for each workspace. */
static int try_zero_weights(void) {
    pm_workspace *w = NULL;
    int status = pm_workspace_new(c->plan, 1, &w);
    if (status == PM_OK) {
        const double zero[] = {0.0};
        status = pm_moments(c->plan, w, 1, zero, 1, NULL, out, NULL);
    }
    pm_workspace_free(w);
    return status;
}

static void zero_weights(void) {
    const double one[] = {1.0};
    c = chain_new(4, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 3, 1.0, NULL);
    chain_edge(c, 1, 2, 0.0, one);
    chain_edge(c, 2, 3, 0.0, one);
    chain_plan(c);
    CHECK(refuse_each(try_zero_weights) == 9);
    chain_free(c);
}

/* At this parameter vector neither way of double precision has its digits. */
static void more_digits(void) {
    const double a[] = {1.0, 0.0};
    const double b[] = {0.0, 1.0};
    c = chain_new(4, 2, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 0.0, a);
    chain_edge(c, 1, 3, 0.0, b);
    chain_edge(c, 2, 3, 0.0, b);
    chain_plan(c);
    CHECK(refuse_each(try_gradient) >= 18);
    chain_free(c);
}

/* What was half grown when memory ran out is still sound. */
static void scratch_after_a_refusal(void) {
    c = chain_random(21, 30, 2, 0.15, 2, 0);
    double first[2];
    double second[2];
    for (int64_t n = 0; n < 3; n++) {
        REQUIRE(pm_uniform_new(c->plan, &kept) == PM_OK);
        CHECK_INT(pm_uniform_eval(c->plan, c->one, kept, 1, theta, NULL, NULL, 1, times, 1e-10, 1000000, first, NULL, NULL, NULL), PM_OK);
        test_fail_only(n);
        CHECK_INT(pm_uniform_eval(c->plan, c->one, kept, 1, theta, NULL, NULL, 2, (const double[]){1.0, 1e4}, 1e-10, 10000000, out, NULL, NULL,
                                  NULL),
                  PM_E_MEMORY);
        test_fail_from(-1);
        CHECK_INT(pm_uniform_eval(c->plan, c->one, kept, 1, theta, NULL, NULL, 1, times, 1e-10, 1000000, second, NULL, NULL, NULL), PM_OK);
        CHECK(first[0] == second[0]);
        pm_uniform_free(kept);
    }
    chain_free(c);
}

int main(void) {
    RUN(every_function);
    RUN(zero_weights);
    RUN(more_digits);
    RUN(scratch_after_a_refusal);
    return test_end();
}
