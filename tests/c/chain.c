/* See chain.h. */
#include "chain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

chain *chain_new(int32_t n_vertices, int32_t n_params, int32_t discrete) {
    REQUIRE(n_vertices <= CHAIN_VERTICES && n_params <= CHAIN_PARAMS);
    chain *c = calloc(1, sizeof *c);
    REQUIRE(c != NULL);
    c->n_vertices = n_vertices;
    c->n_params = n_params;
    c->graph.discrete = discrete;
    return c;
}

static void release(chain *c) {
    pm_workspace_free(c->one);
    pm_workspace_free(c->eight);
    pm_plan_free(c->plan);
    pm_symbolic_free(c->symbolic);
    c->one = c->eight = NULL;
    c->plan = NULL;
    c->symbolic = NULL;
}

void chain_free(chain *c) {
    release(c);
    free(c);
}

/* Edges are kept sorted by source and target. */
void chain_edge(chain *c, int32_t from, int32_t to, double base, const double *coef) {
    int32_t at = 0;
    while (at < c->n_edges && (c->from[at] < from || (c->from[at] == from && c->to[at] < to))) {
        at++;
    }
    if (at == c->n_edges || c->from[at] != from || c->to[at] != to) {
        REQUIRE(c->n_edges < CHAIN_EDGES);
        for (int32_t i = c->n_edges++; i > at; i--) {
            c->from[i] = c->from[i - 1];
            c->to[i] = c->to[i - 1];
            c->base[i] = c->base[i - 1];
            memcpy(c->coef[i], c->coef[i - 1], sizeof c->coef[i]);
        }
        c->from[at] = from;
        c->to[at] = to;
        c->base[at] = 0.0;
        memset(c->coef[at], 0, sizeof c->coef[at]);
    }
    c->base[at] += base;
    for (int32_t j = 0; coef != NULL && j < c->n_params; j++) {
        c->coef[at][j] += coef[j];
    }
}

void chain_graph(chain *c) {
    memset(c->edge_ptr, 0, sizeof c->edge_ptr);
    int64_t terms = 0;
    for (int32_t e = 0; e < c->n_edges; e++) {
        c->edge_ptr[c->from[e] + 1]++;
        c->edge_target[e] = c->to[e];
        c->edge_slot[e] = e;
        c->affine_base[e] = c->base[e];
        c->affine_ptr[e] = terms;
        for (int32_t j = 0; j < c->n_params; j++) {
            if (c->coef[e][j] != 0.0) {
                c->affine_param[terms] = j;
                c->affine_coef[terms++] = c->coef[e][j];
            }
        }
    }
    c->affine_ptr[c->n_edges] = terms;
    for (int32_t v = 0; v < c->n_vertices; v++) {
        c->edge_ptr[v + 1] += c->edge_ptr[v];
    }
    pm_graph *g = &c->graph;
    g->n_vertices = c->n_vertices;
    g->n_params = c->n_params;
    g->n_affine = c->n_edges;
    g->n_program = 0;
    g->edge_ptr = c->edge_ptr;
    g->edge_target = c->edge_target;
    g->edge_slot = c->edge_slot;
    g->affine_base = c->affine_base;
    g->affine_ptr = c->affine_ptr;
    g->affine_param = c->affine_param;
    g->affine_coef = c->affine_coef;
    g->program_op = NULL;
    g->program_a = NULL;
    g->program_b = NULL;
    c->sizes.n_edges = c->n_edges;
    c->sizes.n_affine_terms = terms;
}

void chain_plan(chain *c) {
    release(c);
    chain_graph(c);
    REQUIRE(pm_symbolic_new(&c->graph, 0, 0, NULL, NULL, NULL, NULL, &c->symbolic, NULL) == PM_OK);
    pm_symbolic_pattern(c->symbolic, &c->pattern);
    c->n_lower = c->pattern.lower_ptr[c->pattern.n_rows];
    c->n_upper = c->pattern.upper_ptr[c->pattern.n_rows];
    REQUIRE(pm_plan_new(&c->graph, &c->sizes, &c->pattern, c->n_lower, c->n_upper, NULL, &c->plan, NULL) == PM_OK);
    REQUIRE(pm_workspace_new(c->plan, 1, &c->one) == PM_OK);
    REQUIRE(pm_workspace_new(c->plan, PM_LANES, &c->eight) == PM_OK);
}

