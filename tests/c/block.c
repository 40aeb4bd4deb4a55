/* See block.h. */
#include "block.h"

#include <string.h>

void random_permutation(uint64_t *state, int32_t n, int32_t *order) {
    for (int32_t i = 0; i < n; i++) {
        order[i] = i;
    }
    for (int32_t i = n - 1; i > 0; i--) {
        const int32_t j = random_below(state, i + 1);
        const int32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

void block_rows(test_block *b, int32_t n) {
    int32_t used = 0;
    for (int32_t i = 0; i < n; i++) {
        b->row_ptr[i] = used;
        for (int32_t j = 0; j < n; j++) {
            if (b->edge[i][j]) {
                b->row_col[used++] = j;
            }
        }
    }
    b->row_ptr[n] = used;
    b->block.n = n;
    b->block.root = 0;
    b->block.row_ptr = b->row_ptr;
    b->block.row_col = b->row_col;
}

void block_random(test_block *b, uint64_t *state, int32_t n, double density) {
    int32_t cycle[BLOCK_MAX];
    memset(b->edge, 0, sizeof b->edge);
    random_permutation(state, n, cycle);
    for (int32_t i = 0; i < n && n > 1; i++) {
        b->edge[cycle[i]][cycle[(i + 1) % n]] = 1;
    }
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < n; j++) {
            if (i != j && random_unit(state) < density) {
                b->edge[i][j] = 1;
            }
        }
    }
    block_rows(b, n);
    b->block.root = random_below(state, n);
}

int64_t block_eliminate(const test_block *b, const int32_t *order, uint8_t filled[BLOCK_MAX][BLOCK_MAX]) {
    const int32_t n = b->block.n;
    int64_t operations = 0;
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < n; j++) {
            filled[i][j] = b->edge[order[i]][order[j]];
        }
    }
    for (int32_t v = 0; v < n; v++) {
        for (int32_t u = v + 1; u < n; u++) {
            if (!filled[u][v]) {
                continue;
            }
            operations++; /* the rate out of the block */
            for (int32_t w = v + 1; w < n; w++) {
                if (filled[v][w] && w != u) {
                    filled[u][w] = 1;
                    operations++;
                }
            }
        }
    }
    return operations;
}
