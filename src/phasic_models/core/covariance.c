/*
 * Means and covariances of several rewarded sums. Two ways need one solution for each reward: conditional covariances added up along the
 * chain, which is right where the variance is small beside the square of the mean, and E[Y_a Y_b] - E[Y_a] E[Y_b], which is right
 * where it is not. The error of both is bounded, and the better one taken. Where neither is good enough the jumps of a martingale are
 * added up from differences along the edges (passes.inc.h), in double precision and then in double-double.
 */
#include <math.h>
#include <string.h>

#include "rows.h"
#define PM_EXTENDED 0
#include "number.h"

/* A covariance is right to this share of itself, or to the second share of the product of the standard deviations. */
#define ACCURACY 1e-9
#define ACCURACY_OF_SIMPLE 1e-11
#define BESIDE_DEVIATIONS 1e-13

typedef struct covariance {
    int32_t m;
    const double *rewards;   /* (m, n_vertices) */
    double unit;
    double *h;               /* (m, n_rows, lanes): expected sum from each row on */
    double *ahead;           /* (m, lanes): expected sum after the next jump of the row at hand */
    double *error;           /* (m, lanes): bound of the errors of what follows it */
    double *product;         /* (m, m, lanes): E[Y_a Y_b] */
    double *bound;           /* (lanes, m, m) */
    double *memory;
} covariance;

static const double *reward_vector(const pm_plan *p, const covariance *c, int32_t a) {
    return c->rewards + (int64_t)a * p->graph.n_vertices;
}

/* Expected sums after the next jump of row i, for every reward, and how far a difference to them may be from exact. */
static void set_ahead(const pm_plan *p, const pm_workspace *ws, const covariance *c, int32_t i) {
    const int32_t lanes = ws->lanes;
    for (int32_t a = 0; a < c->m; a++) {
        const double *h = c->h + (int64_t)a * p->pattern.n_rows * lanes;
        for (int32_t l = 0; l < lanes; l++) {
            const double total = ws->total[(int64_t)i * lanes + l];
            double sum = 0.0;
            double largest = h[(int64_t)i * lanes + l];
            for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
                if (p->edge_row[e] >= 0) {
                    const double after = h[(int64_t)p->edge_row[e] * lanes + l];
                    sum += ws->slot[(int64_t)p->graph.edge_slot[e] * lanes + l] * after;
                    largest = after > largest ? after : largest;
                }
            }
            if (p->graph.discrete && i != p->n_transient) {
                sum += ws->stay[(int64_t)i * lanes + l] * h[(int64_t)i * lanes + l];
            } else {
                sum = total > 0.0 ? sum / total : 0.0;
            }
            c->ahead[(int64_t)a * lanes + l] = sum;
            c->error[(int64_t)a * lanes + l] = 2.0 * c->unit * largest;
        }
    }
}

/* Adds w (x_a x_b) with errors of the factors; the bound of its error is added to *bound. */
static double product(const covariance *c, double w, double x_a, double error_a, double x_b, double error_b, double *bound) {
    const double term = w * (x_a * x_b);
    *bound += w * (fabs(x_a) * error_b + error_a * fabs(x_b) + error_a * error_b) + c->unit * fabs(term);
    return term;
}

/*
 * What row i adds per visit (continuous: per unit of time) to the covariance of sums a and b: the spread of what comes after its
 * next jump and, in continuous time, of its own sojourn. Lane l.
 */
static double local_covariance(const pm_plan *p, const pm_workspace *ws, const covariance *c, int32_t i, int32_t l, int32_t a, int32_t b,
                               double *bound) {
    const int32_t lanes = ws->lanes;
    const int64_t size = (int64_t)p->pattern.n_rows * lanes;
    const double *h_a = c->h + a * size;
    const double *h_b = c->h + b * size;
    const double mean_a = c->ahead[(int64_t)a * lanes + l];
    const double mean_b = c->ahead[(int64_t)b * lanes + l];
    const double error_a = c->error[(int64_t)a * lanes + l];
    const double error_b = c->error[(int64_t)b * lanes + l];
    double sum = 0.0;
    for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
        const double w = ws->slot[(int64_t)p->graph.edge_slot[e] * lanes + l];
        const int32_t r = p->edge_row[e];
        const double after_a = r < 0 ? 0.0 : h_a[(int64_t)r * lanes + l];
        const double after_b = r < 0 ? 0.0 : h_b[(int64_t)r * lanes + l];
        sum += product(c, w, after_a - mean_a, error_a, after_b - mean_b, error_b, bound);
    }
    if (i == p->n_transient) {
        return sum;
    }
    if (p->graph.discrete) {
        const int64_t at = (int64_t)i * lanes + l;
        return sum + product(c, ws->stay[at], h_a[at] - mean_a, error_a, h_b[at] - mean_b, error_b, bound);
    }
    const double own = pm_row_reward(p, reward_vector(p, c, a), i) * pm_row_reward(p, reward_vector(p, c, b), i);
    /* A vertex without a way out has no total, and no reward either. */
    return own == 0.0 ? sum : sum + own / ws->total[(int64_t)i * lanes + l];
}

