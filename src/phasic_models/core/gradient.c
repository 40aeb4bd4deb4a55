/*
 * Derivatives of moments by theta, in reverse mode: one pass to the start for each moment, one back for each adjoint, and differences
 * of moments along the edges. Those are first simply subtracted; where that leaves too few digits, computed without subtracting nearly
 * equal numbers (differences.inc.h); and where a derivative is itself a difference of nearly equal numbers, in double-double.
 */
#include <math.h>
#include <string.h>

#include "rows.h"

/* A derivative is right to this share of itself; simple differences must do better, since their bound is the coarsest. */
#define ACCURACY 1e-9
#define ACCURACY_OF_SUBTRACTION 1e-11
/* What is smaller than this share of all that was added up is zero. */
#define NOTHING 1e-20

typedef struct gradient {
    int32_t k;
    const double *rewards;
    pm_scratch s;
    double *bars;       /* (k, n_slots) numbers: adjoints of the weights */
    double *bounds;     /* the same for doubles */
    double *grad;       /* (k, lanes, n_params) numbers */
    double *grad_bound;
    double *memory;
} gradient;

static void release(gradient *g) {
    pm_scratch_release(&g->s);
    pm_free_aligned(g->memory);
}

static int make(const pm_plan *p, pm_workspace *ws, int32_t k, const double *rewards, gradient *g) {
    memset(g, 0, sizeof *g);
    g->k = k;
    g->rewards = rewards;
    const int64_t numbers = ws->extended ? 2 : ws->lanes;
    const pm_part parts[] = {
        {&g->bars, (int64_t)k * p->n_slots * numbers}, {&g->bounds, (int64_t)k * p->n_slots * ws->lanes},
        {&g->grad, (int64_t)k * p->graph.n_params * numbers}, {&g->grad_bound, (int64_t)k * p->graph.n_params * ws->lanes},
    };
    int status = pm_alloc_parts(parts, sizeof parts / sizeof parts[0], &g->memory);
    if (status == PM_OK) {
        status = pm_scratch_make(p, ws, k, 1, &g->s);
    }
    return status;
}

/* Derivatives of all moments for all lanes, from moments and adjoints. */
static void differentiate(const pm_plan *p, pm_workspace *ws, gradient *g, int subtract) {
    const pm_passes *passes = pm_passes_for(ws);
    const int64_t numbers = ws->extended ? 2 : ws->lanes;
    memset(g->bars, 0, (size_t)(g->k * p->n_slots * numbers) * sizeof *g->bars);
    memset(g->bounds, 0, (size_t)((int64_t)g->k * p->n_slots * ws->lanes) * sizeof *g->bounds);
    memset(g->grad, 0, (size_t)(g->k * p->graph.n_params * numbers) * sizeof *g->grad);
    memset(g->grad_bound, 0, (size_t)((int64_t)g->k * p->graph.n_params * ws->lanes) * sizeof *g->grad_bound);
    for (int32_t j = 1; j <= g->k; j++) {
        if (subtract) {
            passes->subtract(p, ws, &g->s.d, g->s.x + (j - 1) * p->pattern.n_rows * numbers);
        } else {
            passes->right_side(p, ws, j, g->rewards, g->s.x, g->s.ahead, ws->y);
            pm_kernels_for(ws)->differences(p, ws, &g->s.d, ws->y);
        }
        passes->add_bars(p, ws, &g->s.d, j, g->k, g->s.z, g->bars, g->bounds);
    }
    for (int64_t m = 0; m < g->k; m++) {
        passes->pull(p, ws, g->s.d.unit, g->bars + m * p->n_slots * numbers, g->bounds + m * p->n_slots * ws->lanes,
                     g->grad + m * p->graph.n_params * numbers, g->grad_bound + m * p->graph.n_params * ws->lanes);
    }
}

/*
 * Copies the derivatives of a lane. Returns the first that is not right to `accuracy` nor zero beside scale (NULL: then that does not
 * count), or -1.
 */
static int64_t take(const pm_plan *p, const pm_workspace *ws, const gradient *g, int32_t lane, double accuracy, const double *scale, double *out) {
    const int32_t n = p->graph.n_params;
    int64_t bad = -1;
    for (int32_t m = 0; m < g->k; m++) {
        for (int32_t j = 0; j < n; j++) {
            const int64_t at = ((int64_t)m * ws->lanes + lane) * n + j;
            const double value = pm_value(ws, g->grad, at);
            const double bound = g->grad_bound[at];
            out[(int64_t)m * n + j] = value;
            const int good = bound <= accuracy * fabs(value) || bound == 0.0
                             || (scale != NULL && bound <= NOTHING * scale[(int64_t)m * n + j]);
            bad = good || bad >= 0 ? bad : (int64_t)m * n + j;
        }
    }
    return bad;
}

