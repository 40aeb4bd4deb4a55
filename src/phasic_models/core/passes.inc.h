/*
 * What moments, gradients and covariances are made of, for either kind of number (number.h): weights, one pass from the end of the
 * chain to its start for each moment, one from the start to the end for each adjoint, and what both say of each edge.
 * Define PM_NAME(x) and include. All end early when stopped: see pm_stopped.
 *
 * The order of each sum is promised (docs/engine.md): rows ascending, in each its edges as they are stored, coefficients as stored,
 * moments from low to high. What `weights` does is that of docs/format.md, so a document's reader gets the same weights.
 */
#include "number.h"

#define PM_AT(array, i) (((PM_T *)(void *)(array))[i])

static void PM_NAME(weights)(const pm_plan *p, pm_workspace *ws) {
    const pm_graph *g = &p->graph;
    const int32_t lanes = ws->lanes;
    for (int32_t s = 0; s < g->n_affine; s++) {
        for (int32_t l = 0; l < lanes; l++) {
            PM_AT(ws->slot, (int64_t)s * lanes + l) = PM_NUM(g->affine_base[s]);
        }
        for (int64_t k = g->affine_ptr[s]; k < g->affine_ptr[s + 1]; k++) {
            const PM_T c = PM_NUM(g->affine_coef[k]);
            for (int32_t l = 0; l < lanes; l++) {
                PM_T *w = &PM_AT(ws->slot, (int64_t)s * lanes + l);
                *w = PM_ADD(*w, PM_MUL(c, PM_AT(ws->theta, (int64_t)g->affine_param[k] * lanes + l)));
            }
        }
    }
    for (int32_t i = 0; i < g->n_program; i++) {
        for (int32_t l = 0; l < lanes; l++) {
            const PM_T a = PM_AT(ws->slot, (int64_t)g->program_a[i] * lanes + l);
            const PM_T b = PM_AT(ws->slot, (int64_t)g->program_b[i] * lanes + l);
            PM_AT(ws->slot, (int64_t)(g->n_affine + i) * lanes + l) = g->program_op[i] == PM_OP_ADD   ? PM_ADD(a, b)
                                                                      : g->program_op[i] == PM_OP_MUL ? PM_MUL(a, b)
                                                                                                      : PM_DIV(a, b);
        }
    }
}

/* out = P h for a discrete graph: one step ahead, absorbing vertices counting zero. The last row (the start) gets zero. */
static void PM_NAME(step_ahead)(const pm_plan *p, const pm_workspace *ws, double *h, double *out) {
    const int32_t lanes = ws->lanes;
    for (int32_t i = 0; i < p->n_transient; i++) {
        for (int32_t l = 0; l < lanes; l++) {
            const int64_t at = (int64_t)i * lanes + l;
            PM_AT(out, at) = PM_MUL(PM_AT(ws->stay, at), PM_AT(h, at));
        }
        for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
            if (p->edge_row[e] >= 0) {
                for (int32_t l = 0; l < lanes; l++) {
                    const PM_T w = PM_AT(ws->slot, (int64_t)p->graph.edge_slot[e] * lanes + l);
                    PM_T *o = &PM_AT(out, (int64_t)i * lanes + l);
                    *o = PM_ADD(*o, PM_MUL(w, PM_AT(h, (int64_t)p->edge_row[e] * lanes + l)));
                }
            }
        }
    }
    for (int32_t l = 0; l < lanes; l++) {
        PM_AT(out, (int64_t)p->n_transient * lanes + l) = PM_NUM(0.0);
    }
}

