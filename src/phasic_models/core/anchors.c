/*
 * Anchors: for each block of the elimination a vertex through which every path out of it leads, the nearest that is found, or
 * absorption. The same walk that finds dominators (Cooper, Harvey and Kennedy 2001), along the blocks, which have no cycle.
 */
#include "pm_internal.h"

/* Steps of one walk, so that a long graph without a common vertex does not take quadratic time; absorption always serves. */
#define MAX_WALK 64

/* The nearest vertex through which both a and b lead; -1 for absorption. */
static int32_t common(const pm_workspace *ws, const int32_t *depth, int32_t a, int32_t b) {
    for (int walk = 0; a != b; walk++) {
        if (a < 0 || b < 0 || walk == MAX_WALK) {
            return -1;
        }
        if (depth[a] >= depth[b]) {
            a = ws->anchor[ws->block[a]];
        } else {
            b = ws->anchor[ws->block[b]];
        }
    }
    return a;
}

int pm_find_anchors(const pm_plan *p, pm_workspace *ws) {
    const int cut = ws->extended && ws->failed != 0;
    if (ws->anchor != NULL && !cut && !ws->anchors_cut) {
        return PM_OK;
    }
    const pm_pattern *s = &p->pattern;
    int32_t *depth = pm_alloc(s->n_rows, sizeof *depth); /* anchors until absorption */
    if (ws->block == NULL) {
        ws->block = pm_alloc(s->n_rows, sizeof *ws->block);
    }
    if (ws->anchor == NULL) {
        ws->anchor = pm_alloc(s->n_blocks, sizeof *ws->anchor);
    }
    int32_t *block = ws->block;
    int32_t *anchor = ws->anchor;
    if (depth == NULL || block == NULL || anchor == NULL) {
        pm_free(depth);
        pm_free(block);
        pm_free(anchor);
        ws->block = NULL;
        ws->anchor = NULL;
        return PM_E_MEMORY;
    }
    ws->anchors_cut = cut;
    for (int32_t b = 0; b < s->n_blocks; b++) {
        const int32_t start = s->block_ptr[b];
        const int32_t end = s->block_ptr[b + 1];
        int32_t found = -2;
        int ends = 0;
        for (int32_t i = start; i < end; i++) {
            block[i] = b;
            ends |= cut && ws->bad[i];
            for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
                const int32_t r = p->edge_row[e];
                if (r < start) {
                    found = found == -2 ? r : common(ws, depth, found, r);
                }
            }
        }
        /* Where a path may end in the block, all is counted from the end. */
        anchor[b] = found < 0 || ends ? -1 : found;
        for (int32_t i = start; i < end; i++) {
            depth[i] = anchor[b] < 0 ? 1 : depth[found] + 1;
        }
    }
    pm_free(depth);
    return PM_OK;
}
