/* order.c and bit_graph.c */
#include <stdlib.h>

#include "block.h"
#include "dissection.h"
#include "bit_graph.h"

static test_block b;
static uint8_t filled[BLOCK_MAX][BLOCK_MAX];

static int is_permutation(int32_t n, const int32_t *order) {
    uint8_t seen[BLOCK_MAX] = {0};
    for (int32_t i = 0; i < n; i++) {
        if (order[i] < 0 || order[i] >= n || seen[order[i]]) {
            return 0;
        }
        seen[order[i]] = 1;
    }
    return 1;
}

static void breadth_first(int32_t *order) {
    uint8_t seen[BLOCK_MAX] = {0};
    int32_t size = 0;
    order[size++] = b.block.root;
    seen[b.block.root] = 1;
    for (int32_t i = 0; i < size; i++) {
        for (int32_t j = 0; j < b.block.n; j++) {
            if (b.edge[order[i]][j] && !seen[j]) {
                seen[j] = 1;
                order[size++] = j;
            }
        }
    }
}

/* The greedy rule once more, on the boolean matrix. */
static void least_fill(int32_t *order) {
    static uint8_t edge[BLOCK_MAX][BLOCK_MAX];
    uint8_t gone[BLOCK_MAX] = {0};
    const int32_t n = b.block.n;
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < n; j++) {
            edge[i][j] = b.edge[i][j];
        }
    }
    for (int32_t step = 0; step < n; step++) {
        int32_t best = -1;
        int32_t best_cost = 0;
        for (int32_t v = 0; v < n; v++) {
            int32_t in = 0;
            int32_t out = 0;
            for (int32_t w = 0; w < n && !gone[v]; w++) {
                in += !gone[w] && edge[w][v];
                out += !gone[w] && edge[v][w];
            }
            if (!gone[v] && (best < 0 || in * out < best_cost)) {
                best = v;
                best_cost = in * out;
            }
        }
        order[step] = best;
        gone[best] = 1;
        for (int32_t u = 0; u < n; u++) {
            for (int32_t w = 0; w < n; w++) {
                if (u != w && !gone[u] && !gone[w] && edge[u][best] && edge[best][w]) {
                    edge[u][w] = 1;
                }
            }
        }
    }
}

static void cheapest_of_all(void) {
    uint64_t state = 11;
    int kinds[PM_ORDER_KINDS] = {0};
    for (int i = 0; i < 150; i++) {
        int32_t order[BLOCK_MAX];
        int32_t other[BLOCK_MAX];
        int32_t kind = -1;
        const int32_t n = 1 + random_below(&state, i < 140 ? 40 : BLOCK_MAX);
        block_random(&b, &state, n, random_unit(&state) * random_unit(&state) * 0.4);
        REQUIRE(pm_block_order(&b.block, NULL, NULL, order, &kind, NULL) == PM_OK);
        REQUIRE(is_permutation(n, order));
        const int64_t cost = block_eliminate(&b, order, filled);
        CHECK_INT(kind == PM_ORDER_TRIVIAL, n == 1);
        REQUIRE(kind >= 0 && kind < PM_ORDER_KINDS);
        kinds[kind]++;
        least_fill(other);
        const int64_t least = block_eliminate(&b, other, filled);
        breadth_first(other);
        const int64_t bfs = block_eliminate(&b, other, filled);
        int32_t backwards[BLOCK_MAX];
        for (int32_t j = 0; j < n; j++) {
            backwards[j] = other[n - 1 - j];
        }
        const int64_t reverse = block_eliminate(&b, backwards, filled);
        int64_t cheapest = least <= bfs ? (least <= reverse ? least : reverse) : (bfs <= reverse ? bfs : reverse);
        int64_t dissection = cheapest + 1;
        if (n >= PM_DISSECTION_MIN) {
            REQUIRE(pm_dissection_order(&b.block, NULL, other) == PM_OK);
            dissection = block_eliminate(&b, other, filled);
            cheapest = dissection < cheapest ? dissection : cheapest;
        }
        CHECK_INT(cost, cheapest);
        CHECK(n < 3
              || cost
                     == (kind == PM_ORDER_LEAST_FILL ? least
                         : kind == PM_ORDER_BFS      ? bfs
                         : kind == PM_ORDER_REVERSE_BFS ? reverse
                                                     : dissection));
    }
    CHECK(kinds[PM_ORDER_LEAST_FILL] > 0);
}