/* out = z P for a discrete graph, the starting vertex among the rows that are left but not among those that are entered. */
static void PM_NAME(step_behind)(const pm_plan *p, const pm_workspace *ws, double *z, double *out) {
    const int32_t lanes = ws->lanes;
    for (int64_t at = 0; at < (int64_t)p->pattern.n_rows * lanes; at++) {
        PM_AT(out, at) = at < (int64_t)p->n_transient * lanes ? PM_MUL(PM_AT(ws->stay, at), PM_AT(z, at)) : PM_NUM(0.0);
    }
    for (int32_t i = 0; i < p->pattern.n_rows; i++) {
        for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
            for (int32_t l = 0; l < lanes && p->edge_row[e] >= 0; l++) {
                const PM_T w = PM_AT(ws->slot, (int64_t)p->graph.edge_slot[e] * lanes + l);
                PM_T *o = &PM_AT(out, (int64_t)p->edge_row[e] * lanes + l);
                *o = PM_ADD(*o, PM_MUL(w, PM_AT(z, (int64_t)i * lanes + l)));
            }
        }
    }
}

/* sum_{q<j} C(j,q) r^(j-q) of[q] at entry `at`, by Horner over the powers of r with the binomials alongside; of[0] = first. */
static PM_T PM_NAME(earned)(double *of, int64_t size, int64_t at, int32_t j, double r, PM_T first) {
    PM_T sum = first;
    double binomial = 1.0;
    for (int32_t q = 1; q < j; q++) {
        binomial = binomial * (j - q + 1) / q;
        sum = PM_ADD(PM_MUL(sum, PM_NUM(r)), PM_MUL(PM_NUM(binomial), PM_AT(of, (q - 1) * size + at)));
    }
    return PM_MUL(sum, PM_NUM(r));
}

/*
 * The right-hand side of the j-th moments x_j. Continuous: j r x_{j-1} (Bladt and Nielsen 2017, theorem 3.1.16 with rewards).
 * Discrete: Y = r + Y' with Y' the sum from the next step on, so x_j = sum_q C(j,q) r^(j-q) P x_q; the term q = j goes to the
 * left-hand side, where I - P is what was eliminated. ahead[q - 1] holds P x_q.
 */
static void PM_NAME(right_side)(const pm_plan *p, const pm_workspace *ws, int32_t j, const double *rewards, double *x, double *ahead,
                                double *y) {
    const int32_t lanes = ws->lanes;
    const int64_t size = (int64_t)p->pattern.n_rows * lanes;
    for (int32_t i = 0; i < p->pattern.n_rows; i++) {
        const double r = pm_row_reward(p, rewards, i);
        for (int32_t l = 0; l < lanes; l++) {
            const int64_t at = (int64_t)i * lanes + l;
            if (p->graph.discrete) {
                PM_AT(y, at) = i == p->n_transient ? PM_NUM(0.0) : PM_NAME(earned)(ahead, size, at, j, r, PM_NUM(1.0));
            } else {
                PM_AT(y, at) = j == 1 ? PM_NUM(r) : PM_MUL(PM_NUM(r * j), PM_AT(x, (j - 2) * size + at));
            }
        }
    }
}

/* x: (k, n_rows) moments 1..k from every row; ahead: (k - 1, n_rows), discrete graphs only. */
static void PM_NAME(forward)(const pm_plan *p, pm_workspace *ws, int32_t k, const double *rewards, double *x, double *ahead) {
    const int64_t size = (int64_t)p->pattern.n_rows * ws->lanes;
    for (int32_t j = 1; j <= k; j++) {
        double *x_j = (double *)(void *)(&PM_AT(x, (j - 1) * size));
        PM_NAME(right_side)(p, ws, j, rewards, x, ahead, ws->y);
        pm_kernels_for(ws)->solve(p, ws, ws->y, x_j);
        if (pm_stop(ws->control, PM_EFFORT * (size + p->n_edges))) {
            return;
        }
        if (p->graph.discrete && j < k) {
            PM_NAME(step_ahead)(p, ws, x_j, (double *)(void *)(&PM_AT(ahead, (j - 1) * size)));
        }
    }
}

/*
 * z: (k, n_rows), the adjoints: the derivative of the m-th moment by the weight of u -> v is
 *     sum_{j=1..m} C(m,j) z_{m-j}[u] (x_j[v] - x_j[u]).
 * z_0 is the expected time in each row. Continuous: A' z_i = i r z_{i-1}. Discrete: z_i = sum_q C(i,q) r^(i-q) z_q P, the start
 * counting as one more row; behind[q] holds z_q P.
 */