/* The parameter vector in `lane`, number `row`, in double-double. scale: (k, n_params), how large the terms of each derivative are. */
static int differentiate_extended(const pm_plan *p, pm_workspace *ws, int32_t lane, int64_t row, const double *theta, int32_t k, const double *rewards,
                                  const double *scale, double *out, pm_where *where) {
    pm_workspace *more = NULL;
    gradient g;
    int status = pm_extended_factor(p, ws, lane, row, theta, &more, where);
    if (status != PM_OK) {
        return status;
    }
    status = make(p, more, k, rewards, &g);
    if (status == PM_OK) {
        const pm_passes *passes = pm_passes_for(more);
        passes->forward(p, more, k, rewards, g.s.x, g.s.ahead);
        passes->backward(p, more, k, rewards, g.s.z, g.s.behind);
        differentiate(p, more, &g, 0);
        const int64_t bad = take(p, more, &g, 0, ACCURACY, scale, out);
        status = pm_stopped(ws->control);
        if (status == PM_OK) {
            status = pm_check_finite(out, (int64_t)k * p->graph.n_params, row, where);
        }
        if (status == PM_OK && bad >= 0) {
            pm_at(where, PM_AT_ENTRY, row, bad, out[bad]);
            status = PM_E_ACCURACY;
        }
    }
    release(&g);
    return status;
}

/* All lanes of a group; scale: (k, n_params) scratch. */
static int gradients_of_lanes(const pm_plan *p, pm_workspace *ws, gradient *g, int64_t first, int32_t n_lanes, const double *theta,
                              double *scale, double *out, pm_where *where) {
    const int64_t size = (int64_t)g->k * p->graph.n_params;
    uint32_t bad = 0;
    differentiate(p, ws, g, 1);
    if (pm_stopped(ws->control) != PM_OK) {
        return PM_E_STOPPED;
    }
    for (int32_t l = 0; l < n_lanes; l++) {
        if (take(p, ws, g, l, ACCURACY_OF_SUBTRACTION, NULL, out + l * size) >= 0) {
            bad |= (uint32_t)1 << l;
            for (int64_t i = 0; i < size; i++) {
                const int64_t moment = i / p->graph.n_params;
                scale[l * size + i] = g->grad_bound[(moment * ws->lanes + l) * p->graph.n_params + i % p->graph.n_params] / g->s.d.unit;
            }
        }
    }
    /* Differences in double precision are for chains without traps: see pm_find_anchors. */
    if ((bad & ~ws->failed) != 0) {
        differentiate(p, ws, g, 0);
    }
    int status = pm_stopped(ws->control);
    for (int32_t l = 0; l < n_lanes && status == PM_OK; l++) {
        const int failed = (ws->failed >> l) & 1u;
        if (((bad >> l) & 1u) && (failed || take(p, ws, g, l, ACCURACY, NULL, out + l * size) >= 0)) {
            status = differentiate_extended(p, ws, l, first + l, theta + (first + l) * p->graph.n_params, g->k, g->rewards, scale + l * size,
                                            out + l * size, where);
        }
    }
    return status;
}

int pm_moments_grad(const pm_plan *p, pm_workspace *ws, int64_t n_theta, const double *theta, int32_t k, const double *rewards,
                    double *out, double *out_grad, pm_where *where) {
    if (k < 1 || k > PM_MAX_MOMENT) {
        return pm_bad_argument(where, 6);
    }
    const pm_asked asked = {1, rewards, NULL};
    const int64_t width = (int64_t)k * p->graph.n_params;
    double *scale = pm_alloc_aligned(width * ws->lanes);
    gradient g;
    int status = make(p, ws, k, rewards, &g);
    if (scale == NULL) {
        status = PM_E_MEMORY;
    }
    for (int64_t first = 0; first < n_theta && status == PM_OK; first += ws->lanes) {
        int32_t n_lanes = 0;
        status = pm_factor_lanes(p, ws, first, n_theta, theta, &asked, &n_lanes, where);
        for (int32_t l = 0; l < n_lanes && status == PM_OK; l++) {
            if ((ws->failed >> l) & 1u) {
                status = pm_check_absorption(p, ws, l, first + l, &asked, where);
                if (status == PM_OK) {
                    status = pm_check_derivative(p, ws, l, first + l, &asked, where);
                }
            }
        }
        if (status != PM_OK) {
            break;
        }
        pm_passes_for(ws)->forward(p, ws, k, rewards, g.s.x, g.s.ahead);
        pm_passes_for(ws)->backward(p, ws, k, rewards, g.s.z, g.s.behind);
        status = pm_stopped(ws->control);
        for (int32_t l = 0; l < n_lanes && status == PM_OK; l++) {
            for (int32_t j = 0; j < k; j++) {
                out[(first + l) * k + j] = g.s.x[((int64_t)j * p->pattern.n_rows + p->n_transient) * ws->lanes + l];
            }
            status = pm_check_finite(out + (first + l) * k, k, first + l, where);
        }
        if (status == PM_OK && p->graph.n_params > 0) {
            status = gradients_of_lanes(p, ws, &g, first, n_lanes, theta, scale, out_grad + first * width, where);
        }
        for (int32_t l = 0; l < n_lanes && status == PM_OK; l++) {
            status = pm_check_finite(out_grad + (first + l) * width, width, first + l, where);
        }
    }
    release(&g);
    pm_free_aligned(scale);
    return status;
}
