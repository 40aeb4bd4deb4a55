/*
 * What an order would cost, without eliminating anything: the fill of the pattern with every edge taken both ways, found by walks
 * in its elimination tree (Liu 1990). Exact where each edge has its reverse, an upper bound elsewhere. Takes time O(fill).
 */
#include "pm_internal.h"

/* Entries after which counting ends: the answer is "at least" then. */
#define MOST_ENTRIES 2000000000

/* For each position, the earlier positions that it shares an edge with, in either direction. */
static int earlier_neighbours(const pm_block *b, const int32_t *order, int32_t *position, int64_t *ptr, int32_t *col) {
    const int32_t n = b->n;
    for (int32_t i = 0; i < n; i++) {
        position[order[i]] = i;
    }
    int64_t *fill = ptr + 1; /* shifted, so that filling leaves the pointers in place */
    for (int32_t v = 0; v < n; v++) {
        for (int32_t e = b->row_ptr[v]; e < b->row_ptr[v + 1]; e++) {
            const int32_t w = b->row_col[e];
            fill[(position[v] > position[w] ? position[v] : position[w]) + 1]++;
        }
    }
    for (int32_t i = 0; i < n; i++) {
        fill[i + 1] += fill[i];
    }
    for (int32_t v = 0; v < n; v++) {
        for (int32_t e = b->row_ptr[v]; e < b->row_ptr[v + 1]; e++) {
            const int32_t p = position[v];
            const int32_t q = position[b->row_col[e]];
            col[fill[p > q ? p : q]++] = p < q ? p : q;
        }
    }
    return PM_OK;
}

/* count[j]: entries of column j below the diagonal. */
static int walk(int32_t n, const int64_t *ptr, const int32_t *col, int32_t *parent, int32_t *mark, int64_t *count, pm_control *control,
                pm_cost *out) {
    int64_t entries = 0;
    double operations = 0.0;
    for (int32_t i = 0; i < n; i++) {
        parent[i] = -1;
        mark[i] = i;
        count[i] = 0;
        const int64_t before = entries;
        for (int64_t k = ptr[i]; k < ptr[i + 1]; k++) {
            for (int32_t j = col[k]; mark[j] != i; j = parent[j]) {
                if (parent[j] < 0) {
                    parent[j] = i;
                }
                mark[j] = i;
                operations += 2.0 * (double)count[j] + 1.0; /* the square of the count grows by so much */
                count[j]++;
                entries++;
            }
        }
        if (pm_stop(control, entries - before + ptr[i + 1] - ptr[i] + 1)) {
            return PM_E_STOPPED;
        }
        if (entries > MOST_ENTRIES) {
            break;
        }
    }
    out->at_least = entries > MOST_ENTRIES;
    out->operations = operations;
    out->entries = 2 * entries;
    return PM_OK;
}

int pm_estimate(const pm_block *block, const int32_t *order, pm_control *control, pm_cost *out) {
    const int32_t n = block->n;
    int32_t *position = pm_alloc(n, sizeof *position);
    int64_t *ptr = pm_alloc_zero((int64_t)n + 2, sizeof *ptr);
    int32_t *col = pm_alloc(block->row_ptr[n], sizeof *col);
    int32_t *parent = pm_alloc(n, sizeof *parent);
    int32_t *mark = pm_alloc(n, sizeof *mark);
    int64_t *count = pm_alloc(n, sizeof *count);
    int status = PM_E_MEMORY;
    if (position != NULL && ptr != NULL && col != NULL && parent != NULL && mark != NULL && count != NULL) {
        status = earlier_neighbours(block, order, position, ptr, col);
    }
    if (status == PM_OK) {
        status = walk(n, ptr, col, parent, mark, count, control, out);
    }
    pm_free(position);
    pm_free(ptr);
    pm_free(col);
    pm_free(parent);
    pm_free(mark);
    pm_free(count);
    return status;
}
