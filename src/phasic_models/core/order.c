/*
 * The order in which a block is eliminated. No single rule wins, so several are tried on the pattern alone and the cheapest is
 * kept; ties go to the lower number, so the choice depends on the block only.
 */
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "dissection.h"
#include "game.h"
#include "pm_internal.h"

/* Greedy: the vertex with the fewest new pairs first (Markowitz 1957). Stops above `limit` operations. */
static int least_fill(const pm_block *block, int64_t limit, int32_t *order, int64_t *operations) {
    pm_game game;
    int status = pm_game_new(block, &game);
    if (status != PM_OK) {
        return status;
    }
    const int32_t n = block->n;
    int64_t total = 0;
    int32_t *left = pm_alloc(n, sizeof *left);
    if (left == NULL) {
        pm_game_release(&game);
        return PM_E_MEMORY;
    }
    for (int32_t i = 0; i < n; i++) {
        left[i] = i;
    }
    int32_t done = 0;
    while (game.remaining > 0) {
        int32_t best = 0;
        int64_t best_cost = INT64_MAX;
        for (int32_t i = 0; i < game.remaining; i++) {
            const int32_t v = left[i];
            const int64_t cost = (int64_t)game.n_in[v] * game.n_out[v];
            if (cost < best_cost) {
                best = i;
                best_cost = cost;
            }
        }
        const int64_t m = game.remaining;
        if (best_cost == (m - 1) * (m - 1)) {
            /* What is left is a complete block: every order costs the same. */
            for (int64_t r = m; r > 0; r--) {
                total += (r - 1) * r - (r - 1);
            }
            memcpy(order + done, left, (size_t)m * sizeof *order);
            done += (int32_t)m;
            break;
        }
        const int32_t v = left[best];
        total += pm_game_cost(&game, v);
        if (total > limit) {
            status = PM_E_LIMIT;
            break;
        }
        pm_game_remove(&game, v);
        memmove(left + best, left + best + 1, (size_t)(game.remaining - best) * sizeof *left);
        order[done++] = v;
    }
    *operations = total;
    free(left);
    pm_game_release(&game);
    return status;
}

/* Breadth first along the edges; the block is strongly connected, so every vertex is reached. */
static void breadth_first(const pm_block *block, uint8_t *seen, int32_t *order) {
    memset(seen, 0, (size_t)block->n);
    int32_t size = 0;
    seen[block->root] = 1;
    order[size++] = block->root;
    for (int32_t i = 0; i < size; i++) {
        const int32_t v = order[i];
        for (int32_t e = block->row_ptr[v]; e < block->row_ptr[v + 1]; e++) {
            const int32_t w = block->row_col[e];
            if (!seen[w]) {
                seen[w] = 1;
                order[size++] = w;
            }
        }
    }
}

static void reverse(int32_t *order, int32_t n) {
    for (int32_t i = 0, j = n - 1; i < j; i++, j--) {
        const int32_t t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
}

/* Cost of a given order, or PM_E_LIMIT above the limit. */
static int dry_run(const pm_block *block, const int32_t *order, int64_t limit, int64_t *operations) {
    if (block->n > PM_GAME_MAX) {
        pm_fill fill;
        const int status = pm_block_fill(block, order, block->n, limit, &fill);
        if (status == PM_OK) {
            *operations = fill.operations;
            pm_fill_release(&fill);
        }
        return status;
    }
    pm_game game;
    const int status = pm_game_new(block, &game);
    if (status != PM_OK) {
        return status;
    }
    int64_t total = 0;
    for (int32_t i = 0; i < block->n && total <= limit; i++) {
        total += pm_game_cost(&game, order[i]);
        pm_game_remove(&game, order[i]);
    }
    pm_game_release(&game);
    *operations = total;
    return total <= limit ? PM_OK : PM_E_LIMIT;
}

/* The candidates besides least fill, n entries each: breadth first, the reverse of it, nested dissection. */
static int make_candidates(const pm_block *block, int32_t *candidates) {
    const size_t n = (size_t)block->n;
    uint8_t *seen = pm_alloc(block->n, sizeof *seen);
    if (seen == NULL) {
        return PM_E_MEMORY;
    }
    breadth_first(block, seen, candidates);
    free(seen);
    memcpy(candidates + n, candidates, n * sizeof *candidates);
    reverse(candidates + n, block->n);
    return block->n < PM_DISSECTION_MIN ? PM_OK : pm_dissection_order(block, candidates + 2 * n);
}

/*
 * Runs the candidates dry and keeps the cheapest that takes less than *best. The limit of the runs grows from small beginnings, so
 * that a bad candidate, which may need n^3 operations, takes only a few times as long as the cheapest one.
 */
static int cheapest(const pm_block *block, const int32_t *candidates, int64_t *best, int32_t *order, int32_t *kind) {
    const int32_t n = block->n;
    const int32_t last = n < PM_DISSECTION_MIN ? PM_ORDER_REVERSE_BFS : PM_ORDER_DISSECTION;
    int found = 0;
    int64_t limit = *kind == PM_ORDER_TRIVIAL ? 4 * ((int64_t)n + block->row_ptr[n]) : *best;
    for (; !found; limit *= 4) {
        found = limit >= *best - 1;
        for (int32_t k = PM_ORDER_BFS; k <= last; k++) {
            const int32_t *candidate = candidates + (int64_t)(k - PM_ORDER_BFS) * n;
            int64_t operations = 0;
            const int status = dry_run(block, candidate, limit < *best - 1 ? limit : *best - 1, &operations);
            if (status == PM_OK) {
                found = 1;
                *best = operations;
                memcpy(order, candidate, (size_t)n * sizeof *order);
                *kind = k;
            } else if (status != PM_E_LIMIT) {
                return status;
            }
        }
    }
    return PM_OK;
}

int pm_block_order(const pm_block *block, int32_t *order, int32_t *kind) {
    const int32_t n = block->n;
    int64_t best = INT64_MAX / 4;
    *kind = PM_ORDER_TRIVIAL;
    for (int32_t i = 0; i < n; i++) {
        order[i] = i;
    }
    if (n <= 2) {
        *kind = n == 1 ? PM_ORDER_TRIVIAL : PM_ORDER_LEAST_FILL;
        return PM_OK;
    }
    if (n <= PM_GAME_MAX) {
        const int status = least_fill(block, best, order, &best);
        if (status != PM_OK) {
            return status;
        }
        *kind = PM_ORDER_LEAST_FILL;
    }
    /* No order does with fewer operations than there are vertices. */
    if (best <= n) {
        return PM_OK;
    }
    int32_t *candidates = pm_alloc(3 * (int64_t)n, sizeof *candidates);
    if (candidates == NULL) {
        return PM_E_MEMORY;
    }
    int status = make_candidates(block, candidates);
    if (status == PM_OK) {
        status = cheapest(block, candidates, &best, order, kind);
    }
    free(candidates);
    return status;
}