static void PM_NAME(backward)(const pm_plan *p, pm_workspace *ws, int32_t k, const double *rewards, double *z, double *behind) {
    const int32_t lanes = ws->lanes;
    const int64_t size = (int64_t)p->pattern.n_rows * lanes;
    for (int32_t i = 0; i < k; i++) {
        for (int32_t row = 0; row < p->pattern.n_rows; row++) {
            const double r = pm_row_reward(p, rewards, row);
            for (int32_t l = 0; l < lanes; l++) {
                const int64_t at = (int64_t)row * lanes + l;
                if (i == 0) {
                    PM_AT(ws->y, at) = PM_NUM(row == p->n_transient ? 1.0 : 0.0);
                } else if (p->graph.discrete) {
                    PM_AT(ws->y, at) = PM_NAME(earned)((double *)(void *)(&PM_AT(behind, size)), size, at, i, r, PM_AT(behind, at));
                } else {
                    PM_AT(ws->y, at) = PM_MUL(PM_NUM(r * i), PM_AT(z, (i - 1) * size + at));
                }
            }
        }
        double *z_i = (double *)(void *)(&PM_AT(z, i * size));
        pm_kernels_for(ws)->solve_transposed(p, ws, ws->y, z_i);
        if (pm_stop(ws->control, PM_EFFORT * (size + p->n_edges))) {
            return;
        }
        if (p->graph.discrete && i + 1 < k) {
            PM_NAME(step_behind)(p, ws, z_i, (double *)(void *)(&PM_AT(behind, i * size)));
        }
    }
}

/* Differences of x along the edges, simply subtracted. */
static void PM_NAME(subtract)(const pm_plan *p, const pm_workspace *ws, const pm_differences *d, double *x) {
    const int32_t lanes = ws->lanes;
    for (int32_t i = 0; i < p->pattern.n_rows; i++) {
        for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
            for (int32_t l = 0; l < lanes; l++) {
                const PM_T here = PM_AT(x, (int64_t)i * lanes + l);
                const PM_T there = p->edge_row[e] < 0 ? PM_NUM(0.0) : PM_AT(x, (int64_t)p->edge_row[e] * lanes + l);
                PM_AT(d->edge, e * lanes + l) = PM_SUB(there, here);
                d->edge_bound[e * lanes + l] = d->unit * (PM_VALUE(there) + PM_VALUE(here));
            }
        }
    }
}

/* What the differences of the j-th moments add to the adjoints of the weights, and to the bounds of their errors, for moments j..k. */
static void PM_NAME(add_bars)(const pm_plan *p, const pm_workspace *ws, const pm_differences *d, int32_t j, int32_t k, double *z,
                              double *bars, double *bounds) {
    const int32_t lanes = ws->lanes;
    const int64_t size = (int64_t)p->pattern.n_rows * lanes;
    double binomial = 1.0; /* C(m, j) */
    for (int32_t m = j; m <= k; m++) {
        binomial = m == j ? 1.0 : binomial * m / (m - j);
        if (pm_stop(ws->control, PM_EFFORT * lanes * p->n_edges)) {
            return;
        }
        for (int32_t i = 0; i < p->pattern.n_rows; i++) {
            for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
                for (int32_t l = 0; l < lanes; l++) {
                    const PM_T weight = PM_MUL(PM_NUM(binomial), PM_AT(z, (m - j) * size + (int64_t)i * lanes + l));
                    const PM_T term = PM_MUL(weight, PM_AT(d->edge, e * lanes + l));
                    const int64_t at = ((int64_t)(m - 1) * p->n_slots + p->graph.edge_slot[e]) * lanes + l;
                    PM_AT(bars, at) = PM_ADD(PM_AT(bars, at), term);
                    bounds[at] += PM_VALUE(weight) * d->edge_bound[e * lanes + l] + d->unit * fabs(PM_VALUE(term));
                }
            }
        }
    }
}

