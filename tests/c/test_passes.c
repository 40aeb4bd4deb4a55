/* passes.c, scratch.c: both kinds of numbers give the same moments, adjoints and differences, within their bounds. */
#include <math.h>

#include "chain.h"

static const pm_asked asked = {0, NULL, NULL};

static void differences_are_within_their_bounds(void) {
    for (uint64_t seed = 0; seed < 80; seed++) {
        chain *c = chain_random(seed, 1 + (int32_t)(seed % 23), 1 + (int32_t)(seed % 2), 0.08 * (double)(seed % 8), 2, (int32_t)(seed % 3 == 2));
        uint64_t state = seed;
        const double theta[] = {pow(10.0, -12.0 * random_unit(&state)), pow(10.0, -12.0 * random_unit(&state))};
        double right[CHAIN_VERTICES];
        int32_t n_lanes = 0;
        pm_workspace *more = NULL;
        pm_scratch s;
        pm_scratch exact;
        REQUIRE(pm_factor_lanes(c->plan, c->one, 0, 1, theta, &asked, &n_lanes, NULL) == PM_OK);
        REQUIRE(pm_extended_factor(c->plan, c->one, 0, 0, theta, &more, NULL) == PM_OK);
        REQUIRE(pm_scratch_make(c->plan, c->one, 1, 1, &s) == PM_OK);
        REQUIRE(pm_scratch_make(c->plan, more, 1, 1, &exact) == PM_OK);
        for (int32_t i = 0; i < c->pattern.n_rows; i++) {
            right[i] = i + 1 == c->pattern.n_rows ? 0.0 : random_unit(&state);
            c->one->y[i] = right[i];
            more->y[2 * i] = right[i];
            more->y[2 * i + 1] = 0.0;
        }
        pm_kernels_for(c->one)->differences(c->plan, c->one, &s.d, c->one->y);
        pm_kernels_for(more)->differences(c->plan, more, &exact.d, more->y);
        for (int32_t i = 0; i < c->pattern.n_rows; i++) {
            c->one->y[i] = right[i];
            CHECK_CLOSE(s.d.value[i], pm_value(more, exact.d.value, i), 1e-13);
        }
        pm_kernels_for(c->one)->solve(c->plan, c->one, c->one->y, c->one->x);
        for (int32_t i = 0; i < c->pattern.n_rows; i++) {
            CHECK_CLOSE(s.d.value[i], c->one->x[i], 1e-13);
        }
        for (int32_t e = 0; e < c->n_edges; e++) {
            const double truth = pm_value(more, exact.d.edge, e);
            CHECK(fabs(s.d.edge[e] - truth) <= s.d.edge_bound[e] + exact.d.edge_bound[e]);
            CHECK(exact.d.edge_bound[e] <= 1e-13 * s.d.edge_bound[e]);
        }
        pm_scratch_release(&s);
        pm_scratch_release(&exact);
        chain_free(c);
    }
}

/* Variances from every vertex on, beside those of the chain started there. */
static void variances_from_every_vertex(void) {
    chain *c = chain_birth_death(9, 0.25, 1.0);
    int32_t n_lanes = 0;
    pm_scratch s;
    double bound[CHAIN_VERTICES];
    REQUIRE(pm_factor_lanes(c->plan, c->one, 0, 1, NULL, &asked, &n_lanes, NULL) == PM_OK);
    REQUIRE(pm_scratch_make(c->plan, c->one, 1, 1, &s) == PM_OK);
    pm_passes_for(c->one)->right_side(c->plan, c->one, 1, NULL, s.x, s.ahead, c->one->y);
    pm_kernels_for(c->one)->differences(c->plan, c->one, &s.d, c->one->y);
    pm_passes_for(c->one)->variances(c->plan, c->one, &s.d, NULL, c->one->x, bound);
    for (int32_t v = 1; v <= 9; v++) {
        double moments[2 * CHAIN_VERTICES];
        REQUIRE(pm_vertex_moments(c->plan, c->eight, 1, NULL, 2, NULL, NULL, moments, NULL) == PM_OK);
        const double expected = moments[c->n_vertices + v] - moments[v] * moments[v];
        const double found = c->one->x[c->plan->position[v]];
        CHECK_CLOSE(found, expected, 1e-11);
        CHECK(bound[c->plan->position[v]] < 1e-12 * found);
    }
    pm_scratch_release(&s);
    chain_free(c);
}

int main(void) {
    RUN(differences_are_within_their_bounds);
    RUN(variances_from_every_vertex);
    return test_end();
}
