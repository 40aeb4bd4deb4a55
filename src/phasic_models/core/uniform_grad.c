/*
 * Derivatives of the density: with the uniformization rate held fixed, the vector after k jumps and its derivative by each
 * parameter go through the same sweep, v' <- v' P + v P'. Mixing is linear, so the same Poisson weights serve.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "uniform.h"

typedef struct sensitivity {
    int32_t p;          /* parameters */
    double *slot;       /* (n_slots, p): derivatives of the weights */
    double *inner;      /* (n_inner, p): of the jump probabilities */
    double *stay;       /* (n, p) */
    double *exit;       /* (n_exits, p): of the rates of absorption */
    double *initial;    /* (n_rows, p): of the initial mass */
    double *now;        /* (n, p) */
    double *next;
    double *absorbed;   /* (capacity, p): by number of jumps */
    int64_t capacity;
} sensitivity;

static void release(sensitivity *s) {
    free(s->slot);
    free(s->inner);
    free(s->stay);
    free(s->exit);
    free(s->initial);
    free(s->now);
    free(s->next);
    free(s->absorbed);
}

static int allocate(const pm_plan *plan, const pm_uniform *u, sensitivity *s) {
    const int64_t p = s->p;
    s->slot = pm_alloc(plan->n_slots * p, sizeof *s->slot);
    s->inner = pm_alloc(u->n_inner * p, sizeof *s->inner);
    s->stay = pm_alloc(u->n * p, sizeof *s->stay);
    s->exit = pm_alloc(u->n * p, sizeof *s->exit);
    s->initial = pm_alloc(plan->pattern.n_rows * p, sizeof *s->initial);
    s->now = pm_alloc(u->n * p, sizeof *s->now);
    s->next = pm_alloc(u->n * p, sizeof *s->next);
    return s->slot == NULL || s->inner == NULL || s->stay == NULL || s->exit == NULL || s->initial == NULL || s->now == NULL
                   || s->next == NULL
               ? PM_E_MEMORY
               : PM_OK;
}

/* Forward derivatives of every weight. */
static void differentiate_weights(const pm_plan *plan, const pm_workspace *ws, sensitivity *s) {
    const pm_graph *g = &plan->graph;
    const int32_t p = s->p;
    for (int32_t i = 0; i < g->n_affine; i++) {
        double *d = s->slot + (int64_t)i * p;
        memset(d, 0, (size_t)p * sizeof *d);
        for (int64_t k = g->affine_ptr[i]; k < g->affine_ptr[i + 1]; k++) {
            d[g->affine_param[k]] += g->affine_coef[k];
        }
    }
    for (int32_t i = 0; i < g->n_program; i++) {
        double *d = s->slot + (int64_t)(g->n_affine + i) * p;
        const double *da = s->slot + (int64_t)g->program_a[i] * p;
        const double *db = s->slot + (int64_t)g->program_b[i] * p;
        const double a = ws->slot[g->program_a[i]];
        const double b = ws->slot[g->program_b[i]];
        for (int32_t j = 0; j < p; j++) {
            switch (g->program_op[i]) {
            case PM_OP_ADD:
                d[j] = da[j] + db[j];
                break;
            case PM_OP_MUL:
                d[j] = da[j] * b + a * db[j];
                break;
            default:
                d[j] = (da[j] - a / b * db[j]) / b;
                break;
            }
        }
    }
}

