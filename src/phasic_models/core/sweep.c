/*
 * The sweep of uniformization: the chain P = I + S/q, with q the largest total rate, and what it leaves at each jump, which does not
 * depend on time: the rate of absorption, the mass left and the mass absorbed.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "uniform.h"


void pm_uniform_free(pm_uniform *u) {
    if (u != NULL) {
        free(u->row_of);
        free(u->in_ptr);
        free(u->in_from);
        free(u->in_slot);
        free(u->exit_at);
        free(u->exit_ptr);
        free(u->exit_slot);
        free(u->in_probability);
        free(u->stay);
        free(u->exit_rate);
        free(u->now);
        free(u->next);
        free(u->absorbed);
        free(u->left);
        free(u->done);
        free(u);
    }
}

static int allocate(pm_uniform *u, const pm_plan *p) {
    u->row_of = pm_alloc(u->n, sizeof *u->row_of);
    u->in_ptr = pm_alloc_zero((int64_t)u->n + 2, sizeof *u->in_ptr);
    u->in_from = pm_alloc(p->n_edges, sizeof *u->in_from);
    u->in_slot = pm_alloc(p->n_edges, sizeof *u->in_slot);
    u->exit_at = pm_alloc(u->n, sizeof *u->exit_at);
    u->exit_ptr = pm_alloc((int64_t)u->n + 1, sizeof *u->exit_ptr);
    u->exit_slot = pm_alloc(p->n_edges, sizeof *u->exit_slot);
    u->in_probability = pm_alloc(p->n_edges, sizeof *u->in_probability);
    u->stay = pm_alloc(u->n, sizeof *u->stay);
    u->exit_rate = pm_alloc(u->n, sizeof *u->exit_rate);
    u->now = pm_alloc(u->n, sizeof *u->now);
    u->next = pm_alloc(u->n, sizeof *u->next);
    return u->row_of == NULL || u->in_ptr == NULL || u->in_from == NULL || u->in_slot == NULL || u->exit_at == NULL
                   || u->exit_ptr == NULL || u->exit_slot == NULL || u->in_probability == NULL || u->stay == NULL
                   || u->exit_rate == NULL || u->now == NULL || u->next == NULL
               ? PM_E_MEMORY
               : PM_OK;
}

int pm_uniform_new(const pm_plan *p, pm_uniform **out) {
    *out = NULL;
    const pm_graph *g = &p->graph;
    pm_uniform *u = pm_alloc_zero(1, sizeof *u);
    int32_t *number = pm_alloc(g->n_vertices, sizeof *number);
    int status = PM_E_MEMORY;
    if (u == NULL || number == NULL) {
        goto out;
    }
    u->n = p->n_transient;
    status = allocate(u, p);
    if (status != PM_OK) {
        goto out;
    }
    /* Vertices keep their own order here: neighbouring states stay close together in memory. */
    int32_t count = 0;
    for (int32_t v = 1; v < g->n_vertices; v++) {
        number[v] = -1;
        if (p->position[v] >= 0) {
            u->row_of[count] = p->position[v];
            number[v] = count++;
        }
    }
    int64_t *fill = u->in_ptr + 1; /* shifted, so that filling leaves the pointers in place */
    for (int64_t e = g->edge_ptr[1]; e < p->n_edges; e++) {
        if (p->edge_row[e] >= 0) {
            fill[number[g->edge_target[e]] + 1]++;
        }
    }
    for (int32_t i = 0; i < u->n; i++) {
        fill[i + 1] += fill[i];
    }
    int64_t exits = 0;
    for (int32_t i = 0; i < u->n; i++) {
        const int64_t first = exits;
        for (int64_t e = p->edge_start[u->row_of[i]]; e < p->edge_end[u->row_of[i]]; e++) {
            if (p->edge_row[e] < 0) {
                u->exit_slot[exits++] = g->edge_slot[e];
            } else {
                const int64_t at = fill[number[g->edge_target[e]]]++;
                u->in_from[at] = i;
                u->in_slot[at] = g->edge_slot[e];
            }
        }
        if (exits > first) {
            u->exit_at[u->n_exits] = i;
            u->exit_ptr[u->n_exits++] = first;
        }
    }
    u->exit_ptr[u->n_exits] = exits;
    u->n_inner = u->n > 0 ? u->in_ptr[u->n] : 0;
    *out = u;
    u = NULL;
    status = PM_OK;
