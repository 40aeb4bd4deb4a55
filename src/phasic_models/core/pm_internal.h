/* Shared by the core's own files; nothing here is public. */
#ifndef PM_INTERNAL_H
#define PM_INTERNAL_H

#include <float.h>
#include <stddef.h>
#include <stdint.h>

#include "pm_core.h"

/* Doubles must be rounded to double after each operation: no x87 unit, no reassociation. */
#if defined(__FAST_MATH__) || (defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 1)
#error "the core needs IEEE-754 doubles: no -ffast-math; on 32-bit x86 -msse2 -mfpmath=sse"
#endif

#define PM_LANES 8

/* To this, and no more, jump probabilities of a vertex may sum. PROBABILITY_SLACK in statespace/canonical.py is the same. */
#define PM_LARGEST_PROBABILITY (1.0 + 1e-10)

#if defined(_MSC_VER)
#define PM_RESTRICT __restrict
#else
#define PM_RESTRICT restrict
#endif

/* calloc-like helpers that return NULL on overflow as well as on exhaustion. Size 0 gives a valid pointer. */
void *pm_alloc(int64_t count, size_t size);
void *pm_alloc_zero(int64_t count, size_t size);
/* p stays allocated where NULL is returned. */
void *pm_realloc(void *p, int64_t count, size_t size);
void pm_free(void *p);
/* 64-byte aligned doubles, for the lanes; freed by pm_free_aligned. */
double *pm_alloc_aligned(int64_t count);
void pm_free_aligned(double *p);

/*
 * A block for arrays of any types. They are laid out twice by the same calls of pm_take: first from an arena of zeros, to find the
 * size, then after pm_arena_make for good. The block is freed by pm_free_aligned.
 */
typedef struct pm_arena {
    double *memory;
    int64_t used; /* bytes; -1 if there are too many */
} pm_arena;

/* The next `count` items, a copy of those at `from` unless that is NULL; NULL in the first pass. */
void *pm_take(pm_arena *arena, const void *from, int64_t count, size_t size);
int pm_arena_make(pm_arena *arena);

/* Arrays of doubles that are allocated together: each starts on a cache line. */
typedef struct pm_part {
    double **array;
    int64_t count;
} pm_part;

/* Allocates all parts in one block, *memory, to be freed by pm_free_aligned. PM_E_MEMORY, and *memory NULL, if that fails. */
int pm_alloc_parts(const pm_part *parts, size_t n_parts, double **memory);

/* messages.c: fills `where`, which may be NULL. About a parameter vector (theta -1: none), a part of the input, or an argument. */
void pm_at(pm_where *where, int32_t kind, int64_t theta, int64_t at, double value);
void pm_at_part(pm_where *where, int32_t kind, int32_t which, int64_t at, double value);
/* Returns PM_E_ARGUMENT. number: that of the argument, the first one is 1. */
int pm_bad_argument(pm_where *where, int32_t number);

/* stop.c: asked when the credit is used up. */
int pm_poll(pm_control *control);
/* stop.c: says what begins, and on how many rows. */
void pm_stage(pm_control *control, int32_t stage, int64_t total);

/*
 * Whether to end with PM_E_STOPPED. Call it at least every few million operations, with about as many as were done since the last
 * time; it costs a subtraction. Once true it stays true until the caller of the core has set `stopped` back.
 */
static inline int pm_stop(pm_control *control, int64_t operations) {
    if (control == NULL) {
        return 0;
    }
    control->credit -= operations;
    return control->credit < 0 && pm_poll(control);
}

/* Says how many rows of the stage are done. */
static inline void pm_done(pm_control *control, int64_t done) {
    if (control != NULL) {
        control->done = done;
    }
}

/* PM_E_STOPPED if a void function that used the control has ended early. */
static inline int pm_stopped(const pm_control *control) { return control != NULL && control->stopped ? PM_E_STOPPED : PM_OK; }

/* Strongly connected components of the vertices that have out-edges (components.c). */
int pm_components(const pm_graph *graph, pm_control *control, int32_t *n_rows, int32_t *n_blocks, int32_t *order, int32_t *block_ptr);

/* One block of the elimination, with local numbers 0..n-1 (order.c). Rows are sorted and hold no self-loops. */
typedef struct pm_block {
    int32_t root; /* a vertex where the block is entered */
    int32_t n;
    const int32_t *row_ptr;
    const int32_t *row_col;
} pm_block;

typedef struct pm_cost {
    double operations;
    int64_t entries;
    int at_least; /* counting ended early */
} pm_cost;

/* estimate.c: an upper bound of what an order costs. */
int pm_estimate(const pm_block *block, const int32_t *order, pm_control *control, pm_cost *out);

/* Chooses an order of the block: order[position] = local number. PM_E_LIMIT if none keeps the budget; *cost: what the best takes. */
int pm_block_order(const pm_block *block, const pm_budget *budget, pm_control *control, int32_t *order, int32_t *kind, pm_cost *cost);

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
 * Eliminates the first n_eliminate positions (block->n for all). PM_E_LIMIT above the budget (then nothing stays allocated).
 */
