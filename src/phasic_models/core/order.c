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

int pm_block_order(const pm_block *block, int32_t *order, int32_t *kind) {
    const int32_t n = block->n;
    int64_t best = INT64_MAX - 1;
    *kind = PM_ORDER_TRIVIAL;
    for (int32_t i = 0; i < n; i++) {
        order[i] = i;
    }
    if (n <= 2) {
        *kind = n == 1 ? PM_ORDER_TRIVIAL : PM_ORDER_LEAST_FILL;
        return PM_OK;
    }
    int status = PM_E_MEMORY;
    int32_t *candidate = pm_alloc(n, sizeof *candidate);
    uint8_t *seen = pm_alloc(n, sizeof *seen);
    if (candidate == NULL || seen == NULL) {
        goto out;
    }
    if (n <= PM_GAME_MAX) {
        status = least_fill(block, best, order, &best);
        if (status != PM_OK) {
            goto out;
        }
        *kind = PM_ORDER_LEAST_FILL;
    }
    for (int32_t k = PM_ORDER_BFS; k <= PM_ORDER_DISSECTION; k++) {
        /* No order does with fewer operations than there are vertices. */
        if (best <= n || (k == PM_ORDER_DISSECTION && n < PM_DISSECTION_MIN)) {
            break;
        }
        if (k == PM_ORDER_BFS) {
            breadth_first(block, seen, candidate);
        } else if (k == PM_ORDER_REVERSE_BFS) {
            reverse(candidate, n);
        } else {
            status = pm_dissection_order(block, candidate);
            if (status != PM_OK) {
                goto out;
            }
        }
        int64_t operations = 0;
        status = dry_run(block, candidate, best - 1, &operations);
        if (status == PM_OK) {
            best = operations;
            memcpy(order, candidate, (size_t)n * sizeof *order);
            *kind = k;
        } else if (status != PM_E_LIMIT) {
            goto out;
        }
    }
    status = PM_OK;
out:
    free(candidate);
    free(seen);
    return status;
}
