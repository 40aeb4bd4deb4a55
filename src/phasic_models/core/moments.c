/* Raw and joint moments, and expected sojourn times. */
#include <math.h>
#include <string.h>

#include "rows.h"

/* Sojourn times are asked for as they are, infinite ones included. */
static const pm_asked no_sums = {0, NULL, NULL};

/* The moments of lane l: from the start into out, (k), or from every vertex, (k, n_vertices). */
static void read_moments(const pm_plan *p, const pm_workspace *ws, int32_t k, const double *x, int32_t l, int by_vertex, double *out) {
    for (int32_t j = 0; j < k; j++) {
        const double *level = x + (int64_t)j * p->pattern.n_rows * ws->lanes;
        if (!by_vertex) {
            out[j] = level[(int64_t)p->n_transient * ws->lanes + l];
            continue;
        }
        double *row = out + (int64_t)j * p->graph.n_vertices;
        memset(row, 0, (size_t)p->graph.n_vertices * sizeof *row);
        for (int32_t i = 0; i < p->pattern.n_rows; i++) {
            row[p->pattern.order[i]] = level[(int64_t)i * ws->lanes + l];
        }
    }
}

/* Exactly one of out and by_vertex is given. */
static int moments(const pm_plan *p, pm_workspace *ws, int64_t n_theta, const double *theta, int32_t k, const double *rewards,
                   const double *mass, double *out, double *by_vertex, pm_where *where) {
    if (k < 1 || k > PM_MAX_MOMENT) {
        return pm_bad_argument(where, 6);
    }
    const pm_asked asked = {1, rewards, mass};
    const int64_t width = by_vertex == NULL ? k : (int64_t)k * p->graph.n_vertices;
    double *values = by_vertex == NULL ? out : by_vertex;
    pm_scratch s;
    int status = pm_scratch_make(p, ws, k, 0, &s);
    for (int64_t first = 0; first < n_theta && status == PM_OK; first += ws->lanes) {
        int32_t n_lanes = 0;
        status = pm_factor_lanes(p, ws, first, n_theta, theta, &asked, &n_lanes, where);
        if (status != PM_OK) {
            break;
        }
        pm_passes_for(ws)->forward(p, ws, k, rewards, s.x, s.ahead);
        status = pm_stopped(ws->control);
        for (int32_t l = 0; l < n_lanes && status == PM_OK; l++) {
            read_moments(p, ws, k, s.x, l, by_vertex != NULL, values + (first + l) * width);
            status = pm_check_finite(values + (first + l) * width, width, first + l, where);
        }
    }
    pm_scratch_release(&s);
    return status;
}

int pm_moments(const pm_plan *p, pm_workspace *ws, int64_t n_theta, const double *theta, int32_t k, const double *rewards,
               double *out, pm_where *where) {
    return moments(p, ws, n_theta, theta, k, rewards, NULL, out, NULL, where);
}

int pm_vertex_moments(const pm_plan *p, pm_workspace *ws, int64_t n_theta, const double *theta, int32_t k, const double *rewards,
                      const double *mass, double *out, pm_where *where) {
    return moments(p, ws, n_theta, theta, k, rewards, mass, NULL, out, where);
}

/*
 * h_S for every subset S of the rewards: continuous, h_S = U sum_{i in S} r_i h_{S-i}; discrete, h_S = sum over T in S of
 * (prod_{i in T} r_i) P h_{S-T}.
 */
static void joint_of_lanes(const pm_plan *p, pm_workspace *ws, int32_t k, const double *rewards, double *h, double *ahead) {
    const int32_t lanes = ws->lanes;
    const int32_t n = p->pattern.n_rows;
    const int64_t size = (int64_t)n * lanes;
    const pm_kernels *kernels = pm_kernels_for(ws);
    for (int64_t at = 0; at < size; at++) {
        h[at] = 1.0;
        ahead[at] = 1.0;
    }
    for (int32_t set = 1; set < 1 << k; set++) {
        memset(ws->y, 0, (size_t)size * sizeof *ws->y);
        for (int32_t part = set; part > 0; part = (part - 1) & set) {
            if (!p->graph.discrete && (part & (part - 1)) != 0) {
                continue; /* in continuous time no two rewards are earned in the same instant */
            }
            const double *rest = (p->graph.discrete ? ahead : h) + (set ^ part) * size;
            for (int32_t i = 0; i < p->n_transient; i++) {
                double r = 1.0;
                for (int32_t j = 0; j < k; j++) {
                    if ((part >> j) & 1) {
                        r *= rewards[(int64_t)j * p->graph.n_vertices + p->pattern.order[i]];
                    }
                }
                for (int32_t l = 0; l < lanes; l++) {
                    ws->y[(int64_t)i * lanes + l] += r * rest[(int64_t)i * lanes + l];
                }
            }
        }
        kernels->solve(p, ws, ws->y, h + set * size);
        if (pm_stop(ws->control, 8 * size)) {
            return;
        }
        if (p->graph.discrete) {
            pm_passes_for(ws)->step_ahead(p, ws, h + set * size, ahead + set * size);
        }
    }
}

