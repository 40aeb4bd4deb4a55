/* Is absorption certain at these weights? Asked only when a pivot was zero. */
#include <string.h>

#include "pm_internal.h"

/*
 * Marks what is reached from the starting vertex along positive weights, then repeatedly what can leave. A vertex that is reached
 * and cannot reach an absorbing vertex is a trap. Sweeps by row order converge fast: downstream blocks come first.
 */
int pm_check_absorption(const pm_plan *p, pm_workspace *ws, int32_t lane, int64_t theta_index, pm_where *where) {
    const pm_graph *g = &p->graph;
    enum { REACHED = 1, LEAVES = 2 };
    uint8_t *flag = ws->seen;
    memset(flag, 0, (size_t)g->n_vertices);
    int32_t top = 0;
    ws->stack[top++] = 0;
    flag[0] = REACHED;
    while (top > 0) {
        const int32_t v = ws->stack[--top];
        for (int64_t e = g->edge_ptr[v]; e < g->edge_ptr[v + 1]; e++) {
            const int32_t w = g->edge_target[e];
            if (!(flag[w] & REACHED) && ws->slot[(int64_t)g->edge_slot[e] * ws->lanes + lane] > 0.0) {
                flag[w] |= REACHED;
                ws->stack[top++] = w;
            }
        }
    }
    for (int32_t v = 0; v < g->n_vertices; v++) {
        if (g->edge_ptr[v] == g->edge_ptr[v + 1]) {
            flag[v] |= LEAVES;
        }
    }
    for (int changed = 1; changed;) {
        changed = 0;
        for (int32_t i = 0; i < p->pattern.n_rows; i++) {
            const int32_t v = p->pattern.order[i];
            if (flag[v] & LEAVES) {
                continue;
            }
            for (int64_t e = g->edge_ptr[v]; e < g->edge_ptr[v + 1]; e++) {
                if ((flag[g->edge_target[e]] & LEAVES) && ws->slot[(int64_t)g->edge_slot[e] * ws->lanes + lane] > 0.0) {
                    flag[v] |= LEAVES;
                    changed = 1;
                    break;
                }
            }
        }
    }
    int nothing_starts = 1;
    for (int64_t e = g->edge_ptr[0]; e < g->edge_ptr[1]; e++) {
        if (ws->slot[(int64_t)g->edge_slot[e] * ws->lanes + lane] > 0.0) {
            nothing_starts = 0;
        }
    }
    if (nothing_starts) {
        pm_at(where, theta_index, 0, 0.0);
        return PM_E_INITIAL;
    }
    for (int32_t v = 1; v < g->n_vertices; v++) {
        if (flag[v] == REACHED) {
            pm_at(where, theta_index, v, 0.0);
            return PM_E_INFINITE;
        }
    }
    /* Absorption is certain, so a pivot that is zero where the process does come is an underflow: the expectation overflows. */
    const pm_pattern *s = &p->pattern;
    for (int32_t i = 0; i < s->n_rows; i++) {
        int zero = (flag[s->order[i]] & REACHED) != 0 && ws->exit[(int64_t)i * ws->lanes + lane] == 0.0;
        for (int64_t k = s->upper_ptr[i]; zero && k < s->upper_ptr[i + 1]; k++) {
            zero = ws->upper[k * ws->lanes + lane] == 0.0;
        }
        if (zero) {
            pm_at(where, theta_index, s->order[i], 0.0);
            return PM_E_OVERFLOW;
        }
    }
    return PM_OK;
}