/* Adds c * w to *sum and, to *bound, the bound of the error of that. */
static void PM_NAME(add_term)(PM_T w, double w_bound, PM_T c, double unit, PM_T *sum, double *bound) {
    const PM_T term = PM_MUL(w, c);
    *sum = PM_ADD(*sum, term);
    *bound += w_bound * fabs(PM_VALUE(c)) + unit * fabs(PM_VALUE(term));
}

/*
 * The chain rule from the weights to theta: adds to grad, (lanes, n_params), the derivative of sum(bars * slot), and the bound of its
 * error to grad_bound. bars and bounds, (n_slots), are used up.
 */
static void PM_NAME(pull)(const pm_plan *p, const pm_workspace *ws, double unit, double *bars, double *bounds, double *grad,
                          double *grad_bound) {
    const pm_graph *g = &p->graph;
    const int32_t lanes = ws->lanes;
    for (int32_t i = g->n_program - 1; i >= 0; i--) {
        const int64_t a = (int64_t)g->program_a[i] * lanes;
        const int64_t b = (int64_t)g->program_b[i] * lanes;
        for (int32_t l = 0; l < lanes; l++) {
            const int64_t at = (int64_t)(g->n_affine + i) * lanes + l;
            const PM_T w = PM_AT(bars, at);
            const PM_T one = PM_NUM(1.0);
            PM_T by_a = one;
            PM_T by_b = one;
            if (g->program_op[i] == PM_OP_MUL) {
                by_a = PM_AT(ws->slot, b + l);
                by_b = PM_AT(ws->slot, a + l);
            } else if (g->program_op[i] == PM_OP_DIV) {
                by_a = PM_DIV(one, PM_AT(ws->slot, b + l));
                by_b = PM_NEG(PM_MUL(PM_DIV(PM_AT(ws->slot, a + l), PM_AT(ws->slot, b + l)), by_a));
            }
            /* a and b may be the same node, so each adds by itself. */
            PM_NAME(add_term)(w, bounds[at], by_a, unit, &PM_AT(bars, a + l), &bounds[a + l]);
            PM_NAME(add_term)(w, bounds[at], by_b, unit, &PM_AT(bars, b + l), &bounds[b + l]);
        }
    }
    for (int32_t s = 0; s < g->n_affine; s++) {
        for (int64_t k = g->affine_ptr[s]; k < g->affine_ptr[s + 1]; k++) {
            for (int32_t l = 0; l < lanes; l++) {
                const int64_t to = (int64_t)l * g->n_params + g->affine_param[k];
                const int64_t at = (int64_t)s * lanes + l;
                PM_NAME(add_term)(PM_AT(bars, at), bounds[at], PM_NUM(g->affine_coef[k]), unit, &PM_AT(grad, to), &grad_bound[to]);
            }
        }
    }
}

/* What one step from row i, lane l, adds to a sum beyond its expectation: for the edge `base` and, by it, for all others. */
typedef struct PM_NAME(deviation) {
    PM_T base;      /* the difference along the edge `base` */
    PM_T spread;    /* what that edge adds beyond the expectation */
    double base_bound;
    double spread_bound;
} PM_NAME(deviation);

/* The edge of row i with the largest weight; -1 if staying is likelier than each. */
static int64_t PM_NAME(likeliest)(const pm_plan *p, const pm_workspace *ws, int32_t i, int32_t l) {
    int64_t best = i == p->n_transient ? p->edge_start[i] : -1;
    double most = best < 0 ? PM_VALUE(PM_AT(ws->stay, (int64_t)i * ws->lanes + l)) : 0.0;
    for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
        const double w = PM_VALUE(PM_AT(ws->slot, (int64_t)p->graph.edge_slot[e] * ws->lanes + l));
        if (w > most) {
            most = w;
            best = e;
        }
    }
    return best;
}

