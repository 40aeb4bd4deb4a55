/* Order and fill pattern of a whole graph: components, then each block by itself. */
#include <string.h>

#include "pm_internal.h"

struct pm_symbolic {
    int32_t n_rows;
    int32_t n_blocks;
    int32_t *order;
    int32_t *block_ptr;
    int64_t *lower_ptr;
    int64_t *upper_ptr;
    int32_t *lower_col;
    int32_t *upper_col;
    int64_t capacity_lower;
    int64_t capacity_upper;
    int64_t operations;
    const pm_budget *budget;  /* borrowed while the pattern is made */
    pm_control *control;
    int64_t ordering[PM_ORDER_KINDS];
};

void pm_symbolic_free(pm_symbolic *s) {
    if (s != NULL) {
        pm_free(s->order);
        pm_free(s->block_ptr);
        pm_free(s->lower_ptr);
        pm_free(s->upper_ptr);
        pm_free(s->lower_col);
        pm_free(s->upper_col);
        pm_free(s);
    }
}

void pm_symbolic_pattern(const pm_symbolic *s, pm_pattern *out) {
    out->n_rows = s->n_rows;
    out->n_blocks = s->n_blocks;
    out->order = s->order;
    out->block_ptr = s->block_ptr;
    out->lower_ptr = s->lower_ptr;
    out->lower_col = s->lower_col;
    out->upper_ptr = s->upper_ptr;
    out->upper_col = s->upper_col;
}

int64_t pm_symbolic_operations(const pm_symbolic *s) { return s->operations; }

void pm_symbolic_ordering(const pm_symbolic *s, int64_t *counts) { memcpy(counts, s->ordering, sizeof s->ordering); }

static int grow(int32_t **items, int64_t *capacity, int64_t needed) {
    if (needed <= *capacity) {
        return PM_OK;
    }
    int64_t larger = needed + needed / 2 + 64;
    int32_t *p = pm_realloc(*items, larger, sizeof **items);
    if (p == NULL) {
        return PM_E_MEMORY;
    }
    *items = p;
    *capacity = larger;
    return PM_OK;
}

/* A given order is valid if it lists every vertex with out-edges once, vertex 0 last, and no edge leads to a later block. */
static int check_given(const pm_graph *g, int32_t n_rows, int32_t n_blocks, const int32_t *order, const int32_t *block_ptr,
                       int32_t *block_of, pm_where *where) {
    int32_t expected = 0;
    for (int32_t v = 0; v < g->n_vertices; v++) {
        block_of[v] = -1;
        expected += g->edge_ptr[v] < g->edge_ptr[v + 1];
    }
    if (n_rows != expected || n_rows < 1 || n_blocks < 1 || n_blocks > n_rows || block_ptr[0] != 0
        || block_ptr[n_blocks] != n_rows || order[n_rows - 1] != 0) {
        pm_at_part(where, PM_AT_ROW, 0, n_rows, 0.0);
        return PM_E_PATTERN;
    }
    for (int32_t b = 0; b < n_blocks; b++) {
        if (block_ptr[b + 1] <= block_ptr[b] || block_ptr[b + 1] > n_rows) {
            pm_at_part(where, PM_AT_ROW, 0, block_ptr[b], 0.0);
            return PM_E_PATTERN;
        }
        for (int32_t i = block_ptr[b]; i < block_ptr[b + 1]; i++) {
            const int32_t v = order[i];
            if (v < 0 || v >= g->n_vertices || block_of[v] >= 0 || g->edge_ptr[v] == g->edge_ptr[v + 1]) {
                pm_at_part(where, PM_AT_ROW, 0, i, 0.0);
                return PM_E_PATTERN;
            }
            block_of[v] = b;
        }
    }
    for (int32_t i = 0; i < n_rows; i++) {
        const int32_t v = order[i];
        for (int64_t e = g->edge_ptr[v]; e < g->edge_ptr[v + 1]; e++) {
            if (block_of[g->edge_target[e]] > block_of[v]) {
                pm_at_part(where, PM_AT_ROW, 0, i, 0.0);
                return PM_E_PATTERN;
            }
        }
    }
    return PM_OK;
}

typedef struct scratch {
    int32_t *block_of;  /* vertex -> block, -1 if absorbing */
    int32_t *local;     /* vertex -> number inside its block */
    uint8_t *entered;   /* vertex has an in-edge from another block */
    int32_t *row_ptr;   /* the block's own graph */
    int32_t *row_col;
    int32_t *order;
    int32_t *vertices;
    int64_t capacity;
} scratch;

