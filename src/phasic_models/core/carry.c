/*
 * Mass and moments carried through a stretch of time. With m_j the vector of E[Y^j; in v], m_j' = m_j S + j m_{j-1} R: the
 * generator of all levels together has no negative entry off the diagonal, so uniformization serves it as it serves the mass alone.
 *
 * Level 0 is the sweep's own vector, and each other level is kept in the same way: its vector serves as a shape only, in a unit of
 * its own, and what it adds up to follows from what is earned and what is absorbed.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "uniform.h"

/* Terms after which the Poisson probability is computed anew. */
#define RENEW_EVERY 128
/* A level is nothing beside so many times of it that come in at once; and no quotient of the two leaves the range of a double. */
#define NOTHING_BESIDE 0x1p600

typedef struct level {
    double *now;        /* (n): the shape, with its rounding; that of level 0 belongs to the sweep */
    double *low;
    double *next;
    double *next_low;
    double *mixed;      /* (n) */
    double sum;         /* of `now` */
    double alive;       /* E[Y^j; not absorbed], with its rounding */
    double alive_low;
    double absorbed;    /* E[Y^j; absorbed], likewise */
    double absorbed_low;
    double done;        /* the same, mixed */
} level;

typedef struct levels {
    int32_t k;          /* levels 0 .. k */
    level *at;
    double *earned;     /* (n): what one jump brings to a level */
} levels;

static void release(levels *s) {
    for (int32_t j = 0; s->at != NULL && j <= s->k; j++) {
        level *l = &s->at[j];
        if (j > 0) {
            pm_free(l->now);
        }
        pm_free(l->low);
        pm_free(l->next);
        pm_free(l->next_low);
        pm_free(l->mixed);
    }
    pm_free(s->at);
    pm_free(s->earned);
}

static int allocate(const pm_uniform *u, levels *s) {
    s->at = pm_alloc_zero((int64_t)s->k + 1, sizeof *s->at);
    s->earned = pm_alloc(u->n, sizeof *s->earned);
    if (s->at == NULL || s->earned == NULL) {
        return PM_E_MEMORY;
    }
    for (int32_t j = 0; j <= s->k; j++) {
        level *l = &s->at[j];
        l->mixed = pm_alloc_zero(u->n, sizeof *l->mixed);
        if (l->mixed == NULL) {
            return PM_E_MEMORY;
        }
        if (j > 0) {
            l->now = pm_alloc(u->n, sizeof *l->now);
            l->low = pm_alloc_zero(u->n, sizeof *l->low);
            l->next = pm_alloc(u->n, sizeof *l->next);
            l->next_low = pm_alloc(u->n, sizeof *l->next_low);
            if (l->now == NULL || l->low == NULL || l->next == NULL || l->next_low == NULL) {
                return PM_E_MEMORY;
            }
        }
    }
    return PM_OK;
}

static double reward_of(const pm_plan *p, const pm_uniform *u, const double *rewards, int32_t i) {
    return rewards == NULL ? 1.0 : rewards[p->pattern.order[u->row_of[i]]];
}

/* What one of the shape is worth. */
static double unit_of(const level *l) { return l->sum > 0.0 ? l->alive / l->sum : 0.0; }

/*
 * What the lower levels bring to level j in one jump, by state, in s->earned; returns the sum. A discrete step earns r before it
 * jumps: E[(Y + r)^j] = sum_q C(j, q) r^q E[Y^(j-q)]. A continuous one earns at the rate j r between two rings of the clock.
 */
static double earn(const pm_plan *p, const pm_uniform *u, const double *rewards, levels *s, int32_t j) {
    const double scale = u->rate > 0.0 ? u->rate : 1.0;
    const double unit = unit_of(&s->at[j - 1]);
    for (int32_t i = 0; i < u->n; i++) {
        const double r = reward_of(p, u, rewards, i);
        if (!p->graph.discrete) {
            s->earned[i] = j * (r / scale) * (unit * s->at[j - 1].now[i]);
            continue;
        }
        double sum = 0.0;
        double term = 1.0;
        for (int32_t q = 1; q <= j; q++) {
            term *= r * (j - q + 1) / q;
            sum += term * (unit_of(&s->at[j - q]) * s->at[j - q].now[i]);
        }
        s->earned[i] = sum;
    }
    return pm_uniform_sum(s->earned, u->n);
}

static void exchange(double **a, double **b) {
    double *swap = *a;
    *a = *b;
    *b = swap;
}

