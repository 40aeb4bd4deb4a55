/*
 * All arrays of a plan in one block: its own copies of those of graph and pattern, so that nothing that the caller does later can
 * reach the core, and the derived ones.
 */
#include "pm_internal.h"

#include <string.h>

#define COPY(from, count) pm_take(a, (from), (count), sizeof *(from))

static void lay_out(pm_arena *a, pm_plan *p, const pm_graph *g, const pm_graph_sizes *sizes, const pm_pattern *s) {
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
        p->own_order = pm_take(a, NULL, rows, sizeof *p->own_order);
        p->pattern.order = p->own_order;
    } else {
        p->pattern.order = COPY(s->order, rows);
        p->pattern.block_ptr = COPY(s->block_ptr, (int64_t)s->n_blocks + 1);
        p->pattern.lower_ptr = COPY(s->lower_ptr, rows + 1);
        p->pattern.lower_col = COPY(s->lower_col, p->n_lower);
        p->pattern.upper_ptr = COPY(s->upper_ptr, rows + 1);
        p->pattern.upper_col = COPY(s->upper_col, p->n_upper);
    }
    p->position = pm_take(a, NULL, n, sizeof *p->position);
    p->edge_row = pm_take(a, NULL, sizes->n_edges, sizeof *p->edge_row);
    p->dense_from = pm_take(a, NULL, rows, sizeof *p->dense_from);
    p->edge_start = pm_take(a, NULL, rows, sizeof *p->edge_start);
    p->edge_end = pm_take(a, NULL, rows, sizeof *p->edge_end);
    p->slot_used = pm_take(a, NULL, p->n_slots, sizeof *p->slot_used);
}

int pm_plan_arrays(pm_plan *p, const pm_graph *graph, const pm_graph_sizes *sizes, const pm_pattern *pattern) {
    pm_arena a = {NULL, 0};
    lay_out(&a, p, graph, sizes, pattern);
    if (pm_arena_make(&a) != PM_OK) {
        return PM_E_MEMORY;
    }
    lay_out(&a, p, graph, sizes, pattern);
    p->memory = a.memory;
    memset(p->slot_used, 0, (size_t)p->n_slots);
    return PM_OK;
}
