/* The elimination game on a pattern: removing a vertex joins each of its predecessors to each of its successors. */
#ifndef PM_BIT_GRAPH_H
#define PM_BIT_GRAPH_H

#include "pm_internal.h"

/* Above this size two n x n bit matrices are too large, and lists are used instead. */
#define PM_BIT_GRAPH_MAX 8192

typedef struct pm_bit_graph {
    int32_t n;
    int32_t words;
    int32_t remaining;
    uint64_t *row; /* successors */
    uint64_t *col; /* predecessors */
    int32_t *n_out;
    int32_t *n_in;
} pm_bit_graph;

int pm_bit_graph_new(const pm_block *block, pm_bit_graph *out);
void pm_bit_graph_release(pm_bit_graph *game);
/* Multiply-adds that removing v costs, the one for the rate out of the block included. */
int64_t pm_bit_graph_cost(const pm_bit_graph *game, int32_t v);
void pm_bit_graph_remove(pm_bit_graph *game, int32_t v);

#endif
