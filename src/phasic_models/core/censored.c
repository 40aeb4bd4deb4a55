/* Censoring: vertices that are not watched are eliminated; what is left is again a chain, on the others. */
#include <string.h>

#include "uniform.h"

struct pm_censored {
    int32_t n;           /* rows of the plan */
    int32_t n_removed;   /* positions 0 .. n_removed - 1 */
    int32_t n_rows;      /* the others, the starting vertex first */
    int32_t *row_at;     /* position -> row of the plan */
    int32_t *position;   /* row of the plan -> position */
    pm_fill fill;
    int32_t *vertices;
    int64_t *edge_ptr;
    int32_t *edge_target;
    double *kept;        /* scratch: what removed rows lead to, and one row while it is reduced */
    double *exit;
    double *pivot;
    double *acc;
    double *watched;     /* by vertex: 1 where it stays, else 0 */
};

void pm_censored_free(pm_censored *c) {
    if (c != NULL) {
        pm_free(c->row_at);
        pm_free(c->position);
        pm_fill_release(&c->fill);
        pm_free(c->vertices);
        pm_free(c->edge_ptr);
        pm_free(c->edge_target);
        pm_free(c->kept);
        pm_free(c->exit);
        pm_free(c->pivot);
        pm_free(c->acc);
        pm_free(c->watched);
        pm_free(c);
    }
}

void pm_censored_edges(const pm_censored *c, int32_t *n_rows, const int32_t **vertices, const int64_t **edge_ptr,
                       const int32_t **edge_target) {
    *n_rows = c->n_rows;
    *vertices = c->vertices;
    *edge_ptr = c->edge_ptr;
    *edge_target = c->edge_target;
}

/* Removed rows first, in the order of the plan, which is cheap; then the starting vertex; then the others by vertex. */
static void set_positions(const pm_plan *p, const uint8_t *keep, pm_censored *c) {
    int32_t next = 0;
    for (int32_t i = 0; i < p->n_transient; i++) {
        if (!keep[p->pattern.order[i]]) {
            c->row_at[next++] = i;
        }
    }
    c->n_removed = next;
    c->row_at[next++] = p->n_transient;
    for (int32_t v = 1; v < p->graph.n_vertices; v++) {
        if (keep[v] && p->position[v] >= 0) {
            c->row_at[next++] = p->position[v];
        }
    }
    c->n_rows = next - c->n_removed;
    for (int32_t i = 0; i < c->n; i++) {
        c->position[c->row_at[i]] = i;
    }
}

/* The whole graph as one block, by rows of the plan in the order of positions. */
static int find_fill(const pm_plan *p, pm_control *control, pm_censored *c, pm_where *where) {
    if (p->n_edges > INT32_MAX) {
        pm_at_part(where, PM_AT_COMPONENT, PM_LIMIT_EDGES, c->n, (double)p->n_edges);
        return PM_E_LIMIT;
    }
    int status = PM_E_MEMORY;
    int32_t *row_ptr = pm_alloc((int64_t)c->n + 1, sizeof *row_ptr);
    int32_t *row_col = pm_alloc(p->n_edges, sizeof *row_col);
    if (row_ptr != NULL && row_col != NULL) {
        int32_t used = 0;
        for (int32_t i = 0; i < c->n; i++) {
            row_ptr[i] = used;
            for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
                if (p->edge_row[e] >= 0) {
                    row_col[used++] = p->edge_row[e];
                }
            }
        }
        row_ptr[c->n] = used;
        const pm_block whole = {0, c->n, row_ptr, row_col};
        status = pm_block_fill(&whole, c->row_at, c->n_removed, NULL, control, &c->fill);
    }
    pm_free(row_ptr);
    pm_free(row_col);
    return status;
}

/* Whether absorption, or a vertex that is removed and may be a trap, can be next. */
static int can_leave(const pm_plan *p, const pm_censored *c, int32_t row) {
    for (int64_t e = p->edge_start[row]; e < p->edge_end[row]; e++) {
        if (p->edge_row[e] < 0 || c->position[p->edge_row[e]] < c->n_removed) {
            return 1;
        }
    }
    return 0;
}

