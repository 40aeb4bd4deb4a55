/*
 * Derivatives of the density. With the uniformization rate q held fixed, the vector v after k jumps and its derivative by each
 * parameter go through one sweep, v' <- v' P + v P'. Mixing is linear, so the same Poisson weights serve.
 *
 * Of the derivative, the sweep carries the change of the shape, y, and the derivative of log(mass) apart:
 *     v' = (mass / sum) (y + (slope - sum(y) / sum) v),      sum = sum(v), in the unit of the shape.
 * slope follows from the shares that are absorbed and not from the sums of vectors, so that rounding does not add up in it; see uniform_chain.c.
 */
#include <math.h>
#include <string.h>

#include "uniform.h"

/* Terms after which the Poisson probability is computed anew. */
#define RENEW_EVERY 128
/* Jumps between two projections, at which entries of `bound` are stored. */
#define BOUND_EVERY 4

typedef struct sensitivity {
    int32_t p;          /* parameters */
    double *slot;       /* (n_slots, p): derivatives of the weights */
    double *inner;      /* (n_inner, p): of the jump probabilities */
    double *stay;       /* (n, p): of the probability to stay, and its rounding */
    double *stay_low;
    double *exit;       /* (n_exits, p): of the rates of absorption */
    double *initial;    /* (n_rows, p): of the initial mass */
    double *now;        /* (n, p): y */
    double *next;
    double *slope;      /* (p), and its rounding: equal terms are added to it many times */
    double *slope_low;
    double *sum;        /* (p): of y */
    double *sum_next;
    double *steepest;   /* (p): bound of the sum of |P'| over a row */
    double *exit_slope; /* (p): bound of |exit'| */
    double *first;      /* (p): sum of |v'| before the first jump */
    double *total;      /* (p): the sum of |terms| of a mixture */
    double *absorbed;   /* (capacity, p): by number of jumps */
    double *bound;      /* (capacity / BOUND_EVERY + 1, p): of the sum of |v'| */
    int64_t capacity;
    int64_t steps;      /* entries that are filled */
    double exit_most;   /* the largest rate of absorption */
    double unit;        /* mass / sum, for a vector that is zero now; its derivative need not be */
} sensitivity;

/* No mass is left, but there may be a derivative of it: at the edge of what parameters may be. */
static int is_at_the_edge(const pm_uniform *u) { return u->exhausted && u->sum == 0.0; }

static int is_over(const pm_uniform *u) { return u->exhausted && !is_at_the_edge(u); }

#define N_ARRAYS 17

static void arrays_of(sensitivity *s, double **arrays[N_ARRAYS]) {
    double **all[N_ARRAYS] = {&s->slot, &s->inner, &s->stay, &s->stay_low, &s->exit, &s->initial, &s->now, &s->next,
                              &s->slope, &s->slope_low, &s->sum, &s->sum_next, &s->steepest, &s->exit_slope, &s->first, &s->total, &s->absorbed};
    memcpy(arrays, all, sizeof all);
}

static void release(sensitivity *s) {
    double **arrays[N_ARRAYS];
    arrays_of(s, arrays);
    for (int i = 0; i < N_ARRAYS; i++) {
        pm_free(*arrays[i]);
    }
    pm_free(s->bound);
}

static int allocate(const pm_plan *plan, const pm_uniform *u, sensitivity *s) {
    const int64_t counts[N_ARRAYS] = {plan->n_slots, u->n_inner, u->n, u->n, u->n_exits, plan->pattern.n_rows, u->n, u->n,
                                      1, 1, 1, 1, 1, 1, 1, 1, 0};
    double **arrays[N_ARRAYS];
    arrays_of(s, arrays);
    for (int i = 0; i < N_ARRAYS; i++) {
        *arrays[i] = pm_alloc(counts[i] * s->p, sizeof **arrays[i]);
        if (*arrays[i] == NULL) {
            return PM_E_MEMORY;
        }
    }
    return PM_OK;
}