chain *chain_erlang(int32_t n, double rate) {
    chain *c = chain_new(n + 2, 0, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    for (int32_t v = 1; v <= n; v++) {
        chain_edge(c, v, v + 1, rate, NULL);
    }
    chain_plan(c);
    return c;
}

chain *chain_birth_death(int32_t n, double up, double down) {
    chain *c = chain_new(n + 2, 0, 0);
    chain_edge(c, 0, n, 1.0, NULL);
    for (int32_t v = 1; v <= n; v++) {
        chain_edge(c, v, v == 1 ? n + 1 : v - 1, down, NULL);
        if (v < n) {
            chain_edge(c, v, v + 1, up, NULL);
        }
    }
    chain_plan(c);
    return c;
}

static void random_edge(chain *c, uint64_t *state, int32_t from, int32_t to, double scale) {
    double coef[CHAIN_PARAMS] = {0.0};
    double base = scale * (0.1 + random_unit(state));
    for (int32_t j = 0; j < c->n_params; j++) {
        if (random_below(state, 2) == 0) {
            coef[j] = scale * (0.1 + random_unit(state));
        }
    }
    if (c->n_params > 0 && random_below(state, 2) == 0) {
        base = coef[0] + coef[1] + coef[2] + coef[3] > 0.0 ? 0.0 : base;
    }
    chain_edge(c, from, to, base, coef);
}

chain *chain_random(uint64_t seed, int32_t n, int32_t n_absorbing, double density, int32_t n_params, int32_t discrete) {
    uint64_t state = seed * 2654435761u + 1;
    chain *c = chain_new(n + n_absorbing + 1, n_params, discrete);
    const double scale = discrete ? 0.9 / ((double)(n + n_absorbing) * 1.1 * (n_params + 1)) : 1.0;
    chain_edge(c, 0, 1, 0.25, NULL);
    chain_edge(c, 0, 1 + random_below(&state, n + n_absorbing), 0.5, NULL);
    for (int32_t v = 1; v <= n; v++) {
        random_edge(c, &state, v, v + 1, scale);
        for (int32_t w = 1; w <= n + n_absorbing; w++) {
            if (w != v && w != v + 1 && random_unit(&state) < density) {
                random_edge(c, &state, v, w, scale);
            }
        }
    }
    chain_plan(c);
    return c;
}

int32_t chain_transient(const chain *c, int32_t *number) {
    int32_t count = 0;
    for (int32_t v = 0; v < c->n_vertices; v++) {
        number[v] = v > 0 && c->edge_ptr[v] < c->edge_ptr[v + 1] ? count++ : -1;
    }
    return count;
}

double chain_weight(const chain *c, int32_t edge, const double *theta) {
    double w = c->base[edge];
    for (int32_t j = 0; j < c->n_params; j++) {
        w += c->coef[edge][j] * theta[j];
    }
    return w;
}

void chain_dense(const chain *c, const double *theta, long double *matrix, long double *alpha) {
    int32_t number[CHAIN_VERTICES];
    const int32_t m = chain_transient(c, number);
    long double total = 0.0L;
    for (int32_t i = 0; i < m * m; i++) {
        matrix[i] = 0.0L;
    }
    for (int32_t i = 0; i < m; i++) {
        alpha[i] = 0.0L;
    }
    for (int32_t e = 0; e < c->n_edges; e++) {
        const long double w = (long double)chain_weight(c, e, theta);
        const int32_t i = number[c->from[e]];
        const int32_t j = number[c->to[e]];
        if (c->from[e] == 0) {
            total += w;
            if (j >= 0) {
                alpha[j] = w;
            }
            continue;
        }
        matrix[i * m + i] += w;
        if (j >= 0) {
            matrix[i * m + j] -= w;
        }
    }
    for (int32_t i = 0; i < m; i++) {
        alpha[i] /= total;
    }
}

void dense_solve(int32_t m, const long double *matrix, int transposed, long double *b) {
    long double *a = calloc((size_t)(m * m) + 1, sizeof *a);
    REQUIRE(a != NULL);
    for (int32_t i = 0; i < m; i++) {
        for (int32_t j = 0; j < m; j++) {
            a[i * m + j] = transposed ? matrix[j * m + i] : matrix[i * m + j];
        }
    }
    for (int32_t i = 0; i < m; i++) {
        int32_t pivot = i;
        for (int32_t r = i + 1; r < m; r++) {
            pivot = fabsl(a[r * m + i]) > fabsl(a[pivot * m + i]) ? r : pivot;
        }
        for (int32_t j = 0; j < m; j++) {
            const long double t = a[i * m + j];
            a[i * m + j] = a[pivot * m + j];
            a[pivot * m + j] = t;
        }
        const long double t = b[i];
        b[i] = b[pivot];
        b[pivot] = t;
        for (int32_t r = i + 1; r < m; r++) {
            const long double f = a[r * m + i] / a[i * m + i];
            for (int32_t j = i; j < m; j++) {
                a[r * m + j] -= f * a[i * m + j];
            }
            b[r] -= f * b[i];
        }
    }
    for (int32_t i = m - 1; i >= 0; i--) {
        for (int32_t j = i + 1; j < m; j++) {
            b[i] -= a[i * m + j] * b[j];
        }
        b[i] /= a[i * m + i];
    }
    free(a);
}

void chain_moments(const chain *c, const double *theta, int32_t k, const double *rewards, double *out) {
    int32_t number[CHAIN_VERTICES];
    const int32_t m = chain_transient(c, number);
    long double *a = calloc((size_t)(m * m) + 1, sizeof *a);
    long double alpha[CHAIN_VERTICES];
    long double reward[CHAIN_VERTICES];
    long double *h = calloc((size_t)(k + 1) * CHAIN_VERTICES, sizeof *h);
    REQUIRE(a != NULL && h != NULL);
    chain_dense(c, theta, a, alpha);
    for (int32_t v = 0; v < c->n_vertices; v++) {
        if (number[v] >= 0) {
            reward[number[v]] = rewards == NULL ? 1.0L : (long double)rewards[v];
        }
    }
    for (int32_t i = 0; i < m; i++) {
        h[i] = 1.0L;
    }
    for (int32_t j = 1; j <= k; j++) {
        long double *x = h + (int64_t)j * CHAIN_VERTICES;
        for (int32_t i = 0; i < m; i++) {
            if (!c->graph.discrete) {
                x[i] = j * reward[i] * h[(int64_t)(j - 1) * CHAIN_VERTICES + i];
                continue;
            }
            /* Y = r + Y' with Y' from the next step on; the sum over absorption and all moves is 1 for the zeroth moment. */
            long double binomial = 1.0L;
            x[i] = 0.0L;
            for (int32_t q = 0; q < j; q++) {
                long double ahead = 1.0L;
                if (q > 0) {
                    binomial = binomial * (j - q + 1) / q;
                    ahead = h[(int64_t)q * CHAIN_VERTICES + i];
                    for (int32_t s = 0; s < m; s++) {
                        ahead -= a[i * m + s] * h[(int64_t)q * CHAIN_VERTICES + s];
                    }
                }
                x[i] += binomial * powl(reward[i], j - q) * ahead;
            }
        }
        dense_solve(m, a, 0, x);
        long double mean = 0.0L;
        for (int32_t i = 0; i < m; i++) {
            mean += alpha[i] * x[i];
        }
        out[j - 1] = (double)mean;
    }
    free(a);
    free(h);
}