/* Edges of the rows that stay: their kept entries, and one to absorption from each row that can have it. */
static int set_edges(const pm_plan *p, pm_censored *c) {
    c->vertices = pm_alloc(c->n_rows, sizeof *c->vertices);
    c->edge_ptr = pm_alloc((int64_t)c->n_rows + 1, sizeof *c->edge_ptr);
    c->edge_target = pm_alloc(c->fill.n_upper + c->n_rows, sizeof *c->edge_target);
    if (c->vertices == NULL || c->edge_ptr == NULL || c->edge_target == NULL) {
        return PM_E_MEMORY;
    }
    int64_t used = 0;
    for (int32_t i = c->n_removed; i < c->n; i++) {
        const int32_t row = c->row_at[i];
        const int32_t r = i - c->n_removed;
        c->vertices[r] = p->pattern.order[row];
        c->edge_ptr[r] = used;
        for (int64_t k = c->fill.upper_ptr[i]; k < c->fill.upper_ptr[i + 1]; k++) {
            if (c->fill.upper_col[k] != i) {
                c->edge_target[used++] = c->fill.upper_col[k] - c->n_removed;
            }
        }
        if (can_leave(p, c, row)) {
            c->edge_target[used++] = c->n_rows;
        }
    }
    c->edge_ptr[c->n_rows] = used;
    return PM_OK;
}

int pm_censored_new(const pm_plan *p, const uint8_t *keep, pm_control *control, pm_censored **out, pm_where *where) {
    *out = NULL;
    if (p->own_order != NULL) {
        return pm_bad_argument(where, 1);
    }
    pm_censored *c = pm_alloc_zero(1, sizeof *c);
    if (c == NULL) {
        return PM_E_MEMORY;
    }
    c->n = p->pattern.n_rows;
    int status = PM_E_MEMORY;
    c->row_at = pm_alloc(c->n, sizeof *c->row_at);
    c->position = pm_alloc(c->n, sizeof *c->position);
    if (c->row_at == NULL || c->position == NULL) {
        goto out;
    }
    set_positions(p, keep, c);
    status = find_fill(p, control, c, where);
    if (status == PM_OK) {
        status = set_edges(p, c);
    }
    if (status != PM_OK) {
        goto out;
    }
    c->kept = pm_alloc(c->fill.upper_ptr[c->n_removed], sizeof *c->kept);
    c->exit = pm_alloc(c->n_removed, sizeof *c->exit);
    c->pivot = pm_alloc(c->n_removed, sizeof *c->pivot);
    c->acc = pm_alloc(c->n, sizeof *c->acc);
    c->watched = pm_alloc(p->graph.n_vertices, sizeof *c->watched);
    status = c->kept == NULL || c->exit == NULL || c->pivot == NULL || c->acc == NULL || c->watched == NULL ? PM_E_MEMORY : PM_OK;
    if (status == PM_OK) {
        for (int32_t v = 0; v < p->graph.n_vertices; v++) {
            c->watched[v] = keep[v] ? 1.0 : 0.0;
        }
        *out = c;
        c = NULL;
    }
out:
    pm_censored_free(c);
    return status;
}

/* Eliminates the removed rows from row i; its entries are left in acc. Returns its rate of absorption. */
static double reduce_row(const pm_plan *p, const pm_workspace *ws, pm_censored *c, int32_t i) {
    const pm_fill *f = &c->fill;
    double *acc = c->acc;
    double leave = 0.0;
    for (int64_t k = f->lower_ptr[i]; k < f->lower_ptr[i + 1]; k++) {
        acc[f->lower_col[k]] = 0.0;
    }
    for (int64_t k = f->upper_ptr[i]; k < f->upper_ptr[i + 1]; k++) {
        acc[f->upper_col[k]] = 0.0;
    }
    acc[i] = 0.0;
    const int32_t row = c->row_at[i];
    for (int64_t e = p->edge_start[row]; e < p->edge_end[row]; e++) {
        const double w = ws->slot[p->graph.edge_slot[e]];
        if (p->edge_row[e] < 0) {
            leave += w;
        } else {
            acc[c->position[p->edge_row[e]]] = w;
        }
    }
    for (int64_t k = f->lower_ptr[i]; k < f->lower_ptr[i + 1]; k++) {
        const int32_t j = f->lower_col[k];
        const double factor = acc[j] / c->pivot[j];
        leave += factor * c->exit[j];
        for (int64_t q = f->upper_ptr[j]; q < f->upper_ptr[j + 1]; q++) {
            acc[f->upper_col[q]] += factor * c->kept[q];
        }
    }
    return leave;
}