/*
 * A step from u to v adds r + x[v] - x[u] beyond the expectation. That is a difference of nearly equal numbers where v is almost
 * certain, so it is computed from what the other ways w would add: sum_w p_w ((x[v] - x[u]) - (x[w] - x[u])).
 */
static PM_NAME(deviation) PM_NAME(deviate)(const pm_plan *p, const pm_workspace *ws, const pm_differences *d, int32_t i, int32_t l,
                                           int64_t base, double reward) {
    const int32_t lanes = ws->lanes;
    PM_NAME(deviation) v = {PM_NUM(0.0), PM_NUM(reward), 0.0, 0.0};
    if (base < 0) {
        return v; /* staying adds the reward itself */
    }
    v.base = PM_AT(d->edge, base * lanes + l);
    v.base_bound = d->edge_bound[base * lanes + l];
    v.spread = PM_NUM(0.0);
    for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
        const PM_T w = PM_AT(ws->slot, (int64_t)p->graph.edge_slot[e] * lanes + l);
        if (e != base && PM_VALUE(w) > 0.0) {
            const PM_T term = PM_MUL(w, PM_SUB(v.base, PM_AT(d->edge, e * lanes + l)));
            v.spread = PM_ADD(v.spread, term);
            v.spread_bound += PM_VALUE(w) * (v.base_bound + d->edge_bound[e * lanes + l]) + d->unit * fabs(PM_VALUE(term));
        }
    }
    if (i == p->n_transient) {
        const PM_T total = PM_AT(ws->total, (int64_t)i * lanes + l);
        v.spread = PM_DIV(v.spread, total);
        v.spread_bound /= PM_VALUE(total);
    } else {
        const PM_T stay = PM_AT(ws->stay, (int64_t)i * lanes + l);
        v.spread = PM_ADD(v.spread, PM_MUL(stay, v.base));
        v.spread_bound += PM_VALUE(stay) * v.base_bound;
    }
    v.spread_bound += d->unit * fabs(PM_VALUE(v.spread));
    return v;
}

/* Adds weight * a * b to *sum and the bound of its error to *bound. */
static void PM_NAME(add_product)(double unit, PM_T weight, PM_T a, double a_bound, PM_T b, double b_bound, PM_T *sum, double *bound) {
    const PM_T term = PM_MUL(weight, PM_MUL(a, b));
    *sum = PM_ADD(*sum, term);
    *bound += PM_VALUE(weight) * (fabs(PM_VALUE(a)) * b_bound + a_bound * fabs(PM_VALUE(b)) + a_bound * b_bound)
              + unit * fabs(PM_VALUE(term));
}

/*
 * What a visit to row i (continuous: a unit of time there), lane l, adds to the covariance of the sums of two rewards. Y less its
 * expectation at each time is a martingale, so the products of its jumps add up: in continuous time
 * sum_v w (x_a[v] - x_a[u]) (x_b[v] - x_b[u]). a, b: differences along the edges for both rewards.
 */
