/*
 * Mass and moments carried through a stretch of time. With m_j the vector of E[Y^j; in v], m_j' = m_j S + j m_{j-1} R: the
 * generator of all levels together has no negative entry off the diagonal, so uniformization serves it as it serves the mass alone.
 */
#include <math.h>
#include <string.h>

#include "uniform.h"

/* Steps between two corrections of the mass. */
#define CORRECT_EVERY 32
/* Mass below which nothing can contribute to a result above 1e-280. */
#define EXHAUSTED 1e-290

typedef struct levels {
    int32_t k;          /* levels 0 .. k */
    double *stay;       /* (n): probability to stay */
    double *now;        /* (k + 1, n) */
    double *next;
    double *mixed;
    double *absorbed;   /* (k + 1) */
    double *done;       /* (k + 1): mixed */
    double *earned;     /* (n): one level of a discrete step with its reward */
} levels;

static void release(levels *s) {
    pm_free(s->stay);
    pm_free(s->now);
    pm_free(s->next);
    pm_free(s->mixed);
    pm_free(s->absorbed);
    pm_free(s->done);
    pm_free(s->earned);
}

static int allocate(const pm_uniform *u, levels *s) {
    const int64_t size = (int64_t)u->n * (s->k + 1);
    s->stay = pm_alloc(u->n, sizeof *s->stay);
    s->now = pm_alloc(size, sizeof *s->now);
    s->next = pm_alloc(size, sizeof *s->next);
    s->mixed = pm_alloc_zero(size, sizeof *s->mixed);
    s->absorbed = pm_alloc((int64_t)s->k + 1, sizeof *s->absorbed);
    s->done = pm_alloc_zero((int64_t)s->k + 1, sizeof *s->done);
    s->earned = pm_alloc(u->n, sizeof *s->earned);
    return s->stay == NULL || s->now == NULL || s->next == NULL || s->mixed == NULL || s->absorbed == NULL || s->done == NULL || s->earned == NULL
               ? PM_E_MEMORY
               : PM_OK;
}

static double reward_of(const pm_plan *p, const pm_uniform *u, const double *rewards, int32_t i) {
    return rewards == NULL ? 1.0 : rewards[p->pattern.order[u->row_of[i]]];
}

/* A discrete step earns r before it jumps: E[(Y + r)^j] = sum_i C(j, i) r^i E[Y^(j-i)], highest level first, in place. */
static void add_reward(const pm_plan *p, const pm_uniform *u, const double *rewards, levels *s) {
    for (int32_t j = s->k; j > 0; j--) {
        for (int32_t i = 0; i < u->n; i++) {
            const double r = reward_of(p, u, rewards, i);
            double sum = 0.0;
            double term = 1.0;
            for (int32_t q = 0; q <= j; q++) {
                sum += term * s->now[(int64_t)(j - q) * u->n + i];
                term *= r * (j - q) / (q + 1);
            }
            s->earned[i] = sum;
        }
        memcpy(s->now + (int64_t)j * u->n, s->earned, (size_t)u->n * sizeof *s->earned);
    }
}

/* One jump of the uniformized chain, all levels. */
static void step(const pm_plan *p, const pm_uniform *u, const double *rewards, levels *s) {
    const int32_t n = u->n;
    const double scale = u->rate > 0.0 ? u->rate : 1.0;
    if (p->graph.discrete) {
        add_reward(p, u, rewards, s);
    }
    for (int32_t j = s->k; j >= 0; j--) {
        const double *now = s->now + (int64_t)j * n;
        double *next = s->next + (int64_t)j * n;
        double rate = 0.0;
        for (int32_t i = 0; i < u->n_exits; i++) {
            rate += now[u->exit_at[i]] * u->exit_rate[i];
        }
        s->absorbed[j] += rate / scale;
        for (int32_t i = 0; i < n; i++) {
            double sum = s->stay[i] * now[i];
            if (j > 0 && !p->graph.discrete) {
                sum += j * (reward_of(p, u, rewards, i) / scale) * s->now[(int64_t)(j - 1) * n + i];
            }
            for (int64_t e = u->in_ptr[i]; e < u->in_ptr[i + 1]; e++) {
                sum += u->in_probability[e] * now[u->in_from[e]];
            }
            next[i] = sum;
        }
    }
    double *swap = s->now;
    s->now = s->next;
    s->next = swap;
}

/*
 * What the mass that is left must be multiplied by, so that nothing has leaked by rounding: a leak of 1e-17 per step would be 1e-10
 * after ten million steps. 1 where little mass is left, since the difference to what was absorbed would say nothing then.
 */
static double correction(double total, double done, double left) {
    return left > 1e-4 * total && done < total ? (total - done) / left : 1.0;
}

/* All levels leak alike, and of the mass itself it is known how much. */
static void correct(const pm_uniform *u, levels *s) {
    double left = 0.0;
    for (int32_t i = 0; i < u->n; i++) {
        left += s->now[i];
    }
    const double factor = correction(u->total, s->absorbed[0], left);
    const int64_t size = (int64_t)u->n * (s->k + 1);
    for (int64_t i = 0; i < size && factor != 1.0; i++) {
        s->now[i] *= factor;
    }
}

static void add(const pm_uniform *u, levels *s, double weight) {
    const int64_t size = (int64_t)u->n * (s->k + 1);
    for (int64_t i = 0; i < size; i++) {
        s->mixed[i] += weight * s->now[i];
    }
    for (int32_t j = 0; j <= s->k; j++) {
        s->done[j] += weight * s->absorbed[j];
    }
}

