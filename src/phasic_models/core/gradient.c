/*
 * Derivatives of moments by theta, in reverse mode: with A x = r, the derivative of x at the start by a weight u -> v is
 * z[u] (x[v] - x[u]), where z solves the transposed system. One more solve per moment; nothing is differenced numerically.
 */
#include <stdlib.h>
#include <string.h>

#include "step.h"

/* slot_bar += scale * adjoint[u] * (x[v] - x[u]) over all edges u -> v. */
static void add_weight_bars(const pm_plan *p, pm_workspace *ws, double scale, const double *adjoint, const double *x, int with_start) {
    const int32_t lanes = ws->lanes;
    const int32_t n = with_start ? p->pattern.n_rows : p->n_transient;
    for (int32_t i = 0; i < n; i++) {
        for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
            double *bar = ws->slot_bar + (int64_t)p->graph.edge_slot[e] * lanes;
            const int32_t r = p->edge_row[e];
            for (int32_t l = 0; l < lanes; l++) {
                const double here = x[(int64_t)i * lanes + l];
                const double there = r < 0 ? 0.0 : x[(int64_t)r * lanes + l];
                bar[l] += scale * (adjoint[(int64_t)i * lanes + l] * (there - here));
            }
        }
    }
}

static void set_start(const pm_plan *p, const pm_workspace *ws, double *b) {
    memset(b, 0, (size_t)p->pattern.n_rows * (size_t)ws->lanes * sizeof *b);
    for (int32_t l = 0; l < ws->lanes; l++) {
        b[(int64_t)p->n_transient * ws->lanes + l] = 1.0;
    }
}

static void clear_bars(const pm_plan *p, pm_workspace *ws) {
    memset(ws->slot_bar, 0, (size_t)p->n_slots * (size_t)ws->lanes * sizeof *ws->slot_bar);
}

static void read_grad(const pm_plan *p, pm_workspace *ws, int32_t n_lanes, int32_t k, int32_t j, double *lane_grad, double *out_grad) {
    const int32_t n_params = p->graph.n_params;
    memset(lane_grad, 0, (size_t)ws->lanes * (size_t)n_params * sizeof *lane_grad);
    pm_weights_pullback(p, ws, lane_grad);
    for (int32_t l = 0; l < n_lanes; l++) {
        memcpy(out_grad + ((int64_t)l * k + j) * n_params, lane_grad + (int64_t)l * n_params, (size_t)n_params * sizeof *out_grad);
    }
}

/* x: the k solutions; mu_0 = z, mu_i = A'^-1 (r mu_{i-1}); moment m's adjoint of x_{m-i} is m!/(m-i)! mu_i. */
static void continuous_grad(const pm_plan *p, pm_workspace *ws, int32_t k, const double *rewards, int32_t n_lanes, double *x,
                            double *mu, double *lane_grad, double *out, double *out_grad) {
    const int32_t lanes = ws->lanes;
    const int32_t n = p->pattern.n_rows;
    const int64_t size = (int64_t)n * lanes;
    const pm_kernels *kernels = pm_kernels_for(lanes);
    for (int32_t j = 0; j < k; j++) {
        for (int32_t i = 0; i < n; i++) {
            const double r = pm_row_reward(p, rewards, i);
            for (int32_t l = 0; l < lanes; l++) {
                const int64_t at = (int64_t)i * lanes + l;
                ws->y[at] = j == 0 ? r : r * (j + 1) * x[(j - 1) * size + at];
            }
        }
        kernels->solve(p, ws, ws->y, x + j * size);
        for (int32_t l = 0; l < n_lanes; l++) {
            out[(int64_t)l * k + j] = x[j * size + (int64_t)p->n_transient * lanes + l];
        }
    }
    set_start(p, ws, ws->y);
    for (int32_t j = 0; j < k; j++) {
        if (j > 0) {
            for (int32_t i = 0; i < n; i++) {
                const double r = pm_row_reward(p, rewards, i);
                for (int32_t l = 0; l < lanes; l++) {
                    const int64_t at = (int64_t)i * lanes + l;
                    ws->y[at] = r * mu[(j - 1) * size + at];
                }
            }
        }
        kernels->solve_transposed(p, ws, ws->y, mu + j * size);
    }
    for (int32_t m = 1; m <= k; m++) {
        clear_bars(p, ws);
        double scale = 1.0;
        for (int32_t i = 0; i < m; i++) {
            add_weight_bars(p, ws, scale, mu + i * size, x + (m - 1 - i) * size, i == 0);
            scale *= m - i;
        }
        read_grad(p, ws, n_lanes, k, m - 1, lane_grad, out_grad);
    }
}

