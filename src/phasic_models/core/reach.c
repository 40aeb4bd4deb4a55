/* Is absorption certain at these weights? Asked only when a pivot cannot be divided by. */
#include <stdlib.h>
#include <string.h>

#include "pm_internal.h"

enum { REACHED = 1, BEYOND = 2, LEAVES = 4 };

/* The edges by their targets, made when first needed and kept with the workspace: few models have zero weights. */
static int find_incoming(const pm_plan *p, pm_workspace *ws) {
    if (ws->in_ptr != NULL) {
        return PM_OK;
    }
    const pm_graph *g = &p->graph;
    const int32_t n = g->n_vertices;
    int64_t *ptr = pm_alloc_zero((int64_t)n + 2, sizeof *ptr);
    int32_t *from = pm_alloc(p->n_edges, sizeof *from);
    int32_t *slot = pm_alloc(p->n_edges, sizeof *slot);
    if (ptr == NULL || from == NULL || slot == NULL) {
        free(ptr);
        free(from);
        free(slot);
        return PM_E_MEMORY;
    }
    int64_t *next = ptr + 1; /* shifted, so that filling leaves the pointers in place */
    for (int64_t e = 0; e < p->n_edges; e++) {
        next[g->edge_target[e] + 1]++;
    }
    for (int32_t v = 0; v < n; v++) {
        next[v + 1] += next[v];
    }
    for (int32_t v = 0; v < n; v++) {
        for (int64_t e = g->edge_ptr[v]; e < g->edge_ptr[v + 1]; e++) {
            const int64_t at = next[g->edge_target[e]]++;
            from[at] = v;
            slot[at] = g->edge_slot[e];
        }
    }
    ws->in_ptr = ptr;
    ws->in_from = from;
    ws->in_slot = slot;
    return PM_OK;
}

static double weight(const pm_workspace *ws, int32_t slot, int32_t lane) { return ws->slot[(int64_t)slot * ws->lanes + lane]; }

/* Marks what the `top` vertices on the stack lead to along positive weights, unless it is marked REACHED already. */
static void spread(const pm_plan *p, pm_workspace *ws, int32_t lane, int32_t top, uint8_t mark) {
    const pm_graph *g = &p->graph;
    uint8_t *flag = ws->seen;
    while (top > 0) {
        const int32_t v = ws->stack[--top];
        for (int64_t e = g->edge_ptr[v]; e < g->edge_ptr[v + 1]; e++) {
            const int32_t w = g->edge_target[e];
            if (!(flag[w] & (REACHED | BEYOND)) && weight(ws, g->edge_slot[e], lane) > 0.0) {
                flag[w] |= mark;
                ws->stack[top++] = w;
            }
        }
    }
}

/* Marks BEYOND what would be reached if weights that are zero were not: derivatives by them depend on it. */
static void look_beyond(const pm_plan *p, pm_workspace *ws, int32_t lane) {
    const pm_graph *g = &p->graph;
    uint8_t *flag = ws->seen;
    int32_t top = 0;
    for (int32_t v = 0; v < g->n_vertices; v++) {
        for (int64_t e = g->edge_ptr[v]; (flag[v] & REACHED) && e < g->edge_ptr[v + 1]; e++) {
            const int32_t w = g->edge_target[e];
            if (!(flag[w] & (REACHED | BEYOND))) {
                flag[w] |= BEYOND;
                ws->stack[top++] = w;
            }
        }
    }
    spread(p, ws, lane, top, BEYOND);
}

/* Marks what can be absorbed, backwards from the absorbing vertices. */
static void mark_leaving(const pm_plan *p, pm_workspace *ws, int32_t lane) {
    const pm_graph *g = &p->graph;
    uint8_t *flag = ws->seen;
    int32_t top = 0;
    for (int32_t v = 0; v < g->n_vertices; v++) {
        if (g->edge_ptr[v] == g->edge_ptr[v + 1]) {
            flag[v] |= LEAVES;
            ws->stack[top++] = v;
        }
    }
    while (top > 0) {
        const int32_t v = ws->stack[--top];
        for (int64_t k = ws->in_ptr[v]; k < ws->in_ptr[v + 1]; k++) {
            const int32_t u = ws->in_from[k];
            if (!(flag[u] & LEAVES) && weight(ws, ws->in_slot[k], lane) > 0.0) {
                flag[u] |= LEAVES;
                ws->stack[top++] = u;
            }
        }
    }
}

int pm_check_absorption(const pm_plan *p, pm_workspace *ws, int32_t lane, int64_t theta_index, int beyond, pm_where *where) {
    const pm_graph *g = &p->graph;
    const int status = find_incoming(p, ws);
    if (status != PM_OK) {
        return status;
    }
    uint8_t *flag = ws->seen;
    memset(flag, 0, (size_t)g->n_vertices);
    flag[0] = REACHED;
    ws->stack[0] = 0;
    spread(p, ws, lane, 1, REACHED);
    if (beyond) {
        look_beyond(p, ws, lane);
    }
    mark_leaving(p, ws, lane);
    int nothing_starts = 1;
    for (int64_t e = g->edge_ptr[0]; e < g->edge_ptr[1]; e++) {
        if (weight(ws, g->edge_slot[e], lane) > 0.0) {
            nothing_starts = 0;
        }
    }
    if (nothing_starts) {
        pm_at(where, theta_index, 0, 0.0);
        return PM_E_INITIAL;
    }
    /* A vertex that is reached and cannot reach an absorbing one is a trap. */
    for (int32_t v = 1; v < g->n_vertices; v++) {
        if (flag[v] == REACHED || flag[v] == BEYOND) {
            pm_at(where, theta_index, v, flag[v] == BEYOND ? 1.0 : 0.0);
            return PM_E_INFINITE;
        }
    }
    return PM_OK;
}

int pm_check_pivots(const pm_plan *p, const pm_workspace *ws, int32_t lane, int64_t theta_index, pm_where *where) {
    /* Absorption is certain, so a pivot that fails where the process does come has left the range of a double. */
    const pm_pattern *s = &p->pattern;
    for (int32_t i = 0; i < s->n_rows; i++) {
        double pivot = ws->exit[(int64_t)i * ws->lanes + lane];
        for (int64_t k = s->upper_ptr[i]; k < s->upper_ptr[i + 1]; k++) {
            pivot += ws->upper[k * ws->lanes + lane];
        }
        if ((ws->seen[s->order[i]] & REACHED) && !PM_USABLE(pivot)) {
            pm_at(where, theta_index, s->order[i], pivot);
            return PM_E_OVERFLOW;
        }
    }
    return PM_OK;
}
