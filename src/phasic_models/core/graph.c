/* Bounds checks of a borrowed graph: after pm_graph_check no index of it can leave its array. And what can be reached in one. */
#include <string.h>

#include "pm_internal.h"

static int fail(pm_where *where, int32_t array, int64_t entry) {
    pm_at_part(where, PM_AT_ARRAY, array, entry, 0.0);
    return PM_E_INDEX;
}

static int check_ptr(const int64_t *ptr, int64_t n, int64_t end, int32_t array, pm_where *where) {
    if (ptr[0] != 0) {
        return fail(where, array, 0);
    }
    for (int64_t i = 0; i < n; i++) {
        if (ptr[i + 1] < ptr[i] || ptr[i + 1] > end) {
            return fail(where, array, i + 1);
        }
    }
    return PM_OK;
}

int pm_graph_check_sizes(const pm_graph *g, const pm_graph_sizes *sizes, pm_where *where) {
    if (g->n_vertices < 1 || g->n_params < 0 || g->n_affine < 0 || g->n_program < 0 || sizes->n_edges < 0
        || sizes->n_affine_terms < 0 || g->n_affine > INT32_MAX - g->n_program || g->n_vertices == INT32_MAX) {
        return fail(where, PM_ARRAY_SIZES, 0);
    }
    if (g->edge_ptr[g->n_vertices] != sizes->n_edges) {
        return fail(where, PM_ARRAY_EDGE_PTR, g->n_vertices);
    }
    if (g->affine_ptr[g->n_affine] != sizes->n_affine_terms) {
        return fail(where, PM_ARRAY_AFFINE_PTR, g->n_affine);
    }
    return PM_OK;
}

int pm_graph_check(const pm_graph *g, const pm_graph_sizes *sizes, pm_where *where) {
    int status = pm_graph_check_sizes(g, sizes, where);
    if (status != PM_OK) {
        return status;
    }
    status = check_ptr(g->edge_ptr, g->n_vertices, sizes->n_edges, PM_ARRAY_EDGE_PTR, where);
    if (status != PM_OK) {
        return status;
    }
    status = check_ptr(g->affine_ptr, g->n_affine, sizes->n_affine_terms, PM_ARRAY_AFFINE_PTR, where);
    if (status != PM_OK) {
        return status;
    }
    const int32_t n_slots = g->n_affine + g->n_program;
    for (int32_t v = 0; v < g->n_vertices; v++) {
        int32_t previous = 0; /* no edge leads back to the starting vertex */
        for (int64_t e = g->edge_ptr[v]; e < g->edge_ptr[v + 1]; e++) {
            const int32_t target = g->edge_target[e];
            if (target <= previous || target >= g->n_vertices || target == v) {
                return fail(where, PM_ARRAY_EDGE_TARGET, e);
            }
            previous = target;
            if (g->edge_slot[e] < 0 || g->edge_slot[e] >= n_slots) {
                return fail(where, PM_ARRAY_EDGE_SLOT, e);
            }
        }
    }
    for (int64_t i = 0; i < sizes->n_affine_terms; i++) {
        if (g->affine_param[i] < 0 || g->affine_param[i] >= g->n_params) {
            return fail(where, PM_ARRAY_AFFINE_PARAM, i);
        }
    }
    for (int32_t i = 0; i < g->n_program; i++) {
        const int32_t here = g->n_affine + i;
        if (g->program_op[i] < PM_OP_ADD || g->program_op[i] > PM_OP_DIV || g->program_a[i] < 0 || g->program_a[i] >= here
            || g->program_b[i] < 0 || g->program_b[i] >= here) {
            return fail(where, PM_ARRAY_PROGRAM, i);
        }
    }
    return PM_OK;
}

int pm_reachable(int32_t n, const int64_t *ptr, const int32_t *target, int32_t n_roots, const int32_t *roots, uint8_t *seen) {
    int32_t *stack = pm_alloc(n, sizeof *stack);
    if (stack == NULL) {
        return PM_E_MEMORY;
    }
    int32_t top = 0;
    memset(seen, 0, (size_t)n);
    for (int32_t i = 0; i < n_roots; i++) {
        if (roots[i] < 0 || roots[i] >= n) {
            pm_free(stack);
            return PM_E_INDEX;
        }
        if (!seen[roots[i]]) {
            seen[roots[i]] = 1;
            stack[top++] = roots[i];
        }
    }
    while (top > 0) {
        const int32_t v = stack[--top];
        for (int64_t e = ptr[v]; e < ptr[v + 1]; e++) {
            if (!seen[target[e]]) {
                seen[target[e]] = 1;
                stack[top++] = target[e];
            }
        }
    }
    pm_free(stack);
    return PM_OK;
}
