/*
 * Derivatives of the density. Mixing is linear, so the Poisson weights of the density serve its derivatives as well, but in windows of
 * their own: a derivative may live on other numbers of jumps.
 */
#include <math.h>
#include <string.h>

#include "sensitivity.h"
#include "rows.h"

/* Terms after which the Poisson probability is computed anew. */
#define RENEW_EVERY 128

/*
 * Is what is left out beyond a mixture below tol times the sum of the |terms| so far? w: the last weight, ratio: of the next one to
 * it. After k more jumps, the sum of |m'| has grown by at most `steepest` times the mass for each.
 */
static int is_enough(const pm_sensitivity *s, double w, double ratio, const double *bound, double jumps, double mass, double tol) {
    if (!(ratio < 1.0)) {
        return 0;
    }
    const double weights = w * ratio / (1.0 - ratio);
    for (int32_t j = 0; j < s->p; j++) {
        const double largest = s->exit_most * (bound[j] + jumps * s->steepest[j] * mass) + s->exit_slope[j] * mass;
        if (!(weights * largest <= tol * fmax(s->total[j], scalbn(PM_SLOPE_FLOOR, -s->power[j])))) {
            return 0;
        }
    }
    return 1;
}

static void add(pm_sensitivity *s, double w, int64_t k, double *out) {
    for (int32_t j = 0; j < s->p; j++) {
        const double term = w * s->absorbed[k * s->p + j];
        pm_add_exactly(&out[j], &s->low[j], term);
        s->total[j] += fabs(term);
    }
}

/* Mixes the derivatives at one time, from the mode outwards; *enough = 0 if that needs entries that are not stored yet. */
static void mix_at(const pm_uniform *u, pm_sensitivity *s, double lambda, double tol, double *out, int *enough) {
    const int32_t p = s->p;
    const int64_t last = s->steps - 1;
    const int64_t mode = lambda < (double)last ? (int64_t)lambda : last;
    memset(out, 0, (size_t)p * sizeof *out);
    memset(s->total, 0, (size_t)p * sizeof *s->total);
    memset(s->low, 0, (size_t)p * sizeof *s->low);
    *enough = 1;
    double w = pm_poisson((double)mode, lambda);
    add(s, w, mode, out);
    for (int64_t k = mode; lambda > 0.0;) {
        const double ratio = lambda / ((double)k + 1.0);
        if (k % PM_BOUND_EVERY == 0) {
            const double mass = k < u->steps ? u->left[k] : 0.0;
            if (is_enough(s, w, ratio, s->bound + k / PM_BOUND_EVERY * p, 1.0 / (1.0 - ratio), mass, tol)) {
                break;
            }
        }
        if (k >= last) {
            *enough = s->over;
            break;
        }
        k++;
        w = (k - mode) % RENEW_EVERY == 0 ? pm_poisson((double)k, lambda) : w * ratio;
        add(s, w, k, out);
    }
    w = pm_poisson((double)mode, lambda);
    for (int64_t k = mode; k > 0; k--) {
        const double ratio = (double)k / lambda;
        if (k % PM_BOUND_EVERY == 0 && is_enough(s, w, ratio, s->first, (double)k, 1.0, tol)) {
            break;
        }
        w = (mode - k) % RENEW_EVERY == RENEW_EVERY - 1 ? pm_poisson((double)k - 1.0, lambda) : w * ratio;
        add(s, w, k - 1, out);
    }
    for (int32_t j = 0; j < p; j++) {
        out[j] = scalbn(out[j] + s->low[j], s->power[j]);
    }
}

/* Value and derivatives at one time of a continuous chain. */
static int at_time(pm_uniform *u, pm_sensitivity *s, double t, double tol, int64_t max_steps, double *out, double *out_grad,
                   pm_where *where) {
    for (;;) {
        int enough = pm_uniform_try(u, PM_ABSORBED, u->rate * t, tol, out);
        if (enough && s->p > 0) {
            mix_at(u, s, u->rate * t, tol, out_grad, &enough);
        }
        if (pm_stop(u->control, pm_window(u->rate * t) * (s->p + 1))) {
            return PM_E_STOPPED;
        }
        if (enough) {
            return PM_OK;
        }
        const double wanted = 1.2 * (double)(s->steps > u->steps ? s->steps : u->steps) + 64.0;
        if (wanted > (double)max_steps) {
            pm_at(where, PM_AT_NOTHING, 0, 0, wanted);
            return PM_E_LIMIT;
        }
        const int status = pm_sensitivity_sweep(u, s, (int64_t)wanted);
        if (status != PM_OK) {
            return status;
        }
    }
}