/* Derivatives of chain and initial mass, in the numbering of the sweep. absorbed_at_once: (p), for discrete time 0. */
static void differentiate_chain(const pm_plan *plan, const pm_workspace *ws, const pm_uniform *u, sensitivity *s,
                                double *absorbed_at_once) {
    const int32_t p = s->p;
    const double scale = u->rate > 0.0 ? u->rate : 1.0;
    for (int64_t e = 0; e < u->n_inner; e++) {
        for (int32_t j = 0; j < p; j++) {
            s->inner[e * p + j] = s->slot[(int64_t)u->in_slot[e] * p + j] / scale;
        }
    }
    for (int32_t i = 0; i < u->n_exits; i++) {
        for (int32_t j = 0; j < p; j++) {
            double sum = 0.0;
            for (int64_t e = u->exit_ptr[i]; e < u->exit_ptr[i + 1]; e++) {
                sum += s->slot[(int64_t)u->exit_slot[e] * p + j];
            }
            s->exit[(int64_t)i * p + j] = sum;
        }
    }
    for (int32_t i = 0; i < u->n; i++) {
        const int32_t row = u->row_of[i];
        for (int32_t j = 0; j < p; j++) {
            double sum = 0.0;
            for (int64_t e = plan->edge_start[row]; e < plan->edge_end[row]; e++) {
                sum += s->slot[(int64_t)plan->graph.edge_slot[e] * p + j];
            }
            s->stay[(int64_t)i * p + j] = -(sum / scale);
        }
    }
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
    }
    for (int32_t i = 0; i < u->n; i++) {
        memcpy(s->now + (int64_t)i * p, s->initial + (int64_t)u->row_of[i] * p, (size_t)p * sizeof *s->now);
    }
}

/* Repeats the sweep from the start with the derivatives alongside; the values themselves are stored already. */
static int sweep_derivatives(pm_uniform *u, sensitivity *s, double *v, double *v_next) {
    const int32_t p = s->p;
    if (p == 0) {
        return PM_OK;
    }
    if (u->steps > s->capacity) {
        double *grown = (uint64_t)u->steps > (uint64_t)PTRDIFF_MAX / sizeof(double) / (uint64_t)p
                            ? NULL
                            : realloc(s->absorbed, (size_t)u->steps * (size_t)p * sizeof *grown);
        if (grown == NULL) {
            return PM_E_MEMORY;
        }
        s->absorbed = grown;
        s->capacity = u->steps;
    }
    for (int64_t k = 0; k < u->steps; k++) {
        double *rate = s->absorbed + k * p;
        memset(rate, 0, (size_t)p * sizeof *rate);
        for (int32_t i = 0; i < u->n_exits; i++) {
            const int32_t at = u->exit_at[i];
            for (int32_t j = 0; j < p; j++) {
                rate[j] += s->now[(int64_t)at * p + j] * u->exit_rate[i] + v[at] * s->exit[(int64_t)i * p + j];
            }
        }
        for (int32_t i = 0; i < u->n; i++) {
            double sum = u->stay[i] * v[i];
            double *d = s->next + (int64_t)i * p;
            for (int32_t j = 0; j < p; j++) {
                d[j] = u->stay[i] * s->now[(int64_t)i * p + j] + s->stay[(int64_t)i * p + j] * v[i];
            }
            for (int64_t e = u->in_ptr[i]; e < u->in_ptr[i + 1]; e++) {
                const int32_t from = u->in_from[e];
                sum += u->in_probability[e] * v[from];
                for (int32_t j = 0; j < p; j++) {
                    d[j] += u->in_probability[e] * s->now[(int64_t)from * p + j] + s->inner[e * p + j] * v[from];
                }
            }
            v_next[i] = sum;
        }
        double *swap = v;
        v = v_next;
        v_next = swap;
        swap = s->now;
        s->now = s->next;
        s->next = swap;
        if (pm_stop(u->control, (u->n_inner + u->n + 8) * (p + 1))) {
            return PM_E_STOPPED;
        }
    }
    return PM_OK;
}

/* Mixes the derivatives over the window of the value, somewhat widened: a derivative after k jumps is about k times as large. */
static void mix_derivatives(const pm_uniform *u, const sensitivity *s, double lambda, int64_t first, int64_t last, double *out) {
    const int32_t p = s->p;
    const int64_t margin = (last - first) / 4 + 16;
    first = first > margin ? first - margin : 0;
    last = last < u->steps - margin ? last + margin : u->steps - 1;
    memset(out, 0, (size_t)p * sizeof *out);
    int64_t mode = lambda < (double)last ? (int64_t)lambda : last;
    mode = mode < first ? first : mode;
    const double weight = pm_poisson((double)mode, lambda);
    double w = weight;
    for (int64_t k = mode; k <= last; k++) {
        for (int32_t j = 0; j < p; j++) {
            out[j] += w * s->absorbed[k * p + j];
        }
        w *= lambda / ((double)k + 1.0);
    }
    w = weight;
    for (int64_t k = mode; k > first; k--) {
        w *= (double)k / lambda;
        for (int32_t j = 0; j < p; j++) {
            out[j] += w * s->absorbed[(k - 1) * p + j];
        }
    }
}

