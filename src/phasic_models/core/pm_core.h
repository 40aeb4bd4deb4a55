/*
 * The C core of phasic-models: the whole public interface.
 *
 * What it does
 *   1. pm_symbolic_new    order and fill pattern of the elimination of a state graph
 *   2. pm_plan_new        graph + pattern, checked and prepared for evaluation at any parameter vector
 *   3. pm_moments, ...    values at parameter vectors, from the plan
 *
 * Conventions
 *   - Every function that can fail returns an int: PM_OK or a negative code. pm_message() gives its text.
 *   - Inputs come first, outputs last. On failure what a pointer was to be set to is NULL, arrays may hold some of the
 *     results, and `where` (which may be NULL) says what was at fault.
 *   - Structs that hold const pointers borrow, for the length of a call: the caller keeps the arrays alive and unchanged until it
 *     returns. Objects that the core makes own their memory, and are freed by their _free function, which accepts NULL.
 *   - There is no global state. A pm_plan is read-only after its creation, so threads may share it; a pm_workspace belongs
 *     to one thread at a time.
 *   - Compile without floating-point contraction: moments, covariances and gradients of moments are then the same to the
 *     last bit on every IEEE-754 machine (densities and samples also call exp and log of the C library).
 */
#ifndef PM_CORE_H
#define PM_CORE_H

#include <stdint.h>

/* The version of this header, that of the toolkit: a minor version may change functions and structs as long as the major one is 0. */
#define PM_VERSION_MAJOR 0
#define PM_VERSION_MINOR 1
#define PM_VERSION_PATCH 0

/*
 * PM_API marks what a shared library exports: define PM_BUILD_SHARED where one is built, and on Windows PM_USE_SHARED where one is
 * used; without them the core is linked statically. PM_CHECKED marks functions whose status may not be ignored.
 */
#if defined(_WIN32) && defined(PM_BUILD_SHARED)
#define PM_API __declspec(dllexport)
#elif defined(_WIN32) && defined(PM_USE_SHARED)
#define PM_API __declspec(dllimport)
#elif defined(__GNUC__) && defined(PM_BUILD_SHARED)
#define PM_API __attribute__((visibility("default")))
#else
#define PM_API
#endif
#if defined(__GNUC__)
#define PM_CHECKED PM_API __attribute__((warn_unused_result))
#else
#define PM_CHECKED PM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that is linked, for example "0.1.0"; it should be that of the header. */
PM_API const char *pm_version(void);

/* ---- status ------------------------------------------------------------------------------------------------------- */

#define PM_OK 0
#define PM_E_MEMORY (-1)         /* an allocation failed */
#define PM_E_ARGUMENT (-2)       /* an argument is out of range (where: PM_AT_ARGUMENT) */
#define PM_E_INDEX (-3)          /* an index array of the graph is out of bounds or out of order (where: PM_AT_ARRAY) */
#define PM_E_PATTERN (-4)        /* order or fill pattern does not belong to this graph (where: PM_AT_ROW) */
#define PM_E_NOT_FINITE (-5)     /* a weight is NaN or infinite (where: PM_AT_SLOT, value: the weight) */
#define PM_E_NEGATIVE (-6)       /* a weight is negative (where: as above) */
#define PM_E_PROBABILITY (-7)    /* jump probabilities of a vertex sum to more than one (where: PM_AT_VERTEX, value: the sum) */
#define PM_E_INFINITE (-8)       /* a result is infinite or undefined (where: PM_AT_VERTEX, value: PM_INFINITE_...) */
#define PM_E_INITIAL (-9)        /* the initial probabilities sum to zero (where: theta) */
#define PM_E_OVERFLOW (-10)      /* a result exceeds the range of a double (where: theta) */
#define PM_E_TIME (-11)          /* a time is NaN, negative or, for a discrete graph, not an integer (where: PM_AT_ENTRY, value: the time) */
#define PM_E_LIMIT (-12)         /* more work than the caller or the index type allows (where.value: the work) */
#define PM_E_STOPPED (-13)       /* the caller's pm_control asked to stop; what was computed so far is lost */
#define PM_E_ACCURACY (-14)      /* a result would have too few digits (where: theta, value: the result) */
#define PM_E_UNCERTAIN (-15)     /* a plan without a pattern, and absorption is not certain (where: PM_AT_VERTEX) */