/* The same after k steps of a discrete chain. */
static void at_step(const pm_uniform *u, const pm_sensitivity *s, double k, const double *absorbed_at_once, double *out,
                    double *out_grad) {
    if (k == 0.0) {
        *out = u->absorbed_at_once;
        memcpy(out_grad, absorbed_at_once, (size_t)s->p * sizeof *out_grad);
        return;
    }
    *out = k <= (double)u->steps ? u->absorbed[(int64_t)k - 1] : 0.0;
    for (int32_t j = 0; j < s->p; j++) {
        out_grad[j] = k <= (double)s->steps ? scalbn(s->absorbed[((int64_t)k - 1) * s->p + j], s->power[j]) : 0.0;
    }
}

static int grad_of_theta(const pm_plan *plan, pm_workspace *ws, pm_uniform *u, pm_sensitivity *s, int64_t row, int64_t n_times,
                         const double *times, double tol, int64_t max_steps, double *absorbed_at_once, double *out,
                         double *out_grad, pm_where *where) {
    int status = pm_uniform_set(plan, ws, u, NULL, row, where);
    if (status != PM_OK) {
        return status;
    }
    const double largest = pm_largest(times, n_times);
    const double needed = plan->graph.discrete ? largest + 1.0 : pm_uniform_steps(u->rate * largest);
    if (!(needed <= (double)max_steps)) {
        pm_at(where, PM_AT_NOTHING, row, 0, needed);
        return PM_E_LIMIT;
    }
    status = pm_sensitivity_set(plan, ws, u, s, absorbed_at_once);
    if (status != PM_OK) {
        pm_at(where, PM_AT_NOTHING, row, 0, 0.0);
        return status;
    }
    status = pm_sensitivity_sweep(u, s, (int64_t)needed);
    for (int64_t i = 0; i < n_times && status == PM_OK; i++) {
        double *d = out_grad + i * s->p;
        if (plan->graph.discrete) {
            at_step(u, s, times[i], absorbed_at_once, &out[i], d);
        } else {
            status = at_time(u, s, times[i], tol, max_steps, &out[i], d, where);
        }
    }
    if (status == PM_E_LIMIT && where != NULL) {
        where->theta = row;
    }
    if (status == PM_OK) {
        status = pm_check_finite(out, n_times, row, where);
    }
    if (status == PM_OK) {
        status = pm_check_finite(out_grad, n_times * s->p, row, where);
    }
    return status;
}

int pm_uniform_grad(const pm_plan *plan, pm_workspace *ws, pm_uniform *u, int64_t n_theta, const double *theta, int64_t n_times,
                    const double *times, double tol, int64_t max_steps, double *out, double *out_grad, pm_where *where) {
    if (!(tol > 0.0 && tol < 1.0) || max_steps < 1 || ws->lanes != 1) {
        return pm_bad_argument(where, ws->lanes != 1 ? 2 : max_steps < 1 ? 9 : 8);
    }
    int status = pm_check_times(plan, n_times, times, where);
    if (status != PM_OK || n_times == 0) {
        return status;
    }
    pm_sensitivity s;
    double *absorbed_at_once = pm_alloc(plan->graph.n_params, sizeof *absorbed_at_once);
    status = pm_sensitivity_make(plan, u, &s);
    status = absorbed_at_once == NULL ? PM_E_MEMORY : status;
    for (int64_t row = 0; row < n_theta && status == PM_OK; row++) {
        status = pm_load_theta(plan, ws, row, n_theta, theta, where);
        if (status == PM_OK) {
            status = grad_of_theta(plan, ws, u, &s, row, n_times, times, 0.1 * tol, max_steps, absorbed_at_once,
                                   out + row * n_times, out_grad + row * n_times * s.p, where);
        }
    }
    pm_free(absorbed_at_once);
    pm_sensitivity_release(&s);
    pm_uniform_trim(u);
    return status;
}