static int grad_of_theta(const pm_plan *plan, pm_workspace *ws, pm_uniform *u, sensitivity *s, int64_t row, int64_t n_times,
                         const double *times, double tol, int64_t max_steps, double *work, double *out, double *out_grad,
                         pm_where *where) {
    const int32_t p = s->p;
    const double largest = pm_largest(times, n_times);
    int status = pm_uniform_set(plan, ws, u, NULL, row, where);
    if (status != PM_OK) {
        return status;
    }
    double *v = work;
    double *v_next = work + u->n;
    double *absorbed_at_once = work + 2 * (int64_t)u->n;
    double *window = absorbed_at_once + p; /* first and last jump of each time */
    memcpy(v, u->now, (size_t)u->n * sizeof *v);
    const double needed = plan->graph.discrete ? largest + 1.0 : pm_uniform_steps(u->rate * largest);
    if (!(needed <= (double)max_steps)) {
        pm_at(where, PM_AT_NOTHING, row, 0, needed);
        return PM_E_LIMIT;
    }
    status = pm_uniform_sweep(u, (int64_t)needed);
    for (int64_t i = 0; i < n_times && status == PM_OK && !plan->graph.discrete; i++) {
        status = pm_uniform_mix(u, PM_ABSORBED, u->rate * times[i], tol, max_steps, &out[i], where);
        if (status == PM_OK && pm_stop(u->control, 4 * (u->last - u->first) + 64)) {
            status = PM_E_STOPPED;
        }
        window[2 * i] = (double)u->first;
        window[2 * i + 1] = (double)u->last;
    }
    if (status != PM_OK) {
        return status;
    }
    differentiate_weights(plan, ws, s);
    differentiate_chain(plan, ws, u, s, absorbed_at_once);
    status = sweep_derivatives(u, s, v, v_next);
    if (status != PM_OK) {
        return status;
    }
    for (int64_t i = 0; i < n_times; i++) {
        double *d = out_grad + i * p;
        if (!plan->graph.discrete) {
            mix_derivatives(u, s, u->rate * times[i], (int64_t)window[2 * i], (int64_t)window[2 * i + 1], d);
            if (pm_stop(u->control, (int64_t)(window[2 * i + 1] - window[2 * i] + 64.0) * (p + 1))) {
                return PM_E_STOPPED;
            }
        } else if (times[i] == 0.0) {
            out[i] = u->absorbed_at_once;
            memcpy(d, absorbed_at_once, (size_t)p * sizeof *d);
        } else if (times[i] <= (double)u->steps) {
            out[i] = u->absorbed[(int64_t)times[i] - 1];
            memcpy(d, s->absorbed + ((int64_t)times[i] - 1) * p, (size_t)p * sizeof *d);
        } else {
            out[i] = 0.0;
            memset(d, 0, (size_t)p * sizeof *d);
        }
    }
    return PM_OK;
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
    sensitivity s = {plan->graph.n_params, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0};
    double *work = pm_alloc(2 * ((int64_t)u->n + n_times) + s.p, sizeof *work);
    status = work == NULL ? PM_E_MEMORY : allocate(plan, u, &s);
    for (int64_t row = 0; row < n_theta && status == PM_OK; row++) {
        status = pm_load_theta(plan, ws, row, n_theta, theta, where);
        if (status == PM_OK) {
            status = grad_of_theta(plan, ws, u, &s, row, n_times, times, 0.1 * tol, max_steps, work, out + row * n_times,
                                   out_grad + row * n_times * s.p, where);
        }
    }
    free(work);
    release(&s);
    pm_uniform_trim(u);
    return status;
}