/*
 * Lets the clock of the uniformized chain ring once in `duration` at least. Rewards are earned between its rings, so a chain that
 * hardly moves, or not at all, would earn nothing otherwise.
 */
static void raise_rate(pm_uniform *u, levels *s, double duration) {
    const double rate = 1.0 / duration;
    const double slower = u->rate * duration;
    if (!(slower < 1.0 && rate <= DBL_MAX)) {
        return;
    }
    for (int32_t i = 0; i < u->n; i++) {
        s->stay[i] = 1.0 - slower + slower * s->stay[i];
    }
    for (int64_t e = 0; e < u->n_inner; e++) {
        u->in_probability[e] *= slower;
    }
    u->rate = rate;
}

/* Poisson weights below e^-745 are zero in a double; further left than this nothing adds to a mass above 1e-300. */
static double leftmost(double lambda) { return floor(lambda - 9.5 * sqrt(lambda) - 800.0); }

/* Nothing is left to move: what is absorbed stays as it is. */
static int is_exhausted(const pm_uniform *u, const levels *s) {
    const int64_t size = (int64_t)u->n * (s->k + 1);
    for (int64_t i = 0; i < size; i++) {
        if (s->now[i] > EXHAUSTED) {
            return 0;
        }
    }
    return 1;
}

static int mix_levels(const pm_plan *p, const pm_uniform *u, const double *rewards, double lambda, int64_t max_steps, levels *s,
                      pm_where *where) {
    const double last = pm_uniform_steps(lambda) + 4.0 * s->k;
    const int64_t end = last < (double)max_steps ? (int64_t)last : max_steps;
    const int64_t first = !(leftmost(lambda) > 0.0) ? 0 : leftmost(lambda) < (double)end ? (int64_t)leftmost(lambda) : end + 1;
    double weight = 0.0;
    double used = 0.0;
    for (int64_t k = 0; k <= end; k++) {
        if (k >= first) {
            /* The recurrence is renewed now and then, so that its rounding does not add up. */
            weight = (k - first) % 256 == 0 || weight == 0.0 ? pm_poisson((double)k, lambda) : weight * (lambda / (double)k);
            if (weight > 0.0) {
                add(u, s, weight);
                used += weight;
            }
        }
        if (k % CORRECT_EVERY == 0 && is_exhausted(u, s)) {
            for (int32_t j = 0; j <= s->k; j++) {
                s->done[j] += (used < 1.0 ? 1.0 - used : 0.0) * s->absorbed[j];
            }
            return PM_OK;
        }
        if (k < end) {
            step(p, u, rewards, s);
            if (pm_stop(u->control, 2 * (s->k + 1) * (u->n_inner + u->n + 8))) {
                return PM_E_STOPPED;
            }
        }
        if (k % CORRECT_EVERY == CORRECT_EVERY - 1) {
            correct(u, s);
        }
    }
    if (last > (double)end) {
        pm_at(where, PM_AT_NOTHING, 0, 0, last);
        return PM_E_LIMIT;
    }
    return PM_OK;
}

static void read_state(const pm_plan *p, const pm_uniform *u, const double *state, levels *s) {
    for (int32_t i = 0; i < u->n; i++) {
        s->stay[i] = u->base[i] + u->change[i];
    }
    for (int32_t j = 0; j <= s->k; j++) {
        const double *level = state + (int64_t)j * p->graph.n_vertices;
        s->absorbed[j] = level[0];
        for (int32_t i = 0; i < u->n; i++) {
            s->now[(int64_t)j * u->n + i] = level[p->pattern.order[u->row_of[i]]];
        }
    }
}

static void write_state(const pm_plan *p, const pm_uniform *u, const levels *s, const double *values, const double *absorbed,
                        double *out) {
    memset(out, 0, (size_t)p->graph.n_vertices * ((size_t)s->k + 1) * sizeof *out);
    for (int32_t j = 0; j <= s->k; j++) {
        double *level = out + (int64_t)j * p->graph.n_vertices;
        level[0] = absorbed[j];
        for (int32_t i = 0; i < u->n; i++) {
            level[p->pattern.order[u->row_of[i]]] = values[(int64_t)j * u->n + i];
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
        status = pm_uniform_set(p, ws, u, state, 0, where);
    }
    if (status != PM_OK) {
        return status;
    }
    levels s = {k, NULL, NULL, NULL, NULL, NULL, NULL, NULL};
    status = allocate(u, &s);
    if (status == PM_OK) {
        read_state(p, u, state, &s);
        if (p->graph.discrete) {
            const int64_t end = duration < (double)max_steps ? (int64_t)duration : max_steps;
            int exhausted = 0;
            for (int64_t i = 0; i < end && !exhausted; i++) {
                step(p, u, rewards, &s);
                exhausted = i % CORRECT_EVERY == 0 && is_exhausted(u, &s);
                if (pm_stop(u->control, 2 * (k + 1) * (u->n_inner + u->n + 8))) {
                    status = PM_E_STOPPED;
                    break;
                }
            }
            if (status == PM_OK && !exhausted && duration > (double)end) {
                pm_at(where, PM_AT_NOTHING, 0, 0, duration);
                status = PM_E_LIMIT;
            }
            if (status == PM_OK) {
                write_state(p, u, &s, s.now, s.absorbed, out);
            }
        } else {
            if (k > 0) {
                raise_rate(u, &s, duration);
            }
            status = mix_levels(p, u, rewards, u->rate * duration, max_steps, &s, where);
            if (status == PM_OK) {
                write_state(p, u, &s, s.mixed, s.done, out);
            }
        }
    }
    release(&s);
    return status;
}
