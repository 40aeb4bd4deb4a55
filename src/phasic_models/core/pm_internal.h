/* Shared by the core's own files; nothing here is public. */
#ifndef PM_INTERNAL_H
#define PM_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "pm_core.h"

#define PM_LANES 8

#if defined(_MSC_VER)
#define PM_RESTRICT __restrict
#else
#define PM_RESTRICT restrict
#endif

/* calloc-like helpers that return NULL on overflow as well as on exhaustion. Size 0 gives a valid pointer. */
void *pm_alloc(int64_t count, size_t size);
void *pm_alloc_zero(int64_t count, size_t size);
/* 64-byte aligned doubles, for the lanes; freed by pm_free_aligned. */
double *pm_alloc_aligned(int64_t count);
void pm_free_aligned(double *p);

void pm_at(pm_where *where, int64_t a, int64_t b, double value);

/* Strongly connected components of the vertices that have out-edges (components.c). */
int pm_components(const pm_graph *graph, int32_t *n_rows, int32_t *n_blocks, int32_t *order, int32_t *block_ptr);

/* One block of the elimination, with local numbers 0..n-1 (order.c). Rows are sorted and hold no self-loops. */
typedef struct pm_block {
    int32_t root; /* a vertex where the block is entered */
    int32_t n;
    const int32_t *row_ptr;
    const int32_t *row_col;
} pm_block;

/* Chooses an order of the block: order[position] = local number. */
int pm_block_order(const pm_block *block, int32_t *order, int32_t *kind);

/* The fill pattern of a block in a given order (fill.c); arrays are allocated here and owned by the caller. */
typedef struct pm_fill {
    int64_t n_lower;
    int64_t n_upper;
    int64_t *lower_ptr;
    int32_t *lower_col;
    int64_t *upper_ptr;
    int32_t *upper_col;
    int64_t operations;
} pm_fill;

/*
 * Eliminates the first n_eliminate positions (block->n for all). PM_E_LIMIT if more than `limit` operations are needed (then
 * nothing is allocated). limit < 0: no limit.
 */
int pm_block_fill(const pm_block *block, const int32_t *order, int32_t n_eliminate, int64_t limit, pm_fill *out);
void pm_fill_release(pm_fill *fill);

struct pm_plan {
    pm_graph graph;
    pm_pattern pattern;
    int64_t n_edges;
    int64_t n_lower;
    int64_t n_upper;
    int64_t operations;
    int32_t n_slots;
    int32_t n_transient;     /* rows without the starting vertex */
    int32_t *position;       /* vertex -> row, -1 if absorbing */
    int32_t *edge_row;       /* edge -> row of its target, -1 if absorbing */
    int32_t max_block;       /* rows of the largest block */
    int64_t *dense_from;     /* row -> index into upper_col from where the columns are consecutive */
    int64_t *edge_start;     /* row -> edges of its vertex */
    int64_t *edge_end;
    uint8_t *slot_used;      /* slot is the weight of an edge */
};

/*
 * Lane-interleaved arrays: entry i of lane l stands at [i * lanes + l].
 * slot: weights; lower, upper: multipliers and reduced rates; exit: rates out of the block; pivot: total rate left at
 * elimination; total: total rate of the vertex; acc: one row while it is eliminated; x, y: solutions and right-hand sides.
 */
struct pm_workspace {
    int32_t lanes;
    double *memory;
    double *theta;
    double *slot;
    double *lower;
    double *upper;
    double *exit;
    double *pivot;
    double *total;
    double *stay;            /* discrete graphs: probability to stay in a row, rounding carried */
    double *acc;
    double *x;
    double *y;
    double *z;
    double *slot_bar;
    uint32_t failed;         /* lanes in which a pivot could not be divided by */
    uint8_t *bad;            /* by row: bit mask of the lanes in which its pivot could not be divided by, and is 1 with exit 1 */
    uint8_t *seen;           /* n_vertices, for reachability: PM_REACHED, ... */
    int32_t *stack;
    int64_t *in_ptr;         /* edges by target, NULL until they are needed */
    int32_t *in_from;
    int32_t *in_slot;
};

