/* The scratch of one thread: one aligned block, cut into lane-interleaved arrays. */
#include <stdlib.h>

#include "pm_internal.h"

void pm_workspace_free(pm_workspace *w) {
    if (w != NULL) {
        pm_free_aligned(w->memory);
        free(w->bad);
        free(w->seen);
        free(w->stack);
        free(w->in_ptr);
        free(w->in_from);
        free(w->in_slot);
        free(w);
    }
}

/* Rounded up so that each array starts on a cache line. */
static int64_t cut(int64_t count, int32_t lanes) { return (count * lanes + 7) / 8 * 8; }

int pm_workspace_new(const pm_plan *p, int32_t lanes, pm_workspace **out) {
    *out = NULL;
    if (lanes != 1 && lanes != PM_LANES) {
        return PM_E_ARGUMENT;
    }
    pm_workspace *w = pm_alloc_zero(1, sizeof *w);
    if (w == NULL) {
        return PM_E_MEMORY;
    }
    const int32_t n = p->pattern.n_rows;
    const struct {
        double **array;
        int64_t count;
    } parts[] = {
        {&w->theta, p->graph.n_params}, {&w->slot, p->n_slots}, {&w->lower, p->n_lower}, {&w->upper, p->n_upper},
        {&w->exit, n}, {&w->pivot, n}, {&w->total, n}, {&w->stay, p->graph.discrete ? n : 0}, {&w->acc, p->max_block}, {&w->x, n}, {&w->y, n}, {&w->z, n},
        {&w->slot_bar, p->n_slots},
    };
    const size_t n_parts = sizeof parts / sizeof parts[0];
    int64_t total = 0;
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].count > (INT64_MAX / 64 - total) / lanes) {
            goto fail;
        }
        total += cut(parts[i].count, lanes);
    }
    w->lanes = lanes;
    w->memory = pm_alloc_aligned(total);
    w->bad = pm_alloc(n, sizeof *w->bad);
    w->seen = pm_alloc(p->graph.n_vertices, sizeof *w->seen);
    w->stack = pm_alloc(p->graph.n_vertices, sizeof *w->stack);
    if (w->memory == NULL || w->bad == NULL || w->seen == NULL || w->stack == NULL) {
        goto fail;
    }
    double *next = w->memory;
    for (size_t i = 0; i < n_parts; i++) {
        *parts[i].array = next;
        next += cut(parts[i].count, lanes);
    }
    *out = w;
    return PM_OK;
fail:
    pm_workspace_free(w);
    return PM_E_MEMORY;
}
