/*
 * plan.c, workspace.c, moments.c, gradient.c, covariance.c, sweep.c, uniform_grad.c, sample.c: several threads use one plan and one
 * sampler at a time, each with scratch of its own. Meant for ThreadSanitizer (c_runner.py --sanitize thread); results are the same bits
 * as those of one thread with any compiler.
 */
#include <pthread.h>
#include <string.h>

#include "chain.h"

enum { P = 3, K = 3, THREADS = 4, ROUNDS = 6, THETAS = 11, TIMES = 5, DRAWS = 40, REWARDS = 2 };

typedef struct answers {
    int status[8];
    double moments[THETAS][K];
    double gradient[THETAS][K][P];
    double mean[THETAS][REWARDS];
    double covariance[THETAS][REWARDS][REWARDS];
    double joint[THETAS];
    double sojourn[THETAS][CHAIN_VERTICES];
    double pdf[TIMES];
    double cdf[TIMES];
    double sf[TIMES];
    double density[TIMES];
    double slope[TIMES][P];
    double draws[DRAWS];
} answers;

typedef struct job {
    const chain *c;
    const pm_sampler *sampler;
    const double *theta;
    const double *rewards;
    int made;
    answers found;
} job;

static const double times[TIMES] = {0.0, 1.0, 3.0, 10.0, 40.0};

static void ask(job *j, pm_workspace *one, pm_workspace *eight, pm_uniform *uniform) {
    const chain *c = j->c;
    answers *a = &j->found;
    memset(a, 0, sizeof *a);
    a->status[0] = pm_moments_grad(c->plan, eight, THETAS, j->theta, K, j->rewards, a->moments[0], a->gradient[0][0], NULL);
    a->status[1] = pm_covariance(c->plan, eight, THETAS, j->theta, REWARDS, j->rewards, a->mean[0], a->covariance[0][0], NULL);
    a->status[2] = pm_joint_moment(c->plan, one, THETAS, j->theta, REWARDS, j->rewards, a->joint, NULL);
    a->status[3] = pm_sojourn(c->plan, eight, THETAS, j->theta, a->sojourn[0], NULL);
    a->status[4] = pm_uniform_eval(c->plan, one, uniform, 1, j->theta, NULL, TIMES, times, 1e-12, 1000000, a->pdf, a->cdf, a->sf, NULL);
    a->status[5] = pm_uniform_grad(c->plan, one, uniform, 1, j->theta, TIMES, times, 1e-12, 1000000, a->density, a->slope[0], NULL);
    a->status[6] = pm_sampler_draw(c->plan, j->sampler, 17, 0, DRAWS, 1000000, NULL, a->draws, NULL);
    a->status[7] = pm_moments(c->plan, one, THETAS, j->theta, K, j->rewards, a->moments[0], NULL);
}

static void *work(void *argument) {
    job *j = argument;
    pm_workspace *one = NULL;
    pm_workspace *eight = NULL;
    pm_uniform *uniform = NULL;
    j->made = pm_workspace_new(j->c->plan, 1, &one) == PM_OK && pm_workspace_new(j->c->plan, 8, &eight) == PM_OK
              && pm_uniform_new(j->c->plan, &uniform) == PM_OK;
    for (int round = 0; j->made && round < ROUNDS; round++) {
        ask(j, one, eight, uniform);
    }
    pm_uniform_free(uniform);
    pm_workspace_free(eight);
    pm_workspace_free(one);
    return NULL;
}

static void together(uint64_t seed, int discrete) {
    chain *c = chain_random(seed, 12, 2, 0.3, P, discrete);
    uint64_t state = seed;
    double theta[THETAS][P];
    double rewards[REWARDS][CHAIN_VERTICES];
    memset(rewards, 0, sizeof rewards);
    for (int i = 0; i < THETAS; i++) {
        for (int p = 0; p < P; p++) {
            theta[i][p] = random_unit(&state) * 0.5 + 0.25;
        }
    }
    /* (REWARDS, n_vertices) without gaps. */
    for (int32_t v = 0; v < REWARDS * c->n_vertices; v++) {
        rewards[0][v] = (double)random_below(&state, 3);
    }
    pm_sampler *sampler = NULL;
    REQUIRE(pm_sampler_new(c->plan, &sampler) == PM_OK);
    REQUIRE(pm_sampler_set(c->plan, c->one, sampler, theta[0], NULL) == PM_OK);

    static job jobs[THREADS + 1];
    pthread_t threads[THREADS];
    for (int t = 0; t <= THREADS; t++) {
        jobs[t] = (job){.c = c, .sampler = sampler, .theta = theta[0], .rewards = rewards[0]};
    }
    work(&jobs[THREADS]);
    for (int t = 0; t < THREADS; t++) {
        REQUIRE(pthread_create(&threads[t], NULL, work, &jobs[t]) == 0);
    }
    for (int t = 0; t < THREADS; t++) {
        REQUIRE(pthread_join(threads[t], NULL) == 0);
    }
    for (int s = 0; s < 8; s++) {
        CHECK_INT(jobs[THREADS].found.status[s], PM_OK);
    }
    for (int t = 0; t < THREADS; t++) {
        CHECK(jobs[t].made);
        CHECK(memcmp(&jobs[t].found, &jobs[THREADS].found, sizeof(answers)) == 0);
    }
    pm_sampler_free(sampler);
    chain_free(c);
}

static void continuous(void) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
        together(seed, 0);
    }
}

static void discrete(void) {
    for (uint64_t seed = 1; seed <= 3; seed++) {
        together(seed, 1);
    }
}

int main(void) {
    RUN(continuous);
    RUN(discrete);
    return test_end();
}
