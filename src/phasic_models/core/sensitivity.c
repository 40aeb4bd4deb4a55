/*
 * Derivatives of the sweep. With the uniformization rate q held fixed, the mass m after k jumps and its derivative by each parameter
 * go through one sweep, m' <- m' P + m P'.
 *
 * Nothing is subtracted but what the formula itself subtracts, state by state: then every entry is right relative to the sum of its
 * absolute terms, however far apart the rates are. For a parameter j, the sweep carries y with
 *     m' = 2^power_j / q * scale_j * y,      dw/d theta_j = 2^power_j * slot_j,
 * where y has a unit of its own, since a derivative may live on when no mass is left, and no power of theta may make it overflow. As in
 * sweep.c, the rounding of each entry is kept beside it, and the unit changes a little at each jump, so that rounding does not add up.
 */
#include <math.h>
#include <string.h>

#include "sensitivity.h"
#include "rows.h"

/* The sizes between which y is kept. */
#define LARGEST 0x1p60
#define SMALLEST 0x1p-60
/* No scale is taken below this. */
#define LEAST_SCALE 0x1p-960

#define N_ARRAYS 22

static void arrays_of(pm_sensitivity *s, double **arrays[N_ARRAYS]) {
    double **all[N_ARRAYS] = {&s->slot, &s->inner, &s->stay, &s->stay_low, &s->exit, &s->exit_share, &s->initial, &s->now,
                              &s->now_low, &s->next, &s->next_low,
                              &s->scale, &s->two, &s->factor, &s->weight, &s->source, &s->leaving, &s->steepest, &s->exit_slope, &s->first,
                              &s->total, &s->low};
    memcpy(arrays, all, sizeof all);
}

void pm_sensitivity_release(pm_sensitivity *s) {
    double **arrays[N_ARRAYS];
    arrays_of(s, arrays);
    for (int i = 0; i < N_ARRAYS; i++) {
        pm_free(*arrays[i]);
    }
    pm_free(s->power);
    pm_free(s->absorbed);
    pm_free(s->bound);
}

int pm_sensitivity_make(const pm_plan *plan, const pm_uniform *u, pm_sensitivity *s) {
    memset(s, 0, sizeof *s);
    s->p = plan->graph.n_params;
    const int64_t counts[N_ARRAYS] = {plan->n_slots, u->n_inner, u->n, u->n, u->n_exits, u->n_exits, plan->pattern.n_rows,
                                      u->n, u->n, u->n, u->n, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    double **arrays[N_ARRAYS];
    arrays_of(s, arrays);
    for (int i = 0; i < N_ARRAYS; i++) {
        *arrays[i] = pm_alloc(counts[i] * s->p, sizeof **arrays[i]);
        if (*arrays[i] == NULL) {
            return PM_E_MEMORY;
        }
    }
    s->power = pm_alloc(s->p, sizeof *s->power);
    return s->power == NULL ? PM_E_MEMORY : PM_OK;
}

static double scale_of(const pm_uniform *u) { return u->rate > 0.0 ? u->rate : 1.0; }

/* Derivatives of the initial mass, times q. absorbed_at_once: (p), for discrete time 0. */
static void differentiate_initial(const pm_plan *plan, const pm_workspace *ws, const pm_uniform *u, pm_sensitivity *s,
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
                s->initial[(int64_t)plan->edge_row[e] * p + j] = d * scale_of(u);
            } else {
                absorbed_at_once[j] += d;
            }
        }
    }
}

