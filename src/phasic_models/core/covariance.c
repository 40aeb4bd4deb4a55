/* Means and covariances of several rewarded sums, by the law of total covariance along the chain. */
#include <stdlib.h>
#include <string.h>

#include "step.h"

typedef struct covariance_scratch {
    double *h;       /* (n_rewards, n_rows, lanes): expected sum from each row on */
    double *ahead;   /* (n_rewards, lanes): expected sum after the next jump of the row at hand */
    int32_t n_rewards;
} covariance_scratch;

/*
 * What row i adds per visit (continuous: per unit of time) to the covariance of sums a and b: the spread of what comes after its
 * next jump and, in continuous time, of its own sojourn. Lane l.
 */
static double local_covariance(const pm_plan *p, const pm_workspace *ws, const covariance_scratch *c, int32_t i, int32_t l,
                               const double *rewards, int32_t a, int32_t b) {
    const int32_t lanes = ws->lanes;
    const int64_t size = (int64_t)p->pattern.n_rows * lanes;
    const double *ha = c->h + a * size;
    const double *hb = c->h + b * size;
    const double mean_a = c->ahead[(int64_t)a * lanes + l];
    const double mean_b = c->ahead[(int64_t)b * lanes + l];
    const double total = ws->total[(int64_t)i * lanes + l];
    double sum = 0.0;
    for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
        const double w = ws->slot[(int64_t)p->graph.edge_slot[e] * lanes + l];
        const int32_t r = p->edge_row[e];
        const double after_a = r < 0 ? 0.0 : ha[(int64_t)r * lanes + l];
        const double after_b = r < 0 ? 0.0 : hb[(int64_t)r * lanes + l];
        sum += w * ((after_a - mean_a) * (after_b - mean_b));
    }
    if (i == p->n_transient) {
        return sum;
    }
    if (p->graph.discrete) {
        const int64_t at = (int64_t)i * lanes + l;
        return sum + ws->stay[at] * ((ha[at] - mean_a) * (hb[at] - mean_b));
    }
    const int64_t v = p->pattern.order[i];
    const double product = rewards[a * (int64_t)p->graph.n_vertices + v] * rewards[b * (int64_t)p->graph.n_vertices + v];
    /* A vertex without a way out has no total, and no reward either. */
    return product == 0.0 ? sum : sum + product / total;
}

/* Expected sums after the next jump of row i, for every reward. */
static void set_ahead(const pm_plan *p, const pm_workspace *ws, const covariance_scratch *c, int32_t i) {
    const int32_t lanes = ws->lanes;
    const int64_t size = (int64_t)p->pattern.n_rows * lanes;
    for (int32_t a = 0; a < c->n_rewards; a++) {
        const double *h = c->h + a * size;
        for (int32_t l = 0; l < lanes; l++) {
            const double total = ws->total[(int64_t)i * lanes + l];
            double sum = 0.0;
            for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
                if (p->edge_row[e] >= 0) {
                    sum += ws->slot[(int64_t)p->graph.edge_slot[e] * lanes + l] * h[(int64_t)p->edge_row[e] * lanes + l];
                }
            }
            if (p->graph.discrete && i != p->n_transient) {
                sum += ws->stay[(int64_t)i * lanes + l] * h[(int64_t)i * lanes + l];
            } else {
                sum = total > 0.0 ? sum / total : 0.0;
            }
            c->ahead[(int64_t)a * lanes + l] = sum;
        }
    }
}

static void covariance_of_lanes(const pm_plan *p, pm_workspace *ws, covariance_scratch *c, const double *rewards, int32_t n_lanes,
                                double *mean, double *covariance) {
    const int32_t lanes = ws->lanes;
    const int32_t n = p->pattern.n_rows;
    const int64_t size = (int64_t)n * lanes;
    const int32_t m = c->n_rewards;
    const pm_kernels *kernels = pm_kernels_for(lanes);
    for (int32_t a = 0; a < m; a++) {
        const double *r = rewards + (int64_t)a * p->graph.n_vertices;
        for (int32_t i = 0; i < n; i++) {
            for (int32_t l = 0; l < lanes; l++) {
                ws->y[(int64_t)i * lanes + l] = pm_row_reward(p, r, i);
            }
        }
        kernels->solve(p, ws, ws->y, c->h + a * size);
        for (int32_t l = 0; l < n_lanes; l++) {
            mean[(int64_t)l * m + a] = c->h[a * size + (int64_t)p->n_transient * lanes + l];
        }
    }
    memset(ws->y, 0, (size_t)size * sizeof *ws->y);
    for (int32_t l = 0; l < lanes; l++) {
        ws->y[(int64_t)p->n_transient * lanes + l] = 1.0;
    }
    kernels->solve_transposed(p, ws, ws->y, ws->z);
    memset(covariance, 0, (size_t)n_lanes * (size_t)m * (size_t)m * sizeof *covariance);
    for (int32_t i = 0; i < n; i++) {
        set_ahead(p, ws, c, i);
        for (int32_t l = 0; l < n_lanes; l++) {
            const double visits = ws->z[(int64_t)i * lanes + l];
            if (visits == 0.0) {
                continue;
            }
            for (int32_t a = 0; a < m; a++) {
                for (int32_t b = 0; b <= a; b++) {
                    covariance[((int64_t)l * m + a) * m + b] += visits * local_covariance(p, ws, c, i, l, rewards, a, b);
                }
            }
        }
    }
    for (int32_t l = 0; l < n_lanes; l++) {
        for (int32_t a = 0; a < m; a++) {
            for (int32_t b = 0; b < a; b++) {
                covariance[((int64_t)l * m + b) * m + a] = covariance[((int64_t)l * m + a) * m + b];
            }
        }
    }
}

int pm_covariance(const pm_plan *p, pm_workspace *ws, int64_t n_theta, const double *theta, int32_t n_rewards,
                  const double *rewards, double *mean, double *covariance, pm_where *where) {
    if (n_rewards < 1) {
        return PM_E_ARGUMENT;
    }
    const int64_t m = n_rewards;
    const pm_asked asked = {n_rewards, rewards, NULL};
    covariance_scratch c = {NULL, NULL, n_rewards};
    c.h = m > INT64_MAX / 64 / p->pattern.n_rows ? NULL : pm_alloc_aligned(m * p->pattern.n_rows * ws->lanes);
    c.ahead = pm_alloc_aligned(m * ws->lanes);
    int status = c.h == NULL || c.ahead == NULL ? PM_E_MEMORY : PM_OK;
    for (int64_t first = 0; first < n_theta && status == PM_OK; first += ws->lanes) {
        int32_t n_lanes = 0;
        status = pm_factor_lanes(p, ws, first, n_theta, theta, &asked, &n_lanes, where);
        if (status != PM_OK) {
            break;
        }
        covariance_of_lanes(p, ws, &c, rewards, n_lanes, mean + first * m, covariance + first * m * m);
        for (int32_t l = 0; l < n_lanes && status == PM_OK; l++) {
            status = pm_check_finite(mean + (first + l) * m, m, first + l, where);
            if (status == PM_OK) {
                status = pm_check_finite(covariance + (first + l) * m * m, m * m, first + l, where);
            }
        }
    }
    pm_free_aligned(c.h);
    pm_free_aligned(c.ahead);
    return status;
}
