/* A plan: graph and pattern, checked against each other, with the derived arrays that evaluation needs. */
#include <string.h>

#include "pm_internal.h"

void pm_plan_free(pm_plan *p) {
    if (p != NULL) {
        pm_free_aligned(p->memory);
        pm_free(p);
    }
}

int64_t pm_plan_operations(const pm_plan *p) { return p->operations; }

static int bad_pattern(pm_where *where, int64_t row) {
    pm_at_part(where, PM_AT_ROW, 0, row, 0.0);
    return PM_E_PATTERN;
}

static int check_ptr(const int64_t *ptr, int32_t n, int64_t end, pm_where *where) {
    if (ptr[0] != 0 || ptr[n] != end) {
        return bad_pattern(where, 0);
    }
    for (int32_t i = 0; i < n; i++) {
        if (ptr[i + 1] < ptr[i] || ptr[i + 1] > end) {
            return bad_pattern(where, i);
        }
    }
    return PM_OK;
}

/* Rows and vertices: a permutation of the vertices with out-edges, the starting vertex last. */
static int set_positions(pm_plan *p, pm_where *where) {
    const pm_graph *g = &p->graph;
    const pm_pattern *s = &p->pattern;
    int32_t transient = 0;
    for (int32_t v = 0; v < g->n_vertices; v++) {
        p->position[v] = -1;
        transient += g->edge_ptr[v] < g->edge_ptr[v + 1];
    }
    if (s->n_rows != transient || s->order[s->n_rows - 1] != 0) {
        return bad_pattern(where, s->n_rows);
    }
    for (int32_t i = 0; i < s->n_rows; i++) {
        const int32_t v = s->order[i];
        if (v < 0 || v >= g->n_vertices || p->position[v] >= 0 || g->edge_ptr[v] == g->edge_ptr[v + 1]) {
            return bad_pattern(where, i);
        }
        p->position[v] = i;
        p->edge_start[i] = g->edge_ptr[v];
        p->edge_end[i] = g->edge_ptr[v + 1];
    }
    for (int64_t e = 0; e < p->n_edges; e++) {
        p->edge_row[e] = p->position[g->edge_target[e]];
        p->slot_used[g->edge_slot[e]] = 1;
    }
    return PM_OK;
}

/* Rows of a plan without a pattern: the vertices as they come, the starting vertex last. */
static int number_rows(pm_plan *p, pm_where *where) {
    const pm_graph *g = &p->graph;
    int32_t rows = 0;
    if (g->edge_ptr[1] == 0) {
        return bad_pattern(where, 0);
    }
    for (int32_t v = 1; v < g->n_vertices; v++) {
        if (g->edge_ptr[v] < g->edge_ptr[v + 1]) {
            p->own_order[rows++] = v;
        }
    }
    p->own_order[rows++] = 0;
    p->pattern.n_rows = rows;
    return PM_OK;
}

/* Row i of block [start, end): sorted, inside the block, holding its own edges and the fill of every row it eliminates. */
static int check_row(pm_plan *p, int32_t i, int32_t start, int32_t end, int32_t *stamp, pm_control *control,
                     pm_where *where) {
    const pm_pattern *s = &p->pattern;
    int32_t previous = start - 1;
    for (int64_t k = s->lower_ptr[i]; k < s->lower_ptr[i + 1]; k++) {
        if (s->lower_col[k] <= previous || s->lower_col[k] >= i) {
            return bad_pattern(where, i);
        }
        previous = s->lower_col[k];
        stamp[previous] = i;
    }
    previous = i;
    for (int64_t k = s->upper_ptr[i]; k < s->upper_ptr[i + 1]; k++) {
        if (s->upper_col[k] <= previous || s->upper_col[k] >= end) {
            return bad_pattern(where, i);
        }
        previous = s->upper_col[k];
        stamp[previous] = i;
    }
    stamp[i] = i;
    for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
        const int32_t r = p->edge_row[e];
        if (r >= end || (r >= start && stamp[r] != i)) {
            return bad_pattern(where, i);
        }
    }
    for (int64_t k = s->lower_ptr[i]; k < s->lower_ptr[i + 1]; k++) {
        const int32_t j = s->lower_col[k];
        for (int64_t q = s->upper_ptr[j]; q < s->upper_ptr[j + 1]; q++) {
            if (stamp[s->upper_col[q]] != i) {
                return bad_pattern(where, i);
            }
            p->operations += s->upper_col[q] != i;
        }
        if (pm_stop(control, s->upper_ptr[j + 1] - s->upper_ptr[j] + 1)) {
            return PM_E_STOPPED;
        }
        p->operations++;
    }
    int64_t from = s->upper_ptr[i + 1];
    while (from > s->upper_ptr[i] + 1 && s->upper_col[from - 2] == s->upper_col[from - 1] - 1) {
        from--;
    }
    p->dense_from[i] = from == s->upper_ptr[i] ? from : from - 1;
    return PM_OK;
}