/* The edges inside block b, as a graph on 0..n-1. */
static int block_graph(const pm_graph *g, const pm_symbolic *s, int32_t b, scratch *w, pm_block *out, pm_where *where) {
    const int32_t first = s->block_ptr[b];
    const int32_t n = s->block_ptr[b + 1] - first;
    int64_t size = 0;
    out->root = -1;
    for (int32_t i = 0; i < n; i++) {
        const int32_t v = s->order[first + i];
        size += g->edge_ptr[v + 1] - g->edge_ptr[v];
        w->local[v] = i;
        if (out->root < 0 && w->entered[v]) {
            out->root = i;
        }
    }
    if (size > INT32_MAX) {
        pm_at_part(where, PM_AT_COMPONENT, PM_LIMIT_EDGES, n, (double)size);
        return PM_E_LIMIT;
    }
    if (grow(&w->row_col, &w->capacity, size) != PM_OK) {
        return PM_E_MEMORY;
    }
    int32_t used = 0;
    for (int32_t i = 0; i < n; i++) {
        const int32_t v = s->order[first + i];
        w->row_ptr[i] = used;
        for (int64_t e = g->edge_ptr[v]; e < g->edge_ptr[v + 1]; e++) {
            if (w->block_of[g->edge_target[e]] == b) {
                w->row_col[used++] = w->local[g->edge_target[e]];
            }
        }
    }
    w->row_ptr[n] = used;
    out->n = n;
    out->root = out->root < 0 ? 0 : out->root;
    out->row_ptr = w->row_ptr;
    out->row_col = w->row_col;
    return PM_OK;
}

static int append_fill(pm_symbolic *s, int32_t first, int32_t n, const pm_fill *fill) {
    const int64_t lower0 = s->lower_ptr[first];
    const int64_t upper0 = s->upper_ptr[first];
    if (grow(&s->lower_col, &s->capacity_lower, lower0 + fill->n_lower) != PM_OK
        || grow(&s->upper_col, &s->capacity_upper, upper0 + fill->n_upper) != PM_OK) {
        return PM_E_MEMORY;
    }
    for (int64_t k = 0; k < fill->n_lower; k++) {
        s->lower_col[lower0 + k] = first + fill->lower_col[k];
    }
    for (int64_t k = 0; k < fill->n_upper; k++) {
        s->upper_col[upper0 + k] = first + fill->upper_col[k];
    }
    for (int32_t i = 0; i < n; i++) {
        s->lower_ptr[first + i + 1] = lower0 + fill->lower_ptr[i + 1];
        s->upper_ptr[first + i + 1] = upper0 + fill->upper_ptr[i + 1];
    }
    s->operations += fill->operations;
    return PM_OK;
}

/* What the blocks before have left of the budget. */
static pm_budget left_of(const pm_symbolic *s, int32_t first) {
    const pm_budget all = s->budget == NULL ? (pm_budget){INT64_MAX / 8, INT64_MAX / 8} : *s->budget;
    const pm_budget left = {all.operations - s->operations, all.entries - s->lower_ptr[first] - s->upper_ptr[first]};
    return left;
}

static int over_budget(const pm_symbolic *s, int32_t first, int32_t n, const pm_cost *cost, pm_where *where) {
    const pm_budget left = left_of(s, first);
    const int32_t early = cost->at_least ? PM_LIMIT_AT_LEAST : 0;
    if (cost->operations > (double)left.operations) {
        pm_at_part(where, PM_AT_COMPONENT, PM_LIMIT_OPERATIONS + early, n, cost->operations + (double)s->operations);
    } else {
        pm_at_part(where, PM_AT_COMPONENT, PM_LIMIT_ENTRIES + early, n, (double)(cost->entries + s->lower_ptr[first] + s->upper_ptr[first]));
    }
    return PM_E_LIMIT;
}

