/*
 * Uniformization: the distribution at t mixes the sequences that the sweep stores with Poisson(q t) weights. Each time sums a window
 * of its own, so a hundred times cost little more than one.
 */
#include <math.h>

#include "uniform.h"

/* Beyond the last entry of an exhausted sweep only `done` goes on, unchanged. */
static double entry(const pm_uniform *u, pm_sequence what, int64_t k) {
    switch (what) {
    case PM_ABSORBED:
        return k < u->steps ? u->absorbed[k] : 0.0;
    case PM_LEFT:
        return k < u->steps ? u->left[k] : 0.0;
    default:
        return u->done[k < u->steps ? k : u->steps - 1];
    }
}

/* An upper bound of the entries at and after k, and of those before k. */
static double bound_after(const pm_uniform *u, pm_sequence what, int64_t k) {
    const double left = u->left[k < u->steps ? k : u->steps - 1];
    return what == PM_ABSORBED ? u->rate * left : what == PM_LEFT ? left : 1.0;
}

static double bound_before(const pm_uniform *u, pm_sequence what, int64_t k) {
    return what == PM_ABSORBED ? u->rate : what == PM_LEFT ? 1.0 : entry(u, what, k);
}

/*
 * sum_k Poisson(k; lambda) entry_k, from the mode outwards until what is left on either side is below tol times the sum.
 * *enough = 0 if that needs entries that are not stored yet.
 */
static double mix(pm_uniform *u, pm_sequence what, double lambda, double tol, int *enough) {
    *enough = 1;
    u->first = u->last = 0;
    if (lambda == 0.0) {
        return entry(u, what, 0);
    }
    const int64_t last = what == PM_DONE && u->exhausted ? INT64_MAX / 2 : u->steps - 1;
    if (what == PM_DONE && u->exhausted && lambda > 4.0 * (double)u->steps + 4000.0) {
        return entry(u, what, u->steps - 1); /* the probability of so few jumps is below 1e-300 */
    }
    const int64_t mode = lambda < (double)last ? (int64_t)lambda : last;
    const double weight = pm_poisson((double)mode, lambda);
    double sum = weight * entry(u, what, mode);
    double w = weight;
    /* Values below this need only be right absolutely; a density has the unit of a rate. */
    const double floor_value = what == PM_ABSORBED && u->rate < 1.0 ? 1e-280 * u->rate : 1e-280;
    int64_t k = mode;
    for (;; k++) {
        const double ratio = lambda / ((double)k + 1.0);
        if (ratio < 1.0 && w * ratio / (1.0 - ratio) * bound_after(u, what, k) <= tol * (sum > floor_value ? sum : floor_value)) {
            break;
        }
        if (k + 1 > last) {
            *enough = u->exhausted;
            break;
        }
        w *= ratio;
        sum += w * entry(u, what, k + 1);
    }
    u->last = k;
    w = weight;
    for (k = mode; k > 0; k--) {
        const double ratio = (double)k / lambda;
        if (ratio < 1.0 && w * ratio / (1.0 - ratio) * bound_before(u, what, k) <= tol * (sum > floor_value ? sum : floor_value)) {
            break;
        }
        w *= ratio;
        sum += w * entry(u, what, k - 1);
    }
    u->first = k;
    return sum;
}

double pm_uniform_steps(double lambda) { return ceil(lambda + 9.5 * sqrt(lambda) + 40.0); }

int pm_uniform_mix(pm_uniform *u, pm_sequence what, double lambda, double tol, int64_t max_steps, double *out, pm_where *where) {
    for (;;) {
        int enough = 0;
        *out = mix(u, what, lambda, tol, &enough);
        if (enough) {
            return PM_OK;
        }
        const double wanted = 1.2 * (double)u->steps + 64.0;
        if (wanted > (double)max_steps) {
            pm_at(where, PM_AT_NOTHING, 0, 0, wanted);
            return PM_E_LIMIT;
        }
        const int status = pm_uniform_sweep(u, (int64_t)wanted);
        if (status != PM_OK) {
            return status;
        }
    }
}

static int eval_continuous(pm_uniform *u, int64_t n_times, const double *times, double tol, int64_t max_steps, double *pdf,
                           double *cdf, double *sf, pm_where *where) {
    for (int64_t i = 0; i < n_times; i++) {
        double lambda = u->rate * times[i];
        if (lambda > 1e300) {
            lambda = 1e300; /* beyond any sweep; only an exhausted one answers */
        }
        int status = PM_OK;
        double survival = 0.0;
        if (pdf != NULL) {
            status = pm_uniform_mix(u, PM_ABSORBED, lambda, tol, max_steps, &pdf[i], where);
        }
        if (status == PM_OK && (sf != NULL || cdf != NULL)) {
            status = pm_uniform_mix(u, PM_LEFT, lambda, tol, max_steps, &survival, where);
            if (sf != NULL) {
                sf[i] = survival;
            }
        }
        if (status == PM_OK && cdf != NULL) {
            /* The larger of the two is computed as the complement of the smaller. */
            if (survival < 0.5) {
                cdf[i] = 1.0 - survival;
            } else {
                status = pm_uniform_mix(u, PM_DONE, lambda, tol, max_steps, &cdf[i], where);
            }
        }
        if (status == PM_OK && pm_stop(u->control, 4 * (u->last - u->first) + 64)) {
            status = PM_E_STOPPED;
        }
        if (status != PM_OK) {
            return status;
        }
    }
    return PM_OK;
}