/* Why a result is infinite or undefined. A trap is a set of vertices that is entered and never left. */
#define PM_INFINITE_TIME 0       /* the vertex is in a trap that is reached */
#define PM_INFINITE_IF_ENTERED 1 /* no derivative: a vertex from which absorption is not certain is reached if a weight of zero is not */
#define PM_INFINITE_IF_LEFT 2    /* no derivative: the vertex is in a trap that is left, for where rewards are earned, if a weight of zero is not */
#define PM_INFINITE_REWARD 3     /* the vertex is in a trap that is reached, and its reward is positive */

/* What `at` counts. */
#define PM_AT_NOTHING 0
#define PM_AT_ARGUMENT 1         /* arguments of the function, from 1 on */
#define PM_AT_ARRAY 2            /* entries of the array `which`, PM_ARRAY_... */
#define PM_AT_ROW 3              /* positions in the order of elimination */
#define PM_AT_COMPONENT 4        /* rows of a component that is too large; `which`: PM_LIMIT_... */
#define PM_AT_SLOT 5             /* weights */
#define PM_AT_VERTEX 6           /* vertices */
#define PM_AT_ENTRY 7            /* entries of times, of the result for one parameter vector, or draws */

/* Index arrays of a graph, and what is compared first. */
#define PM_ARRAY_SIZES 0
#define PM_ARRAY_EDGE_PTR 1
#define PM_ARRAY_EDGE_TARGET 2
#define PM_ARRAY_EDGE_SLOT 3
#define PM_ARRAY_AFFINE_PTR 4
#define PM_ARRAY_AFFINE_PARAM 5
#define PM_ARRAY_PROGRAM 6

/*
 * What was at fault. It is filled with every status but PM_OK, PM_E_MEMORY and PM_E_STOPPED, which leave it alone; members that a
 * status does not name are 0.
 */
typedef struct pm_where {
    int32_t kind;                /* PM_AT_... */
    int32_t which;
    int64_t theta;               /* index of the parameter vector, -1 if it was not about one */
    int64_t at;
    double value;
} pm_where;

/* A static English sentence for a status code. */
PM_API const char *pm_message(int status);

/* ---- stopping -------------------------------------------------------------------------------------------------------- */

/* What the core is doing, for a caller that shows progress: `done` of `total` rows of the block at hand. */
#define PM_STAGE_ORDER 1         /* looking for an order of least fill */
#define PM_STAGE_TRIAL 2         /* trying other orders */
#define PM_STAGE_PATTERN 3       /* writing the pattern down */
#define PM_STAGE_CHECK 4         /* checking it */

/*
 * How a caller stops a call that takes long. The core counts its operations, looks at a clock about every millisecond and asks
 * poll(context) about every 20 ms; nonzero ends the call with PM_E_STOPPED. A control belongs to one thread at a time. Where a
 * pointer to one is asked for, NULL means that the call is never stopped. Set all other members to zero before the first call.
 */
typedef struct pm_control {
    int32_t (*poll)(void *context);
    void *context;
    int32_t stopped;             /* set by the core; the caller sets it back to 0 before the next call */
    int32_t stage;
    int64_t done;
    int64_t total;
    int64_t credit;              /* the core's own: operations until the next look at the clock */
    double next;                 /* the core's own: when to ask next */
} pm_control;

/* ---- graph ---------------------------------------------------------------------------------------------------------- */

#define PM_OP_ADD 1
#define PM_OP_MUL 2
#define PM_OP_DIV 3

/*
 * Vertex 0 starts; its out-edges are initial probabilities and are divided by their sum. A vertex without out-edges is
 * absorbing. Edge e of vertex v (edge_ptr[v] <= e < edge_ptr[v+1]) goes to edge_target[e] with weight slot[edge_slot[e]].
 * Slots 0 .. n_affine-1 are affine forms in theta, the rest are program nodes over earlier slots.
 */
