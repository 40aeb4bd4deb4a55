/* Kernels and passes in double-double: for the few parameter vectors at which double precision leaves too few digits. */
#include <math.h>

#include "rows.h"

#define PM_EXTENDED 1
#define PM_TARGET
#define PM_N 1
#define PM_NAME(x) x##_extended
#include "kernels.inc.h"

#define PM_NAME(x) x##_extended
#include "passes.inc.h"

/* The probability to stay, discrete graphs. */
static void set_stay(const pm_plan *p, pm_workspace *ws) {
    pm_dd *stay = (pm_dd *)(void *)ws->stay;
    const pm_dd *slot = (const pm_dd *)(const void *)ws->slot;
    for (int32_t i = 0; i < p->n_transient; i++) {
        pm_dd sum = pm_dd_from(1.0);
        for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
            sum = pm_dd_sub(sum, slot[p->graph.edge_slot[e]]);
        }
        stay[i] = sum.hi > 0.0 ? sum : pm_dd_from(0.0);
    }
}

int pm_extended_weights(const pm_plan *p, pm_workspace *ws, const double *theta, pm_workspace **out) {
    const int status = pm_more_digits(p, ws);
    if (status != PM_OK) {
        return status;
    }
    *out = ws->more_digits;
    ws->more_digits->control = ws->control;
    for (int32_t j = 0; j < p->graph.n_params; j++) {
        ((pm_dd *)(void *)ws->more_digits->theta)[j] = pm_dd_from(theta[j]);
    }
    pm_passes_extended.weights(p, ws->more_digits);
    return PM_OK;
}

int pm_extended_factor(const pm_plan *p, pm_workspace *ws, int32_t lane, int64_t theta_index, const double *theta, pm_workspace **out,
                       pm_where *where) {
    const int status = pm_extended_weights(p, ws, theta, out);
    if (status != PM_OK) {
        return status;
    }
    pm_workspace *more = *out;
    more->failed = pm_kernels_extended.factor(p, more);
    if (pm_stopped(ws->control) != PM_OK) {
        return PM_E_STOPPED;
    }
    for (int32_t i = 0; i < p->pattern.n_rows; i++) {
        /* A weight that is zero in one kind of number only: the checks for traps, made in doubles, would not hold. */
        if (more->bad[i] != (((uint32_t)ws->bad[i] >> lane) & 1u)) {
            pm_at(where, PM_AT_NOTHING, theta_index, 0, 0.0);
            return PM_E_ACCURACY;
        }
    }
    if (p->graph.discrete) {
        set_stay(p, more);
    }
    return PM_OK;
}
