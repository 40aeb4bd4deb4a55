/* estimate.c, and the budget of symbolic.c and order.c: exact for symmetric patterns, never less than the truth. */
#include <stdlib.h>
#include <string.h>

#include "block.h"
#include "chain.h"

static test_block b;
static int32_t order[BLOCK_MAX];
static uint8_t filled[BLOCK_MAX][BLOCK_MAX];

static void against_elimination(void) {
    uint64_t state = 5;
    for (int round = 0; round < 60; round++) {
        const int32_t n = 3 + random_below(&state, 60);
        const int symmetric = round % 2;
        block_random(&b, &state, n, 0.2 * random_unit(&state));
        for (int32_t i = 0; symmetric && i < n; i++) {
            for (int32_t j = 0; j < n; j++) {
                b.edge[i][j] |= b.edge[j][i];
            }
        }
        block_rows(&b, n);
        random_permutation(&state, n, order);
        const int64_t operations = block_eliminate(&b, order, filled);
        int64_t entries = 0;
        for (int32_t i = 0; i < n; i++) {
            for (int32_t j = 0; j < n; j++) {
                entries += i != j && filled[i][j];
            }
        }
        pm_cost cost = {0.0, 0, 0};
        REQUIRE(pm_estimate(&b.block, order, NULL, &cost) == PM_OK);
        if (symmetric) {
            CHECK(cost.operations == (double)operations);
            CHECK_INT(cost.entries, entries);
        } else {
            CHECK(cost.operations >= (double)operations);
            CHECK(cost.entries >= entries);
        }
    }
}

static int32_t stop_now(void *context) {
    (void)context;
    return 1;
}

static void stopped_and_out_of_memory(void) {
    uint64_t state = 5;
    block_random(&b, &state, 50, 0.1);
    random_permutation(&state, 50, order);
    pm_cost cost;
    pm_control control = {stop_now, NULL, 0, 0, 0, 0, 0, 0.0};
    CHECK_INT(pm_estimate(&b.block, order, &control, &cost), PM_E_STOPPED);
    for (int64_t n = 0; n < 6; n++) {
        test_fail_only(n);
        CHECK_INT(pm_estimate(&b.block, order, NULL, &cost), PM_E_MEMORY);
        test_fail_from(-1);
    }
}

/* A budget of what is needed is enough, and one less is not; the error says what is needed. */
static void the_budget_of_a_graph(void) {
    for (uint64_t seed = 1; seed < 12; seed++) {
        chain *c = chain_random(seed, 20 + 8 * (int32_t)seed, 1, 0.05, 1, 0);
        const int64_t operations = pm_symbolic_operations(c->symbolic);
        const int64_t entries = c->n_lower + c->n_upper;
        pm_symbolic *s = NULL;
        pm_where where = {0};
        const pm_budget enough = {operations, entries};
        REQUIRE(pm_symbolic_new(&c->graph, 0, 0, NULL, NULL, &enough, NULL, &s, &where) == PM_OK);
        pm_pattern again;
        pm_symbolic_pattern(s, &again);
        CHECK(memcmp(again.order, c->pattern.order, (size_t)again.n_rows * sizeof *again.order) == 0);
        pm_symbolic_free(s);
        const pm_budget less_work = {operations - 1, entries};
        CHECK_INT(pm_symbolic_new(&c->graph, 0, 0, NULL, NULL, &less_work, NULL, &s, &where), PM_E_LIMIT);
        CHECK(s == NULL && where.kind == PM_AT_COMPONENT && where.which == PM_LIMIT_OPERATIONS && where.value >= (double)operations && where.value < 1e6);
        const pm_budget less_room = {INT64_MAX / 8, entries - 1};
        CHECK_INT(pm_symbolic_new(&c->graph, 0, 0, NULL, NULL, &less_room, NULL, &s, &where), PM_E_LIMIT);
        CHECK(s == NULL && where.kind == PM_AT_COMPONENT && where.which == PM_LIMIT_ENTRIES && where.value >= (double)entries && where.value < 1e6);
        chain_free(c);
    }
}

/* Above 8,192 rows the estimate decides, before any trial: a random graph of 9,000 rows would take minutes. */
static void a_large_block_is_refused_at_once(void) {
    enum { N = 9000, DEGREE = 5 };
    uint64_t state = 3;
    int32_t *ptr = calloc(N + 1, sizeof *ptr);
    int32_t *col = calloc((size_t)N * DEGREE, sizeof *col);
    int32_t *large_order = calloc(N, sizeof *large_order);
    REQUIRE(ptr != NULL && col != NULL && large_order != NULL);
    int32_t used = 0;
    for (int32_t v = 0; v < N; v++) {
        ptr[v] = used;
        uint8_t seen[N] = {0};
        seen[v] = 1;
        for (int k = 0; k < DEGREE; k++) {
            const int32_t w = k == 0 ? (v + 1) % N : random_below(&state, N);
            if (!seen[w]) {
                seen[w] = 1;
                col[used++] = w;
            }
        }
    }
    ptr[N] = used;
    const pm_block block = {0, N, ptr, col};
    int32_t kind = 0;
    pm_cost cost = {0.0, 0, 0};
    const pm_budget budget = {1000000000, INT64_MAX};
    CHECK_INT(pm_block_order(&block, &budget, NULL, large_order, &kind, &cost), PM_E_LIMIT);
    CHECK(cost.operations > 1e9 && cost.operations < 4e11);
    free(ptr);
    free(col);
    free(large_order);
}

int main(void) {
    RUN(against_elimination);
    RUN(stopped_and_out_of_memory);
    RUN(the_budget_of_a_graph);
    RUN(a_large_block_is_refused_at_once);
    return test_end();
}
