/* Random blocks for the tests of ordering and fill, and elimination by a plain boolean matrix. */
#ifndef BLOCK_H
#define BLOCK_H

#include "harness.h"
#include "pm_internal.h"

#define BLOCK_MAX 200

typedef struct test_block {
    pm_block block;
    int32_t row_ptr[BLOCK_MAX + 1];
    int32_t row_col[BLOCK_MAX * BLOCK_MAX];
    uint8_t edge[BLOCK_MAX][BLOCK_MAX];
} test_block;

/* Strongly connected by a cycle through all vertices, and more edges by chance. */
void block_random(test_block *b, uint64_t *state, int32_t n, double density);
/* From b->edge to the rows. */
void block_rows(test_block *b, int32_t n);
/* Eliminates b->edge (a copy) in the order; lower and upper hold what is left; returns the multiply-adds. */
int64_t block_eliminate(const test_block *b, const int32_t *order, uint8_t filled[BLOCK_MAX][BLOCK_MAX]);
void random_permutation(uint64_t *state, int32_t n, int32_t *order);

#endif
