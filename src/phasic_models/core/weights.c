/* Weights at theta: affine forms, then the program over them; and the chain rule back to theta. */
#include <math.h>
#include <string.h>

#include "pm_internal.h"

static void evaluate(const pm_plan *p, pm_workspace *ws) {
    const pm_graph *g = &p->graph;
    const int32_t lanes = ws->lanes;
    double *slot = ws->slot;
    for (int32_t s = 0; s < g->n_affine; s++) {
        double *w = slot + (int64_t)s * lanes;
        for (int32_t l = 0; l < lanes; l++) {
            w[l] = g->affine_base[s];
        }
        for (int64_t k = g->affine_ptr[s]; k < g->affine_ptr[s + 1]; k++) {
            const double c = g->affine_coef[k];
            const double *t = ws->theta + (int64_t)g->affine_param[k] * lanes;
            for (int32_t l = 0; l < lanes; l++) {
                w[l] += c * t[l];
            }
        }
    }
    for (int32_t i = 0; i < g->n_program; i++) {
        double *w = slot + (int64_t)(g->n_affine + i) * lanes;
        const double *a = slot + (int64_t)g->program_a[i] * lanes;
        const double *b = slot + (int64_t)g->program_b[i] * lanes;
        switch (g->program_op[i]) {
        case PM_OP_ADD:
            for (int32_t l = 0; l < lanes; l++) {
                w[l] = a[l] + b[l];
            }
            break;
        case PM_OP_MUL:
            for (int32_t l = 0; l < lanes; l++) {
                w[l] = a[l] * b[l];
            }
            break;
        default:
            for (int32_t l = 0; l < lanes; l++) {
                w[l] = a[l] / b[l];
            }
            break;
        }
    }
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
    evaluate(p, ws);
    if (pm_stop(ws->control, (int64_t)p->n_slots * lanes)) {
        return PM_E_STOPPED;
    }
    for (int32_t s = 0; s < p->n_slots; s++) {
        if (!p->slot_used[s]) {
            continue;
        }
        for (int32_t l = 0; l < lanes; l++) {
            const double w = ws->slot[(int64_t)s * lanes + l];
            if (!(w >= 0.0 && w <= 1.7976931348623157e308)) {
                const int64_t row = first + l < n_theta ? first + l : n_theta - 1;
                pm_at(where, row, s, w);
                return w < 0.0 && w >= -1.7976931348623157e308 ? PM_E_NEGATIVE : PM_E_NOT_FINITE;
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

void pm_weights_pullback(const pm_plan *p, pm_workspace *ws, double *grad) {
    const pm_graph *g = &p->graph;
    const int32_t lanes = ws->lanes;
    double *bar = ws->slot_bar;
    for (int32_t i = g->n_program - 1; i >= 0; i--) {
        const double *w = bar + (int64_t)(g->n_affine + i) * lanes;
        const double *a = ws->slot + (int64_t)g->program_a[i] * lanes;
        const double *b = ws->slot + (int64_t)g->program_b[i] * lanes;
        double *a_bar = bar + (int64_t)g->program_a[i] * lanes;
        double *b_bar = bar + (int64_t)g->program_b[i] * lanes;
        for (int32_t l = 0; l < lanes; l++) {
            /* a and b may be the same node, so each line adds by itself. */
            switch (g->program_op[i]) {
            case PM_OP_ADD:
                a_bar[l] += w[l];
                b_bar[l] += w[l];
                break;
            case PM_OP_MUL:
                a_bar[l] += w[l] * b[l];
                b_bar[l] += w[l] * a[l];
                break;
            default:
                a_bar[l] += w[l] / b[l];
                b_bar[l] -= w[l] * (a[l] / b[l]) / b[l];
                break;
            }
        }
    }
    for (int32_t s = 0; s < g->n_affine; s++) {
        const double *w = bar + (int64_t)s * lanes;
        for (int64_t k = g->affine_ptr[s]; k < g->affine_ptr[s + 1]; k++) {
            for (int32_t l = 0; l < lanes; l++) {
                grad[(int64_t)l * g->n_params + g->affine_param[k]] += w[l] * g->affine_coef[k];
            }
        }
    }
}