/* Derivatives of the chain, in the numbering of the sweep. */
static void differentiate_chain(const pm_plan *plan, const pm_uniform *u, sensitivity *s) {
    const int32_t p = s->p;
    const double scale = u->rate > 0.0 ? u->rate : 1.0;
    for (int64_t e = 0; e < u->n_inner; e++) {
        for (int32_t j = 0; j < p; j++) {
            s->inner[e * p + j] = s->slot[(int64_t)u->in_slot[e] * p + j] / scale;
        }
    }
    memset(s->exit_slope, 0, (size_t)p * sizeof *s->exit_slope);
    memset(s->steepest, 0, (size_t)p * sizeof *s->steepest);
    s->exit_most = u->n_exits > 0 ? pm_largest(u->exit_rate, u->n_exits) : 0.0;
    int32_t exits = 0;
    for (int32_t i = 0; i < u->n; i++) {
        const int32_t row = u->row_of[i];
        const int leaves = exits < u->n_exits && u->exit_at[exits] == i;
        for (int32_t j = 0; j < p; j++) {
            /* Derivatives of the probabilities out of a state must add up to zero far beyond the rounding of each. */
            double sum = 0.0;
            double low = 0.0;
            double absolute = 0.0;
            double exit = 0.0;
            for (int64_t e = plan->edge_start[row]; e < plan->edge_end[row]; e++) {
                const double d = s->slot[(int64_t)plan->graph.edge_slot[e] * p + j];
                pm_add_exactly(&sum, &low, d / scale);
                exit += plan->edge_row[e] < 0 ? d : 0.0;
                absolute += plan->edge_row[e] < 0 ? 0.0 : fabs(d / scale);
            }
            if (leaves) {
                s->exit[(int64_t)exits * p + j] = exit;
                s->exit_slope[j] = fabs(exit) > s->exit_slope[j] ? fabs(exit) : s->exit_slope[j];
            }
            const double high = sum + low;
            s->stay[(int64_t)i * p + j] = -high;
            s->stay_low[(int64_t)i * p + j] = -((sum - high) + low);
            absolute += fabs(high);
            s->steepest[j] = absolute > s->steepest[j] ? absolute : s->steepest[j];
        }
        exits += leaves;
    }
}

/* Derivatives of the initial mass; the sweep begins with them. absorbed_at_once: (p), for discrete time 0. */
static void differentiate_initial(const pm_plan *plan, const pm_workspace *ws, const pm_uniform *u, sensitivity *s,
                                  double *absorbed_at_once) {
    const int32_t p = s->p;
    const int64_t starts = plan->graph.edge_ptr[1];
    const double total = pm_total_rate(plan, ws, plan->n_transient);
    memset(s->initial, 0, (size_t)plan->pattern.n_rows * (size_t)p * sizeof *s->initial);
    memset(absorbed_at_once, 0, (size_t)p * sizeof *absorbed_at_once);
    for (int32_t j = 0; j < p; j++) {
        double d_total = 0.0;
        for (int64_t e = 0; e < starts; e++) {
            d_total += s->slot[(int64_t)plan->graph.edge_slot[e] * p + j];
        }
        for (int64_t e = 0; e < starts; e++) {
            const int32_t slot = plan->graph.edge_slot[e];
            const double d = (s->slot[(int64_t)slot * p + j] - ws->slot[slot] / total * d_total) / total;
            if (plan->edge_row[e] >= 0) {
                s->initial[(int64_t)plan->edge_row[e] * p + j] = d;
            } else {
                absorbed_at_once[j] += d;
            }
        }
        s->sum[j] = 0.0;
        s->first[j] = 0.0;
        for (int32_t i = 0; i < u->n; i++) {
            const double d = s->initial[(int64_t)u->row_of[i] * p + j];
            s->now[(int64_t)i * p + j] = d;
            s->sum[j] += d;
            s->first[j] += fabs(d);
        }
        s->slope[j] = u->sum > 0.0 ? s->sum[j] / u->sum : 0.0;
        s->slope_low[j] = 0.0;
    }
    s->unit = 1.0;
    s->steps = 0;
}

static int grow(double **array, int64_t count) {
    double *grown = pm_realloc(*array, count, sizeof *grown);
    if (grown == NULL) {
        return PM_E_MEMORY;
    }
    *array = grown;
    return PM_OK;
}