/* What row i adds per visit to E[Y_a Y_b]. */
static double local_product(const pm_plan *p, const pm_workspace *ws, const covariance *c, int32_t i, int32_t l, int32_t a, int32_t b) {
    const int32_t lanes = ws->lanes;
    const double r_a = pm_row_reward(p, reward_vector(p, c, a), i);
    const double r_b = pm_row_reward(p, reward_vector(p, c, b), i);
    if (p->graph.discrete) {
        return r_a * r_b + r_a * c->ahead[(int64_t)b * lanes + l] + r_b * c->ahead[(int64_t)a * lanes + l];
    }
    const int64_t size = (int64_t)p->pattern.n_rows * lanes;
    return r_a * c->h[b * size + (int64_t)i * lanes + l] + r_b * c->h[a * size + (int64_t)i * lanes + l];
}

static void add_row(const pm_plan *p, const pm_workspace *ws, covariance *c, int32_t i, int32_t l, double *out) {
    const double visits = ws->z[(int64_t)i * ws->lanes + l];
    for (int32_t a = 0; a < c->m && visits != 0.0 && !pm_stop(ws->control, 6 * (a + 1) * (p->edge_end[i] - p->edge_start[i] + 1)); a++) {
        for (int32_t b = 0; b <= a; b++) {
            const int64_t at = (int64_t)a * c->m + b;
            double bound = 0.0;
            out[at] += visits * local_covariance(p, ws, c, i, l, a, b, &bound);
            c->bound[(int64_t)l * c->m * c->m + at] += visits * bound;
            c->product[at * ws->lanes + l] += visits * local_product(p, ws, c, i, l, a, b);
        }
    }
}

/* The better of both ways for each pair b <= a of lane l; the lower triangle of out and bound. */
static void choose(const pm_workspace *ws, covariance *c, int32_t l, const double *mean, double *out) {
    for (int32_t a = 0; a < c->m; a++) {
        for (int32_t b = 0; b <= a; b++) {
            const int64_t at = (int64_t)a * c->m + b;
            double *bound = &c->bound[(int64_t)l * c->m * c->m + at];
            *bound += c->unit * fabs(out[at]);
            const double squares = mean[a] * mean[b];
            const double both = c->product[at * ws->lanes + l];
            const double its_bound = 2.0 * c->unit * (both + squares);
            if (its_bound < *bound) {
                *bound = its_bound;
                out[at] = both - squares;
            }
        }
    }
}

static void simple_ways(const pm_plan *p, pm_workspace *ws, covariance *c, int32_t n_lanes, double *mean, double *out) {
    const int32_t lanes = ws->lanes;
    const int32_t n = p->pattern.n_rows;
    const int64_t size = (int64_t)n * lanes;
    const int64_t pairs = (int64_t)c->m * c->m;
    for (int32_t a = 0; a < c->m; a++) {
        pm_passes_for(ws)->forward(p, ws, 1, reward_vector(p, c, a), c->h + a * size, NULL);
        for (int32_t l = 0; l < n_lanes; l++) {
            mean[(int64_t)l * c->m + a] = c->h[a * size + (int64_t)p->n_transient * lanes + l];
        }
    }
    pm_passes_for(ws)->backward(p, ws, 1, NULL, ws->z, NULL);
    memset(out, 0, (size_t)(n_lanes * pairs) * sizeof *out);
    memset(c->bound, 0, (size_t)(lanes * pairs) * sizeof *c->bound);
    memset(c->product, 0, (size_t)(lanes * pairs) * sizeof *c->product);
    for (int32_t i = 0; i < n; i++) {
        set_ahead(p, ws, c, i);
        for (int32_t l = 0; l < n_lanes; l++) {
            add_row(p, ws, c, i, l, out + l * pairs);
        }
    }
    for (int32_t l = 0; l < n_lanes; l++) {
        choose(ws, c, l, mean + (int64_t)l * c->m, out + l * pairs);
    }
}

/* Whether pair a, b of a lane has its digits. */
static int is_good(const covariance *c, const double *out, const double *bound, int32_t a, int32_t b, double accuracy, double beside) {
    const int64_t m = c->m;
    const int64_t at = a * m + b;
    const double deviations = sqrt(fabs(out[a * m + a])) * sqrt(fabs(out[b * m + b]));
    return bound[at] <= accuracy * fabs(out[at]) || bound[at] == 0.0 || (a != b && bound[at] <= beside * deviations);
}

static int all_good(const covariance *c, const double *out, const double *bound, double accuracy, double beside) {
    int good = 1;
    for (int32_t a = 0; a < c->m && good; a++) {
        for (int32_t b = 0; b <= a && good; b++) {
            good = is_good(c, out, bound, a, b, accuracy, beside);
        }
    }
    return good;
}

