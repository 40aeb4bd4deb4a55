/*
 * Uniformization: the distribution at t mixes the sequences that the sweep stores with Poisson(q t) weights. Each time sums a window
 * of its own, so a hundred times cost little more than one.
 */
#include <math.h>

#include "uniform.h"

/* Terms after which the Poisson probability is computed anew: the recurrence between would lose a digit now and then. */
#define RENEW_EVERY 128
/* Terms that are added up before the sum takes them in, and between two looks at what is left out. */
#define CHUNK 16
/* Values below this need not be right: a density has the unit of a rate. */
#define FLOOR 1e-300

/* One sequence as the mixing reads it. Beyond the last entry of an exhausted sweep only `done` goes on, unchanged. */
typedef struct sequence {
    const double *entry;
    int64_t n;             /* entries */
    double beyond;
    double floor;
    double most;           /* a bound of all entries */
    int rising;            /* entries before k are not above entry k */
} sequence;

static double at(const sequence *s, int64_t k) { return k < s->n ? s->entry[k] : s->beyond; }

static sequence sequence_of(const pm_uniform *u, pm_sequence what) {
    sequence s = {u->left, u->steps, 0.0, FLOOR, 1.0, 0};
    if (what == PM_ABSORBED) {
        s.entry = u->absorbed;
        s.most = u->rate;
        s.floor = u->rate < 1.0 ? FLOOR * u->rate : FLOOR;
    } else if (what == PM_DONE) {
        s.entry = u->done;
        s.beyond = u->done[u->steps - 1];
        s.rising = 1;
    }
    return s;
}

/* An upper bound of the entries after k. */
static double bound_after(const pm_uniform *u, pm_sequence what, int64_t k) {
    const double left = u->left[k < u->steps ? k : u->steps - 1];
    return what == PM_ABSORBED ? u->rate * left : what == PM_LEFT ? left : 1.0;
}

/* A sum of terms that are not negative, and what is left out: is it below tol times the sum? ratio: of one weight to the last. */
static int is_enough(const sequence *s, double weight, double ratio, double bound, double tol, double sum) {
    return ratio < 1.0 && weight * ratio / (1.0 - ratio) * bound <= tol * (sum > s->floor ? sum : s->floor);
}

/* Adds the terms after `mode`, to `last` at most. Returns 0 if it came so far and more would be needed. */
static int mix_up(const pm_uniform *u, pm_sequence what, const sequence *s, double lambda, double tol, int64_t mode, int64_t last,
                  double *sum, double *carry) {
    double w = pm_poisson((double)mode, lambda);
    for (int64_t k = mode; !is_enough(s, w, lambda / ((double)k + 1.0), bound_after(u, what, k), tol, *sum);) {
        if (k >= last) {
            return 0;
        }
        const int64_t end = k + CHUNK < last ? k + CHUNK : last;
        double part = 0.0;
        while (k < end) {
            k++;
            w = (k - mode) % RENEW_EVERY == 0 ? pm_poisson((double)k, lambda) : w * (lambda / (double)k);
            part += w * at(s, k);
        }
        pm_add_exactly(sum, carry, part);
    }
    return 1;
}

/* Adds the terms before `mode`. */
static void mix_down(const sequence *s, double lambda, double tol, int64_t mode, double *sum, double *carry) {
    double w = pm_poisson((double)mode, lambda);
    for (int64_t k = mode; k > 0 && !is_enough(s, w, (double)k / lambda, s->rising ? at(s, k) : s->most, tol, *sum);) {
        const int64_t end = k > CHUNK ? k - CHUNK : 0;
        double part = 0.0;
        while (k > end) {
            w = (mode - k) % RENEW_EVERY == RENEW_EVERY - 1 ? pm_poisson((double)k - 1.0, lambda) : w * ((double)k / lambda);
            k--;
            part += w * at(s, k);
        }
        pm_add_exactly(sum, carry, part);
    }
}