int pm_block_fill(const pm_block *block, const int32_t *order, int32_t n_eliminate, const pm_budget *budget, pm_control *control,
                  pm_fill *out);
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
    int32_t *own_order;      /* without a pattern: transient vertices as they come, the starting vertex last; else NULL */
    double *memory;          /* holds all of these arrays, and those of graph and pattern */
};

/* graph.c: whether the numbers of a graph are possible, and the lengths of its arrays what the last pointers say. */
int pm_graph_check_sizes(const pm_graph *graph, const pm_graph_sizes *sizes, pm_where *where);
/* plan_arrays.c: copies the arrays of graph and pattern (NULL: none) and makes room for those that are derived. */
int pm_plan_arrays(pm_plan *plan, const pm_graph *graph, const pm_graph_sizes *sizes, const pm_pattern *pattern);

/*
 * Lane-interleaved arrays: entry i of lane l stands at [i * lanes + l].
 * slot: weights; lower, upper: multipliers and reduced rates; exit: rates out of the block; pivot: total rate left at
 * elimination; total: total rate of the vertex; acc: one row while it is eliminated; x, y: solutions and right-hand sides.
 */
struct pm_workspace {
    int32_t lanes;
    int extended;            /* numbers are double-double (number.h), two doubles each; one lane */
    pm_control *control;
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

    uint32_t failed;         /* lanes in which a pivot could not be divided by */
    uint8_t *bad;            /* by row: bit mask of the lanes in which its pivot could not be divided by, and is 1 with exit 1 */
    uint8_t *seen;           /* n_vertices, for reachability: PM_REACHED, ... */
    int32_t *stack;
    int64_t *in_ptr;         /* edges by target, NULL until they are needed */
    int32_t *in_from;
    int32_t *in_slot;
    int32_t *block;          /* as in pm_differences, NULL until they are needed */
    int32_t *anchor;
    int anchors_cut;         /* the anchors serve only these weights: paths may end in a row of `bad` */
    pm_workspace *more_digits; /* the same for double-double, NULL until it is needed */
};

/* weights.c: fills theta and slot for lanes (padded with the last theta) and checks the weights. */
int pm_load_theta(const pm_plan *plan, pm_workspace *ws, int64_t first, int64_t n_theta, const double *theta, pm_where *where);
/*
 * weights.c: forward derivatives of every weight by theta, slope (n_slots, n_params); in double-double where terms cancel. ws: one lane,
 * loaded. A derivative that no double holds is not finite.
 */
int pm_weights_slopes(const pm_plan *plan, pm_workspace *ws, double *slope);

/* What is asked of a chain whose absorption may be uncertain. */
typedef struct pm_asked {
    int32_t n_rewards;       /* 0: nothing that a trap makes infinite */
    const double *rewards;   /* (n_rewards, n_vertices) or NULL for ones */
    const double *mass;      /* (n_vertices): where the process may be at first; NULL for the starting vertex */
} pm_asked;

/* Marks of absorption.c in ws->seen. */
#define PM_REACHED 1         /* along positive weights */
#define PM_LEAVES 2          /* an absorbing vertex can be reached from it */
#define PM_TRAP 4            /* reached, and in a closed class: visited again and again, for ever */
#define PM_EARNING 8         /* pm_mark_earning */

/*
 * absorption.c: asked of the lanes in which a pivot failed. PM_E_INFINITE if a vertex of a trap has a positive reward, PM_E_OVERFLOW if a
 * pivot has left the range of a double. Otherwise the sums asked for are finite, zero from every vertex of a trap on, and the
 * elimination serves; ws->seen holds the marks of the lane.
 */
int pm_check_absorption(const pm_plan *plan, pm_workspace *ws, int32_t lane, int64_t theta_index, const pm_asked *asked,
                        pm_where *where);
/* absorption.c: needs the weights only. PM_E_UNCERTAIN (where.at: vertex) if a vertex that is reached does not lead to absorption. */
int pm_check_certain(const pm_plan *plan, pm_workspace *ws, int32_t lane, int64_t theta_index, pm_where *where);
/* absorption.c: after pm_check_absorption; PM_E_INFINITE unless the moments have derivatives by all weights, those of zero included. */
int pm_check_derivative(const pm_plan *plan, pm_workspace *ws, int32_t lane, int64_t theta_index, const pm_asked *asked,
                        pm_where *where);
/* absorption.c: after pm_check_absorption; marks the vertices of the traps in which a reward, (n_vertices) or NULL for ones, is earned. */
void pm_mark_earning(const pm_plan *plan, pm_workspace *ws, int32_t lane, const double *rewards);

/* A pivot must be finite and have all its digits. */
#define PM_USABLE(pivot) ((pivot) >= DBL_MIN && (pivot) <= DBL_MAX)

/*
 * Differences of a solution along the edges (differences.inc.h), by workspace: arrays of its numbers, and of doubles for the bounds.
 * unit: error of one number of the elimination, relative.
 */