static int reserve(pm_uniform *u, sensitivity *s, int64_t steps) {
    int status = pm_uniform_reserve(u, steps);
    if (status == PM_OK && steps > s->capacity) {
        const int64_t capacity = steps + steps / 4 + 64;
        if (capacity > INT64_MAX / 16 / s->p) {
            return PM_E_MEMORY;
        }
        status = grow(&s->absorbed, capacity * s->p);
        if (status == PM_OK) {
            status = grow(&s->bound, (capacity / BOUND_EVERY + 1) * s->p);
        }
        s->capacity = status == PM_OK ? capacity : 0;
    }
    return status;
}

/* Takes that part out of y which only changes the mass, with what rounding has put there, and bounds what is left. */
static void project(const pm_uniform *u, sensitivity *s, const double *v, double mass) {
    const int32_t p = s->p;
    double *bound = s->bound + s->steps / BOUND_EVERY * p;
    memset(bound, 0, (size_t)p * sizeof *bound);
    for (int32_t j = 0; j < p; j++) {
        s->sum[j] = u->sum > 0.0 ? s->sum[j] / u->sum : 0.0;
    }
    for (int32_t i = 0; i < u->n; i++) {
        double *y = s->now + (int64_t)i * p;
        for (int32_t j = 0; j < p; j++) {
            y[j] -= s->sum[j] * v[i];
            bound[j] += fabs(y[j]);
        }
    }
    for (int32_t j = 0; j < p; j++) {
        bound[j] = u->sum > 0.0 ? mass * (bound[j] / u->sum + fabs(s->slope[j])) : s->unit * bound[j];
        s->sum[j] = 0.0;
    }
}

/* The derivative of what the sweep repairs. */
static void repair(const pm_uniform *u, sensitivity *s, const double *v) {
    const int32_t p = s->p;
    for (int32_t i = 0; i < u->n; i++) {
        for (int32_t j = 0; j < p; j++) {
            double *y = s->now + (int64_t)i * p + j;
            const double change = PM_REPAIR_EVERY * (u->change_low[i] * *y + s->stay_low[(int64_t)i * p + j] * v[i]);
            *y += change;
            s->sum[j] += change;
        }
    }
}

/* Derivatives of the rate of absorption, and of log(mass) after the jump. */
static void absorb(const pm_uniform *u, sensitivity *s, const double *v, double mass) {
    const int32_t p = s->p;
    const double scale = u->rate > 0.0 ? u->rate : 1.0;
    const double rate = u->share * scale;
    double *out = s->absorbed + s->steps * p;
    memset(out, 0, (size_t)p * sizeof *out);
    for (int32_t i = 0; i < u->n_exits; i++) {
        const int32_t at = u->exit_at[i];
        for (int32_t j = 0; j < p; j++) {
            out[j] += s->now[(int64_t)at * p + j] * u->exit_rate[i] + v[at] * s->exit[(int64_t)i * p + j];
        }
    }
    for (int32_t j = 0; j < p; j++) {
        if (u->sum > 0.0) {
            const double change = (out[j] - rate * s->sum[j]) / u->sum;
            out[j] = mass * ((s->slope[j] + s->slope_low[j]) * rate + change);
            if (u->share <= 0.5) {
                pm_add_exactly(&s->slope[j], &s->slope_low[j], -(change / scale / (1.0 - u->share)));
            }
        } else {
            out[j] *= s->unit;
        }
    }
}

