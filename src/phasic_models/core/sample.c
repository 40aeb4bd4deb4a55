/* Draws by simulating the jump chain: exact, one jump after the other. */
#include <math.h>

#include "pm_internal.h"

struct pm_sampler {
    double *cumulative; /* by edge: running sum over the edges of its vertex */
    int32_t *last;      /* by row: the last edge with positive weight, relative to the first; -1 if none */
    double *reward;     /* by row */
    uint8_t *fate;      /* by row: STOPS, EARNS_FOR_EVER, or 0 */
    double *memory;     /* holds these arrays */
};

/* A row of a trap: nothing is earned any more, or for ever. */
enum { STOPS = 1, EARNS_FOR_EVER = 2 };

void pm_sampler_free(pm_sampler *s) {
    if (s != NULL) {
        pm_free_aligned(s->memory);
        pm_free(s);
    }
}

static void lay_out(pm_arena *a, pm_sampler *s, const pm_plan *p) {
    s->cumulative = pm_take(a, NULL, p->n_edges, sizeof *s->cumulative);
    s->last = pm_take(a, NULL, p->pattern.n_rows, sizeof *s->last);
    s->reward = pm_take(a, NULL, p->pattern.n_rows, sizeof *s->reward);
    s->fate = pm_take(a, NULL, p->pattern.n_rows, sizeof *s->fate);
}

int pm_sampler_new(const pm_plan *p, pm_sampler **out) {
    *out = NULL;
    pm_sampler *s = pm_alloc_zero(1, sizeof *s);
    if (s == NULL) {
        return PM_E_MEMORY;
    }
    pm_arena a = {NULL, 0};
    lay_out(&a, s, p);
    if (pm_arena_make(&a) != PM_OK) {
        pm_free(s);
        return PM_E_MEMORY;
    }
    lay_out(&a, s, p);
    s->memory = a.memory;
    *out = s;
    return PM_OK;
}

/* After pm_check_certain, or after the elimination: the rewards, and what becomes of the process where it is caught. */
static void set_fates(const pm_plan *p, pm_workspace *ws, pm_sampler *s, const double *rewards) {
    if (ws->failed & 1u) {
        pm_mark_earning(p, ws, 0, rewards);
    }
    for (int32_t i = 0; i < p->pattern.n_rows; i++) {
        const int32_t v = p->pattern.order[i];
        const int trapped = (ws->failed & 1u) && (ws->seen[v] & PM_TRAP);
        s->reward[i] = rewards == NULL ? 1.0 : rewards[v];
        s->fate[i] = (uint8_t)(!trapped ? 0 : ws->seen[v] & PM_EARNING ? EARNS_FOR_EVER : STOPS);
    }
}

int pm_sampler_set(const pm_plan *p, pm_workspace *ws, pm_sampler *s, const double *theta, const double *rewards, pm_where *where) {
    if (ws->lanes != 1) {
        return pm_bad_argument(where, 2);
    }
    int status = pm_load_theta(p, ws, 0, 1, theta, where);
    ws->failed = 0;
    if (status == PM_OK) {
        status = pm_check_certain(p, ws, 0, 0, where);
    }
    if (status == PM_E_UNCERTAIN && p->own_order == NULL) {
        /* The elimination finds the traps. */
        const pm_asked asked = {0, NULL, NULL};
        int32_t n_lanes = 0;
        status = pm_factor_lanes(p, ws, 0, 1, theta, &asked, &n_lanes, where);
    }
    if (status != PM_OK) {
        return status;
    }
    set_fates(p, ws, s, rewards);
    for (int32_t v = 0; v < p->graph.n_vertices; v++) {
        const int32_t i = p->position[v];
        if (i < 0) {
            continue;
        }
        double sum = 0.0;
        s->last[i] = -1;
        for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
            const double w = ws->slot[p->graph.edge_slot[e]];
            sum += w;
            s->cumulative[e] = sum;
            if (w > 0.0) {
                s->last[i] = (int32_t)(e - p->edge_start[i]);
            }
        }
        if (!(sum <= DBL_MAX)) {
            pm_at(where, PM_AT_VERTEX, 0, v, sum);
            return PM_E_OVERFLOW;
        }
        if (p->graph.discrete && v > 0 && sum > PM_LARGEST_PROBABILITY) {
            pm_at(where, PM_AT_VERTEX, 0, v, sum);
            return PM_E_PROBABILITY;
        }
    }
    if (s->last[p->n_transient] < 0) {
        pm_at(where, PM_AT_NOTHING, 0, 0, 0.0);
        return PM_E_INITIAL;
    }
    return PM_OK;
}