/* Replaces the pairs of lane l that lack digits by what differences along the edges give. *good: whether all have them now. */
static int from_differences(const pm_plan *p, pm_workspace *ws, const covariance *c, int32_t l, double accuracy, double beside, double *out,
                            double *bound, int *good) {
    pm_scratch *s = pm_alloc_zero(c->m, sizeof *s);
    if (s == NULL) {
        return PM_E_MEMORY;
    }
    int status = PM_OK;
    for (int32_t a = 0; a < c->m && status == PM_OK; a++) {
        status = pm_scratch_make(p, ws, 1, 1, &s[a]);
        if (status == PM_OK) {
            pm_passes_for(ws)->right_side(p, ws, 1, reward_vector(p, c, a), s[a].x, s[a].ahead, ws->y);
            pm_kernels_for(ws)->differences(p, ws, &s[a].d, ws->y);
            status = pm_stopped(ws->control);
        }
    }
    if (status == PM_OK) {
        pm_passes_for(ws)->backward(p, ws, 1, NULL, s[0].z, s[0].behind);
        /* Variances first: covariances are measured by them. */
        for (int32_t pass = 0; pass < 2; pass++) {
            for (int32_t a = 0; a < c->m; a++) {
                for (int32_t b = pass == 0 ? a : 0; b < (pass == 0 ? a + 1 : a); b++) {
                    const int64_t at = (int64_t)a * c->m + b;
                    if (!is_good(c, out, bound, a, b, accuracy, beside)) {
                        pm_passes_for(ws)->covariance(p, ws, &s[a].d, &s[b].d, l, reward_vector(p, c, a), reward_vector(p, c, b), s[0].z,
                                                      &out[at], &bound[at]);
                    }
                }
            }
        }
        *good = all_good(c, out, bound, ACCURACY, BESIDE_DEVIATIONS);
        status = pm_stopped(ws->control);
    }
    for (int32_t a = 0; a < c->m; a++) {
        pm_scratch_release(&s[a]);
    }
    pm_free(s);
    return status;
}

/* One lane, whose parameter vector is number `row`: more digits where they are needed, then the upper triangle. */
static int complete(const pm_plan *p, pm_workspace *ws, const covariance *c, int32_t l, int64_t row, const double *theta, double *out,
                    pm_where *where) {
    const int64_t m = c->m;
    double *bound = c->bound + l * m * m;
    int good = all_good(c, out, bound, ACCURACY_OF_SIMPLE, 0.0);
    int status = PM_OK;
    /* Differences in double precision are for chains without traps: see pm_find_anchors. */
    if (!good && !((ws->failed >> l) & 1u)) {
        status = from_differences(p, ws, c, l, ACCURACY_OF_SIMPLE, 0.0, out, bound, &good);
    }
    if (status == PM_OK && !good) {
        pm_workspace *more = NULL;
        status = pm_extended_factor(p, ws, l, row, theta + row * p->graph.n_params, &more, where);
        if (status == PM_OK) {
            status = from_differences(p, more, c, 0, ACCURACY, BESIDE_DEVIATIONS, out, bound, &good);
        }
    }
    for (int64_t a = 0; a < m; a++) {
        for (int64_t b = 0; b < a; b++) {
            out[b * m + a] = out[a * m + b];
        }
    }
    if (status == PM_OK) {
        status = pm_check_finite(out, m * m, row, where);
    }
    if (status == PM_OK && !good) {
        pm_at(where, PM_AT_NOTHING, row, 0, 0.0);
        status = PM_E_ACCURACY;
    }
    return status;
}

int pm_covariance(const pm_plan *p, pm_workspace *ws, int64_t n_theta, const double *theta, int32_t n_rewards,
                  const double *rewards, double *mean, double *out, pm_where *where) {
    if (n_rewards < 1) {
        return pm_bad_argument(where, 6);
    }
    const int64_t m = n_rewards;
    const pm_asked asked = {n_rewards, rewards, NULL};
    covariance c = {n_rewards, rewards, PM_ROUNDING_DOUBLE * (2.0 + sqrt((double)p->max_block)), NULL, NULL, NULL, NULL, NULL, NULL};
    const int64_t size = m > INT64_MAX / 64 / p->pattern.n_rows / ws->lanes ? -1 : m * p->pattern.n_rows * ws->lanes;
    const pm_part parts[] = {
        {&c.h, size}, {&c.ahead, m * ws->lanes}, {&c.error, m * ws->lanes}, {&c.product, m * m * ws->lanes}, {&c.bound, m * m * ws->lanes},
    };
    int status = pm_alloc_parts(parts, sizeof parts / sizeof parts[0], &c.memory);
    for (int64_t first = 0; first < n_theta && status == PM_OK; first += ws->lanes) {
        int32_t n_lanes = 0;
        status = pm_factor_lanes(p, ws, first, n_theta, theta, &asked, &n_lanes, where);
        if (status != PM_OK) {
            break;
        }
        simple_ways(p, ws, &c, n_lanes, mean + first * m, out + first * m * m);
        status = pm_stopped(ws->control);
        for (int32_t l = 0; l < n_lanes && status == PM_OK; l++) {
            status = pm_check_finite(mean + (first + l) * m, m, first + l, where);
            if (status == PM_OK) {
                status = complete(p, ws, &c, l, first + l, theta, out + (first + l) * m * m, where);
            }
        }
    }
    pm_free_aligned(c.memory);
    return status;
}
