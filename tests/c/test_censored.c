/* censored.c: the chain watched in some vertices spends the same time in them. */
#include "chain.h"

static void sojourn_is_kept(void) {
    uint64_t state = 1;
    for (uint64_t seed = 0; seed < 60; seed++) {
        chain *c = chain_random(seed, 2 + (int32_t)(seed % 14), 1 + (int32_t)(seed % 2), 0.05 * (double)(seed % 10), 1, 0);
        uint8_t keep[CHAIN_VERTICES];
        for (int32_t v = 0; v < c->n_vertices; v++) {
            keep[v] = (uint8_t)(seed == 0 ? 0 : seed == 1 ? 1 : random_below(&state, 2));
        }
        pm_censored *watched = NULL;
        REQUIRE(pm_censored_new(c->plan, keep, NULL, &watched, NULL) == PM_OK);
        int32_t n_rows = 0;
        const int32_t *vertices = NULL;
        const int64_t *edge_ptr = NULL;
        const int32_t *edge_target = NULL;
        pm_censored_edges(watched, &n_rows, &vertices, &edge_ptr, &edge_target);
        const double theta[] = {0.3, 2.0};
        double *weights = pm_alloc(2 * edge_ptr[n_rows], sizeof *weights);
        double sojourn[2 * CHAIN_VERTICES];
        REQUIRE(weights != NULL);
        CHECK_INT(pm_censored_weights(c->plan, c->one, watched, 2, theta, weights, NULL), PM_OK);
        CHECK_INT(pm_sojourn(c->plan, c->one, 2, theta, sojourn, NULL), PM_OK);
        CHECK_INT(vertices[0], 0);
        for (int t = 0; t < 2; t++) {
            /* The censored chain as a graph of its own: vertex r is row r, absorption the last. */
            chain *own = chain_new(n_rows + 1, 0, 0);
            for (int32_t r = 0; r < n_rows; r++) {
                CHECK(r == 0 || vertices[r - 1] < vertices[r]);
                CHECK(r == 0 || keep[vertices[r]]);
                for (int64_t e = edge_ptr[r]; e < edge_ptr[r + 1]; e++) {
                    const double w = weights[t * edge_ptr[n_rows] + e];
                    CHECK(edge_target[e] > 0 && edge_target[e] <= n_rows && edge_target[e] != r);
                    CHECK(e == edge_ptr[r] || edge_target[e - 1] < edge_target[e]);
                    if (w > 0.0) {
                        chain_edge(own, r, edge_target[e], w, NULL);
                    }
                }
            }
            chain_plan(own);
            double there[CHAIN_VERTICES];
            CHECK_INT(pm_sojourn(own->plan, own->one, 1, NULL, there, NULL), PM_OK);
            for (int32_t r = 1; r < n_rows; r++) {
                CHECK_CLOSE(there[r], sojourn[t * c->n_vertices + vertices[r]], 1e-13);
            }
            chain_free(own);
        }
        int32_t kept = 0;
        for (int32_t v = 1; v < c->n_vertices; v++) {
            kept += keep[v] && c->edge_ptr[v] < c->edge_ptr[v + 1];
        }
        CHECK_INT(n_rows, kept + 1);
        chain_free(c);
        pm_censored_free(watched);
        test_free(weights);
    }
}

static void refused(void) {
    const double one[] = {1.0};
    chain *c = chain_new(4, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 1.0, NULL);
    chain_edge(c, 2, 3, 0.0, one);
    chain_plan(c);
    const uint8_t keep[] = {0, 1, 0, 0};
    pm_censored *watched = NULL;
    REQUIRE(pm_censored_new(c->plan, keep, NULL, &watched, NULL) == PM_OK);
    double out[8];
    pm_where where;
    const double theta[] = {1.0, 1.0, -1.0};
    CHECK_INT(pm_censored_weights(c->plan, c->eight, watched, 1, theta, out, &where), PM_E_ARGUMENT);
    CHECK_INT(pm_censored_weights(c->plan, c->one, watched, 1, theta + 2, out, &where), PM_E_NEGATIVE);
    CHECK_INT(pm_censored_weights(c->plan, c->one, watched, 1, theta, out, &where), PM_OK);
    pm_censored_free(watched);
    pm_censored_free(NULL);
    chain_free(c);
}

/* Edge from row `from` to row `to` of the censored chain. */
static double between(const pm_censored *watched, const double *weights, int32_t from, int32_t to) {
    int32_t n_rows = 0;
    const int32_t *vertices = NULL;
    const int64_t *edge_ptr = NULL;
    const int32_t *edge_target = NULL;
    pm_censored_edges(watched, &n_rows, &vertices, &edge_ptr, &edge_target);
    for (int64_t e = edge_ptr[from]; e < edge_ptr[from + 1]; e++) {
        if (edge_target[e] == to) {
            return weights[e];
        }
    }
    return -1.0;
}

/* 1 -> 6 (absorbing) at rate 1, 1 -> 2 at rate 2, 2 <-> 3 at rate 1; 3 -> 1 and 3 -> 4 at rate x, 4 <-> 5, 5 -> 6 at rate y. */
static void a_trap_counts_as_absorption(void) {
    const double x[] = {1.0, 0.0};
    const double y[] = {0.0, 1.0};
    chain *c = chain_new(7, 2, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 6, 1.0, NULL);
    chain_edge(c, 1, 2, 2.0, NULL);
    chain_edge(c, 2, 3, 1.0, NULL);
    chain_edge(c, 3, 2, 1.0, NULL);
    chain_edge(c, 3, 1, 0.0, x);
    chain_edge(c, 3, 4, 0.0, x);
    chain_edge(c, 4, 5, 1.0, NULL);
    chain_edge(c, 5, 4, 1.0, NULL);
    chain_edge(c, 5, 6, 0.0, y);
    chain_plan(c);
    const uint8_t keep[] = {0, 1, 0, 0, 0, 1, 0};
    pm_censored *watched = NULL;
    REQUIRE(pm_censored_new(c->plan, keep, NULL, &watched, NULL) == PM_OK);
    const double theta[][2] = {{0.0, 1.0}, {1.0, 0.0}, {1.0, 1.0}, {0.0, 0.0}};
    double out[32];
    /* Rows: 0 the start, 1, 2 (vertex 5), 3 absorption. */
    const double lost[] = {3.0, 1.0, 1.0, 3.0};
    const double onward[] = {0.0, 1.0, 1.0, 0.0};
    for (int t = 0; t < 4; t++) {
        CHECK_INT(pm_censored_weights(c->plan, c->one, watched, 1, theta[t], out, NULL), PM_OK);
        CHECK(between(watched, out, 0, 1) == 1.0);
        CHECK_CLOSE(between(watched, out, 1, 3), lost[t], 1e-15);
        CHECK_CLOSE(between(watched, out, 1, 2), onward[t], 1e-15);
        CHECK(between(watched, out, 2, 3) == theta[t][1]); /* a trap in which 5 is watched is none to censoring */
    }
    pm_censored_free(watched);
    chain_free(c);
}

int main(void) {
    RUN(sojourn_is_kept);
    RUN(refused);
    RUN(a_trap_counts_as_absorption);
    return test_end();
}