/* sum_k Poisson(k; lambda) entry_k, from the mode outwards until what is left out on either side is below tol times the sum. */
int pm_uniform_try(const pm_uniform *u, pm_sequence what, double lambda, double tol, double *out) {
    const sequence s = sequence_of(u, what);
    if (lambda == 0.0) {
        *out = at(&s, 0);
        return 1;
    }
    if (what == PM_DONE && u->exhausted && lambda > 4.0 * (double)u->steps + 4000.0) {
        *out = s.beyond; /* the probability of so few jumps is below 1e-300 */
        return 1;
    }
    const int64_t last = what == PM_DONE && u->exhausted ? INT64_MAX / 2 : u->steps - 1;
    const int64_t mode = lambda < (double)last ? (int64_t)lambda : last;
    double sum = pm_poisson((double)mode, lambda) * at(&s, mode);
    double carry = 0.0;
    const int enough = mix_up(u, what, &s, lambda, tol, mode, last, &sum, &carry);
    mix_down(&s, lambda, tol, mode, &sum, &carry);
    *out = sum + carry;
    return enough || u->exhausted;
}

double pm_uniform_steps(double lambda) { return ceil(lambda + 9.5 * sqrt(lambda) + 40.0); }

int pm_uniform_mix(pm_uniform *u, pm_sequence what, double lambda, double tol, int64_t max_steps, double *out, pm_where *where) {
    for (;;) {
        if (pm_uniform_try(u, what, lambda, tol, out)) {
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
        if (status == PM_OK && pm_stop(u->control, pm_window(lambda))) {
            status = PM_E_STOPPED;
        }
        if (status != PM_OK) {
            return status;
        }
    }
    return PM_OK;
}

static int eval_discrete(pm_uniform *u, int64_t n_times, const double *times, double *pdf, double *cdf, double *sf) {
    const sequence absorbed = sequence_of(u, PM_ABSORBED);
    const sequence left = sequence_of(u, PM_LEFT);
    const sequence done = sequence_of(u, PM_DONE);
    for (int64_t i = 0; i < n_times; i++) {
        const int64_t k = times[i] < (double)u->steps ? (int64_t)times[i] : u->steps;
        if (pdf != NULL) {
            pdf[i] = k == 0 ? u->absorbed_at_once : times[i] > (double)u->steps ? 0.0 : at(&absorbed, k - 1);
        }
        if (sf != NULL) {
            sf[i] = at(&left, k);
        }
        if (cdf != NULL) {
            cdf[i] = at(&left, k) < 0.5 ? 1.0 - at(&left, k) : at(&done, k);
        }
    }
    return PM_OK;
}

int pm_check_times(const pm_plan *p, int64_t n_times, const double *times, pm_where *where) {
    for (int64_t i = 0; i < n_times; i++) {
        const double t = times[i];
        if (!(t >= 0.0) || t > DBL_MAX || (p->graph.discrete && t != floor(t))) {
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
                    const double *initial, const double *stay, int64_t n_times, const double *times, double tol,
                    int64_t max_steps, double *pdf, double *cdf, double *sf, pm_where *where) {
    if (!(tol > 0.0 && tol < 1.0) || max_steps < 1 || ws->lanes != 1) {
        return pm_bad_argument(where, ws->lanes != 1 ? 2 : max_steps < 1 ? 11 : 10);
    }
    tol *= 0.1; /* two sides are cut off, and rounding wants its share */
    int status = pm_check_times(p, n_times, times, where);
    const double largest = status == PM_OK ? pm_largest(times, n_times) : 0.0;
    for (int64_t row = 0; row < n_theta && status == PM_OK && n_times > 0; row++) {
        status = pm_load_theta(p, ws, row, n_theta, theta, where);
        if (status == PM_OK) {
            u->stay = stay == NULL || !p->graph.discrete ? NULL : stay + row * p->graph.n_vertices;
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
    u->stay = NULL;
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