/* A level that holds nothing beside what comes in gets the unit of that; returns the unit. */
static double fit_unit(const pm_uniform *u, level *l, double gained) {
    if (gained <= NOTHING_BESIDE * l->alive) {
        return unit_of(l);
    }
    memset(l->now, 0, (size_t)u->n * sizeof *l->now);
    memset(l->low, 0, (size_t)u->n * sizeof *l->low);
    l->sum = l->alive = l->alive_low = 0.0;
    return gained;
}

/* One jump of level j, while those below it have not moved yet. */
static void move_level(const pm_plan *p, const pm_uniform *u, const double *rewards, levels *s, int32_t j) {
    level *l = &s->at[j];
    const int discrete = p->graph.discrete;
    const double gained = earn(p, u, rewards, s, j);
    const double unit = fit_unit(u, l, gained);
    if (!(unit > 0.0)) {
        return; /* nothing there */
    }
    for (int32_t i = 0; i < u->n; i++) {
        if (discrete) {
            pm_add_exactly(&l->now[i], &l->low[i], s->earned[i] / unit);
        }
    }
    if (discrete) {
        pm_carry_on(&l->alive, &l->alive_low, gained);
        l->sum = pm_uniform_sum(l->now, u->n);
    }
    const double rate = pm_uniform_exit_rate(u, l->now, l->sum);
    const double share = u->rate > 0.0 ? rate / u->rate : rate;
    pm_carry_on(&l->absorbed, &l->absorbed_low, l->alive * share);
    for (int32_t i = 0; i < u->n && !discrete; i++) {
        l->low[i] += s->earned[i] / unit;
    }
    const double later = discrete ? 0.0 : gained;
    const double expected = l->sum * (share <= 0.5 ? 1.0 - share : 1.0) + later / unit;
    const double factor = expected >= DBL_MIN ? (0.5 + 0.5 * u->dither) / expected : 1.0;
    pm_uniform_move(u, factor, l->now, l->low, l->next, l->next_low);
    exchange(&l->now, &l->next);
    exchange(&l->low, &l->next_low);
    l->sum = pm_uniform_sum(l->now, u->n);
    if (share <= 0.5) {
        pm_carry_on(&l->alive, &l->alive_low, -l->alive * share);
        pm_carry_on(&l->alive, &l->alive_low, later);
    } else {
        l->alive = unit * (l->sum / factor);
        l->alive_low = 0.0;
    }
}

/* One jump of all levels above 0; level 0 has moved, and its vector before that is at hand. */
static void move_levels(const pm_plan *p, const pm_uniform *u, const double *rewards, levels *s) {
    for (int32_t j = s->k; j > 0; j--) {
        level *l = &s->at[j];
        if (u->steps % PM_REPAIR_EVERY == 0) {
            pm_uniform_repair(u, l->now, l->next);
            exchange(&l->now, &l->next);
            l->sum = pm_uniform_sum(l->now, u->n);
        }
        move_level(p, u, rewards, s, j);
    }
}

/* One jump of the sweep, and level 0 as it was before. */
static void pass(pm_uniform *u, levels *s) {
    pm_uniform_pass(u);
    level *l = &s->at[0];
    l->now = u->next;
    l->sum = u->sum;
    l->alive = u->left_now;
    l->absorbed = u->done_now;
}

static void mix(const pm_uniform *u, levels *s, double weight) {
    for (int32_t j = 0; j <= s->k; j++) {
        level *l = &s->at[j];
        const double each = weight * l->alive;
        for (int32_t i = 0; i < u->n && l->sum > 0.0; i++) {
            l->mixed[i] += each * (l->now[i] / l->sum);
        }
        l->done += weight * l->absorbed;
    }
}

/* Poisson weights below e^-745 are zero in a double; further left than this nothing adds to a mass above 1e-300. */
static double leftmost(double lambda) { return floor(lambda - 9.5 * sqrt(lambda) - 800.0); }

