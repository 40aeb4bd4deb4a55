/* Small graphs for the tests of the core, and a dense, slow way to the same numbers. */
#ifndef CHAIN_H
#define CHAIN_H

#include "harness.h"
#include "pm_internal.h"

#define CHAIN_VERTICES 128
#define CHAIN_EDGES 4096
#define CHAIN_PARAMS 4

/* A graph with its arrays, its elimination, plan and workspaces. Each edge has a weight of its own: base + coef . theta. */
typedef struct chain {
    int32_t n_vertices;
    int32_t n_params;
    int32_t n_edges;
    int32_t from[CHAIN_EDGES];
    int32_t to[CHAIN_EDGES];
    double base[CHAIN_EDGES];
    double coef[CHAIN_EDGES][CHAIN_PARAMS];

    pm_graph graph;
    pm_graph_sizes sizes;
    int64_t edge_ptr[CHAIN_VERTICES + 1];
    int32_t edge_target[CHAIN_EDGES];
    int32_t edge_slot[CHAIN_EDGES];
    double affine_base[CHAIN_EDGES];
    int64_t affine_ptr[CHAIN_EDGES + 1];
    int32_t affine_param[CHAIN_EDGES * CHAIN_PARAMS];
    double affine_coef[CHAIN_EDGES * CHAIN_PARAMS];

    pm_symbolic *symbolic;
    pm_pattern pattern;
    int64_t n_lower;
    int64_t n_upper;
    pm_plan *plan;
    pm_workspace *one;   /* one lane */
    pm_workspace *eight; /* eight lanes */
} chain;

chain *chain_new(int32_t n_vertices, int32_t n_params, int32_t discrete);
void chain_free(chain *c);
/* Adds weight to the edge; coef (n_params) may be NULL. */
void chain_edge(chain *c, int32_t from, int32_t to, double base, const double *coef);
/* Edges into the arrays of c->graph; may be called again after more edges. */
void chain_graph(chain *c);
/* The same, and elimination, plan and workspaces. */
void chain_plan(chain *c);

/* n phases in a row with one rate each: from 1 to n, absorbed at n + 1. */
chain *chain_erlang(int32_t n, double rate);
/* Counts from 1 to n, up at rate `up`, down at rate `down`, absorbed below 1 (vertex n + 1); starts at n. Cyclic: one block. */
chain *chain_birth_death(int32_t n, double up, double down);
/*
 * Random: vertices 1..n transient, the rest absorbing; absorption is certain for theta > 0. In discrete chains the weights of
 * a vertex sum to less than one for theta <= 1.
 */
chain *chain_random(uint64_t seed, int32_t n, int32_t n_absorbing, double density, int32_t n_params, int32_t discrete);

/* Vertices that are not absorbing and not the start, by a fixed number each: number[v], or -1. Returns how many. */
int32_t chain_transient(const chain *c, int32_t *number);
double chain_weight(const chain *c, int32_t edge, const double *theta);
/* matrix (m, m) = D - W over the transient vertices, alpha (m) the initial probabilities. */
void chain_dense(const chain *c, const double *theta, long double *matrix, long double *alpha);
/* Solves in place by Gaussian elimination with pivoting: b becomes the solution; transposed: of the transposed system. */
void dense_solve(int32_t m, const long double *matrix, int transposed, long double *b);
/* Raw moments 1..k by dense algebra, rewards by vertex or NULL. Continuous or discrete. */
void chain_moments(const chain *c, const double *theta, int32_t k, const double *rewards, double *out);

#endif