typedef struct pm_graph {
    int32_t n_vertices;
    int32_t n_params;
    int32_t discrete;
    int32_t n_affine;
    int32_t n_program;
    const int64_t *edge_ptr;
    const int32_t *edge_target;
    const int32_t *edge_slot;
    const double *affine_base;
    const int64_t *affine_ptr;
    const int32_t *affine_param;
    const double *affine_coef;
    const uint8_t *program_op;
    const int32_t *program_a;
    const int32_t *program_b;
} pm_graph;

/* Lengths that the caller vouches for; everything else is checked against them. */
typedef struct pm_graph_sizes {
    int64_t n_edges;
    int64_t n_affine_terms;
} pm_graph_sizes;

/* Bounds and order of every index array, so that no later call can leave them. O(size of the graph). */
PM_CHECKED int pm_graph_check(const pm_graph *graph, const pm_graph_sizes *sizes, pm_where *where);

/*
 * Marks in seen, (n), what can be reached from the roots along edges: those of v are target[ptr[v]] .. target[ptr[v + 1] - 1], and
 * must have been checked to lie in range. PM_E_INDEX if a root does not.
 */
PM_CHECKED int pm_reachable(int32_t n, const int64_t *ptr, const int32_t *target, int32_t n_roots, const int32_t *roots,
                            uint8_t *seen);

/* ---- symbolic elimination -------------------------------------------------------------------------------------------- */

/*
 * The order and fill pattern of the elimination (Grassmann, Taksar and Heyman 1985), in block triangular form: rows are the
 * transient vertices and the starting vertex (last), grouped into strongly connected components, downstream ones first.
 * Only edges inside a component are eliminated. Row i eliminates the earlier rows lower_col[...] of its block and keeps the
 * later ones upper_col[...]; both ascend.
 */
typedef struct pm_pattern {
    int32_t n_rows;
    int32_t n_blocks;
    const int32_t *order;
    const int32_t *block_ptr;
    const int64_t *lower_ptr;
    const int32_t *lower_col;
    const int64_t *upper_ptr;
    const int32_t *upper_col;
} pm_pattern;

/* How the order of a block was found; pm_symbolic_ordering counts the blocks of each kind. */
#define PM_ORDER_TRIVIAL 0       /* one vertex */
#define PM_ORDER_LEAST_FILL 1    /* greedy: fewest predecessors x successors */
#define PM_ORDER_BFS 2           /* breadth first from where the block is entered */
#define PM_ORDER_REVERSE_BFS 3   /* the same, backwards */
#define PM_ORDER_DISSECTION 4    /* nested dissection by levels of a breadth-first search */
#define PM_ORDER_GIVEN 5         /* the caller's */
#define PM_ORDER_KINDS 6

typedef struct pm_symbolic pm_symbolic;

/* What an elimination may cost at most: multiply-adds, and entries of the pattern. */
typedef struct pm_budget {
    int64_t operations;
    int64_t entries;
} pm_budget;

/* Which limit PM_E_LIMIT means (where.which, with PM_AT_COMPONENT). */
#define PM_LIMIT_OPERATIONS 0
#define PM_LIMIT_ENTRIES 1
#define PM_LIMIT_EDGES 2         /* a component has more edges than its index type can count */
#define PM_LIMIT_AT_LEAST 4      /* added to the first two where counting ended early, so that where.value is a lower bound */

/*
 * With order == NULL: components, then in each the cheapest order of several, found by dry runs on the pattern.
 * With order and block_ptr (n_rows and n_blocks long + 1): that order; PM_E_PATTERN if it is no valid one.
 * PM_E_LIMIT above the budget (NULL: none), where.value being an upper bound of what the cheapest order that was found takes.
 * Neither time nor memory beyond the budget is used to find that out.
 */
PM_CHECKED int pm_symbolic_new(const pm_graph *graph, int32_t n_rows, int32_t n_blocks, const int32_t *order,
                               const int32_t *block_ptr, const pm_budget *budget, pm_control *control,
                               pm_symbolic **out, pm_where *where);
PM_API void pm_symbolic_free(pm_symbolic *symbolic);

