/*
 * Weights at theta: affine forms, then the program over them; and the chain rule back to theta. Which lanes are made anew with more
 * digits follows from each lane alone, so a batch gives the bits of single calls.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"
#include "pm_internal.h"

/* What is left of a sum below this share of its terms has lost so many bits that the sum is made anew with more digits. */
#define CANCELLED 0.0625

/* Lanes in which a weight is a small difference of large terms: 1 - theta, for example. */
static uint32_t cancelled(const pm_plan *p, const pm_workspace *ws) {
    const pm_graph *g = &p->graph;
    const int32_t lanes = ws->lanes;
    uint32_t bad = 0;
    for (int32_t s = 0; s < g->n_affine; s++) {
        if (g->affine_ptr[s + 1] - g->affine_ptr[s] < (g->affine_base[s] == 0.0 ? 2 : 1)) {
            continue;
        }
        for (int32_t l = 0; l < lanes; l++) {
            double terms = fabs(g->affine_base[s]);
            for (int64_t k = g->affine_ptr[s]; k < g->affine_ptr[s + 1]; k++) {
                terms += fabs(g->affine_coef[k] * ws->theta[(int64_t)g->affine_param[k] * lanes + l]);
            }
            bad |= fabs(ws->slot[(int64_t)s * lanes + l]) < CANCELLED * terms ? (uint32_t)1 << l : 0u;
        }
    }
    for (int32_t i = 0; i < g->n_program; i++) {
        for (int32_t l = 0; l < lanes && g->program_op[i] == PM_OP_ADD; l++) {
            const double a = ws->slot[(int64_t)g->program_a[i] * lanes + l];
            const double b = ws->slot[(int64_t)g->program_b[i] * lanes + l];
            bad |= fabs(a + b) < CANCELLED * (fabs(a) + fabs(b)) ? (uint32_t)1 << l : 0u;
        }
    }
    return bad;
}

static int evaluate(const pm_plan *p, pm_workspace *ws, int64_t first, int64_t n_theta, const double *theta) {
    pm_passes_for(ws)->weights(p, ws);
    const uint32_t bad = cancelled(p, ws);
    for (int32_t l = 0; l < ws->lanes && bad != 0; l++) {
        if ((bad >> l) & 1u) {
            pm_workspace *more = NULL;
            const int64_t row = first + l < n_theta ? first + l : n_theta - 1;
            const int status = pm_extended_weights(p, ws, theta + row * p->graph.n_params, &more);
            if (status != PM_OK) {
                return status;
            }
            for (int32_t s = 0; s < p->n_slots; s++) {
                double *w = &ws->slot[(int64_t)s * ws->lanes + l];
                /* Double-double makes a NaN of what is infinite. */
                const double value = pm_value(more, more->slot, s);
                *w = isnan(value) && isinf(*w) ? *w : value;
            }
        }
    }
    return PM_OK;
}

int pm_load_theta(const pm_plan *p, pm_workspace *ws, int64_t first, int64_t n_theta, const double *theta, pm_where *where) {
    const int32_t lanes = ws->lanes;
    const int32_t n_params = p->graph.n_params;
    for (int32_t l = 0; l < lanes; l++) {
        const int64_t row = first + l < n_theta ? first + l : n_theta - 1;
        for (int32_t j = 0; j < n_params; j++) {
            ws->theta[(int64_t)j * lanes + l] = theta[row * n_params + j];
        }
    }
    const int status = evaluate(p, ws, first, n_theta, theta);
    if (status != PM_OK) {
        return status;
    }
    if (pm_stop(ws->control, (int64_t)p->n_slots * lanes)) {
        return PM_E_STOPPED;
    }
    for (int32_t s = 0; s < p->n_slots; s++) {
        if (!p->slot_used[s]) {
            continue;
        }
        for (int32_t l = 0; l < lanes; l++) {
            const double w = ws->slot[(int64_t)s * lanes + l];
            if (!(w >= 0.0 && w <= DBL_MAX)) {
                const int64_t row = first + l < n_theta ? first + l : n_theta - 1;
                pm_at(where, PM_AT_SLOT, row, s, w);
                return w < 0.0 && w >= -DBL_MAX ? PM_E_NEGATIVE : PM_E_NOT_FINITE;
            }
        }
    }
    return PM_OK;
}

