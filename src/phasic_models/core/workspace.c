/* The scratch of one thread: one aligned block, cut into lane-interleaved arrays. */
#include "pm_internal.h"

void pm_workspace_free(pm_workspace *w) {
    if (w != NULL) {
        pm_workspace_free(w->more_digits);
        pm_free_aligned(w->memory);
        pm_free(w->bad);
        pm_free(w->seen);
        pm_free(w->stack);
        pm_free(w->in_ptr);
        pm_free(w->in_from);
        pm_free(w->in_slot);
        pm_free(w->block);
        pm_free(w->anchor);
        pm_free(w);
    }
}

static int make(const pm_plan *p, int32_t lanes, int extended, pm_workspace **out) {
    *out = NULL;
    pm_workspace *w = pm_alloc_zero(1, sizeof *w);
    if (w == NULL) {
        return PM_E_MEMORY;
    }
    const int32_t n = p->pattern.n_rows;
    const int32_t width = extended ? 2 : lanes;
    const pm_part counts[] = {
        {&w->theta, p->graph.n_params}, {&w->slot, p->n_slots}, {&w->lower, p->n_lower}, {&w->upper, p->n_upper},
        {&w->exit, n}, {&w->pivot, n}, {&w->total, n}, {&w->stay, p->graph.discrete ? n : 0}, {&w->acc, p->max_block}, {&w->x, n},
        {&w->y, n}, {&w->z, n},
    };
    enum { N_PARTS = sizeof counts / sizeof counts[0] };
    pm_part parts[N_PARTS];
    for (int i = 0; i < N_PARTS; i++) {
        parts[i].array = counts[i].array;
        parts[i].count = counts[i].count > INT64_MAX / 64 / width ? -1 : counts[i].count * width;
    }
    w->lanes = lanes;
    w->extended = extended;
    w->bad = pm_alloc_zero(n, sizeof *w->bad);
    w->seen = pm_alloc(p->graph.n_vertices, sizeof *w->seen);
    w->stack = pm_alloc(p->graph.n_vertices, sizeof *w->stack);
    if (w->bad == NULL || w->seen == NULL || w->stack == NULL || pm_alloc_parts(parts, N_PARTS, &w->memory) != PM_OK) {
        pm_workspace_free(w);
        return PM_E_MEMORY;
    }
    *out = w;
    return PM_OK;
}

int pm_workspace_new(const pm_plan *p, int32_t lanes, pm_workspace **out) {
    *out = NULL;
    if (lanes != 1 && lanes != PM_LANES) {
        return PM_E_ARGUMENT;
    }
    return make(p, lanes, 0, out);
}

int pm_more_digits(const pm_plan *p, pm_workspace *ws) {
    return ws->more_digits != NULL ? PM_OK : make(p, 1, 1, &ws->more_digits);
}
