/*
 * The order in which a block is eliminated. No single rule wins, so several are tried on the pattern alone and the cheapest is
 * kept; ties go to the lower number, so the choice depends on the block only.
 */
#include <string.h>

#include "bits.h"
#include "dissection.h"
#include "bit_graph.h"
#include "pm_internal.h"

/* Greedy: the vertex with the fewest new pairs first (Markowitz 1957). Stops above `limit` operations. */
static int least_fill(const pm_block *block, int64_t limit, pm_control *control, int32_t *order, int64_t *operations) {
    pm_bit_graph game;
    int status = pm_bit_graph_new(block, &game);
    if (status != PM_OK) {
        return status;
    }
    const int32_t n = block->n;
    int64_t total = 0;
    int32_t *left = pm_alloc(n, sizeof *left);
    if (left == NULL) {
        pm_bit_graph_release(&game);
        return PM_E_MEMORY;
    }
    for (int32_t i = 0; i < n; i++) {
        left[i] = i;
    }
    int32_t done = 0;
    pm_stage(control, PM_STAGE_ORDER, n);
    while (game.remaining > 0) {
        pm_done(control, done);
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
            status = total > limit ? PM_E_LIMIT : PM_OK;
            memcpy(order + done, left, (size_t)m * sizeof *order);
            done += (int32_t)m;
            break;
        }
        const int32_t v = left[best];
        total += pm_bit_graph_cost(&game, v);
        if (total > limit) {
            status = PM_E_LIMIT;
            break;
        }
        if (pm_stop(control, game.remaining + ((int64_t)game.n_in[v] + game.n_out[v]) * game.words)) {
            status = PM_E_STOPPED;
            break;
        }
        pm_bit_graph_remove(&game, v);
        memmove(left + best, left + best + 1, (size_t)(game.remaining - best) * sizeof *left);
        order[done++] = v;
    }
    *operations = total;
    pm_free(left);
    pm_bit_graph_release(&game);
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

/* Cost of a given order, or PM_E_LIMIT above the limits. */
static int dry_run(const pm_block *block, const int32_t *order, const pm_budget *limits, pm_control *control, int64_t *operations) {
    pm_stage(control, PM_STAGE_TRIAL, block->n);
    if (block->n > PM_BIT_GRAPH_MAX) {
        pm_fill fill;
        const int status = pm_block_fill(block, order, block->n, limits, control, &fill);
        if (status == PM_OK) {
            *operations = fill.operations;
            pm_fill_release(&fill);
        }
        return status;
    }
    pm_bit_graph game;
    int status = pm_bit_graph_new(block, &game);
    if (status != PM_OK) {
        return status;
    }
    int64_t total = 0;
    for (int32_t i = 0; i < block->n && total <= limits->operations; i++) {
        const int32_t v = order[i];
        pm_done(control, i);
        if (pm_stop(control, ((int64_t)game.n_in[v] + game.n_out[v] + 1) * game.words)) {
            status = PM_E_STOPPED;
            break;
        }
        total += pm_bit_graph_cost(&game, v);
        pm_bit_graph_remove(&game, v);
    }
    pm_bit_graph_release(&game);
    *operations = total;
    return status != PM_OK ? status : total <= limits->operations ? PM_OK : PM_E_LIMIT;
}

/* The orders besides least fill: breadth first, the reverse of it, nested dissection. */
typedef struct candidates {
    int32_t *orders; /* n entries each */
    int32_t last;    /* kind of the last one */
    pm_cost cost;    /* an upper bound for the cheapest, where one was asked for */
    int hopeless[PM_ORDER_KINDS];
} candidates;

static int make_candidates(const pm_block *block, pm_control *control, candidates *c) {
    const size_t n = (size_t)block->n;
    uint8_t *seen = pm_alloc(block->n, sizeof *seen);
    if (seen == NULL) {
        return PM_E_MEMORY;
    }
    breadth_first(block, seen, c->orders);
    pm_free(seen);
    memcpy(c->orders + n, c->orders, n * sizeof *c->orders);
    reverse(c->orders + n, block->n);
    c->last = PM_ORDER_REVERSE_BFS;
    if (block->n < PM_DISSECTION_MIN) {
        return PM_OK;
    }
    const int status = pm_dissection_order(block, control, c->orders + 2 * n);
    if (status == PM_OK) {
        c->last = PM_ORDER_DISSECTION;
    }
    return status == PM_E_LIMIT ? PM_OK : status; /* too many edges for it; the others remain */
}