static int check_pattern(pm_plan *p, pm_control *control, pm_where *where) {
    const pm_pattern *s = &p->pattern;
    int status = check_ptr(s->lower_ptr, s->n_rows, p->n_lower, where);
    if (status == PM_OK) {
        status = check_ptr(s->upper_ptr, s->n_rows, p->n_upper, where);
    }
    if (status != PM_OK) {
        return status;
    }
    int32_t *stamp = pm_alloc(s->n_rows, sizeof *stamp);
    if (stamp == NULL) {
        return PM_E_MEMORY;
    }
    for (int32_t i = 0; i < s->n_rows; i++) {
        stamp[i] = -1;
    }
    p->max_block = 0;
    pm_stage(control, PM_STAGE_CHECK, s->n_rows);
    for (int32_t b = 0; b < s->n_blocks && status == PM_OK; b++) {
        const int32_t start = s->block_ptr[b];
        const int32_t end = s->block_ptr[b + 1];
        if (end <= start || end > s->n_rows) {
            status = bad_pattern(where, start);
            break;
        }
        if (end - start > p->max_block) {
            p->max_block = end - start;
        }
        for (int32_t i = start; i < end && status == PM_OK; i++) {
            pm_done(control, i);
            status = check_row(p, i, start, end, stamp, control, where);
        }
    }
    pm_free(stamp);
    return status;
}

/* What the sizes of the arrays follow from, before anything is read. */
static int check_sizes(const pm_graph *graph, const pm_pattern *pattern, int64_t n_lower, int64_t n_upper, pm_where *where) {
    if (n_lower < 0 || n_upper < 0 || (pattern == NULL && n_lower + n_upper != 0)) {
        return bad_pattern(where, 0);
    }
    if (pattern == NULL) {
        return PM_OK;
    }
    const int32_t n = pattern->n_rows;
    const int sound = n >= 1 && n <= graph->n_vertices && pattern->n_blocks >= 1 && pattern->n_blocks <= n
                      && pattern->lower_ptr[n] == n_lower && pattern->upper_ptr[n] == n_upper;
    return sound ? PM_OK : bad_pattern(where, n);
}

/* The copies, which nobody else can change any more. */
static int check_copies(pm_plan *p, const pm_graph_sizes *sizes, pm_control *control, pm_where *where) {
    const pm_pattern *s = &p->pattern;
    int status = pm_graph_check(&p->graph, sizes, where);
    if (status == PM_OK && p->own_order != NULL) {
        status = number_rows(p, where);
    }
    if (status == PM_OK) {
        p->n_transient = s->n_rows - 1;
        status = set_positions(p, where);
    }
    if (status == PM_OK && p->own_order == NULL) {
        if (s->block_ptr[0] != 0 || s->block_ptr[s->n_blocks] != s->n_rows) {
            return bad_pattern(where, s->n_rows);
        }
        status = check_pattern(p, control, where);
    }
    return status;
}

int pm_plan_new(const pm_graph *graph, const pm_graph_sizes *sizes, const pm_pattern *pattern, int64_t n_lower, int64_t n_upper,
                pm_control *control, pm_plan **out, pm_where *where) {
    *out = NULL;
    int status = pm_graph_check_sizes(graph, sizes, where);
    if (status == PM_OK) {
        status = check_sizes(graph, pattern, n_lower, n_upper, where);
    }
    if (status != PM_OK) {
        return status;
    }
    pm_plan *p = pm_alloc_zero(1, sizeof *p);
    if (p == NULL) {
        return PM_E_MEMORY;
    }
    p->graph = *graph;
    if (pattern != NULL) {
        p->pattern = *pattern;
    }
    p->n_edges = sizes->n_edges;
    p->n_lower = n_lower;
    p->n_upper = n_upper;
    p->n_slots = graph->n_affine + graph->n_program;
    status = pm_plan_arrays(p, graph, sizes, pattern);
    if (status == PM_OK) {
        status = check_copies(p, sizes, control, where);
    }
    if (status != PM_OK) {
        pm_plan_free(p);
        return status;
    }
    *out = p;
    return PM_OK;
}