static void a_complete_block_is_seen_at_once(void) {
    int32_t order[BLOCK_MAX];
    int32_t kind = 0;
    for (int32_t n = 2; n <= 70; n += 17) {
        for (int32_t i = 0; i < n; i++) {
            for (int32_t j = 0; j < n; j++) {
                b.edge[i][j] = i != j;
            }
        }
        block_rows(&b, n);
        REQUIRE(pm_block_order(&b.block, NULL, NULL, order, &kind, NULL) == PM_OK);
        CHECK_INT(kind, PM_ORDER_LEAST_FILL);
        CHECK(is_permutation(n, order));
        pm_fill fill;
        REQUIRE(pm_block_fill(&b.block, order, n, NULL, NULL, &fill) == PM_OK);
        int64_t expected = 0;
        for (int64_t m = n; m > 0; m--) {
            expected += (m - 1) * (m - 1);
        }
        CHECK_INT(fill.operations, expected);
        CHECK_INT(fill.n_lower, n * (n - 1) / 2);
        pm_fill_release(&fill);
    }
}

/* A wheel whose hub is entered first: breadth first joins everything, least fill goes around the rim. */
static void a_wheel(void) {
    const int32_t n = 60;
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < n; j++) {
            const int rim = i > 0 && j > 0 && (j == i % (n - 1) + 1 || i == j % (n - 1) + 1);
            b.edge[i][j] = i != j && (rim || i == 0 || j == 0);
        }
    }
    block_rows(&b, n);
    int32_t order[BLOCK_MAX];
    int32_t kind = 0;
    REQUIRE(pm_block_order(&b.block, NULL, NULL, order, &kind, NULL) == PM_OK);
    CHECK(block_eliminate(&b, order, filled) < 20 * n);
}

static void removing_step_by_step(void) {
    uint64_t state = 17;
    for (int i = 0; i < 40; i++) {
        const int32_t n = 1 + random_below(&state, 90);
        int32_t order[BLOCK_MAX];
        block_random(&b, &state, n, random_unit(&state) * 0.2);
        random_permutation(&state, n, order);
        pm_bit_graph game;
        REQUIRE(pm_bit_graph_new(&b.block, &game) == PM_OK);
        int64_t total = 0;
        for (int32_t j = 0; j < n; j++) {
            CHECK_INT(game.remaining, n - j);
            total += pm_bit_graph_cost(&game, order[j]);
            pm_bit_graph_remove(&game, order[j]);
        }
        CHECK_INT(total, block_eliminate(&b, order, filled));
        CHECK_INT(game.remaining, 0);
        pm_bit_graph_release(&game);
    }
}

/* A hub with many legs of three vertices, to and fro; entered at the hub. */
static int32_t spider(int32_t legs, int32_t **row_ptr, int32_t **row_col) {
    const int32_t n = 3 * legs + 1;
    int32_t *ptr = calloc((size_t)n + 1, sizeof *ptr);
    int32_t *col = calloc(6 * (size_t)legs, sizeof *col);
    REQUIRE(ptr != NULL && col != NULL);
    int32_t used = 0;
    for (int32_t i = 0; i < legs; i++) {
        col[used++] = 3 * i + 1;
    }
    for (int32_t v = 1; v < n; v++) {
        ptr[v] = used;
        col[used++] = v % 3 == 1 ? 0 : v - 1;
        if (v % 3 != 0) {
            col[used++] = v + 1;
        }
    }
    ptr[n] = used;
    *row_ptr = ptr;
    *row_col = col;
    return n;
}

/*
 * Breadth first needs legs^3 operations here, more than this test could wait for, and the legs without the hub are as many pieces:
 * time must go with the best order, not with the worst, and not with the square of the pieces.
 */
static void a_bad_candidate_takes_no_time(void) {
    int32_t *row_ptr = NULL;
    int32_t *row_col = NULL;
    const int32_t n = spider(20000, &row_ptr, &row_col);
    const pm_block block = {0, n, row_ptr, row_col};
    int32_t *order = calloc((size_t)n, sizeof *order);
    uint8_t *seen = calloc((size_t)n, sizeof *seen);
    REQUIRE(order != NULL && seen != NULL);
    int32_t kind = 0;
    REQUIRE(pm_block_order(&block, NULL, NULL, order, &kind, NULL) == PM_OK);
    pm_fill fill;
    REQUIRE(pm_block_fill(&block, order, n, NULL, NULL, &fill) == PM_OK);
    CHECK(fill.operations <= n);
    pm_fill_release(&fill);
    REQUIRE(pm_dissection_order(&block, NULL, order) == PM_OK);
    for (int32_t i = 0; i < n; i++) {
        CHECK(!seen[order[i]]);
        seen[order[i]] = 1;
    }
    free(order);
    free(seen);
    free(row_ptr);
    free(row_col);
}

int main(void) {
    RUN(a_bad_candidate_takes_no_time);
    RUN(cheapest_of_all);
    RUN(a_complete_block_is_seen_at_once);
    RUN(a_wheel);
    RUN(removing_step_by_step);
    return test_end();
}