/* weights.c: fills theta and slot for lanes (padded with the last theta) and checks the weights. */
int pm_load_theta(const pm_plan *plan, pm_workspace *ws, int64_t first, int64_t n_theta, const double *theta, pm_where *where);
/* weights.c: adds the gradient of sum(slot_bar * slot) to grad (lane l, parameter j at [l * n_params + j]). */
void pm_weights_pullback(const pm_plan *plan, pm_workspace *ws, double *grad);
/* What is asked of a chain whose absorption may be uncertain. */
typedef struct pm_asked {
    int32_t n_rewards;       /* 0: nothing that a trap makes infinite */
    const double *rewards;   /* (n_rewards, n_vertices) or NULL for ones */
    const double *mass;      /* (n_vertices): where the process may be at first; NULL for the starting vertex */
} pm_asked;

/* Marks of reach.c in ws->seen. */
#define PM_REACHED 1         /* along positive weights */
#define PM_LEAVES 2          /* an absorbing vertex can be reached from it */
#define PM_TRAP 4            /* reached, and in a closed class: visited again and again, for ever */
#define PM_EARNING 8         /* pm_mark_earning */

/*
 * reach.c: asked of the lanes in which a pivot failed. PM_E_INFINITE if a vertex of a trap has a positive reward, PM_E_OVERFLOW if a
 * pivot has left the range of a double. Otherwise the sums asked for are finite, zero from every vertex of a trap on, and the
 * elimination serves; ws->seen holds the marks of the lane.
 */
int pm_check_absorption(const pm_plan *plan, pm_workspace *ws, int32_t lane, int64_t theta_index, const pm_asked *asked,
                        pm_where *where);
/* reach.c: after pm_check_absorption; PM_E_INFINITE unless the moments have derivatives by all weights, those of zero included. */
int pm_check_derivative(const pm_plan *plan, pm_workspace *ws, int32_t lane, int64_t theta_index, const pm_asked *asked,
                        pm_where *where);
/* reach.c: after pm_check_absorption; marks the vertices of the traps in which a reward, (n_vertices) or NULL for ones, is earned. */
void pm_mark_earning(const pm_plan *plan, pm_workspace *ws, int32_t lane, const double *rewards);

/* A pivot must be finite and have all its digits. */
#define PM_USABLE(pivot) ((pivot) >= 2.2250738585072014e-308 && (pivot) <= 1.7976931348623157e308)

/* The numeric kernels, one table per instruction set; all give the same bits. */
typedef struct pm_kernels {
    /* Returns a bit mask of the lanes in which a pivot was not usable. */
    uint32_t (*factor)(const pm_plan *plan, pm_workspace *ws);
    /* A x = y, y destroyed. */
    void (*solve)(const pm_plan *plan, const pm_workspace *ws, double *y, double *x);
    /* A' z = b for b nonzero at the starting vertex only, where it is 1: expected sojourn; t is scratch. */
    void (*solve_transposed)(const pm_plan *plan, const pm_workspace *ws, double *b, double *z);
} pm_kernels;

const pm_kernels *pm_kernels_for(int32_t lanes);
extern const pm_kernels pm_kernels_1;
extern const pm_kernels pm_kernels_8;
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define PM_HAVE_X86_KERNELS 1
extern const pm_kernels pm_kernels_1_avx2;
extern const pm_kernels pm_kernels_8_avx2;
extern const pm_kernels pm_kernels_8_avx512;
#endif

/*
 * batch.c: loads, factors and checks the lanes that start at theta `first`; *n_lanes of them are real. Sets ws->failed and, where
 * it is not zero, ws->seen for the last of these lanes.
 */
int pm_factor_lanes(const pm_plan *plan, pm_workspace *ws, int64_t first, int64_t n_theta, const double *theta,
                    const pm_asked *asked, int32_t *n_lanes, pm_where *where);

/* weights.c: one minus the sum of the weights of a row over scale, with the rounding of the sum carried along; never negative. */
double pm_one_minus(const pm_plan *p, const pm_workspace *ws, int32_t row, int32_t lane, double scale);

/* poisson.c: probability of k under mean lambda, full relative accuracy (Loader 2000). */
double pm_poisson(double k, double lambda);

#endif
