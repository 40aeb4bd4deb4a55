/* The variance of a rewarded sum from every vertex on: the spread of each step, added up along the chain, none of it negative. */
#include <math.h>
#include <string.h>

#include "rows.h"

/* Right to this share of itself, or of the square of the mean: what is smaller is zero. */
#define ACCURACY 1e-9
#define NOTHING 1e-20

/*
 * Variances of all lanes into ws->x, with a bound for each. seen: marks of pm_check_absorption, digits being
 * needed where the process comes; NULL for everywhere.
 * *good: bit mask of the lanes that have their digits.
 */
static int find(const pm_plan *p, pm_workspace *ws, const double *rewards, const uint8_t *seen, uint32_t *good) {
    const int32_t lanes = ws->lanes;
    const int64_t size = (int64_t)p->pattern.n_rows * lanes;
    pm_scratch s;
    double *memory = NULL;
    double *bound = NULL;
    const pm_part part = {&bound, size};
    int status = pm_alloc_parts(&part, 1, &memory);
    if (status != PM_OK) {
        return status;
    }
    status = pm_scratch_make(p, ws, 1, 1, &s);
    if (status == PM_OK) {
        pm_passes_for(ws)->right_side(p, ws, 1, rewards, s.x, s.ahead, ws->y);
        pm_kernels_for(ws)->differences(p, ws, &s.d, ws->y);
        pm_passes_for(ws)->variances(p, ws, &s.d, rewards, ws->x, bound);
        status = pm_stopped(ws->control);
        *good = 0xffffffffu;
        for (int64_t at = 0; at < size; at++) {
            const double mean = pm_value(ws, s.d.value, at);
            if (!(bound[at] <= ACCURACY * pm_value(ws, ws->x, at) || bound[at] <= NOTHING * mean * mean)
                && (seen == NULL || (seen[p->pattern.order[at / lanes]] & PM_REACHED))) {
                *good &= ~((uint32_t)1 << (at % lanes));
            }
        }
    }
    pm_scratch_release(&s);
    pm_free_aligned(memory);
    return status;
}

/* The theta in lane l of ws, number `row`, by vertex into out; good: whether ws->x has its digits. */
static int read_lane(const pm_plan *p, pm_workspace *ws, int32_t l, int64_t row, const double *theta, const pm_asked *asked, uint32_t good,
                     double *out, pm_where *where) {
    pm_workspace *from = ws;
    int32_t lane = l;
    int status = PM_OK;
    const uint8_t *seen = NULL;
    if ((ws->failed >> l) & 1u) {
        /* Differences in double precision are for chains without traps: see pm_find_anchors. */
        good = 0;
        status = pm_check_absorption(p, ws, l, row, asked, where);
        seen = ws->seen;
    }
    if (status == PM_OK && !good) {
        lane = 0;
        status = pm_extended_factor(p, ws, l, row, theta, &from, where);
        if (status == PM_OK) {
            status = find(p, from, asked->rewards, seen, &good);
        }
    }
    if (status != PM_OK) {
        return status;
    }
    memset(out, 0, (size_t)p->graph.n_vertices * sizeof *out);
    for (int32_t i = 0; i < p->pattern.n_rows; i++) {
        const int32_t v = p->pattern.order[i];
        if (seen == NULL || (seen[v] & PM_REACHED)) {
            out[v] = pm_value(from, from->x, (int64_t)i * from->lanes + lane);
        }
    }
    status = pm_check_finite(out, p->graph.n_vertices, row, where);
    if (status == PM_OK && !(good & 1u)) {
        pm_at(where, PM_AT_NOTHING, row, 0, 0.0);
        status = PM_E_ACCURACY;
    }
    return status;
}

int pm_vertex_variance(const pm_plan *p, pm_workspace *ws, int64_t n_theta, const double *theta, const double *rewards,
                       const double *mass, double *out, pm_where *where) {
    const pm_asked asked = {1, rewards, mass};
    int status = PM_OK;
    for (int64_t first = 0; first < n_theta && status == PM_OK; first += ws->lanes) {
        int32_t n_lanes = 0;
        uint32_t good = 0;
        status = pm_factor_lanes(p, ws, first, n_theta, theta, &asked, &n_lanes, where);
        if (status == PM_OK) {
            status = find(p, ws, rewards, NULL, &good);
        }
        for (int32_t l = 0; l < n_lanes && status == PM_OK; l++) {
            const int64_t row = first + l;
            status = read_lane(p, ws, l, row, theta + row * p->graph.n_params, &asked, (good >> l) & 1u,
                               out + row * p->graph.n_vertices, where);
        }
    }
    return status;
}