static const int32_t *candidate(const pm_block *block, const candidates *c, int32_t kind) {
    return c->orders + (int64_t)(kind - PM_ORDER_BFS) * block->n;
}

/* Estimates each candidate; those above the budget are not tried. */
static int estimate_all(const pm_block *block, const pm_budget *budget, pm_control *control, candidates *c) {
    for (int32_t k = PM_ORDER_BFS; k <= c->last; k++) {
        pm_cost cost;
        const int status = pm_estimate(block, candidate(block, c, k), control, &cost);
        if (status != PM_OK) {
            return status;
        }
        c->hopeless[k] = cost.operations > (double)budget->operations || cost.entries > budget->entries;
        if (k == PM_ORDER_BFS || cost.operations < c->cost.operations) {
            c->cost = cost;
        }
    }
    return PM_OK;
}

/*
 * Runs the candidates dry and keeps the cheapest that takes less than *best. The limit of the runs grows from small beginnings, so
 * that a bad candidate, which may need n^3 operations, takes only a few times as long as the cheapest one.
 */
static int cheapest(const pm_block *block, const candidates *c, const pm_budget *budget, pm_control *control, int64_t *best,
                    int32_t *order, int32_t *kind) {
    const int32_t n = block->n;
    int found = 0;
    int64_t limit = *kind == PM_ORDER_TRIVIAL ? 4 * ((int64_t)n + block->row_ptr[n]) : *best;
    for (; !found; limit *= 4) {
        found = limit >= *best - 1;
        for (int32_t k = PM_ORDER_BFS; k <= c->last; k++) {
            const pm_budget limits = {limit < *best - 1 ? limit : *best - 1, budget->entries};
            int64_t operations = 0;
            const int status = c->hopeless[k] ? PM_E_LIMIT : dry_run(block, candidate(block, c, k), &limits, control, &operations);
            if (status == PM_OK) {
                found = 1;
                *best = operations;
                memcpy(order, candidate(block, c, k), (size_t)n * sizeof *order);
                *kind = k;
            } else if (status != PM_E_LIMIT) {
                return status;
            }
        }
    }
    return PM_OK;
}

/* The orders besides least fill, which has found *kind and *best or nothing. */
static int try_candidates(const pm_block *block, const pm_budget *budget, pm_control *control, int64_t *best, int32_t *order,
                          int32_t *kind, pm_cost *cost) {
    candidates c = {pm_alloc(3 * (int64_t)block->n, sizeof *c.orders), 0, {0.0, 0, 0}, {0}};
    if (c.orders == NULL) {
        return PM_E_MEMORY;
    }
    int status = make_candidates(block, control, &c);
    /* Dry runs of large blocks would cost as much as the elimination, so those that are sure to keep the budget are told first. */
    if (status == PM_OK && block->n > PM_BIT_GRAPH_MAX) {
        status = estimate_all(block, budget, control, &c);
    }
    if (status == PM_OK) {
        status = cheapest(block, &c, budget, control, best, order, kind);
    }
    if (status == PM_OK && *kind == PM_ORDER_TRIVIAL) {
        if (block->n <= PM_BIT_GRAPH_MAX) {
            status = estimate_all(block, budget, control, &c);
        }
        *cost = c.cost;
        status = status == PM_OK ? PM_E_LIMIT : status;
    }
    pm_free(c.orders);
    return status;
}

int pm_block_order(const pm_block *block, const pm_budget *budget, pm_control *control, int32_t *order, int32_t *kind, pm_cost *cost) {
    static const pm_budget unlimited = {INT64_MAX / 8, INT64_MAX / 8};
    const int32_t n = block->n;
    budget = budget == NULL ? &unlimited : budget;
    int64_t best = budget->operations < INT64_MAX / 8 ? budget->operations + 1 : INT64_MAX / 8;
    *kind = PM_ORDER_TRIVIAL;
    for (int32_t i = 0; i < n; i++) {
        order[i] = i;
    }
    if (n <= 2) {
        *kind = n == 1 ? PM_ORDER_TRIVIAL : PM_ORDER_LEAST_FILL;
        return PM_OK;
    }
    if (n <= PM_BIT_GRAPH_MAX) {
        int64_t operations = 0;
        const int status = least_fill(block, best - 1, control, order, &operations);
        if (status == PM_OK) {
            *kind = PM_ORDER_LEAST_FILL;
            best = operations;
        } else if (status != PM_E_LIMIT) {
            return status;
        }
    }
    /* No order does with fewer operations than there are vertices. */
    return *kind == PM_ORDER_LEAST_FILL && best <= n ? PM_OK : try_candidates(block, budget, control, &best, order, kind, cost);
}