/* Discrete: also P, by which earlier moments enter later ones, depends on the weights. bars[j] collects the adjoint of h_j. */
static void discrete_grad(const pm_plan *p, pm_workspace *ws, int32_t k, const double *rewards, int32_t n_lanes, double *h, double *bars,
                          double *lane_grad, double *out, double *out_grad) {
    const int32_t lanes = ws->lanes;
    const int32_t n = p->pattern.n_rows;
    const int64_t size = (int64_t)n * lanes;
    const pm_kernels *kernels = pm_kernels_for(lanes);
    for (int32_t j = 1; j <= k; j++) {
        memset(ws->y, 0, (size_t)size * sizeof *ws->y);
        double binomial = 1.0;
        for (int32_t q = 0; q < j; q++) {
            if (q > 0) {
                binomial = binomial * (j - q + 1) / q;
                pm_step_ahead(p, ws, h + (q - 1) * size, ws->x);
            }
            for (int32_t i = 0; i < p->n_transient; i++) {
                double power = binomial;
                for (int32_t s = 0; s < j - q; s++) {
                    power *= pm_row_reward(p, rewards, i);
                }
                for (int32_t l = 0; l < lanes; l++) {
                    const int64_t at = (int64_t)i * lanes + l;
                    ws->y[at] += power * (q == 0 ? 1.0 : ws->x[at]);
                }
            }
        }
        kernels->solve(p, ws, ws->y, h + (j - 1) * size);
        for (int32_t l = 0; l < n_lanes; l++) {
            out[(int64_t)l * k + j - 1] = h[(j - 1) * size + (int64_t)p->n_transient * lanes + l];
        }
    }
    for (int32_t m = 1; m <= k; m++) {
        clear_bars(p, ws);
        memset(bars, 0, (size_t)m * (size_t)size * sizeof *bars);
        for (int32_t l = 0; l < lanes; l++) {
            bars[(m - 1) * size + (int64_t)p->n_transient * lanes + l] = 1.0;
        }
        for (int32_t j = m; j >= 1; j--) {
            kernels->solve_transposed(p, ws, bars + (j - 1) * size, ws->z);
            add_weight_bars(p, ws, 1.0, ws->z, h + (j - 1) * size, 1);
            double binomial = 1.0;
            for (int32_t q = 1; q < j; q++) {
                binomial = binomial * (j - q + 1) / q;
                /* ws->x: the adjoint of P h_q through h_j */
                for (int32_t i = 0; i < n; i++) {
                    double power = i == p->n_transient ? 0.0 : binomial;
                    for (int32_t s = 0; s < j - q; s++) {
                        power *= pm_row_reward(p, rewards, i);
                    }
                    for (int32_t l = 0; l < lanes; l++) {
                        const int64_t at = (int64_t)i * lanes + l;
                        ws->x[at] = power * ws->z[at];
                    }
                }
                add_weight_bars(p, ws, 1.0, ws->x, h + (q - 1) * size, 0);
                double *bar = bars + (q - 1) * size;
                for (int32_t i = 0; i < p->n_transient; i++) {
                    for (int32_t l = 0; l < lanes; l++) {
                        const int64_t at = (int64_t)i * lanes + l;
                        bar[at] += ws->stay[at] * ws->x[at];
                    }
                    for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
                        if (p->edge_row[e] >= 0) {
                            const double *w = ws->slot + (int64_t)p->graph.edge_slot[e] * lanes;
                            for (int32_t l = 0; l < lanes; l++) {
                                bar[(int64_t)p->edge_row[e] * lanes + l] += w[l] * ws->x[(int64_t)i * lanes + l];
                            }
                        }
                    }
                }
            }
        }
        read_grad(p, ws, n_lanes, k, m - 1, lane_grad, out_grad);
    }
}

int pm_moments_grad(const pm_plan *p, pm_workspace *ws, int64_t n_theta, const double *theta, int32_t k, const double *rewards,
                    double *out, double *out_grad, pm_where *where) {
    if (k < 1 || k > PM_MAX_MOMENT) {
        return PM_E_ARGUMENT;
    }
    const int32_t n_params = p->graph.n_params;
    const pm_asked asked = {1, rewards, NULL};
    const int64_t size = (int64_t)p->pattern.n_rows * ws->lanes;
    double *x = pm_alloc_aligned(k * size);
    double *adjoint = pm_alloc_aligned(k * size);
    double *lane_grad = pm_alloc_aligned((int64_t)ws->lanes * n_params);
    int status = x == NULL || adjoint == NULL || lane_grad == NULL ? PM_E_MEMORY : PM_OK;
    for (int64_t first = 0; first < n_theta && status == PM_OK; first += ws->lanes) {
        int32_t n_lanes = 0;
        status = pm_factor_lanes(p, ws, first, n_theta, theta, &asked, &n_lanes, where);
        if (status != PM_OK) {
            break;
        }
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
        double *value = out + first * k;
        double *grad = out_grad + first * k * n_params;
        if (p->graph.discrete) {
            discrete_grad(p, ws, k, rewards, n_lanes, x, adjoint, lane_grad, value, grad);
        } else {
            continuous_grad(p, ws, k, rewards, n_lanes, x, adjoint, lane_grad, value, grad);
        }
        for (int32_t l = 0; l < n_lanes && status == PM_OK; l++) {
            status = pm_check_finite(value + (int64_t)l * k, k, first + l, where);
            if (status == PM_OK) {
                status = pm_check_finite(grad + (int64_t)l * k * n_params, (int64_t)k * n_params, first + l, where);
            }
        }
    }
    pm_free_aligned(x);
    pm_free_aligned(adjoint);
    pm_free_aligned(lane_grad);
    return status;
}