/* y after the jump. v: the vector before it. */
static void move(const pm_uniform *u, sensitivity *s, const double *v) {
    const int32_t p = s->p;
    memset(s->sum_next, 0, (size_t)p * sizeof *s->sum_next);
    for (int32_t i = 0; i < u->n; i++) {
        const double *PM_RESTRICT y = s->now + (int64_t)i * p;
        const double *PM_RESTRICT stay = s->stay + (int64_t)i * p;
        double *PM_RESTRICT d = s->next + (int64_t)i * p;
        for (int32_t j = 0; j < p; j++) {
            d[j] = u->change[i] * y[j] + stay[j] * v[i];
        }
        for (int64_t e = u->in_ptr[i]; e < u->in_ptr[i + 1]; e++) {
            const double probability = u->in_probability[e];
            const double mass = v[u->in_from[e]];
            const double *PM_RESTRICT from = s->now + (int64_t)u->in_from[e] * p;
            const double *PM_RESTRICT inner = s->inner + e * p;
            for (int32_t j = 0; j < p; j++) {
                d[j] += probability * from[j] + inner[j] * mass;
            }
        }
        for (int32_t j = 0; j < p; j++) {
            d[j] = (d[j] + u->base[i] * y[j]) * u->factor;
            s->sum_next[j] += d[j];
        }
    }
    double *swap = s->now;
    s->now = s->next;
    s->next = swap;
}

/* Takes values and derivatives together to `steps` entries, or until no mass is left. */
static int sweep(pm_uniform *u, sensitivity *s, int64_t steps) {
    const int status = s->p == 0 ? pm_uniform_sweep(u, steps) : reserve(u, s, steps);
    if (status != PM_OK || s->p == 0) {
        return status;
    }
    for (; s->steps < steps && !is_over(u); s->steps++) {
        const double before = u->sum * u->factor;
        if (!u->exhausted) {
            pm_uniform_jump(u);
        }
        if (u->sum == 0.0 && before > 0.0 && s->steps > 0) {
            s->unit = u->left[s->steps - 1] / before;
        }
        /* The jump has left the vector before it in `next`. */
        const double *v = u->sum > 0.0 ? u->next : u->now;
        const double mass = s->steps < u->steps ? u->left[s->steps] : 0.0;
        if (s->steps % BOUND_EVERY == 0) {
            project(u, s, v, mass);
        }
        if (s->steps % PM_REPAIR_EVERY == PM_REPAIR_EVERY - 1) {
            repair(u, s, v);
        }
        absorb(u, s, v, mass);
        move(u, s, v);
        if (u->sum > 0.0 && u->share > 0.5) {
            double sum = 0.0;
            for (int32_t i = 0; i < u->n; i++) {
                sum += u->now[i];
            }
            for (int32_t j = 0; j < s->p; j++) {
                const double change = sum > 0.0 ? s->sum_next[j] / sum - s->sum[j] / u->sum : 0.0;
                pm_add_exactly(&s->slope[j], &s->slope_low[j], change);
            }
        }
        double *swap = s->sum;
        s->sum = s->sum_next;
        s->sum_next = swap;
        if (pm_stop(u->control, (u->n_inner + u->n + 8) * (s->p + 1))) {
            return PM_E_STOPPED;
        }
    }
    return PM_OK;
}

/*
 * Is what is left out beyond a mixture below tol times the sum of the |terms| so far? w: the last weight, ratio: of the next one to
 * it. After k more jumps, the sum of |v'| has grown by at most `steepest` times the mass for each.
 */
static int is_enough(const sensitivity *s, double w, double ratio, const double *bound, double jumps, double mass, double tol) {
    if (!(ratio < 1.0)) {
        return 0;
    }
    const double weights = w * ratio / (1.0 - ratio);
    for (int32_t j = 0; j < s->p; j++) {
        const double largest = s->exit_most * (bound[j] + jumps * s->steepest[j] * mass) + s->exit_slope[j] * mass;
        if (!(weights * largest <= tol * s->total[j])) {
            return 0;
        }
    }
    return 1;
}

static void add(sensitivity *s, double w, int64_t k, double *out) {
    for (int32_t j = 0; j < s->p; j++) {
        const double term = w * s->absorbed[k * s->p + j];
        out[j] += term;
        s->total[j] += fabs(term);
    }
}

