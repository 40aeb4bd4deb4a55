/*
 * The sweep of uniformization: the chain P = I + S/q, with q just above the largest total rate, and what it leaves at each jump,
 * which does not depend on time: the rate of absorption, the mass left and the mass absorbed.
 *
 * Rounding must not add up over 10^7 jumps. So the mass left follows from the shares that are absorbed and not from the sum of
 * the vector, which serves as a shape only; a state that is left slowly keeps the rounding of its entry; and the vector is scaled
 * to another sum every few jumps, so that errors of equal size but of one sign do not repeat themselves.
 */
#include <math.h>
#include <string.h>

#include "uniform.h"

/* Rounding of the sum of the probabilities out of a state. */
#define STAY_ROUNDING 0x1p-44

void pm_uniform_free(pm_uniform *u) {
    if (u != NULL) {
        pm_free_aligned(u->memory);
        pm_free(u->absorbed);
        pm_free(u->left);
        pm_free(u->done);
        pm_free(u);
    }
}

static void lay_out(pm_arena *a, pm_uniform *u, const pm_plan *p) {
    u->row_of = pm_take(a, NULL, u->n, sizeof *u->row_of);
    u->in_ptr = pm_take(a, NULL, (int64_t)u->n + 2, sizeof *u->in_ptr);
    u->in_from = pm_take(a, NULL, p->n_edges, sizeof *u->in_from);
    u->in_slot = pm_take(a, NULL, p->n_edges, sizeof *u->in_slot);
    u->exit_at = pm_take(a, NULL, u->n, sizeof *u->exit_at);
    u->exit_ptr = pm_take(a, NULL, (int64_t)u->n + 1, sizeof *u->exit_ptr);
    u->exit_slot = pm_take(a, NULL, p->n_edges, sizeof *u->exit_slot);
    u->in_probability = pm_take(a, NULL, p->n_edges, sizeof *u->in_probability);
    u->exit_rate = pm_take(a, NULL, u->n, sizeof *u->exit_rate);
    double **by_state[] = {&u->base, &u->change, &u->change_low, &u->now, &u->now_low, &u->next, &u->next_low};
    for (size_t i = 0; i < sizeof by_state / sizeof by_state[0]; i++) {
        *by_state[i] = pm_take(a, NULL, u->n, sizeof **by_state[i]);
    }
}

static int allocate(pm_uniform *u, const pm_plan *p) {
    pm_arena a = {NULL, 0};
    lay_out(&a, u, p);
    if (pm_arena_make(&a) != PM_OK) {
        return PM_E_MEMORY;
    }
    lay_out(&a, u, p);
    u->memory = a.memory;
    memset(u->in_ptr, 0, ((size_t)u->n + 2) * sizeof *u->in_ptr);
    return PM_OK;
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
    pm_free(number);
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
        pm_free(u->absorbed);
        pm_free(u->left);
        pm_free(u->done);
        u->absorbed = u->left = u->done = NULL;
        u->capacity = u->steps = 0;
    }
}

/* Sum with four running totals, so that additions need not wait for each other. */
double pm_uniform_sum(const double *v, int32_t n) {
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

void pm_leaving(const pm_plan *p, const pm_workspace *ws, int32_t row, double scale, double *high, double *low) {
    double sum = 0.0;
    double rounding = 0.0;
    for (int64_t e = p->edge_start[row]; e < p->edge_end[row]; e++) {
        pm_add_exactly(&sum, &rounding, ws->slot[p->graph.edge_slot[e]] / scale);
    }
    *high = sum + rounding;
    *low = (sum - *high) + rounding;
}

/*
 * How a state is left: c = change + change_low is minus the probability to leave where that is at most a half (base 1), else the
 * probability to stay (base 0), so that base + c has no cancellation. The sum is that of Neumaier (1974): the probabilities out of
 * a state and the one to stay must add up to one far beyond the rounding of each.
 */
static void set_leaving(const pm_plan *p, const pm_workspace *ws, pm_uniform *u, int32_t i, double scale) {
    double high = 0.0;
    double low = 0.0;
    pm_leaving(p, ws, u->row_of[i], scale, &high, &low);
    if (high <= 0.5) {
        u->base[i] = 1.0;
        u->change[i] = -high;
        u->change_low[i] = -low;
        return;
    }
    const double rest = 1.0 - high; /* exact */
    u->base[i] = 0.0;
    if (u->stay != NULL) {
        /* By how much edges and stay miss one is the rounding of the edges; more says that they were given like that. */
        const double stay = u->stay[p->pattern.order[u->row_of[i]]];
        const double missing = (rest - stay) - low;
        u->change[i] = stay;
        u->change_low[i] = fabs(missing) <= STAY_ROUNDING ? missing : 0.0;
        return;
    }
    const double stay = rest - low;
    u->change[i] = stay > 0.0 ? stay : 0.0;
    u->change_low[i] = stay > 0.0 ? (rest - stay) - low : 0.0;
}

static int set_chain(const pm_plan *p, const pm_workspace *ws, pm_uniform *u, int64_t theta_index, pm_where *where) {
    const double scale = u->rate > 0.0 ? u->rate : 1.0;
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
        if (p->graph.discrete && pm_total_rate(p, ws, u->row_of[i]) > PM_LARGEST_PROBABILITY) {
            pm_at(where, PM_AT_VERTEX, theta_index, p->pattern.order[u->row_of[i]], pm_total_rate(p, ws, u->row_of[i]));
            return PM_E_PROBABILITY;
        }
        set_leaving(p, ws, u, i, scale);
    }
    return PM_OK;
}