static int eval_discrete(pm_uniform *u, int64_t n_times, const double *times, double *pdf, double *cdf, double *sf) {
    for (int64_t i = 0; i < n_times; i++) {
        const int64_t k = times[i] < (double)u->steps ? (int64_t)times[i] : u->steps;
        if (pdf != NULL) {
            pdf[i] = k == 0 ? u->absorbed_at_once : entry(u, PM_ABSORBED, k - 1);
            if (times[i] > (double)u->steps) {
                pdf[i] = 0.0;
            }
        }
        if (sf != NULL) {
            sf[i] = entry(u, PM_LEFT, k);
        }
        if (cdf != NULL) {
            const double survival = entry(u, PM_LEFT, k);
            cdf[i] = survival < 0.5 ? 1.0 - survival : entry(u, PM_DONE, k);
        }
    }
    return PM_OK;
}

int pm_check_times(const pm_plan *p, int64_t n_times, const double *times, pm_where *where) {
    for (int64_t i = 0; i < n_times; i++) {
        const double t = times[i];
        if (!(t >= 0.0) || t > 1.7976931348623157e308 || (p->graph.discrete && t != floor(t))) {
            pm_at(where, PM_AT_ENTRY, -1, i, t);
            return PM_E_TIME;
        }
    }
    return PM_OK;
}

double pm_largest(const double *values, int64_t n) {
    double largest = 0.0;
    for (int64_t i = 0; i < n; i++) {
        largest = values[i] > largest ? values[i] : largest;
    }
    return largest;
}

int pm_uniform_eval(const pm_plan *p, pm_workspace *ws, pm_uniform *u, int64_t n_theta, const double *theta,
                    const double *initial, int64_t n_times, const double *times, double tol, int64_t max_steps, double *pdf, double *cdf, double *sf, pm_where *where) {
    if (!(tol > 0.0 && tol < 1.0) || max_steps < 1 || ws->lanes != 1) {
        return pm_bad_argument(where, ws->lanes != 1 ? 2 : max_steps < 1 ? 10 : 9);
    }
    tol *= 0.1; /* two sides are cut off, and rounding wants its share */
    int status = pm_check_times(p, n_times, times, where);
    const double largest = status == PM_OK ? pm_largest(times, n_times) : 0.0;
    for (int64_t row = 0; row < n_theta && status == PM_OK && n_times > 0; row++) {
        status = pm_load_theta(p, ws, row, n_theta, theta, where);
        if (status == PM_OK) {
            status = pm_uniform_set(p, ws, u, initial, row, where);
        }
        if (status != PM_OK) {
            break;
        }
        const double needed = p->graph.discrete ? largest + 1.0 : pm_uniform_steps(u->rate * largest);
        status = pm_uniform_sweep(u, needed < (double)max_steps ? (int64_t)needed : max_steps);
        if (status != PM_OK) {
            break;
        }
        if ((double)u->steps < needed && !u->exhausted) {
            pm_at(where, PM_AT_NOTHING, row, 0, needed);
            status = PM_E_LIMIT;
            break;
        }
        double *pdf_row = pdf == NULL ? NULL : pdf + row * n_times;
        double *cdf_row = cdf == NULL ? NULL : cdf + row * n_times;
        double *sf_row = sf == NULL ? NULL : sf + row * n_times;
        status = p->graph.discrete ? eval_discrete(u, n_times, times, pdf_row, cdf_row, sf_row)
                                   : eval_continuous(u, n_times, times, tol, max_steps, pdf_row, cdf_row, sf_row, where);
        if (status == PM_E_LIMIT && where != NULL) {
            where->theta = row;
        }
    }
    pm_uniform_trim(u);
    return status;
}

int pm_uniform_rate(const pm_plan *p, pm_workspace *ws, int64_t n_theta, const double *theta, double *out, pm_where *where) {
    if (ws->lanes != 1) {
        return pm_bad_argument(where, 2);
    }
    for (int64_t row = 0; row < n_theta; row++) {
        const int status = pm_load_theta(p, ws, row, n_theta, theta, where);
        if (status != PM_OK) {
            return status;
        }
        out[row] = pm_largest_rate(p, ws);
    }
    return PM_OK;
}
