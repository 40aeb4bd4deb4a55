/* The variance of a rewarded sum from every vertex on: the spread of each step, added up along the chain, none of it negative. */
#include <math.h>
#include <string.h>

#include "step.h"

/* Right to this share of itself, or of the square of the mean: what is smaller is zero. */
#define ACCURACY 1e-9
#define NOTHING 1e-20

/* Variances of all lanes into ws->x, with a bound for each. *good: bit mask of the lanes that have their digits. */
static int find(const pm_plan *p, pm_workspace *ws, const double *rewards, uint32_t *good, double **memory) {
    const int32_t lanes = ws->lanes;
    const int64_t size = (int64_t)p->pattern.n_rows * lanes;
    pm_scratch s;
    double *bound = NULL;
    const pm_part part = {&bound, size};
    int status = pm_alloc_parts(&part, 1, memory);
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
            if (!(bound[at] <= ACCURACY * pm_value(ws, ws->x, at) || bound[at] <= NOTHING * mean * mean)) {
                *good &= ~((uint32_t)1 << (at % lanes));
            }
        }
    }
    pm_scratch_release(&s);
    return status;
}

int pm_vertex_variance(const pm_plan *p, pm_workspace *ws, int64_t n_theta, const double *theta, const double *rewards, double *out,
                       pm_where *where) {
    int status = PM_OK;
    for (int64_t first = 0; first < n_theta && status == PM_OK; first += ws->lanes) {
        int32_t n_lanes = 0;
        uint32_t good = 0;
        double *memory = NULL;
        status = pm_factor_lanes(p, ws, first, n_theta, theta, &n_lanes, where);
        if (status == PM_OK) {
            status = find(p, ws, rewards, &good, &memory);
            pm_free_aligned(memory);
        }
        for (int32_t l = 0; l < n_lanes && status == PM_OK; l++) {
            pm_workspace *from = ws;
            int32_t lane = l;
            uint32_t good_now = good >> l;
            if (!(good_now & 1u)) {
                lane = 0;
                status = pm_extended_factor(p, ws, theta + (first + l) * p->graph.n_params, &from);
                if (status == PM_OK) {
                    status = find(p, from, rewards, &good_now, &memory);
                    pm_free_aligned(memory);
                }
            }
            if (status != PM_OK) {
                break;
            }
            double *row = out + (first + l) * p->graph.n_vertices;
            memset(row, 0, (size_t)p->graph.n_vertices * sizeof *row);
            for (int32_t i = 0; i < p->pattern.n_rows; i++) {
                row[p->pattern.order[i]] = pm_value(from, from->x, (int64_t)i * from->lanes + lane);
            }
            status = pm_check_finite(row, p->graph.n_vertices, first + l, where);
            if (status == PM_OK && !(good_now & 1u)) {
                pm_at(where, first + l, 0, 0.0);
                status = PM_E_ACCURACY;
            }
        }
    }
    return status;
}