out:
    pm_uniform_free(u);
    free(number);
    return status;
}

double pm_total_rate(const pm_plan *p, const pm_workspace *ws, int32_t row) {
    double total = 0.0;
    for (int64_t e = p->edge_start[row]; e < p->edge_end[row]; e++) {
        total += ws->slot[p->graph.edge_slot[e]];
    }
    return total;
}

double pm_largest_rate(const pm_plan *p, const pm_workspace *ws) {
    if (p->graph.discrete) {
        return 1.0;
    }
    double q = 0.0;
    for (int32_t i = 0; i < p->n_transient; i++) {
        const double total = pm_total_rate(p, ws, i);
        if (total > q) {
            q = total;
        }
    }
    return q;
}

void pm_uniform_trim(pm_uniform *u) {
    if (u->capacity > PM_KEPT_STEPS) {
        free(u->absorbed);
        free(u->left);
        free(u->done);
        u->absorbed = u->left = u->done = NULL;
        u->capacity = u->steps = 0;
    }
}

/* Sum with four running totals, so that additions need not wait for each other. */
static double total_mass(const double *v, int32_t n) {
    double s[4] = {0.0, 0.0, 0.0, 0.0};
    int32_t i = 0;
    for (; i + 4 <= n; i += 4) {
        s[0] += v[i];
        s[1] += v[i + 1];
        s[2] += v[i + 2];
        s[3] += v[i + 3];
    }
    for (; i < n; i++) {
        s[0] += v[i];
    }
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* Initial mass of each transient vertex, and what is absorbed at once. */
static int set_initial(const pm_plan *p, const pm_workspace *ws, pm_uniform *u, int64_t theta_index, pm_where *where) {
    const double total = pm_total_rate(p, ws, p->n_transient);
    if (!(total > 0.0)) {
        pm_at(where, PM_AT_NOTHING, theta_index, 0, total);
        return PM_E_INITIAL;
    }
    double *mass = ws->y; /* by row */
    memset(mass, 0, (size_t)p->pattern.n_rows * sizeof *mass);
    u->absorbed_at_once = 0.0;
    for (int64_t e = p->graph.edge_ptr[0]; e < p->graph.edge_ptr[1]; e++) {
        const double share = ws->slot[p->graph.edge_slot[e]] / total;
        if (p->edge_row[e] < 0) {
            u->absorbed_at_once += share;
        } else {
            mass[p->edge_row[e]] = share;
        }
    }
    for (int32_t i = 0; i < u->n; i++) {
        u->now[i] = mass[u->row_of[i]];
    }
    return PM_OK;
}

int pm_uniform_set(const pm_plan *p, pm_workspace *ws, pm_uniform *u, const double *initial, int64_t theta_index, pm_where *where) {
    const double q = pm_largest_rate(p, ws);
    u->control = ws->control;
    u->rate = q;
    u->steps = 0;
    u->exhausted = 0;
    if (!(q <= 1.7976931348623157e308)) {
        pm_at(where, PM_AT_NOTHING, theta_index, 0, q);
        return PM_E_OVERFLOW;
    }
    if (initial != NULL) {
        u->absorbed_at_once = initial[0];
        for (int32_t i = 0; i < u->n; i++) {
            u->now[i] = initial[p->pattern.order[u->row_of[i]]];
        }
    } else {
        const int status = set_initial(p, ws, u, theta_index, where);
        if (status != PM_OK) {
            return status;
        }
    }
    u->total = u->absorbed_at_once + total_mass(u->now, u->n);
    const double scale = q > 0.0 ? q : 1.0;
    for (int64_t e = 0; e < u->n_inner; e++) {
        u->in_probability[e] = ws->slot[u->in_slot[e]] / scale;
    }
    for (int32_t i = 0; i < u->n_exits; i++) {
        double sum = 0.0;
        for (int64_t e = u->exit_ptr[i]; e < u->exit_ptr[i + 1]; e++) {
            sum += ws->slot[u->exit_slot[e]];
        }
        u->exit_rate[i] = sum;
    }
    for (int32_t i = 0; i < u->n; i++) {
        const double stay = pm_one_minus(p, ws, u->row_of[i], 0, scale);
        if (p->graph.discrete && pm_total_rate(p, ws, u->row_of[i]) > 1.0 + 1e-10) {
            pm_at(where, PM_AT_VERTEX, theta_index, p->pattern.order[u->row_of[i]], pm_total_rate(p, ws, u->row_of[i]));
            return PM_E_PROBABILITY;
        }
        u->stay[i] = stay;
    }
    return PM_OK;
}

static int reserve(pm_uniform *u, int64_t steps) {
    if (steps <= u->capacity) {
        return PM_OK;
    }
    const int64_t capacity = steps + steps / 4 + 256;
    if ((uint64_t)capacity > (uint64_t)PTRDIFF_MAX / sizeof(double)) {
        return PM_E_MEMORY;
    }
    double **arrays[] = {&u->absorbed, &u->left, &u->done};
    for (int i = 0; i < 3; i++) {
        double *grown = realloc(*arrays[i], (size_t)capacity * sizeof *grown);
        if (grown == NULL) {
            return PM_E_MEMORY;
        }
        *arrays[i] = grown;
    }
    u->capacity = capacity;
    return PM_OK;
}

double pm_uniform_correction(double total, double done, double left) {
    return left > 1e-4 * total && done < total ? (total - done) / left : 1.0;
}

static void correct_mass(pm_uniform *u, double done) {
    const double factor = pm_uniform_correction(u->total, done, total_mass(u->now, u->n));
    if (factor != 1.0) {
        for (int32_t i = 0; i < u->n; i++) {
            u->now[i] *= factor;
        }
    }
}

/* Adds the mass absorbed in step k to what was absorbed before, with the rounding carried along (Kahan 1965). */
static double absorb(pm_uniform *u, int64_t k, double scale) {
    if (k == 0) {
        u->carry = 0.0;
        return u->absorbed_at_once;
    }
    const double term = u->absorbed[k - 1] / scale - u->carry;
    const double sum = u->done[k - 1] + term;
    u->carry = (sum - u->done[k - 1]) - term;
    return sum;
}

int pm_uniform_sweep(pm_uniform *u, int64_t steps) {
    const int status = reserve(u, steps);
    if (status != PM_OK) {
        return status;
    }
    const double scale = u->rate > 0.0 ? u->rate : 1.0;
    const int64_t *PM_RESTRICT ptr = u->in_ptr;
    const int32_t *PM_RESTRICT from = u->in_from;
    const double *PM_RESTRICT probability = u->in_probability;
    const double *PM_RESTRICT stay = u->stay;
    for (int64_t k = u->steps; k < steps && !u->exhausted; k++) {
        u->done[k] = absorb(u, k, scale);
        if (k % PM_CORRECT_EVERY == 0 && k > 0) {
            correct_mass(u, u->done[k]);
        }
        const double *PM_RESTRICT now = u->now;
        double *PM_RESTRICT next = u->next;
        double rate = 0.0;
        for (int32_t i = 0; i < u->n_exits; i++) {
            rate += now[u->exit_at[i]] * u->exit_rate[i];
        }
        u->absorbed[k] = rate;
        u->left[k] = total_mass(now, u->n);
        u->steps = k + 1;
        u->exhausted = u->left[k] < PM_EXHAUSTED;
        for (int32_t i = 0; i < u->n; i++) {
            double sum = stay[i] * now[i];
            for (int64_t e = ptr[i]; e < ptr[i + 1]; e++) {
                sum += probability[e] * now[from[e]];
            }
            next[i] = sum;
        }
        double *swap = u->now;
        u->now = u->next;
        u->next = swap;
        if (pm_stop(u->control, u->n_inner + u->n + 8)) {
            return PM_E_STOPPED;
        }
    }
    return PM_OK;
}