static int mix_levels(const pm_plan *p, pm_uniform *u, const double *rewards, double lambda, int64_t max_steps, levels *s,
                      pm_where *where) {
    const double last = pm_uniform_steps(lambda) + 4.0 * s->k;
    const int64_t end = last < (double)max_steps ? (int64_t)last : max_steps;
    const int64_t first = !(leftmost(lambda) > 0.0) ? 0 : leftmost(lambda) < (double)end ? (int64_t)leftmost(lambda) : end + 1;
    double weight = 0.0;
    double used = 0.0;
    for (int64_t k = 0; k <= end; k++) {
        pass(u, s);
        if (k >= first) {
            /* The recurrence is renewed now and then, so that its rounding does not add up. */
            weight = (k - first) % RENEW_EVERY == 0 || weight == 0.0 ? pm_poisson((double)k, lambda) : weight * (lambda / (double)k);
            if (weight > 0.0) {
                mix(u, s, weight);
                used += weight;
            }
        }
        if (u->exhausted) {
            /* Nothing is left to move: what is absorbed stays as it is. */
            for (int32_t j = 0; j <= s->k; j++) {
                s->at[j].done += (used < 1.0 ? 1.0 - used : 0.0) * s->at[j].absorbed;
            }
            return PM_OK;
        }
        move_levels(p, u, rewards, s);
        if (pm_stop(u->control, 2 * (s->k + 1) * (u->n_inner + u->n + 8))) {
            return PM_E_STOPPED;
        }
    }
    if (last > (double)end) {
        pm_at(where, PM_AT_NOTHING, 0, 0, last);
        return PM_E_LIMIT;
    }
    return PM_OK;
}

static int step_levels(const pm_plan *p, pm_uniform *u, const double *rewards, double duration, int64_t max_steps, levels *s,
                       pm_where *where) {
    const int64_t end = duration < (double)max_steps ? (int64_t)duration : max_steps;
    pass(u, s);
    for (int64_t i = 0; i < end && !u->exhausted; i++) {
        move_levels(p, u, rewards, s);
        pass(u, s);
        if (pm_stop(u->control, 2 * (s->k + 1) * (u->n_inner + u->n + 8))) {
            return PM_E_STOPPED;
        }
    }
    if (!u->exhausted && duration > (double)end) {
        pm_at(where, PM_AT_NOTHING, 0, 0, duration);
        return PM_E_LIMIT;
    }
    mix(u, s, 1.0);
    return PM_OK;
}

static void read_state(const pm_plan *p, const pm_uniform *u, const double *state, levels *s) {
    for (int32_t j = 1; j <= s->k; j++) {
        const double *from = state + (int64_t)j * p->graph.n_vertices;
        level *l = &s->at[j];
        l->absorbed = from[0];
        for (int32_t i = 0; i < u->n; i++) {
            l->now[i] = from[p->pattern.order[u->row_of[i]]];
        }
        l->sum = l->alive = pm_uniform_sum(l->now, u->n);
    }
}

static void write_state(const pm_plan *p, const pm_uniform *u, const levels *s, double *out) {
    memset(out, 0, (size_t)p->graph.n_vertices * ((size_t)s->k + 1) * sizeof *out);
    for (int32_t j = 0; j <= s->k; j++) {
        double *to = out + (int64_t)j * p->graph.n_vertices;
        to[0] = s->at[j].done;
        for (int32_t i = 0; i < u->n; i++) {
            to[p->pattern.order[u->row_of[i]]] = s->at[j].mixed[i];
        }
    }
}

int pm_uniform_advance(const pm_plan *p, pm_workspace *ws, pm_uniform *u, const double *theta, double duration, int32_t k,
                       const double *rewards, int64_t max_steps, const double *state, double *out, pm_where *where) {
    if (max_steps < 1 || ws->lanes != 1 || k < 0 || k > PM_MAX_MOMENT) {
        return pm_bad_argument(where, ws->lanes != 1 ? 2 : max_steps < 1 ? 8 : 6);
    }
    int status = pm_check_times(p, 1, &duration, where);
    if (status == PM_OK) {
        status = pm_load_theta(p, ws, 0, 1, theta, where);
    }
    if (status == PM_OK) {
        /* Rewards are earned between two rings of the clock, so it must ring, even if the chain hardly moves, or not at all. */
        const double once = k > 0 && duration > 0.0 ? 1.0 / duration : 0.0;
        status = pm_uniform_set_clock(p, ws, u, state, once <= DBL_MAX ? once : 0.0, 0, where);
    }
    if (status != PM_OK) {
        return status;
    }
    levels s = {k, NULL, NULL};
    status = allocate(u, &s);
    if (status == PM_OK) {
        read_state(p, u, state, &s);
        status = p->graph.discrete ? step_levels(p, u, rewards, duration, max_steps, &s, where)
                                   : mix_levels(p, u, rewards, u->rate * duration, max_steps, &s, where);
    }
    if (status == PM_OK) {
        write_state(p, u, &s, out);
    }
    release(&s);
    u->steps = 0; /* nothing was stored */
    return status;
}