static void PM_NAME(spread)(const pm_plan *p, const pm_workspace *ws, const pm_differences *a, const pm_differences *b, int32_t i, int32_t l,
                            const double *rewards_a, const double *rewards_b, PM_T *sum, double *bound) {
    const int32_t lanes = ws->lanes;
    const int by_time = !p->graph.discrete && i != p->n_transient;
    const double reward_a = by_time ? 0.0 : pm_row_reward(p, rewards_a, i);
    const double reward_b = by_time ? 0.0 : pm_row_reward(p, rewards_b, i);
    const int64_t base = by_time ? -1 : PM_NAME(likeliest)(p, ws, i, l);
    const PM_NAME(deviation) da = PM_NAME(deviate)(p, ws, a, i, l, base, reward_a);
    const PM_NAME(deviation) db = PM_NAME(deviate)(p, ws, b, i, l, base, reward_b);
    *sum = PM_NUM(0.0);
    *bound = 0.0;
    for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
        const PM_T w = PM_AT(ws->slot, (int64_t)p->graph.edge_slot[e] * lanes + l);
        PM_T x_a = da.spread;
        PM_T x_b = db.spread;
        double bound_a = da.spread_bound;
        double bound_b = db.spread_bound;
        if (e != base) {
            x_a = PM_ADD(PM_SUB(PM_AT(a->edge, e * lanes + l), da.base), da.spread);
            x_b = PM_ADD(PM_SUB(PM_AT(b->edge, e * lanes + l), db.base), db.spread);
            bound_a += a->edge_bound[e * lanes + l] + da.base_bound + a->unit * fabs(PM_VALUE(da.spread));
            bound_b += b->edge_bound[e * lanes + l] + db.base_bound + b->unit * fabs(PM_VALUE(db.spread));
        }
        if (PM_VALUE(w) > 0.0) {
            PM_NAME(add_product)(a->unit, w, x_a, bound_a, x_b, bound_b, sum, bound);
        }
    }
    if (p->graph.discrete && i != p->n_transient) {
        const PM_T stay = PM_AT(ws->stay, (int64_t)i * lanes + l);
        PM_NAME(add_product)(a->unit, stay, PM_NUM(reward_a), 0.0, PM_NUM(reward_b), 0.0, sum, bound);
    }
}

/* The covariance of two sums, lane l: the spread of each row, times the visits z. */
static void PM_NAME(covariance)(const pm_plan *p, const pm_workspace *ws, const pm_differences *a, const pm_differences *b, int32_t l,
                                const double *rewards_a, const double *rewards_b, double *z, double *out, double *bound) {
    PM_T total = PM_NUM(0.0);
    *bound = 0.0;
    for (int32_t i = 0; i < p->pattern.n_rows; i++) {
        const PM_T visits = PM_AT(z, (int64_t)i * ws->lanes + l);
        if (pm_stop(ws->control, PM_EFFORT * 4 * (p->edge_end[i] - p->edge_start[i] + 1))) {
            return;
        }
        if (PM_VALUE(visits) > 0.0) {
            PM_T sum;
            double its_bound;
            PM_NAME(spread)(p, ws, a, b, i, l, rewards_a, rewards_b, &sum, &its_bound);
            PM_NAME(add_term)(sum, its_bound, visits, a->unit, &total, bound);
        }
    }
    *out = PM_VALUE(total);
}

/* The variance of a sum from every row on: x, (n_rows), of A x = spread. bound likewise, in doubles; y is scratch for numbers. */
static void PM_NAME(variances)(const pm_plan *p, pm_workspace *ws, const pm_differences *d, const double *rewards, double *x, double *bound) {
    const int32_t lanes = ws->lanes;
    const int64_t size = (int64_t)p->pattern.n_rows * lanes;
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t i = 0; i < p->pattern.n_rows && !pm_stop(ws->control, PM_EFFORT * 4 * (p->edge_end[i] - p->edge_start[i] + 1)); i++) {
            for (int32_t l = 0; l < lanes; l++) {
                PM_T sum;
                double its_bound;
                PM_NAME(spread)(p, ws, d, d, i, l, rewards, rewards, &sum, &its_bound);
                PM_AT(ws->y, (int64_t)i * lanes + l) = pass == 1 ? sum : PM_NUM(its_bound + d->unit * fabs(PM_VALUE(sum)));
            }
        }
        pm_kernels_for(ws)->solve(p, ws, ws->y, x);
        for (int64_t at = 0; at < size && pass == 0; at++) {
            bound[at] = PM_VALUE(PM_AT(x, at));
        }
    }
}

const pm_passes PM_NAME(pm_passes) = {
    PM_NAME(weights),  PM_NAME(step_ahead), PM_NAME(right_side), PM_NAME(forward),
    PM_NAME(backward), PM_NAME(subtract),   PM_NAME(add_bars),   PM_NAME(pull),
    PM_NAME(covariance), PM_NAME(variances),
};

#undef PM_AT
#undef PM_NAME