static int eliminate_block(const pm_graph *g, pm_symbolic *s, int32_t b, int given, scratch *w, pm_where *where) {
    const int32_t first = s->block_ptr[b];
    const int32_t n = s->block_ptr[b + 1] - first;
    if (n == 1) {
        s->lower_ptr[first + 1] = s->lower_ptr[first];
        s->upper_ptr[first + 1] = s->upper_ptr[first];
        s->ordering[given ? PM_ORDER_GIVEN : PM_ORDER_TRIVIAL]++;
        return PM_OK;
    }
    pm_block block;
    int status = block_graph(g, s, b, w, &block, where);
    if (status != PM_OK) {
        return status;
    }
    const pm_budget left = left_of(s, first);
    pm_cost cost = {0.0, 0, 0};
    int32_t kind = PM_ORDER_GIVEN;
    if (given) {
        for (int32_t i = 0; i < n; i++) {
            w->order[i] = i;
        }
    } else {
        status = pm_block_order(&block, &left, s->control, w->order, &kind, &cost);
        if (status != PM_OK) {
            return status == PM_E_LIMIT ? over_budget(s, first, n, &cost, where) : status;
        }
    }
    pm_fill fill;
    pm_stage(s->control, PM_STAGE_PATTERN, n);
    status = pm_block_fill(&block, w->order, n, &left, s->control, &fill);
    if (status == PM_E_LIMIT) {
        status = pm_estimate(&block, w->order, s->control, &cost);
        return status == PM_OK ? over_budget(s, first, n, &cost, where) : status;
    }
    if (status != PM_OK) {
        return status;
    }
    memcpy(w->vertices, s->order + first, (size_t)n * sizeof *w->vertices);
    for (int32_t i = 0; i < n; i++) {
        s->order[first + i] = w->vertices[w->order[i]];
    }
    status = append_fill(s, first, n, &fill);
    pm_fill_release(&fill);
    s->ordering[kind]++;
    return status;
}

int pm_symbolic_new(const pm_graph *g, int32_t n_rows, int32_t n_blocks, const int32_t *order, const int32_t *block_ptr,
                    const pm_budget *budget, pm_control *control, pm_symbolic **out, pm_where *where) {
    const int32_t n = g->n_vertices;
    int status = PM_E_MEMORY;
    scratch w = {NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0};
    *out = NULL;
    if (g->edge_ptr[1] == 0) {
        pm_at_part(where, PM_AT_ROW, 0, 0, 0.0);
        return PM_E_PATTERN;
    }
    pm_symbolic *s = pm_alloc_zero(1, sizeof *s);
    w.block_of = pm_alloc(n, sizeof *w.block_of);
    w.local = pm_alloc(n, sizeof *w.local);
    w.entered = pm_alloc_zero(n, sizeof *w.entered);
    w.row_ptr = pm_alloc((int64_t)n + 1, sizeof *w.row_ptr);
    w.order = pm_alloc(n, sizeof *w.order);
    w.vertices = pm_alloc(n, sizeof *w.vertices);
    if (s == NULL || w.block_of == NULL || w.local == NULL || w.entered == NULL || w.row_ptr == NULL || w.order == NULL
        || w.vertices == NULL) {
        goto out;
    }
    s->budget = budget;
    s->control = control;
    s->order = pm_alloc(n, sizeof *s->order);
    s->block_ptr = pm_alloc((int64_t)n + 1, sizeof *s->block_ptr);
    s->lower_ptr = pm_alloc_zero((int64_t)n + 1, sizeof *s->lower_ptr);
    s->upper_ptr = pm_alloc_zero((int64_t)n + 1, sizeof *s->upper_ptr);
    if (s->order == NULL || s->block_ptr == NULL || s->lower_ptr == NULL || s->upper_ptr == NULL) {
        goto out;
    }
    if (order != NULL) {
        status = check_given(g, n_rows, n_blocks, order, block_ptr, w.block_of, where);
        if (status != PM_OK) {
            goto out;
        }
        s->n_rows = n_rows;
        s->n_blocks = n_blocks;
        memcpy(s->order, order, (size_t)n_rows * sizeof *order);
        memcpy(s->block_ptr, block_ptr, ((size_t)n_blocks + 1) * sizeof *block_ptr);
    } else {
        status = pm_components(g, control, &s->n_rows, &s->n_blocks, s->order, s->block_ptr);
        if (status != PM_OK) {
            goto out;
        }
        for (int32_t v = 0; v < n; v++) {
            w.block_of[v] = -1;
        }
        for (int32_t b = 0; b < s->n_blocks; b++) {
            for (int32_t i = s->block_ptr[b]; i < s->block_ptr[b + 1]; i++) {
                w.block_of[s->order[i]] = b;
            }
        }
    }
    for (int32_t v = 0; v < n; v++) {
        for (int64_t e = g->edge_ptr[v]; e < g->edge_ptr[v + 1]; e++) {
            if (w.block_of[g->edge_target[e]] != w.block_of[v]) {
                w.entered[g->edge_target[e]] = 1;
            }
        }
    }
    for (int32_t b = 0; b < s->n_blocks; b++) {
        status = eliminate_block(g, s, b, order != NULL, &w, where);
        if (status != PM_OK) {
            goto out;
        }
    }
    *out = s;
    s = NULL;
    status = PM_OK;
out:
    pm_symbolic_free(s);
    pm_free(w.block_of);
    pm_free(w.local);
    pm_free(w.entered);
    pm_free(w.row_ptr);
    pm_free(w.row_col);
    pm_free(w.order);
    pm_free(w.vertices);
    return status;
}
