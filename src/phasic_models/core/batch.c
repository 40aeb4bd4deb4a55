/* One step of every batch call: weights, elimination and its checks for the lanes that start at `first`. */
#include <math.h>

#include "pm_internal.h"

/* A discrete vertex whose jump probabilities sum to more than one by more than rounding. */
static int check_probabilities(const pm_plan *p, const pm_workspace *ws, int32_t n_lanes, int64_t first, pm_where *where) {
    const int32_t lanes = ws->lanes;
    for (int32_t i = 0; i < p->n_transient; i++) {
        for (int32_t l = 0; l < n_lanes; l++) {
            const double total = ws->total[(int64_t)i * lanes + l];
            if (!(total <= PM_LARGEST_PROBABILITY)) {
                pm_at(where, PM_AT_VERTEX, first + l, p->pattern.order[i], total);
                return PM_E_PROBABILITY;
            }
        }
    }
    return PM_OK;
}

int pm_factor_lanes(const pm_plan *p, pm_workspace *ws, int64_t first, int64_t n_theta, const double *theta,
                    const pm_asked *asked, int32_t *n_lanes, pm_where *where) {
    if (p->own_order != NULL) {
        return pm_bad_argument(where, 1);
    }
    int status = pm_load_theta(p, ws, first, n_theta, theta, where);
    if (status != PM_OK) {
        return status;
    }
    *n_lanes = n_theta - first < ws->lanes ? (int32_t)(n_theta - first) : ws->lanes;
    ws->failed = pm_kernels_for(ws)->factor(p, ws);
    if (pm_stopped(ws->control) != PM_OK) {
        return PM_E_STOPPED;
    }
    for (int32_t l = 0; ws->failed != 0 && l < *n_lanes; l++) {
        if ((ws->failed >> l) & 1u) {
            status = pm_check_absorption(p, ws, l, first + l, asked, where);
            if (status != PM_OK) {
                return status;
            }
        }
    }
    if (!p->graph.discrete) {
        return PM_OK;
    }
    for (int32_t i = 0; i < p->n_transient; i++) {
        for (int32_t l = 0; l < ws->lanes; l++) {
            ws->stay[(int64_t)i * ws->lanes + l] = pm_one_minus(p, ws, i, l, 1.0);
        }
    }
    return check_probabilities(p, ws, *n_lanes, first, where);
}