/* Chooses the units, after the largest derivative of each parameter. Returns 0 if a derivative is no double. */
static int choose_units(const pm_plan *plan, pm_sensitivity *s) {
    const int32_t p = s->p;
    const int64_t rows = plan->pattern.n_rows;
    for (int32_t i = 0; i < plan->n_slots; i++) {
        double *d = s->slot + (int64_t)i * p;
        if (!plan->slot_used[i]) {
            memset(d, 0, (size_t)p * sizeof *d);
        }
    }
    if (pm_check_finite(s->slot, (int64_t)plan->n_slots * p, 0, NULL) != PM_OK
        || pm_check_finite(s->initial, rows * p, 0, NULL) != PM_OK) {
        return 0;
    }
    for (int32_t j = 0; j < p; j++) {
        double largest = 0.0;
        for (int64_t i = 0; i < plan->n_slots; i++) {
            largest = fmax(largest, fabs(s->slot[i * p + j]));
        }
        for (int64_t i = 0; i < rows; i++) {
            largest = fmax(largest, fabs(s->initial[i * p + j]));
        }
        s->power[j] = largest > 0.0 ? ilogb(largest) : 0;
        for (int64_t i = 0; i < plan->n_slots; i++) {
            s->slot[i * p + j] = scalbn(s->slot[i * p + j], -s->power[j]);
        }
        for (int64_t i = 0; i < rows; i++) {
            s->initial[i * p + j] = scalbn(s->initial[i * p + j], -s->power[j]);
        }
    }
    return 1;
}

/* Derivatives of the chain, in the numbering of the sweep. */
static void differentiate_chain(const pm_plan *plan, const pm_uniform *u, pm_sensitivity *s) {
    const int32_t p = s->p;
    for (int64_t e = 0; e < u->n_inner; e++) {
        memcpy(s->inner + e * p, s->slot + (int64_t)u->in_slot[e] * p, (size_t)p * sizeof *s->inner);
    }
    memset(s->exit_slope, 0, (size_t)p * sizeof *s->exit_slope);
    memset(s->steepest, 0, (size_t)p * sizeof *s->steepest);
    for (int32_t i = 0; i < u->n_exits; i++) {
        s->exit_share[i] = u->exit_rate[i] / scale_of(u);
    }
    s->exit_most = pm_largest(s->exit_share, u->n_exits);
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
                pm_add_exactly(&sum, &low, d);
                exit += plan->edge_row[e] < 0 ? d : 0.0;
                absolute += plan->edge_row[e] < 0 ? 0.0 : fabs(d);
            }
            if (leaves) {
                s->exit[(int64_t)exits * p + j] = exit;
                s->exit_slope[j] = fmax(s->exit_slope[j], fabs(exit));
            }
            const double high = sum + low;
            s->stay[(int64_t)i * p + j] = -high;
            s->stay_low[(int64_t)i * p + j] = -((sum - high) + low);
            s->steepest[j] = fmax(s->steepest[j], absolute + fabs(high));
        }
        exits += leaves;
    }
}

/* The sweep begins with the derivatives of the initial mass. */
static void begin(const pm_uniform *u, pm_sensitivity *s) {
    const int32_t p = s->p;
    memset(s->now_low, 0, (size_t)u->n * (size_t)p * sizeof *s->now_low);
    for (int32_t j = 0; j < p; j++) {
        s->two[j] = 1.0;
        s->first[j] = 0.0;
        for (int32_t i = 0; i < u->n; i++) {
            const double d = s->initial[(int64_t)u->row_of[i] * p + j];
            s->now[(int64_t)i * p + j] = d;
            s->first[j] += fabs(d);
        }
    }
    s->steps = 0;
    s->dither = 0.0;
    s->unit = pm_dd_from(1.0);
    s->over = 0;
}

int pm_sensitivity_set(const pm_plan *plan, pm_workspace *ws, const pm_uniform *u, pm_sensitivity *s, double *absorbed_at_once) {
    const int status = pm_weights_slopes(plan, ws, s->slot);
    if (status != PM_OK) {
        return status;
    }
    differentiate_initial(plan, ws, u, s, absorbed_at_once);
    if (!choose_units(plan, s)) {
        return PM_E_OVERFLOW;
    }
    differentiate_chain(plan, u, s);
    begin(u, s);
    return PM_OK;
}

static int grow(double **array, int64_t count) {
    double *grown = pm_realloc(*array, count, sizeof *grown);
    if (grown == NULL) {
        return PM_E_MEMORY;
    }
    *array = grown;
    return PM_OK;
}