static int64_t work_of_row(const pm_fill *f, int32_t i) {
    int64_t work = 1;
    for (int64_t k = f->lower_ptr[i]; k < f->lower_ptr[i + 1]; k++) {
        work += f->upper_ptr[f->lower_col[k] + 1] - f->upper_ptr[f->lower_col[k]];
    }
    return work;
}

/*
 * Eliminates the removed rows. One that cannot be divided by is the last of a trap without watched vertices, in which the process is lost
 * from sight as if it were absorbed; or it is not reached; or it has left the range of a double.
 */
static int remove_rows(const pm_plan *p, pm_workspace *ws, pm_censored *c, int64_t theta_index, pm_where *where) {
    const pm_fill *f = &c->fill;
    int marked = 0;
    for (int32_t i = 0; i < c->n_removed; i++) {
        double pivot = reduce_row(p, ws, c, i);
        c->exit[i] = pivot;
        for (int64_t k = f->upper_ptr[i]; k < f->upper_ptr[i + 1]; k++) {
            c->kept[k] = c->acc[f->upper_col[k]];
            pivot += c->kept[k];
        }
        c->pivot[i] = pivot;
        if (pm_stop(ws->control, work_of_row(f, i))) {
            return PM_E_STOPPED;
        }
        if (PM_USABLE(pivot)) {
            continue;
        }
        if (!marked) {
            const pm_asked asked = {0, NULL, NULL};
            const int status = pm_check_absorption(p, ws, 0, theta_index, &asked, where);
            if (status != PM_OK) {
                return status;
            }
            pm_mark_earning(p, ws, 0, c->watched);
            marked = 1;
        }
        const int32_t v = p->pattern.order[c->row_at[i]];
        if ((ws->seen[v] & PM_REACHED) && (ws->seen[v] & (PM_TRAP | PM_EARNING)) != PM_TRAP) {
            pm_at(where, PM_AT_VERTEX, theta_index, v, pivot);
            return PM_E_OVERFLOW;
        }
        c->exit[i] = 1.0;
        c->pivot[i] = 1.0;
    }
    return PM_OK;
}

/*
 * Probability to stay in row i, which has been reduced: what its edges leave, to twice the digits, and the way back, which is added and
 * not subtracted. So it has all its digits even where the sum of the reduced row says no more than that it is small.
 */
static double stay_in(const pm_plan *p, const pm_workspace *ws, const pm_censored *c, int32_t i) {
    double high = 0.0;
    double low = 0.0;
    pm_leaving(p, ws, c->row_at[i], 1.0, &high, &low);
    const double stay = (1.0 - high) - low;
    return (stay > 0.0 ? stay : 0.0) + c->acc[i];
}

int pm_censored_weights(const pm_plan *p, pm_workspace *ws, pm_censored *c, int64_t n_theta, const double *theta, double *out,
                        double *stay, pm_where *where) {
    if (ws->lanes != 1) {
        return pm_bad_argument(where, 2);
    }
    const pm_asked asked = {0, NULL, NULL};
    const int64_t n_edges = c->edge_ptr[c->n_rows];
    for (int64_t t = 0; t < n_theta; t++) {
        /* The whole elimination is done for its checks: traps, probabilities in range. */
        int32_t n_lanes = 0;
        int status = pm_factor_lanes(p, ws, t, n_theta, theta, &asked, &n_lanes, where);
        if (status == PM_OK) {
            status = remove_rows(p, ws, c, t, where);
        }
        if (status != PM_OK) {
            return status;
        }
        for (int32_t i = c->n_removed; i < c->n; i++) {
            const int32_t r = i - c->n_removed;
            const double leave = reduce_row(p, ws, c, i);
            if (pm_stop(ws->control, work_of_row(&c->fill, i))) {
                return PM_E_STOPPED;
            }
            if (stay != NULL) {
                stay[t * c->n_rows + r] = stay_in(p, ws, c, i);
            }
            for (int64_t e = c->edge_ptr[r]; e < c->edge_ptr[r + 1]; e++) {
                const int32_t target = c->edge_target[e];
                out[t * n_edges + e] = target == c->n_rows ? leave : c->acc[target + c->n_removed];
            }
        }
    }
    return PM_OK;
}