/* The sum is that of Neumaier (1974): where staying is improbable, plain summation would leave nothing of it. */
double pm_one_minus(const pm_plan *p, const pm_workspace *ws, int32_t row, int32_t lane, double scale) {
    double sum = 1.0;
    double carry = 0.0;
    for (int64_t e = p->edge_start[row]; e < p->edge_end[row]; e++) {
        const double term = -(ws->slot[(int64_t)p->graph.edge_slot[e] * ws->lanes + lane] / scale);
        const double next = sum + term;
        carry += fabs(sum) >= fabs(term) ? (sum - next) + term : (term - next) + sum;
        sum = next;
    }
    sum += carry;
    return sum > 0.0 ? sum : 0.0;
}

int pm_weights(const pm_plan *p, pm_workspace *ws, int64_t n_theta, const double *theta, double *out, pm_where *where) {
    const int32_t lanes = ws->lanes;
    for (int64_t first = 0; first < n_theta; first += lanes) {
        const int status = pm_load_theta(p, ws, first, n_theta, theta, where);
        if (status != PM_OK) {
            return status;
        }
        for (int32_t l = 0; l < lanes && first + l < n_theta; l++) {
            for (int64_t e = 0; e < p->n_edges; e++) {
                out[(first + l) * p->n_edges + e] = ws->slot[(int64_t)p->graph.edge_slot[e] * lanes + l];
            }
        }
    }
    return PM_OK;
}

/* Derivatives in double-double, where they are numbers: an infinite weight leaves none. */
static int slopes_extended(const pm_plan *plan, pm_workspace *ws, double *slope) {
    const pm_graph *g = &plan->graph;
    const int32_t p = g->n_params;
    pm_workspace *more = NULL;
    pm_dd *exact = pm_alloc((int64_t)plan->n_slots * p, sizeof *exact);
    const int status = exact == NULL ? PM_E_MEMORY : pm_extended_weights(plan, ws, ws->theta, &more);
    if (status != PM_OK) {
        pm_free(exact);
        return status;
    }
    const pm_dd *weight = (const pm_dd *)(const void *)more->slot;
    for (int64_t i = 0; i < (int64_t)g->n_affine * p; i++) {
        exact[i] = pm_dd_from(slope[i]);
    }
    for (int32_t i = 0; i < g->n_program; i++) {
        const int64_t at = (int64_t)(g->n_affine + i) * p;
        const pm_dd a = weight[g->program_a[i]];
        const pm_dd b = weight[g->program_b[i]];
        for (int32_t j = 0; j < p; j++) {
            const pm_dd da = exact[(int64_t)g->program_a[i] * p + j];
            const pm_dd db = exact[(int64_t)g->program_b[i] * p + j];
            exact[at + j] = g->program_op[i] == PM_OP_ADD   ? pm_dd_add(da, db)
                            : g->program_op[i] == PM_OP_MUL ? pm_dd_add(pm_dd_mul(da, b), pm_dd_mul(a, db))
                                                            : pm_dd_div(pm_dd_sub(da, pm_dd_mul(pm_dd_div(a, b), db)), b);
            slope[at + j] = isnan(exact[at + j].hi) ? slope[at + j] : exact[at + j].hi;
        }
    }
    pm_free(exact);
    return PM_OK;
}

int pm_weights_slopes(const pm_plan *plan, pm_workspace *ws, double *slope) {
    const pm_graph *g = &plan->graph;
    const int32_t p = g->n_params;
    for (int32_t i = 0; i < g->n_affine; i++) {
        double *d = slope + (int64_t)i * p;
        memset(d, 0, (size_t)p * sizeof *d);
        for (int64_t k = g->affine_ptr[i]; k < g->affine_ptr[i + 1]; k++) {
            d[g->affine_param[k]] += g->affine_coef[k];
        }
    }
    int cancelled_terms = 0;
    for (int32_t i = 0; i < g->n_program; i++) {
        double *d = slope + (int64_t)(g->n_affine + i) * p;
        const double *da = slope + (int64_t)g->program_a[i] * p;
        const double *db = slope + (int64_t)g->program_b[i] * p;
        const double a = ws->slot[g->program_a[i]];
        const double b = ws->slot[g->program_b[i]];
        const int32_t op = g->program_op[i];
        for (int32_t j = 0; j < p; j++) {
            const double first = op == PM_OP_MUL ? da[j] * b : da[j];
            const double second = op == PM_OP_ADD ? db[j] : op == PM_OP_MUL ? a * db[j] : -(a / b * db[j]);
            d[j] = op == PM_OP_DIV ? (first + second) / b : first + second;
            cancelled_terms |= fabs(first + second) < CANCELLED * (fabs(first) + fabs(second));
        }
    }
    return cancelled_terms ? slopes_extended(plan, ws, slope) : PM_OK;
}