/* Pointers into `symbolic`, valid until it is freed. */
PM_API void pm_symbolic_pattern(const pm_symbolic *symbolic, pm_pattern *out);
/* Multiply-adds of one numeric elimination. */
PM_API int64_t pm_symbolic_operations(const pm_symbolic *symbolic);
/* counts[PM_ORDER_KINDS]: blocks ordered by each kind. */
PM_API void pm_symbolic_ordering(const pm_symbolic *symbolic, int64_t *counts);

/* ---- plan ------------------------------------------------------------------------------------------------------------ */

typedef struct pm_plan pm_plan;
typedef struct pm_workspace pm_workspace;

/*
 * Checks that the pattern belongs to the graph (a permutation, the blocks in topological order, closed under fill), whatever
 * its source, and prepares evaluation. Copies the arrays of both before it checks them, so that they may be changed or freed
 * afterwards.
 * With pattern == NULL (and n_lower == n_upper == 0) the plan serves weights, distributions and, where absorption is certain,
 * samples, which need no elimination and give the same bits as with one; every other call gives PM_E_ARGUMENT.
 */
PM_CHECKED int pm_plan_new(const pm_graph *graph, const pm_graph_sizes *sizes, const pm_pattern *pattern,
                           int64_t n_lower, int64_t n_upper, pm_control *control, pm_plan **out, pm_where *where);
PM_API void pm_plan_free(pm_plan *plan);
PM_API int64_t pm_plan_operations(const pm_plan *plan);

/*
 * Workspaces and the other scratch below belong to the plan that they were made with. They may be freed before it or after.
 * This one is for one thread, for batches of up to `lanes` (1 or 8) parameter vectors at once. No call below allocates per theta.
 */
PM_CHECKED int pm_workspace_new(const pm_plan *plan, int32_t lanes, pm_workspace **out);
PM_API void pm_workspace_free(pm_workspace *workspace);
/* Calls that use the workspace can be stopped by `control`, which must outlive them; NULL: never. */
PM_API void pm_workspace_control(pm_workspace *workspace, pm_control *control);

/* The weight of every edge: out (n_theta, n_edges). */
PM_CHECKED int pm_weights(const pm_plan *plan, pm_workspace *workspace, int64_t n_theta, const double *theta,
                          double *out, pm_where *where);

/*
 * The calls below share: theta (n_theta, n_params); rewards per vertex, of which those of the starting vertex and of absorbing
 * vertices count for nothing; Y = sum over vertices of reward x time spent there (continuous) or x steps spent there (discrete).
 * Absorption need not be certain: PM_E_INFINITE only if a reward is positive in a trap that is reached.
 */

#define PM_MAX_MOMENT 64
#define PM_MAX_JOINT 8

/* Raw moments E[Y^j], j = 1..k. rewards: (n_vertices) or NULL for ones. out: (n_theta, k). */
PM_CHECKED int pm_moments(const pm_plan *plan, pm_workspace *workspace, int64_t n_theta, const double *theta, int32_t k,
                          const double *rewards, double *out, pm_where *where);

/*
 * The same from every vertex: out (n_theta, k, n_vertices), zero for absorbing vertices. mass: (n_vertices), nonzero where the process
 * may be, entry 0 left out, or NULL for the starting vertex; the values of vertices that are not reached from there mean nothing.
 */
PM_CHECKED int pm_vertex_moments(const pm_plan *plan, pm_workspace *workspace, int64_t n_theta, const double *theta,
                                 int32_t k, const double *rewards, const double *mass, double *out, pm_where *where);

/* E[Y_1 ... Y_k] of k reward vectors (k, n_vertices), 1 <= k <= PM_MAX_JOINT. out: (n_theta). */
PM_CHECKED int pm_joint_moment(const pm_plan *plan, pm_workspace *workspace, int64_t n_theta, const double *theta,
                               int32_t k, const double *rewards, double *out, pm_where *where);

/* Expected time or number of steps spent in each vertex, infinity in a trap that is reached. out: (n_theta, n_vertices). */
PM_CHECKED int pm_sojourn(const pm_plan *plan, pm_workspace *workspace, int64_t n_theta, const double *theta,
                          double *out, pm_where *where);

