/*
 * stop.c, and the places in every source where a call ends early: each public function is stopped at its first, second, third ...
 * question. It gives PM_E_STOPPED, leaks nothing, and gives the same numbers as before when it is called again.
 */
#include <string.h>

#include "block.h"
#include "chain.h"

/* A control that asks at every opportunity: each answer uses up the credit, and the clock of the tests runs fast. */
typedef struct asker {
    pm_control control;
    int64_t asked;
    int64_t stop_at; /* the question that is answered by yes; negative: none */
} asker;

static int32_t answer(void *context) {
    asker *a = context;
    a->control.credit = -1;
    return a->asked++ == a->stop_at;
}

static asker a;

static void restart(int64_t stop_at) {
    memset(&a, 0, sizeof a);
    a.control.poll = answer;
    a.control.context = &a;
    a.control.credit = -1;
    a.stop_at = stop_at;
}

#define OUT 8192
static chain *c;
static pm_uniform *uniform;
static pm_sampler *sampler;
static pm_censored *censored;
static double out[OUT];
static double more[OUT];
static double rewards[3 * CHAIN_VERTICES];
static const double theta[] = {0.4, 0.5, 0.6, 0.7};
static const double times[] = {1.0, 40.0};

static int run_symbolic(void) {
    pm_symbolic *s = NULL;
    const int status = pm_symbolic_new(&c->graph, 0, 0, NULL, NULL, NULL, &a.control, &s, NULL);
    CHECK_INT(s == NULL, status != PM_OK);
    out[0] = s == NULL ? 0.0 : (double)pm_symbolic_operations(s);
    pm_symbolic_free(s);
    return status;
}

static int run_plan(void) {
    pm_plan *p = NULL;
    const int status = pm_plan_new(&c->graph, &c->sizes, &c->pattern, c->n_lower, c->n_upper, &a.control, &p, NULL);
    CHECK_INT(p == NULL, status != PM_OK);
    out[0] = p == NULL ? 0.0 : (double)pm_plan_operations(p);
    pm_plan_free(p);
    return status;
}

static int run_censored_new(void) {
    uint8_t keep[CHAIN_VERTICES];
    for (int32_t v = 0; v < CHAIN_VERTICES; v++) {
        keep[v] = v % 3 == 0;
    }
    pm_censored *watched = NULL;
    const int status = pm_censored_new(c->plan, keep, &a.control, &watched, NULL);
    CHECK_INT(watched == NULL, status != PM_OK);
    pm_censored_free(watched);
    return status;
}

static int run_weights(void) { return pm_weights(c->plan, c->one, 2, theta, out, NULL); }
static int run_moments(void) { return pm_moments(c->plan, c->eight, 2, theta, 3, NULL, out, NULL); }
static int run_moments_one(void) { return pm_moments(c->plan, c->one, 2, theta, 3, rewards, out, NULL); }
static int run_vertex(void) { return pm_vertex_moments(c->plan, c->eight, 2, theta, 2, NULL, NULL, out, NULL); }
static int run_joint(void) { return pm_joint_moment(c->plan, c->eight, 2, theta, 3, rewards, out, NULL); }
static int run_sojourn(void) { return pm_sojourn(c->plan, c->eight, 2, theta, out, NULL); }
static int run_covariance(void) { return pm_covariance(c->plan, c->eight, 2, theta, 3, rewards, out, more, NULL); }
static int run_gradient(void) { return pm_moments_grad(c->plan, c->eight, 2, theta, 3, NULL, out, more, NULL); }
static int run_rate(void) { return pm_uniform_rate(c->plan, c->one, 2, theta, out, NULL); }
static int run_censored(void) { return pm_censored_weights(c->plan, c->one, censored, 2, theta, out, NULL); }
static int run_sampler_set(void) { return pm_sampler_set(c->plan, c->one, sampler, theta, NULL, NULL); }

static int run_draw(void) { return pm_sampler_draw(c->plan, sampler, 7, 0, 20, 100000, &a.control, out, NULL); }

static int run_distribution(void) {
    return pm_uniform_eval(c->plan, c->one, uniform, 2, theta, NULL, 2, times, 1e-10, 1000000, out, more, more + 100, NULL);
}

static int run_distribution_grad(void) {
    return pm_uniform_grad(c->plan, c->one, uniform, 2, theta, 2, times, 1e-10, 1000000, out, more, NULL);
}

static int run_advance(void) {
    double state[4 * CHAIN_VERTICES] = {0.0};
    state[1] = 1.0;
    return pm_uniform_advance(c->plan, c->one, uniform, theta, 2.0, 3, NULL, 1000000, state, out, NULL);
}

/* Stops at every question up to `most`, and at some of those after. Returns how many there are. */
static int64_t stop_each(int (*function)(void), int64_t most) {
    static double expected[2 * OUT];
    memset(out, 0, sizeof out);
    memset(more, 0, sizeof more);
    restart(-1);
    CHECK_INT(function(), PM_OK); /* scratch grows here */
    memcpy(expected, out, sizeof out);
    memcpy(expected + OUT, more, sizeof more);
    const int64_t questions = a.asked;
    const int64_t before = test_outstanding();
    for (int64_t k = 0; k < questions; k += k < most ? 1 : questions / 16 + 1) {
        restart(k);
        CHECK_INT(function(), PM_E_STOPPED);
        CHECK_INT(a.asked, k + 1); /* nobody asks again after a yes */
        CHECK_INT(a.control.stopped, 1);
        CHECK_INT(test_outstanding(), before);
    }
    memset(out, 0, sizeof out);
    memset(more, 0, sizeof more);
    restart(-1);
    CHECK_INT(function(), PM_OK);
    CHECK(memcmp(expected, out, sizeof out) == 0 && memcmp(expected + OUT, more, sizeof more) == 0);
    return questions;
}

