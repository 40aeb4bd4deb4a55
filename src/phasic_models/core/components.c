/* Strongly connected components (Tarjan 1972, without recursion), in an order in which every edge leads to an earlier one. */
#include <stdlib.h>
#include <string.h>

#include "pm_internal.h"

static int compare_int32(const void *a, const void *b) {
    const int32_t x = *(const int32_t *)a;
    const int32_t y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/*
 * Only vertices with out-edges take part; all are reached from vertex 0 in a valid graph, and one that is not would make the
 * pattern incomplete, so the search starts anew from each. Vertex 0 has no in-edge: it is a component by itself, and it is
 * visited last so that it also comes last. Vertices of a block ascend.
 */
int pm_components(const pm_graph *g, pm_control *control, int32_t *n_rows_out, int32_t *n_blocks_out, int32_t *order, int32_t *block_ptr) {
    const int32_t n = g->n_vertices;
    int status = PM_E_MEMORY;
    int32_t *index = pm_alloc_zero(n, sizeof *index); /* 0: not seen; else 1 + discovery number */
    int32_t *low = pm_alloc_zero(n, sizeof *low);
    uint8_t *on_stack = pm_alloc_zero(n, sizeof *on_stack);
    int32_t *stack = pm_alloc(n, sizeof *stack);
    int32_t *call = pm_alloc(n, sizeof *call);
    int64_t *next = pm_alloc(n, sizeof *next);
    if (index == NULL || low == NULL || on_stack == NULL || stack == NULL || call == NULL || next == NULL) {
        goto out;
    }
    int32_t counter = 0;
    int32_t n_rows = 0;
    int32_t n_blocks = 0;
    int32_t top = 0;
    block_ptr[0] = 0;
    for (int32_t k = 1; k <= n; k++) {
        const int32_t root = k == n ? 0 : k;
        if (index[root] != 0 || g->edge_ptr[root] == g->edge_ptr[root + 1]) {
            continue;
        }
        int32_t depth = 0;
        call[0] = root;
        next[root] = g->edge_ptr[root];
        index[root] = low[root] = ++counter;
        stack[top++] = root;
        on_stack[root] = 1;
        while (depth >= 0) {
            if (pm_stop(control, 8)) {
                status = PM_E_STOPPED;
                goto out;
            }
            const int32_t v = call[depth];
            if (next[v] < g->edge_ptr[v + 1]) {
                const int32_t w = g->edge_target[next[v]++];
                if (g->edge_ptr[w] == g->edge_ptr[w + 1]) {
                    continue; /* absorbing */
                }
                if (index[w] == 0) {
                    index[w] = low[w] = ++counter;
                    stack[top++] = w;
                    on_stack[w] = 1;
                    next[w] = g->edge_ptr[w];
                    call[++depth] = w;
                } else if (on_stack[w] && index[w] < low[v]) {
                    low[v] = index[w];
                }
                continue;
            }
            if (low[v] == index[v]) {
                int32_t w;
                const int32_t first = n_rows;
                do {
                    w = stack[--top];
                    on_stack[w] = 0;
                    order[n_rows++] = w;
                } while (w != v);
                qsort(order + first, (size_t)(n_rows - first), sizeof *order, compare_int32);
                block_ptr[++n_blocks] = n_rows;
            }
            depth--;
            if (depth >= 0 && low[v] < low[call[depth]]) {
                low[call[depth]] = low[v];
            }
        }
    }
    *n_rows_out = n_rows;
    *n_blocks_out = n_blocks;
    status = PM_OK;
out:
    pm_free(index);
    pm_free(low);
    pm_free(on_stack);
    pm_free(stack);
    pm_free(call);
    pm_free(next);
    return status;
}