/* xoshiro256++ (Blackman and Vigna 2021), its state filled by splitmix64 from the seed and the number of the draw. */
typedef struct generator {
    uint64_t s[4];
} generator;

static uint64_t mix64(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static generator generator_for(uint64_t seed, uint64_t number) {
    /* Two rounds keep streams of neighbouring seeds and numbers apart: seed + number alone would make them overlap. */
    uint64_t x = mix64(mix64(seed + 0x9e3779b97f4a7c15u) ^ (number * 0xd1342543de82ef95u + 0x2545f4914f6cdd1du));
    generator g;
    for (int i = 0; i < 4; i++) {
        x += 0x9e3779b97f4a7c15u;
        g.s[i] = mix64(x);
    }
    return g;
}

static uint64_t rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

/* Uniform in (0, 1]. */
static double uniform(generator *g) {
    const uint64_t result = rotate(g->s[0] + g->s[3], 23) + g->s[0];
    const uint64_t t = g->s[1] << 17;
    g->s[2] ^= g->s[0];
    g->s[3] ^= g->s[1];
    g->s[1] ^= g->s[2];
    g->s[0] ^= g->s[3];
    g->s[2] ^= t;
    g->s[3] = rotate(g->s[3], 45);
    return ((double)(result >> 11) + 1.0) * 1.1102230246251565e-16;
}

/* The edge of row i that a uniform number chooses: the first whose running sum reaches it. */
static int64_t choose(const pm_plan *p, const pm_sampler *s, int32_t i, double u) {
    int64_t low = p->edge_start[i];
    int64_t high = p->edge_start[i] + s->last[i];
    const double x = u * s->cumulative[high];
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (s->cumulative[middle] >= x) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Steps until a jump of probability `leave`, at least one. */
static double geometric(double leave, double u) { return leave >= 1.0 ? 1.0 : 1.0 + floor(log(u) / log1p(-leave)); }

int pm_sampler_draw(const pm_plan *p, const pm_sampler *s, uint64_t seed, int64_t first, int64_t n, int64_t max_jumps,
                    pm_control *control, double *out, pm_where *where) {
    for (int64_t k = 0; k < n; k++) {
        if (pm_stop(control, 64)) {
            return PM_E_STOPPED;
        }
        generator g = generator_for(seed, (uint64_t)(first + k));
        double sum = 0.0;
        int32_t row = p->edge_row[choose(p, s, p->n_transient, uniform(&g))];
        for (int64_t jumps = 0; row >= 0; jumps++) {
            if (s->fate[row] != 0) {
                sum = s->fate[row] == STOPS ? sum : (double)INFINITY;
                break;
            }
            if (jumps >= max_jumps) {
                pm_at(where, PM_AT_ENTRY, 0, first + k, (double)max_jumps);
                return PM_E_LIMIT;
            }
            if (pm_stop(control, 64)) {
                return PM_E_STOPPED;
            }
            const double total = s->cumulative[p->edge_start[row] + s->last[row]];
            const double u = uniform(&g);
            const double stay = p->graph.discrete ? geometric(total, u) : -log(u) / total;
            sum += stay * s->reward[row];
            row = p->edge_row[choose(p, s, row, uniform(&g))];
        }
        out[k] = sum;
    }
    return PM_OK;
}
