/*
 * All arrays of a plan in one block: its own copies of those of graph and pattern, so that nothing that the caller does later can
 * reach the core, and the derived ones.
 */
#include "pm_internal.h"

#include <string.h>

/* A block that is laid out twice: first without memory, to find its size. */
typedef struct arena {
    char *memory;
    int64_t used; /* bytes; -1 if there are too many */
} arena;

/* The next `count` items, copied from `from` unless it is NULL. Each array starts at a multiple of 64 bytes. */
static void *take(arena *a, const void *from, int64_t count, size_t size) {
    if (a->used < 0 || count > (INT64_MAX - a->used) / 16 - 64) {
        a->used = -1;
        return NULL;
    }
    void *at = a->memory == NULL ? NULL : a->memory + a->used;
    if (at != NULL && from != NULL && count > 0) {
        memcpy(at, from, (size_t)count * size);
    }
    a->used += (count * (int64_t)size + 63) / 64 * 64;
    return at;
}

#define COPY(from, count) take(a, (from), (count), sizeof *(from))

static void lay_out(arena *a, pm_plan *p, const pm_graph *g, const pm_graph_sizes *sizes, const pm_pattern *s) {
    const int64_t n = g->n_vertices;
    p->graph.edge_ptr = COPY(g->edge_ptr, n + 1);
    p->graph.edge_target = COPY(g->edge_target, sizes->n_edges);
    p->graph.edge_slot = COPY(g->edge_slot, sizes->n_edges);
    p->graph.affine_base = COPY(g->affine_base, g->n_affine);
    p->graph.affine_ptr = COPY(g->affine_ptr, (int64_t)g->n_affine + 1);
    p->graph.affine_param = COPY(g->affine_param, sizes->n_affine_terms);
    p->graph.affine_coef = COPY(g->affine_coef, sizes->n_affine_terms);
    p->graph.program_op = COPY(g->program_op, g->n_program);
    p->graph.program_a = COPY(g->program_a, g->n_program);
    p->graph.program_b = COPY(g->program_b, g->n_program);
    const int64_t rows = s == NULL ? n : s->n_rows;
    if (s == NULL) {
        p->own_order = take(a, NULL, rows, sizeof *p->own_order);
        p->pattern.order = p->own_order;
    } else {
        p->pattern.order = COPY(s->order, rows);
        p->pattern.block_ptr = COPY(s->block_ptr, (int64_t)s->n_blocks + 1);
        p->pattern.lower_ptr = COPY(s->lower_ptr, rows + 1);
        p->pattern.lower_col = COPY(s->lower_col, p->n_lower);
        p->pattern.upper_ptr = COPY(s->upper_ptr, rows + 1);
        p->pattern.upper_col = COPY(s->upper_col, p->n_upper);
    }
    p->position = take(a, NULL, n, sizeof *p->position);
    p->edge_row = take(a, NULL, sizes->n_edges, sizeof *p->edge_row);
    p->dense_from = take(a, NULL, rows, sizeof *p->dense_from);
    p->edge_start = take(a, NULL, rows, sizeof *p->edge_start);
    p->edge_end = take(a, NULL, rows, sizeof *p->edge_end);
    p->slot_used = take(a, NULL, p->n_slots, sizeof *p->slot_used);
}

int pm_plan_arrays(pm_plan *p, const pm_graph *graph, const pm_graph_sizes *sizes, const pm_pattern *pattern) {
    arena a = {NULL, 0};
    lay_out(&a, p, graph, sizes, pattern);
    if (a.used < 0) {
        return PM_E_MEMORY;
    }
    p->memory = pm_alloc_aligned((a.used + 7) / 8);
    if (p->memory == NULL) {
        return PM_E_MEMORY;
    }
    a = (arena){(char *)p->memory, 0};
    lay_out(&a, p, graph, sizes, pattern);
    memset(p->slot_used, 0, (size_t)p->n_slots);
    return PM_OK;
}
