/* The elimination game on a pattern: removing a vertex joins each of its predecessors to each of its successors. */
#ifndef PM_GAME_H
#define PM_GAME_H

#include "pm_internal.h"

/* Above this size two n x n bit matrices are too large, and lists are used instead. */
#define PM_GAME_MAX 8192

typedef struct pm_game {
    int32_t n;
    int32_t words;
    int32_t remaining;
    uint64_t *row; /* successors */
    uint64_t *col; /* predecessors */
    int32_t *n_out;
    int32_t *n_in;
} pm_game;

int pm_game_new(const pm_block *block, pm_game *out);
void pm_game_release(pm_game *game);
/* Multiply-adds that removing v costs, the one for the rate out of the block included. */
int64_t pm_game_cost(const pm_game *game, int32_t v);
void pm_game_remove(pm_game *game, int32_t v);

#endif