typedef struct pm_differences {
    double unit;
    const int32_t *block;    /* row -> block */
    const int32_t *anchor;   /* block -> row through which all its paths lead, -1: absorption */
    double *offset;          /* (n_rows) earned until the anchor */
    double *value;           /* (n_rows) the solution */
    double *row;             /* (max_block) numbers and doubles: the rows as seen from one row */
    double *row_bound;
    double *best;            /* (max_block) the best bound with which each row was seen from a later one */
    double *pair;            /* (n_upper) later rows as seen from each row */
    double *pair_bound;
    double *edge;            /* (n_edges) the result */
    double *edge_bound;
} pm_differences;

/* The numeric kernels, one table per instruction set; all give the same bits. All end early when stopped: see pm_stopped. */
typedef struct pm_kernels {
    /* Returns a bit mask of the lanes in which a pivot was not usable. */
    uint32_t (*factor)(const pm_plan *plan, pm_workspace *ws);
    /* A x = y, y destroyed. */
    void (*solve)(const pm_plan *plan, const pm_workspace *ws, double *y, double *x);
    /* A' z = b for b nonzero at the starting vertex only, where it is 1: expected sojourn; t is scratch. */
    void (*solve_transposed)(const pm_plan *plan, const pm_workspace *ws, double *b, double *z);
    /* x[v] - x[u] for each edge u -> v, A x = right; right is destroyed. */
    void (*differences)(const pm_plan *plan, const pm_workspace *ws, const pm_differences *d, double *right);
} pm_kernels;

const pm_kernels *pm_kernels_for(const pm_workspace *ws);

/*
 * The passes (passes.inc.h), for either kind of number. Arrays hold numbers of the workspace's kind, lane-interleaved; (k, n_rows)
 * stands for k arrays one after the other.
 */
typedef struct pm_passes {
    void (*weights)(const pm_plan *plan, pm_workspace *ws);
    void (*step_ahead)(const pm_plan *plan, const pm_workspace *ws, double *h, double *out);
    void (*right_side)(const pm_plan *plan, const pm_workspace *ws, int32_t j, const double *rewards, double *x, double *ahead, double *y);
    void (*forward)(const pm_plan *plan, pm_workspace *ws, int32_t k, const double *rewards, double *x, double *ahead);
    void (*backward)(const pm_plan *plan, pm_workspace *ws, int32_t k, const double *rewards, double *z, double *behind);
    void (*subtract)(const pm_plan *plan, const pm_workspace *ws, const pm_differences *d, double *x);
    void (*add_bars)(const pm_plan *plan, const pm_workspace *ws, const pm_differences *d, int32_t j, int32_t k, double *z, double *bars,
                     double *bounds);
    void (*pull)(const pm_plan *plan, const pm_workspace *ws, double unit, double *bars, double *bounds, double *grad, double *grad_bound);
    void (*covariance)(const pm_plan *plan, const pm_workspace *ws, const pm_differences *a, const pm_differences *b, int32_t lane,
                       const double *rewards_a, const double *rewards_b, double *z, double *out, double *bound);
    void (*variances)(const pm_plan *plan, pm_workspace *ws, const pm_differences *d, const double *rewards, double *x, double *bound);
} pm_passes;

/* Scratch of the passes of one workspace, in one block (scratch.c). */
typedef struct pm_scratch {
    pm_differences d;
    double *x;               /* (k, n_rows): see the passes */
    double *ahead;           /* discrete graphs */
    double *z;
    double *behind;          /* discrete graphs */
    double *memory;
} pm_scratch;

/* For moments up to k, and for differences where asked. Freed by pm_scratch_release, also after a failure. */
int pm_scratch_make(const pm_plan *plan, pm_workspace *ws, int32_t k, int with_differences, pm_scratch *out);
void pm_scratch_release(pm_scratch *scratch);
/* The value of number `at` of an array of the workspace's numbers. */
double pm_value(const pm_workspace *ws, const double *array, int64_t at);

const pm_passes *pm_passes_for(const pm_workspace *ws);
extern const pm_passes pm_passes_double;
extern const pm_passes pm_passes_extended;

/*
 * anchors.c: sets ws->block and ws->anchor. Where a row is in ws->bad, paths may end in its block; only double-double workspaces take that
 * into account, so in others the differences of lanes in ws->failed mean nothing.
 */
int pm_find_anchors(const pm_plan *plan, pm_workspace *ws);
/* workspace.c: makes ws->more_digits. */
int pm_more_digits(const pm_plan *plan, pm_workspace *ws);
/* extended.c: weights at one theta in double-double; *out is ws->more_digits. */
int pm_extended_weights(const pm_plan *plan, pm_workspace *ws, const double *theta, pm_workspace **out);
/* The same and the elimination, for the theta in `lane` of ws. PM_E_ACCURACY if other rows than in ws cannot be divided by. */
int pm_extended_factor(const pm_plan *plan, pm_workspace *ws, int32_t lane, int64_t theta_index, const double *theta, pm_workspace **out,
                       pm_where *where);
extern const pm_kernels pm_kernels_1;
extern const pm_kernels pm_kernels_8;
extern const pm_kernels pm_kernels_extended;
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
