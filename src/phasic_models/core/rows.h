/* Small steps that moments, covariances and gradients have in common. */
#ifndef PM_ROWS_H
#define PM_ROWS_H

#include "pm_internal.h"

/* The reward of row i; the starting vertex, which is the last row, takes no time. */
static inline double pm_row_reward(const pm_plan *p, const double *rewards, int32_t i) {
    if (i == p->n_transient) {
        return 0.0;
    }
    return rewards == NULL ? 1.0 : rewards[p->pattern.order[i]];
}

static inline int pm_is_finite(double x) { return x >= -DBL_MAX && x <= DBL_MAX; }

/* PM_E_OVERFLOW if any of n values at `values` is not finite. */
static inline int pm_check_finite(const double *values, int64_t n, int64_t theta_index, pm_where *where) {
    for (int64_t i = 0; i < n; i++) {
        if (!pm_is_finite(values[i])) {
            pm_at(where, PM_AT_ENTRY, theta_index, i, values[i]);
            return PM_E_OVERFLOW;
        }
    }
    return PM_OK;
}

#endif