int pm_uniform_set_clock(const pm_plan *p, pm_workspace *ws, pm_uniform *u, const double *initial, double least, int64_t theta_index,
                         pm_where *where) {
    const double q = pm_largest_rate(p, ws);
    /* A little more than the largest rate, so that every state may stay: rounding could not be made up for otherwise. */
    u->rate = p->graph.discrete ? q : fmax(q * (1.0 + 0x1p-10), least);
    u->control = ws->control;
    u->steps = 0;
    u->exhausted = 0;
    if (!(u->rate <= DBL_MAX)) {
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
    memset(u->now_low, 0, (size_t)u->n * sizeof *u->now_low);
    u->sum = pm_uniform_sum(u->now, u->n);
    u->total = u->absorbed_at_once + u->sum;
    u->mass = u->sum * PM_MASS_UNIT;
    u->mass_low = 0.0;
    u->share = 0.0;
    u->factor = 1.0;
    u->dither = 0.0;
    return set_chain(p, ws, u, theta_index, where);
}

int pm_uniform_set(const pm_plan *p, pm_workspace *ws, pm_uniform *u, const double *initial, int64_t theta_index, pm_where *where) {
    return pm_uniform_set_clock(p, ws, u, initial, 0.0, theta_index, where);
}

int pm_uniform_reserve(pm_uniform *u, int64_t steps) {
    if (steps <= u->capacity) {
        return PM_OK;
    }
    const int64_t capacity = steps + steps / 4 + 256;
    double **arrays[] = {&u->absorbed, &u->left, &u->done};
    for (int i = 0; i < 3; i++) {
        double *grown = pm_realloc(*arrays[i], capacity, sizeof *grown);
        if (grown == NULL) {
            return PM_E_MEMORY;
        }
        *arrays[i] = grown;
    }
    u->capacity = capacity;
    return PM_OK;
}

/*
 * The mass left now, from the mass left before: what is absorbed is taken off, with the rounding carried along (Kahan 1965), so that
 * the relative error is that of the share alone, however many jumps there are. Where most is absorbed at once, the sums of the
 * vector say what is left without a difference. sum: of the vector after the jump.
 */
static void survive(pm_uniform *u, double sum) {
    if (u->share <= 0.5) {
        pm_carry_on(&u->mass, &u->mass_low, -u->mass * u->share);
    } else {
        u->mass = (u->mass + u->mass_low) * (sum / (u->sum * u->factor));
        u->mass_low = 0.0;
    }
}

/*
 * Scale of the next vector, so that its sum lies about between 1/2 and 1, at another place each time (multiples of the golden ratio):
 * where the chain has come to rest, the same roundings would otherwise be made at every jump, and 10^7 times 10^-17 is too much.
 */
static double next_factor(pm_uniform *u) {
    u->dither += 0.61803398874989485;
    u->dither -= u->dither >= 1.0 ? 1.0 : 0.0;
    const double sum = u->share <= 0.5 ? u->sum * (1.0 - u->share) : u->sum;
    return sum >= DBL_MIN ? (0.5 + 0.5 * u->dither) / sum : 1.0;
}

/* Adds the mass absorbed in the last jump to what was absorbed before, with the rounding carried along (Kahan 1965). */
static void absorb(pm_uniform *u) {
    if (u->steps == 0) {
        u->carry = 0.0;
        u->done_now = u->absorbed_at_once;
        return;
    }
    const double term = u->absorbed_now / (u->rate > 0.0 ? u->rate : 1.0) - u->carry;
    const double sum = u->done_now + term;
    u->carry = (sum - u->done_now) - term;
    u->done_now = sum;
}

/*
 * What the last jumps have lost one way: change_low, which is less than the rounding of each sum, and flows into a
 * state that are so small beside what else goes in and out that no sum takes them in. Both are at most 2^-54 of it for each jump.
 */
void pm_uniform_repair(const pm_uniform *u, const double *now, double *next) {
    for (int32_t i = 0; i < u->n; i++) {
        const double beside = 0x1p-54 * (u->base[i] == 0.0 ? now[i] : -u->change[i] * now[i]);
        double lost = u->change_low[i] * now[i];
        for (int64_t e = u->in_ptr[i]; e < u->in_ptr[i + 1]; e++) {
            const double flow = u->in_probability[e] * now[u->in_from[e]];
            lost += flow < beside ? flow : 0.0;
        }
        next[i] = now[i] + PM_REPAIR_EVERY * lost;
    }
}

static void exchange(double **a, double **b) {
    double *swap = *a;
    *a = *b;
    *b = swap;
}

void pm_uniform_move(const pm_uniform *u, double factor, const double *PM_RESTRICT now, const double *PM_RESTRICT now_low,
                     double *PM_RESTRICT next, double *PM_RESTRICT next_low) {
    const int64_t *PM_RESTRICT ptr = u->in_ptr;
    const int32_t *PM_RESTRICT from = u->in_from;
    const double *PM_RESTRICT probability = u->in_probability;
    const double *PM_RESTRICT base = u->base;
    const double *PM_RESTRICT change = u->change;
    for (int32_t i = 0; i < u->n; i++) {
        double sum = change[i] * now[i] + now_low[i];
        for (int64_t e = ptr[i]; e < ptr[i + 1]; e++) {
            sum += probability[e] * now[from[e]];
        }
        const double kept = base[i] * now[i];
        const double moved = kept + sum;
        next[i] = moved * factor;
        next_low[i] = ((kept - moved) + sum) * factor;
    }
}

double pm_uniform_exit_rate(const pm_uniform *u, const double *now, double sum) {
    double rate = 0.0;
    for (int32_t i = 0; i < u->n_exits; i++) {
        rate += now[u->exit_at[i]] * u->exit_rate[i];
    }
    return sum > 0.0 ? rate / sum : 0.0;
}

void pm_uniform_pass(pm_uniform *u) {
    double sum = pm_uniform_sum(u->now, u->n);
    if (u->steps > 0) {
        survive(u, sum);
    }
    absorb(u);
    if (u->steps % PM_REPAIR_EVERY == PM_REPAIR_EVERY - 1) {
        pm_uniform_repair(u, u->now, u->next);
        exchange(&u->now, &u->next);
        sum = pm_uniform_sum(u->now, u->n);
    }
    const double rate = pm_uniform_exit_rate(u, u->now, sum);
    u->sum = sum;
    u->share = u->rate > 0.0 ? rate / u->rate : rate;
    u->left_now = u->mass / PM_MASS_UNIT;
    u->absorbed_now = rate * u->left_now;
    u->exhausted = u->left_now < DBL_MIN || sum < DBL_MIN;
    u->steps++;
    u->factor = next_factor(u);
    pm_uniform_move(u, u->factor, u->now, u->now_low, u->next, u->next_low);
    exchange(&u->now, &u->next);
    exchange(&u->now_low, &u->next_low);
}

void pm_uniform_jump(pm_uniform *u) {
    const int64_t k = u->steps;
    pm_uniform_pass(u);
    u->left[k] = u->left_now;
    u->absorbed[k] = u->absorbed_now;
    u->done[k] = u->done_now;
}

int pm_uniform_sweep(pm_uniform *u, int64_t steps) {
    const int status = pm_uniform_reserve(u, steps);
    if (status != PM_OK) {
        return status;
    }
    while (u->steps < steps && !u->exhausted) {
        pm_uniform_jump(u);
        if (pm_stop(u->control, u->n_inner + 2 * u->n + 16)) {
            return PM_E_STOPPED;
        }
    }
    return PM_OK;
}
