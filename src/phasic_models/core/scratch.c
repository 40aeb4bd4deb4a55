/* Scratch for moments, their adjoints and their differences along the edges. */
#include <math.h>
#include <string.h>

#include "pm_internal.h"
#define PM_EXTENDED 0
#include "number.h"

double pm_value(const pm_workspace *ws, const double *array, int64_t at) { return array[ws->extended ? 2 * at : at]; }

void pm_scratch_release(pm_scratch *s) {
    pm_free_aligned(s->memory);
    memset(s, 0, sizeof *s);
}

int pm_scratch_make(const pm_plan *p, pm_workspace *ws, int32_t k, int with_differences, pm_scratch *s) {
    memset(s, 0, sizeof *s);
    const int status = with_differences ? pm_find_anchors(p, ws) : PM_OK;
    if (status != PM_OK) {
        return status;
    }
    const int64_t numbers = ws->extended ? 2 : ws->lanes;
    const int64_t n = (int64_t)p->pattern.n_rows * numbers;
    const int64_t levels = p->graph.discrete ? k * n : 0;
    const int64_t on = with_differences != 0;
    const pm_part parts[] = {
        {&s->x, k * n}, {&s->ahead, levels}, {&s->z, k * n}, {&s->behind, levels},
        {&s->d.offset, on * n}, {&s->d.value, on * n}, {&s->d.row, on * p->max_block * (numbers + ws->lanes)},
        {&s->d.row_bound, on * p->max_block * ws->lanes},
        {&s->d.best, on * p->max_block * ws->lanes}, {&s->d.pair, on * p->n_upper * numbers},
        {&s->d.pair_bound, on * p->n_upper * ws->lanes}, {&s->d.edge, on * p->n_edges * numbers},
        {&s->d.edge_bound, on * p->n_edges * ws->lanes},
    };
    s->d.block = ws->block;
    s->d.anchor = ws->anchor;
    s->d.unit = (ws->extended ? PM_ROUNDING_EXTENDED : PM_ROUNDING_DOUBLE) * (2.0 + sqrt((double)p->max_block));
    return pm_alloc_parts(parts, sizeof parts / sizeof parts[0], &s->memory);
}