/*
 * Means (n_theta, n_rewards) and covariances (n_theta, n_rewards, n_rewards) of the sums of n_rewards reward vectors. The error of each
 * covariance is bounded to first order: at most 1e-9 of itself, or 1e-13 of the product of both standard deviations; PM_E_ACCURACY
 * where neither double nor double-double reaches that.
 */
PM_CHECKED int pm_covariance(const pm_plan *plan, pm_workspace *workspace, int64_t n_theta, const double *theta,
                             int32_t n_rewards, const double *rewards, double *mean, double *covariance,
                             pm_where *where);

/*
 * The variance from every vertex on: out (n_theta, n_vertices), zero for absorbing vertices. Accuracy as above; mass as in
 * pm_vertex_moments.
 */
PM_CHECKED int pm_vertex_variance(const pm_plan *plan, pm_workspace *workspace, int64_t n_theta, const double *theta,
                                  const double *rewards, const double *mass, double *out, pm_where *where);

/*
 * Moments as pm_moments, to the last bit, and their exact derivatives by theta, in reverse mode. out_grad: (n_theta, k, n_params). The
 * error of each derivative is bounded to first order: at most 1e-9 of itself, or 1e-20 of the sum of its terms; PM_E_ACCURACY (where.at:
 * entry of (k, n_params)) otherwise. PM_E_INFINITE also if an edge of weight zero leads into a trap, or out of one to where rewards are
 * earned: there is no derivative by its weight.
 */
PM_CHECKED int pm_moments_grad(const pm_plan *plan, pm_workspace *workspace, int64_t n_theta, const double *theta,
                               int32_t k, const double *rewards, double *out, double *out_grad, pm_where *where);

/* ---- distribution ------------------------------------------------------------------------------------------------------ */

typedef struct pm_uniform pm_uniform;

/* Scratch of the uniformization of one thread; it grows with the number of steps and is kept between calls. */
PM_CHECKED int pm_uniform_new(const pm_plan *plan, pm_uniform **out);
PM_API void pm_uniform_free(pm_uniform *uniform);

/*
 * Density, distribution and survival function by uniformization (Jensen 1953), one sweep for all times of a parameter vector.
 * times: (n_times); pdf, cdf, sf: (n_theta, n_times), each may be NULL. Discrete graphs: times are whole steps and the density is
 * the probability mass. A mass at time 0 is in cdf, not in the density of a continuous graph.
 * Every term is positive; what is cut off is at most tol x value where the value exceeds 1e-300, and rounding is below 1e-12 x value
 * down to 1e-280 and over 2e7 jumps. max_steps bounds the number of
 * steps (PM_E_LIMIT, where.value: the steps needed). workspace: one lane. initial: NULL for that of the graph, or the mass in each
 * vertex at time 0, (n_vertices), with the mass that is absorbed already in entry 0. stay: NULL, or for a discrete graph the
 * probability to stay in each vertex, (n_theta, n_vertices), where it is known to more digits than one minus the sum of its edges.
 */
PM_CHECKED int pm_uniform_eval(const pm_plan *plan, pm_workspace *workspace, pm_uniform *uniform, int64_t n_theta,
                               const double *theta, const double *initial, const double *stay, int64_t n_times,
                               const double *times, double tol, int64_t max_steps, double *pdf, double *cdf, double *sf,
                               pm_where *where);

/*
 * The density (discrete: probability mass) as pm_uniform_eval gives it, and its exact derivatives by theta: out_grad (n_theta,
 * n_times, n_params). Sensitivities are carried through the same sweep, one more vector for each parameter; what is cut off of
 * a derivative is at most tol x the sum of the absolute values of its terms. PM_E_OVERFLOW if one exceeds the range of a double.
 */
PM_CHECKED int pm_uniform_grad(const pm_plan *plan, pm_workspace *workspace, pm_uniform *uniform, int64_t n_theta,
                               const double *theta, int64_t n_times, const double *times, double tol, int64_t max_steps,
                               double *out, double *out_grad, pm_where *where);