static int reserve(pm_uniform *u, pm_sensitivity *s, int64_t steps) {
    int status = pm_uniform_reserve(u, steps);
    if (status == PM_OK && steps > s->capacity) {
        const int64_t capacity = steps + steps / 4 + 64;
        if (capacity > INT64_MAX / 16 / s->p) {
            return PM_E_MEMORY;
        }
        status = grow(&s->absorbed, capacity * s->p);
        if (status == PM_OK) {
            status = grow(&s->bound, (capacity / PM_BOUND_EVERY + 1) * s->p);
        }
        s->capacity = status == PM_OK ? capacity : 0;
    }
    return status;
}

/* Bounds the derivative, and keeps its unit near its size. mass: what is left. */
static void measure(const pm_uniform *u, pm_sensitivity *s, double mass) {
    const int32_t p = s->p;
    double *bound = s->bound + s->steps / PM_BOUND_EVERY * p;
    memset(bound, 0, (size_t)p * sizeof *bound);
    for (int32_t i = 0; i < u->n; i++) {
        for (int32_t j = 0; j < p; j++) {
            bound[j] += fabs(s->now[(int64_t)i * p + j]);
        }
    }
    s->over = mass == 0.0;
    for (int32_t j = 0; j < p; j++) {
        const double size = fmax(bound[j], mass * s->steepest[j] / s->scale[j]);
        bound[j] *= s->scale[j];
        if (size > LARGEST || (size < SMALLEST && size > 0.0 && s->scale[j] * size > LEAST_SCALE)) {
            s->factor[j] = scalbn(s->factor[j], -ilogb(size));
            s->two[j] = scalbn(s->two[j], ilogb(size));
        }
        s->over = s->over && scalbn(s->exit_most * bound[j], s->power[j]) < PM_SLOPE_FLOOR;
    }
}

/*
 * Makes up for what the last jumps have lost one way, as the sweep does: the rounding of the probability to stay and of its derivative,
 * and flows into a state that leave the sum of the others unchanged. The sums are those of `move`.
 */
static void repair(const pm_uniform *u, pm_sensitivity *s, const double *v) {
    const int32_t p = s->p;
    for (int32_t i = 0; i < u->n; i++) {
        for (int32_t j = 0; j < p; j++) {
            const int64_t at = (int64_t)i * p + j;
            const double y = s->now[at];
            double lost = u->change_low[i] * y + s->weight[j] * s->stay_low[at] * v[i];
            double sum = u->change[i] * y + s->now_low[at];
            double source = s->stay[at] * v[i];
            for (int64_t e = u->in_ptr[i]; e < u->in_ptr[i + 1]; e++) {
                const double flow = u->in_probability[e] * s->now[(int64_t)u->in_from[e] * p + j];
                lost += sum + flow == sum ? flow : 0.0;
                sum += flow;
                source += s->inner[e * p + j] * v[u->in_from[e]];
            }
            source *= s->weight[j];
            lost += sum + source == sum ? source : 0.0;
            s->next[at] = y + PM_REPAIR_EVERY * lost;
        }
    }
    double *swap = s->now;
    s->now = s->next;
    s->next = swap;
}

/* The derivative of the rate of absorption. ratio: the unit of v. */
static void absorb(const pm_uniform *u, pm_sensitivity *s, const double *v, double ratio) {
    const int32_t p = s->p;
    double *out = s->absorbed + s->steps * p;
    memset(out, 0, (size_t)p * sizeof *out);
    memset(s->leaving, 0, (size_t)p * sizeof *s->leaving);
    for (int32_t i = 0; i < u->n_exits; i++) {
        const double *y = s->now + (int64_t)u->exit_at[i] * p;
        const double mass = ratio > 0.0 ? v[u->exit_at[i]] * ratio : 0.0;
        for (int32_t j = 0; j < p; j++) {
            s->leaving[j] += y[j] * s->exit_share[i];
            out[j] += mass * s->exit[(int64_t)i * p + j];
        }
    }
    for (int32_t j = 0; j < p; j++) {
        out[j] += s->scale[j] * s->leaving[j];
    }
}