/* Mixes the derivatives at one time, from the mode outwards; *enough = 0 if that needs entries that are not stored yet. */
static void mix_at(const pm_uniform *u, sensitivity *s, double lambda, double tol, double *out, int *enough) {
    const int32_t p = s->p;
    const int64_t last = s->steps - 1;
    const int64_t mode = lambda < (double)last ? (int64_t)lambda : last;
    memset(out, 0, (size_t)p * sizeof *out);
    memset(s->total, 0, (size_t)p * sizeof *s->total);
    *enough = 1;
    double w = pm_poisson((double)mode, lambda);
    add(s, w, mode, out);
    for (int64_t k = mode; lambda > 0.0;) {
        const double ratio = lambda / ((double)k + 1.0);
        if (k % BOUND_EVERY == 0) {
            const double mass = k < u->steps ? u->left[k] : 0.0;
            if (is_enough(s, w, ratio, s->bound + k / BOUND_EVERY * p, 1.0 / (1.0 - ratio), mass, tol)) {
                break;
            }
        }
        if (k >= last) {
            *enough = is_over(u);
            break;
        }
        k++;
        w = (k - mode) % RENEW_EVERY == 0 ? pm_poisson((double)k, lambda) : w * ratio;
        add(s, w, k, out);
    }
    w = pm_poisson((double)mode, lambda);
    for (int64_t k = mode; k > 0; k--) {
        const double ratio = (double)k / lambda;
        if (k % BOUND_EVERY == 0 && is_enough(s, w, ratio, s->first, (double)k, 1.0, tol)) {
            break;
        }
        w = (mode - k) % RENEW_EVERY == RENEW_EVERY - 1 ? pm_poisson((double)k - 1.0, lambda) : w * ratio;
        add(s, w, k - 1, out);
    }
}

/* Value and derivatives at one time of a continuous chain. */
static int at_time(pm_uniform *u, sensitivity *s, double t, double tol, int64_t max_steps, double *out, double *out_grad,
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
        const double wanted = 1.2 * (double)u->steps + 64.0;
        if (wanted > (double)max_steps) {
            pm_at(where, PM_AT_NOTHING, 0, 0, wanted);
            return PM_E_LIMIT;
        }
        const int status = sweep(u, s, (int64_t)wanted);
        if (status != PM_OK) {
            return status;
        }
    }
}

/* The same after k steps of a discrete chain. */
static void at_step(const pm_uniform *u, const sensitivity *s, double k, const double *absorbed_at_once, double *out,
                    double *out_grad) {
    const size_t size = (size_t)s->p * sizeof *out_grad;
    if (k == 0.0) {
        *out = u->absorbed_at_once;
        memcpy(out_grad, absorbed_at_once, size);
        return;
    }
    *out = k <= (double)u->steps ? u->absorbed[(int64_t)k - 1] : 0.0;
    if (k <= (double)s->steps) {
        memcpy(out_grad, s->absorbed + ((int64_t)k - 1) * s->p, size);
    } else {
        memset(out_grad, 0, size);
    }
}

static int all_finite(const double *values, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs(values[i]) <= DBL_MAX)) {
            return 0;
        }
    }
    return 1;
}

static int grad_of_theta(const pm_plan *plan, pm_workspace *ws, pm_uniform *u, sensitivity *s, int64_t row, int64_t n_times,
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
    pm_weights_slopes(plan, ws, s->slot);
    differentiate_chain(plan, u, s);
    differentiate_initial(plan, ws, u, s, absorbed_at_once);
    status = sweep(u, s, (int64_t)needed);
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
    if (status == PM_OK && !(all_finite(out, n_times) && all_finite(out_grad, n_times * s->p))) {
        pm_at(where, PM_AT_NOTHING, row, 0, 0.0);
        status = PM_E_OVERFLOW;
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
    sensitivity s;
    memset(&s, 0, sizeof s);
    s.p = plan->graph.n_params;
    double *absorbed_at_once = pm_alloc(s.p, sizeof *absorbed_at_once);
    status = absorbed_at_once == NULL ? PM_E_MEMORY : allocate(plan, u, &s);
    for (int64_t row = 0; row < n_theta && status == PM_OK; row++) {
        status = pm_load_theta(plan, ws, row, n_theta, theta, where);
        if (status == PM_OK) {
            status = grad_of_theta(plan, ws, u, &s, row, n_times, times, 0.1 * tol, max_steps, absorbed_at_once,
                                   out + row * n_times, out_grad + row * n_times * s.p, where);
        }
    }
    pm_free(absorbed_at_once);
    release(&s);
    pm_uniform_trim(u);
    return status;
}