/*
 * Carries mass and moments through `duration` at one parameter vector. Level j of `state`, (k + 1, n_vertices), holds E[Y^j; in v]
 * for each transient vertex v and, in entry 0, E[Y^j; absorbed]. rewards: (n_vertices) or NULL for ones. out: as state, may not
 * overlap it. Poisson weights are cut off below 1e-20 of all. Discrete graphs: duration is a whole number of steps.
 */
PM_CHECKED int pm_uniform_advance(const pm_plan *plan, pm_workspace *workspace, pm_uniform *uniform,
                                  const double *theta, double duration, int32_t k, const double *rewards,
                                  int64_t max_steps, const double *state, double *out, pm_where *where);

/* PM_E_TIME if a time is negative, NaN, infinite or, for a discrete graph, not whole. */
PM_CHECKED int pm_check_times(const pm_plan *plan, int64_t n_times, const double *times, pm_where *where);

/* The largest total rate of a vertex at each parameter vector: out (n_theta). 1 for a discrete graph. workspace: one lane. */
PM_CHECKED int pm_uniform_rate(const pm_plan *plan, pm_workspace *workspace, int64_t n_theta, const double *theta,
                               double *out, pm_where *where);

/* ---- censoring ---------------------------------------------------------------------------------------------------------- */

/*
 * The chain watched only in some of its vertices: the others are eliminated, symbolically once and numerically per theta. Row r of
 * the result is vertex vertices[r], the starting vertex first; edges lead to rows, or to n_rows, which stands for absorption.
 */
typedef struct pm_censored pm_censored;

/* keep: (n_vertices), nonzero for the vertices that stay; the starting vertex always does. */
PM_CHECKED int pm_censored_new(const pm_plan *plan, const uint8_t *keep, pm_control *control, pm_censored **out,
                               pm_where *where);
PM_API void pm_censored_free(pm_censored *censored);
/* Pointers into `censored`, valid until it is freed: vertices (n_rows), edge_ptr (n_rows + 1), edge_target. */
PM_API void pm_censored_edges(const pm_censored *censored, int32_t *n_rows, const int32_t **vertices,
                              const int64_t **edge_ptr, const int32_t **edge_target);
/*
 * Weights of its edges: out (n_theta, n_edges). stay: NULL, or for a discrete graph the probability to stay in each row,
 * (n_theta, n_rows): that of the vertex itself, and to come back to it by others only. A trap among the others counts as absorption.
 * workspace: one lane; scratch inside `censored`, so one thread at a time.
 */
PM_CHECKED int pm_censored_weights(const pm_plan *plan, pm_workspace *workspace, pm_censored *censored, int64_t n_theta,
                                   const double *theta, double *out, double *stay, pm_where *where);

/* ---- samples ------------------------------------------------------------------------------------------------------------ */

typedef struct pm_sampler pm_sampler;

PM_CHECKED int pm_sampler_new(const pm_plan *plan, pm_sampler **out);
PM_API void pm_sampler_free(pm_sampler *sampler);

/*
 * Prepares draws of the rewarded sum (rewards as above, NULL for the time) at one parameter vector. workspace: one lane.
 * PM_E_UNCERTAIN if the plan has no pattern and absorption is not certain: an elimination is needed to find the traps.
 */
PM_CHECKED int pm_sampler_set(const pm_plan *plan, pm_workspace *workspace, pm_sampler *sampler, const double *theta,
                              const double *rewards, pm_where *where);

/*
 * Draws number first .. first + n - 1 of the stream of `seed`; infinity where a trap is entered in which rewards are earned. Each draw
 * has a generator of its own, so the values do not depend on how a batch is split. Reads the sampler only: threads may share it.
 * PM_E_LIMIT if one draw takes more than max_jumps jumps.
 */
PM_CHECKED int pm_sampler_draw(const pm_plan *plan, const pm_sampler *sampler, uint64_t seed, int64_t first, int64_t n,
                               int64_t max_jumps, pm_control *control, double *out, pm_where *where);

#ifdef __cplusplus
}
#endif

#endif
