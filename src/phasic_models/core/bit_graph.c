/* The elimination game on bit matrices: joining two rows costs n / 64 words, however full they are. */
#include "bit_graph.h"

#include <string.h>

#include "bits.h"

int pm_bit_graph_new(const pm_block *block, pm_bit_graph *out) {
    pm_bit_graph g = {block->n, pm_words(block->n), block->n, NULL, NULL, NULL, NULL};
    const int64_t size = (int64_t)g.n * g.words;
    g.row = pm_alloc_zero(size, sizeof *g.row);
    g.col = pm_alloc_zero(size, sizeof *g.col);
    g.n_out = pm_alloc_zero(g.n, sizeof *g.n_out);
    g.n_in = pm_alloc_zero(g.n, sizeof *g.n_in);
    if (g.row == NULL || g.col == NULL || g.n_out == NULL || g.n_in == NULL) {
        pm_bit_graph_release(&g);
        return PM_E_MEMORY;
    }
    for (int32_t v = 0; v < g.n; v++) {
        for (int32_t e = block->row_ptr[v]; e < block->row_ptr[v + 1]; e++) {
            const int32_t w = block->row_col[e];
            pm_bit_set(g.row + (int64_t)v * g.words, w);
            pm_bit_set(g.col + (int64_t)w * g.words, v);
            g.n_out[v]++;
            g.n_in[w]++;
        }
    }
    *out = g;
    return PM_OK;
}

void pm_bit_graph_release(pm_bit_graph *g) {
    pm_free(g->row);
    pm_free(g->col);
    pm_free(g->n_out);
    pm_free(g->n_in);
    g->row = g->col = NULL;
    g->n_out = g->n_in = NULL;
}

int64_t pm_bit_graph_cost(const pm_bit_graph *g, int32_t v) {
    const uint64_t *row = g->row + (int64_t)v * g->words;
    const uint64_t *col = g->col + (int64_t)v * g->words;
    int64_t mutual = 0;
    for (int32_t i = 0; i < g->words; i++) {
        mutual += pm_popcount(row[i] & col[i]);
    }
    return (int64_t)g->n_in[v] * (g->n_out[v] + 1) - mutual;
}

/* to |= from, without the bits v and self; returns the number of bits set. */
static int32_t merge_row(uint64_t *to, const uint64_t *from, int32_t words, int32_t v, int32_t self) {
    int32_t count = 0;
    for (int32_t i = 0; i < words; i++) {
        to[i] |= from[i];
        count += pm_popcount(to[i]);
    }
    count -= pm_bit_test(to, v) + pm_bit_test(to, self);
    pm_bit_clear(to, v);
    pm_bit_clear(to, self);
    return count;
}

void pm_bit_graph_remove(pm_bit_graph *g, int32_t v) {
    const uint64_t *row = g->row + (int64_t)v * g->words;
    const uint64_t *col = g->col + (int64_t)v * g->words;
    for (int32_t i = 0; i < g->words; i++) {
        for (uint64_t word = col[i]; word != 0; word &= word - 1) {
            const int32_t u = i * 64 + pm_lowest(word);
            g->n_out[u] = merge_row(g->row + (int64_t)u * g->words, row, g->words, v, u);
        }
    }
    for (int32_t i = 0; i < g->words; i++) {
        for (uint64_t word = row[i]; word != 0; word &= word - 1) {
            const int32_t w = i * 64 + pm_lowest(word);
            g->n_in[w] = merge_row(g->col + (int64_t)w * g->words, col, g->words, v, w);
        }
    }
    g->remaining--;
}