int pm_joint_moment(const pm_plan *p, pm_workspace *ws, int64_t n_theta, const double *theta, int32_t k, const double *rewards,
                    double *out, pm_where *where) {
    if (k < 1 || k > PM_MAX_JOINT) {
        return pm_bad_argument(where, 6);
    }
    const int64_t size = (int64_t)p->pattern.n_rows * ws->lanes;
    const int64_t sets = (int64_t)1 << k;
    const pm_asked asked = {k, rewards, NULL};
    double *h = pm_alloc_aligned(sets * size);
    double *ahead = pm_alloc_aligned(p->graph.discrete ? sets * size : size);
    int status = h == NULL || ahead == NULL ? PM_E_MEMORY : PM_OK;
    for (int64_t first = 0; first < n_theta && status == PM_OK; first += ws->lanes) {
        int32_t n_lanes = 0;
        status = pm_factor_lanes(p, ws, first, n_theta, theta, &asked, &n_lanes, where);
        if (status != PM_OK) {
            break;
        }
        joint_of_lanes(p, ws, k, rewards, h, ahead);
        status = pm_stopped(ws->control);
        for (int32_t l = 0; l < n_lanes && status == PM_OK; l++) {
            out[first + l] = h[(sets - 1) * size + (int64_t)p->n_transient * ws->lanes + l];
            status = pm_check_finite(out + first + l, 1, first + l, where);
        }
    }
    pm_free_aligned(h);
    pm_free_aligned(ahead);
    return status;
}

/* Puts infinity where the process stays for ever. */
static int set_trapped(const pm_plan *p, pm_workspace *ws, int32_t lane, int64_t theta_index, double *row, pm_where *where) {
    const int status = pm_check_absorption(p, ws, lane, theta_index, &no_sums, where);
    for (int32_t v = 1; v < p->graph.n_vertices && status == PM_OK; v++) {
        if (ws->seen[v] & PM_TRAP) {
            row[v] = (double)INFINITY;
        }
    }
    return status;
}

int pm_sojourn(const pm_plan *p, pm_workspace *ws, int64_t n_theta, const double *theta, double *out, pm_where *where) {
    const int32_t lanes = ws->lanes;
    const int64_t size = (int64_t)p->pattern.n_rows * lanes;
    for (int64_t first = 0; first < n_theta; first += lanes) {
        int32_t n_lanes = 0;
        int status = pm_factor_lanes(p, ws, first, n_theta, theta, &no_sums, &n_lanes, where);
        if (status != PM_OK) {
            return status;
        }
        memset(ws->y, 0, (size_t)size * sizeof *ws->y);
        for (int32_t l = 0; l < lanes; l++) {
            ws->y[(int64_t)p->n_transient * lanes + l] = 1.0;
        }
        pm_kernels_for(ws)->solve_transposed(p, ws, ws->y, ws->z);
        status = pm_stopped(ws->control);
        if (status != PM_OK) {
            return status;
        }
        for (int32_t l = 0; l < n_lanes; l++) {
            double *row = out + (first + l) * p->graph.n_vertices;
            memset(row, 0, (size_t)p->graph.n_vertices * sizeof *row);
            for (int32_t i = 0; i < p->n_transient; i++) {
                row[p->pattern.order[i]] = ws->z[(int64_t)i * lanes + l];
            }
            status = pm_check_finite(row, p->graph.n_vertices, first + l, where);
            if (status == PM_OK && ((ws->failed >> l) & 1u)) {
                status = set_trapped(p, ws, l, first + l, row, where);
            }
            if (status != PM_OK) {
                return status;
            }
        }
    }
    return PM_OK;
}
