/* See same_bits.h. */
#include "same_bits.h"

#include <stdlib.h>
#include <string.h>

#include "pm_core.h"

enum { MAX_RESULTS = 40000, MAX_VERTICES = 48, MAX_EDGES = 1024, MAX_TERMS = 4 * MAX_EDGES, N_PARAMS = 3, N_THETA = 9 };

static double results[2][MAX_RESULTS];
static int32_t n_results[2];

static double *room(int32_t kind, int32_t n) {
    if (n_results[kind] + n > MAX_RESULTS) {
        abort();
    }
    double *at = results[kind] + n_results[kind];
    n_results[kind] += n;
    return at;
}

int32_t same_bits_count(int32_t kind) { return n_results[kind]; }
const double *same_bits_values(int32_t kind) { return results[kind]; }

/* ---- chains ---------------------------------------------------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea and Flood 2014). */
static uint64_t random_state;

static uint64_t random_next(void) {
    random_state += 0x9e3779b97f4a7c15u;
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int32_t below(int32_t n) { return (int32_t)(random_next() % (uint64_t)n); }
static double unit(void) { return (double)((random_next() >> 11) + 1) / 9007199254740992.0; }

typedef struct arrays {
    int64_t edge_ptr[MAX_VERTICES + 1];
    int32_t edge_target[MAX_EDGES];
    int32_t edge_slot[MAX_EDGES];
    double affine_base[MAX_EDGES];
    int64_t affine_ptr[MAX_EDGES + 1];
    int32_t affine_param[MAX_TERMS];
    double affine_coef[MAX_TERMS];
    uint8_t program_op[MAX_EDGES];
    int32_t program_a[MAX_EDGES];
    int32_t program_b[MAX_EDGES];
    pm_graph graph;
    pm_graph_sizes sizes;
} arrays;

static arrays chain;

/* The weight base + coef . theta as a new slot. */
static int32_t affine(double base, const double *coef) {
    pm_graph *g = &chain.graph;
    const int32_t slot = g->n_affine++;
    chain.affine_base[slot] = base;
    for (int32_t j = 0; j < N_PARAMS; j++) {
        if (coef[j] != 0.0) {
            chain.affine_param[chain.sizes.n_affine_terms] = j;
            chain.affine_coef[chain.sizes.n_affine_terms++] = coef[j];
        }
    }
    chain.affine_ptr[g->n_affine] = chain.sizes.n_affine_terms;
    return slot;
}

static void edge(int32_t target, int32_t slot) {
    chain.edge_target[chain.sizes.n_edges] = target;
    chain.edge_slot[chain.sizes.n_edges++] = slot;
}

static void begin(int32_t n_vertices, int32_t discrete) {
    memset(&chain, 0, sizeof chain);
    chain.graph = (pm_graph){.n_vertices = n_vertices, .n_params = N_PARAMS, .discrete = discrete,
                             .edge_ptr = chain.edge_ptr, .edge_target = chain.edge_target, .edge_slot = chain.edge_slot,
                             .affine_base = chain.affine_base, .affine_ptr = chain.affine_ptr, .affine_param = chain.affine_param,
                             .affine_coef = chain.affine_coef, .program_op = chain.program_op, .program_a = chain.program_a,
                             .program_b = chain.program_b};
}

/*
 * Vertices 1..n in a random strongly connected pattern, the last vertex absorbs. scale: of all weights. Products and quotients of
 * weights become operations; in discrete chains a quotient by a larger sum keeps probabilities below one.
 */
static void random_chain(int32_t n, int32_t discrete) {
    begin(n + 2, discrete);
    const double scale = discrete ? 0.5 / ((double)n * 12.0) : 1.0;
    const double none[N_PARAMS] = {0.0, 0.0, 0.0};
    int32_t slots[16];
    for (int32_t i = 0; i < 16; i++) {
        double coef[N_PARAMS];
        for (int32_t j = 0; j < N_PARAMS; j++) {
            coef[j] = below(2) == 0 ? 0.0 : scale * unit();
        }
        slots[i] = affine(scale * unit(), coef);
    }
    const int32_t half = affine(0.5, none);
    const int32_t n_affine = chain.graph.n_affine;
    for (int32_t i = 0; i < 8; i++) {
        const int32_t a = slots[below(16)];
        chain.program_op[i] = (uint8_t)(i % 3 == 0 ? PM_OP_ADD : PM_OP_MUL);
        chain.program_a[i] = a;
        chain.program_b[i] = i % 3 == 0 ? slots[below(16)] : half;
    }
    /* a / (a + b) of the sums above, times a weight: below that weight. */
    chain.program_op[8] = PM_OP_DIV;
    chain.program_a[8] = slots[1];
    chain.program_b[8] = n_affine;
    chain.program_op[9] = PM_OP_MUL;
    chain.program_a[9] = half;
    chain.program_b[9] = slots[2];
    chain.graph.n_program = 10;
    edge(1, half);
    if (n > 1) {
        edge(2, half);
    }
    chain.edge_ptr[1] = chain.sizes.n_edges;
    for (int32_t v = 1; v <= n; v++) {
        for (int32_t w = 1; w <= n + 1; w++) {
            const int needed = w == v % n + 1 || (w == n + 1 && v == n);
            if (w != v && (needed || below(4) == 0)) {
                const int32_t pick = below(23);
                edge(w, pick < 15 ? slots[pick] : n_affine + (pick == 22 ? 9 : pick - 15));
            }
        }
        chain.edge_ptr[v + 1] = chain.sizes.n_edges;
    }
    chain.edge_ptr[n + 2] = chain.sizes.n_edges;
}

/* n components that fail at rate theta[0] each and are repaired at rate theta[1] each, absorbed when all are down. */
static void repairable(int32_t n) {
    begin(n + 2, 0);
    const double none[N_PARAMS] = {0.0, 0.0, 0.0};
    edge(n, affine(1.0, none));
    chain.edge_ptr[1] = chain.sizes.n_edges;
    for (int32_t up = 1; up <= n; up++) {
        const double fail[N_PARAMS] = {(double)up, 0.0, 0.0};
        const double repair[N_PARAMS] = {0.0, (double)(n - up), 0.0};
        if (up > 1) {
            edge(up - 1, affine(0.0, fail));
        }
        if (up < n) {
            edge(up + 1, affine(0.0, repair));
        }
        if (up == 1) {
            edge(n + 1, affine(0.0, fail));
        }
        chain.edge_ptr[up + 1] = chain.sizes.n_edges;
    }
    chain.edge_ptr[n + 2] = chain.sizes.n_edges;
}

/* ---- results --------------------------------------------------------------------------------------------------------- */

typedef struct prepared {
    pm_symbolic *symbolic;
    pm_plan *plan;
    pm_workspace *one;
    pm_workspace *eight;
    pm_uniform *uniform;
    pm_where where;
} prepared;

static int prepare(prepared *p) {
    pm_pattern pattern;
    memset(p, 0, sizeof *p);
    int status = pm_graph_check(&chain.graph, &chain.sizes, &p->where);
    if (status == PM_OK) {
        status = pm_symbolic_new(&chain.graph, 0, 0, NULL, NULL, NULL, NULL, &p->symbolic, &p->where);
    }
    if (status == PM_OK) {
        pm_symbolic_pattern(p->symbolic, &pattern);
        status = pm_plan_new(&chain.graph, &chain.sizes, &pattern, pattern.lower_ptr[pattern.n_rows], pattern.upper_ptr[pattern.n_rows],
                             NULL, &p->plan, &p->where);
    }
    if (status == PM_OK) {
        status = pm_workspace_new(p->plan, 1, &p->one);
    }
    if (status == PM_OK) {
        status = pm_workspace_new(p->plan, 8, &p->eight);
    }
    if (status == PM_OK) {
        status = pm_uniform_new(p->plan, &p->uniform);
    }
    return status;
}

static void release(prepared *p) {
    pm_uniform_free(p->uniform);
    pm_workspace_free(p->one);
    pm_workspace_free(p->eight);
    pm_plan_free(p->plan);
    pm_symbolic_free(p->symbolic);
}

/* Elimination and what follows from it: one theta, and all of them in groups of eight. */
static int moments(prepared *p, const double *theta, const double *rewards) {
    const int32_t n = chain.graph.n_vertices;
    int status = pm_moments(p->plan, p->one, 1, theta, 4, NULL, room(SAME_BITS_EXACT, 4), &p->where);
    if (status == PM_OK) {
        status = pm_moments(p->plan, p->eight, N_THETA, theta, 3, rewards, room(SAME_BITS_EXACT, 3 * N_THETA), &p->where);
    }
    if (status == PM_OK) {
        status = pm_sojourn(p->plan, p->one, 1, theta, room(SAME_BITS_EXACT, n), &p->where);
    }
    double *mean = room(SAME_BITS_EXACT, 2);
    double *covariance = room(SAME_BITS_EXACT, 4);
    if (status == PM_OK) {
        status = pm_covariance(p->plan, p->one, 1, theta, 2, rewards, mean, covariance, &p->where);
    }
    if (status == PM_OK) {
        status = pm_vertex_variance(p->plan, p->eight, 2, theta, NULL, NULL, room(SAME_BITS_EXACT, 2 * n), &p->where);
    }
    double *value = room(SAME_BITS_EXACT, 4);
    double *grad = room(SAME_BITS_EXACT, 4 * N_PARAMS);
    if (status == PM_OK) {
        status = pm_moments_grad(p->plan, p->one, 2, theta, 2, rewards, value, grad, &p->where);
    }
    return status;
}

static int densities(prepared *p, const double *theta) {
    const int32_t kind = SAME_BITS_LIBRARY;
    double times[4] = {1.0, 3.0, 10.0, 40.0};
    if (!chain.graph.discrete) {
        times[0] = 0.125;
    }
    /* Arguments are evaluated in any order, so the places are taken before. */
    double *pdf = room(kind, 8);
    double *cdf = room(kind, 8);
    double *sf = room(kind, 8);
    double *value = room(kind, 4);
    double *grad = room(kind, 4 * N_PARAMS);
    int status = pm_uniform_eval(p->plan, p->one, p->uniform, 2, theta, NULL, NULL, 4, times, 1e-12, 100000000, pdf, cdf, sf, &p->where);
    if (status == PM_OK) {
        status = pm_uniform_grad(p->plan, p->one, p->uniform, 1, theta, 4, times, 1e-12, 100000000, value, grad, &p->where);
    }
    return status;
}

/* The chain at hand, at parameters around `middle`. */
static int evaluate(const double *middle, int with_densities) {
    double theta[N_THETA * N_PARAMS];
    double rewards[2 * MAX_VERTICES];
    for (int32_t i = 0; i < N_THETA * N_PARAMS; i++) {
        theta[i] = middle[i % N_PARAMS] * (0.5 + unit());
    }
    for (int32_t i = 0; i < 2 * chain.graph.n_vertices; i++) {
        rewards[i] = below(3) == 0 ? 0.0 : unit();
    }
    prepared p;
    int status = prepare(&p);
    if (status == PM_OK) {
        status = moments(&p, theta, rewards);
    }
    if (status == PM_OK && with_densities) {
        status = densities(&p, theta);
    }
    release(&p);
    return status;
}

int32_t same_bits_run(void) {
    const double mild[N_PARAMS] = {1.0, 0.3, 2.0};
    /* Absorption is rare: digits are lost, and double-double arithmetic takes over. */
    const double rare[N_PARAMS] = {1e-7, 1.0, 1.0};
    int status = PM_OK;
    n_results[0] = n_results[1] = 0;
    random_state = 20261128;
    for (int32_t n = 1; n <= 41 && status == PM_OK; n += 5) {
        for (int32_t discrete = 0; discrete < 2 && status == PM_OK; discrete++) {
            random_chain(n, discrete);
            status = evaluate(mild, 1);
        }
    }
    for (int32_t n = 2; n <= 10 && status == PM_OK; n += 4) {
        repairable(n);
        status = evaluate(mild, 1);
        if (status == PM_OK) {
            status = evaluate(rare, 0);
        }
    }
    return status;
}