static void every_function(void) {
    for (int discrete = 0; discrete < 2; discrete++) {
        c = chain_random(21, 90, 2, 0.05, 2, discrete);
        for (int i = 0; i < 3 * CHAIN_VERTICES; i++) {
            rewards[i] = 1.0 + i % 5;
        }
        uint8_t keep[CHAIN_VERTICES];
        for (int32_t v = 0; v < CHAIN_VERTICES; v++) {
            keep[v] = v % 3 == 0;
        }
        REQUIRE(pm_uniform_new(c->plan, &uniform) == PM_OK);
        REQUIRE(pm_sampler_new(c->plan, &sampler) == PM_OK);
        REQUIRE(pm_censored_new(c->plan, keep, NULL, &censored, NULL) == PM_OK);
        REQUIRE(pm_sampler_set(c->plan, c->one, sampler, theta, NULL, NULL) == PM_OK);
        pm_workspace_control(c->one, &a.control);
        pm_workspace_control(c->eight, &a.control);
        CHECK(stop_each(run_symbolic, 4000) > 300);
        CHECK(stop_each(run_plan, 400) > 100);
        CHECK(stop_each(run_censored_new, 400) > 100);
        CHECK(stop_each(run_weights, 100) == 2);
        CHECK(stop_each(run_moments, 400) > 300);
        CHECK(stop_each(run_moments_one, 600) > 500);
        CHECK(stop_each(run_vertex, 400) > 200);
        CHECK(stop_each(run_joint, 800) > 700);
        CHECK(stop_each(run_sojourn, 400) > 200);
        CHECK(stop_each(run_covariance, 900) > 500);
        CHECK(stop_each(run_gradient, 900) > 500);
        CHECK(stop_each(run_rate, 100) == 2);
        CHECK(stop_each(run_censored, 400) > 200);
        CHECK(stop_each(run_sampler_set, 100) == 1);
        CHECK(stop_each(run_draw, 200) > 100);
        CHECK(stop_each(run_distribution, 200) > 50);
        CHECK(stop_each(run_distribution_grad, 200) > 50);
        CHECK(stop_each(run_advance, 200) >= 2);
        pm_workspace_control(c->one, NULL);
        pm_workspace_control(c->eight, NULL);
        pm_uniform_free(uniform);
        pm_sampler_free(sampler);
        pm_censored_free(censored);
        chain_free(c);
    }
}

static int32_t count(void *context) {
    (*(int64_t *)context)++;
    return 0;
}

/* About every million operations the clock is read; the caller is asked when 20 ms have passed, or when the clock went backwards. */
static void how_often(void) {
    int64_t asked = 0;
    pm_control control = {count, &asked, 0, 0, 0, 0, 0, 0.0};
    test_set_clock(1000, 0);
    for (int i = 0; i < 9; i++) { /* an odd number: the credit is full then */
        CHECK(!pm_stop(&control, 1000000));
    }
    CHECK_INT(asked, 1);
    test_set_clock(1001, 0);
    for (int i = 0; i < 1000; i++) {
        CHECK(!pm_stop(&control, 100));
    }
    CHECK_INT(asked, 1); /* too few operations for a look */
    CHECK(!pm_stop(&control, 1000000));
    CHECK_INT(asked, 2);
    test_set_clock(500, 0);
    CHECK(!pm_stop(&control, 2000000));
    CHECK_INT(asked, 3);
    test_set_clock(0, 1);
}

static void never(void) {
    pm_control control = {NULL, NULL, 0, 0, 0, 0, 0, 0.0};
    for (int i = 0; i < 10; i++) {
        CHECK(!pm_stop(&control, 10000000));
        CHECK(!pm_stop(NULL, 10000000));
    }
    CHECK_INT(pm_stopped(NULL), PM_OK);
    CHECK_INT(pm_stopped(&control), PM_OK);
    pm_stage(NULL, PM_STAGE_ORDER, 3);
    pm_stage(&control, PM_STAGE_TRIAL, 3);
    pm_done(&control, 2);
    CHECK(control.stage == PM_STAGE_TRIAL && control.done == 2 && control.total == 3);
}

static void a_yes_holds_until_it_is_taken_back(void) {
    restart(0);
    CHECK(pm_stop(&a.control, 1));
    CHECK(pm_stop(&a.control, 0));
    CHECK_INT(pm_stopped(&a.control), PM_E_STOPPED);
    CHECK_INT(a.asked, 1);
    a.control.stopped = 0;
    CHECK(!pm_stop(&a.control, 1));
    CHECK_INT(a.asked, 2);
}

int main(void) {
    RUN(how_often);
    RUN(never);
    RUN(a_yes_holds_until_it_is_taken_back);
    RUN(every_function);
    return test_end();
}