/* y after the jump. v: the vector before it. */
static void move(const pm_uniform *u, pm_sensitivity *s, const double *v) {
    const int32_t p = s->p;
    double *PM_RESTRICT source = s->source;
    const double *PM_RESTRICT factor = s->factor;
    const double *PM_RESTRICT weight = s->weight;
    for (int32_t i = 0; i < u->n; i++) {
        const double *PM_RESTRICT y = s->now + (int64_t)i * p;
        const double *PM_RESTRICT y_low = s->now_low + (int64_t)i * p;
        const double *PM_RESTRICT stay = s->stay + (int64_t)i * p;
        double *PM_RESTRICT d = s->next + (int64_t)i * p;
        double *PM_RESTRICT d_low = s->next_low + (int64_t)i * p;
        for (int32_t j = 0; j < p; j++) {
            d[j] = u->change[i] * y[j] + y_low[j];
            source[j] = stay[j] * v[i];
        }
        for (int64_t e = u->in_ptr[i]; e < u->in_ptr[i + 1]; e++) {
            const double probability = u->in_probability[e];
            const double mass = v[u->in_from[e]];
            const double *PM_RESTRICT from = s->now + (int64_t)u->in_from[e] * p;
            const double *PM_RESTRICT inner = s->inner + e * p;
            for (int32_t j = 0; j < p; j++) {
                d[j] += probability * from[j];
                source[j] += inner[j] * mass;
            }
        }
        for (int32_t j = 0; j < p; j++) {
            const double change = d[j] + weight[j] * source[j];
            const double kept = u->base[i] * y[j];
            const double moved = kept + change;
            d[j] = moved * factor[j];
            d_low[j] = ((kept - moved) + change) * factor[j];
        }
    }
    double *swap = s->now;
    s->now = s->next;
    s->next = swap;
    swap = s->now_low;
    s->now_low = s->next_low;
    s->next_low = swap;
}

/* One jump of the derivatives. v: the vector before it, mass: its sum, 0 if nothing is left. */
static void jump(const pm_uniform *u, pm_sensitivity *s, const double *v, double mass) {
    const double ratio = mass > 0.0 ? mass / u->sum : 0.0;
    double dither = s->dither + 0.61803398874989485;
    dither -= dither >= 1.0 ? 1.0 : 0.0;
    const double factor = (1.0 + dither) / (1.0 + s->dither);
    for (int32_t j = 0; j < s->p; j++) {
        s->factor[j] = factor;
        s->scale[j] = s->unit.hi * s->two[j];
        s->weight[j] = ratio / s->scale[j];
    }
    s->dither = dither;
    if (s->steps % PM_BOUND_EVERY == 0) {
        measure(u, s, mass);
    }
    if (s->steps % PM_REPAIR_EVERY == PM_REPAIR_EVERY - 1) {
        repair(u, s, v);
    }
    absorb(u, s, v, ratio);
    move(u, s, v);
    s->unit = pm_dd_div(s->unit, pm_dd_from(factor));
    s->steps++;
}

int pm_sensitivity_sweep(pm_uniform *u, pm_sensitivity *s, int64_t steps) {
    const int status = s->p == 0 ? pm_uniform_sweep(u, steps) : reserve(u, s, steps);
    if (status != PM_OK || s->p == 0) {
        return status;
    }
    while (s->steps < steps && !s->over) {
        double mass = 0.0;
        if (!u->exhausted) {
            pm_uniform_jump(u);
            mass = u->sum > 0.0 ? u->left[s->steps] : 0.0;
        }
        /* The jump has left the vector before it in `next`. */
        jump(u, s, u->next, mass);
        if (pm_stop(u->control, (u->n_inner + u->n + 8) * (s->p + 1))) {
            return PM_E_STOPPED;
        }
    }
    return PM_OK;
}
