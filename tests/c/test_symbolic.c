/* symbolic.c */
#include <string.h>

#include "chain.h"

static void the_pattern_of_the_whole(void) {
    for (uint64_t seed = 0; seed < 60; seed++) {
        chain *c = chain_random(seed, 1 + (int32_t)(seed % 25), 1, 0.05 * (double)(seed % 7), 0, 0);
        const pm_pattern *s = &c->pattern;
        static uint8_t filled[CHAIN_VERTICES][CHAIN_VERTICES];
        int32_t position[CHAIN_VERTICES];
        int32_t block[CHAIN_VERTICES];
        memset(filled, 0, sizeof filled);
        for (int32_t v = 0; v < c->n_vertices; v++) {
            position[v] = -1;
        }
        for (int32_t b = 0; b < s->n_blocks; b++) {
            for (int32_t i = s->block_ptr[b]; i < s->block_ptr[b + 1]; i++) {
                position[s->order[i]] = i;
                block[i] = b;
            }
        }
        for (int32_t e = 0; e < c->n_edges; e++) {
            const int32_t i = position[c->from[e]];
            const int32_t j = position[c->to[e]];
            if (j >= 0 && block[i] == block[j]) {
                filled[i][j] = 1;
            }
        }
        int64_t operations = 0;
        for (int32_t v = 0; v < s->n_rows; v++) {
            for (int32_t u = v + 1; u < s->n_rows; u++) {
                for (int32_t w = v + 1; filled[u][v] && w < s->n_rows; w++) {
                    if (filled[v][w] && w != u) {
                        filled[u][w] = 1;
                        operations++;
                    }
                }
                operations += filled[u][v];
            }
        }
        CHECK_INT(pm_symbolic_operations(c->symbolic), operations);
        CHECK_INT(pm_plan_operations(c->plan), operations);
        for (int32_t i = 0; i < s->n_rows; i++) {
            int64_t k = s->lower_ptr[i];
            for (int32_t j = 0; j < i; j++) {
                if (filled[i][j]) {
                    CHECK(k < s->lower_ptr[i + 1] && s->lower_col[k++] == j);
                }
            }
            CHECK_INT(k, s->lower_ptr[i + 1]);
            k = s->upper_ptr[i];
            for (int32_t j = i + 1; j < s->n_rows; j++) {
                if (filled[i][j]) {
                    CHECK(k < s->upper_ptr[i + 1] && s->upper_col[k++] == j);
                }
            }
            CHECK_INT(k, s->upper_ptr[i + 1]);
        }
        int64_t counts[PM_ORDER_KINDS];
        int64_t sum = 0;
        pm_symbolic_ordering(c->symbolic, counts);
        for (int i = 0; i < PM_ORDER_KINDS; i++) {
            sum += counts[i];
        }
        CHECK_INT(sum, s->n_blocks);
        CHECK_INT(counts[PM_ORDER_GIVEN], 0);
        chain_free(c);
    }
}

static int try_order(const chain *c, int32_t n_rows, int32_t n_blocks, const int32_t *order, const int32_t *block_ptr) {
    pm_symbolic *symbolic = NULL;
    pm_where where;
    const int status = pm_symbolic_new(&c->graph, n_rows, n_blocks, order, block_ptr, NULL, NULL, &symbolic, &where);
    CHECK_INT(symbolic == NULL, status != PM_OK);
    pm_symbolic_free(symbolic);
    return status;
}

static void the_same_order_given(void) {
    for (uint64_t seed = 0; seed < 20; seed++) {
        chain *c = chain_random(seed, 12, 2, 0.2, 0, 0);
        pm_symbolic *again = NULL;
        REQUIRE(pm_symbolic_new(&c->graph, c->pattern.n_rows, c->pattern.n_blocks, c->pattern.order, c->pattern.block_ptr, NULL,
                                       NULL, &again,
                                NULL) == PM_OK);
        pm_pattern s;
        pm_symbolic_pattern(again, &s);
        CHECK_INT(pm_symbolic_operations(again), pm_symbolic_operations(c->symbolic));
        CHECK_INT(s.n_rows, c->pattern.n_rows);
        CHECK_INT(s.n_blocks, c->pattern.n_blocks);
        CHECK(memcmp(s.order, c->pattern.order, (size_t)s.n_rows * sizeof *s.order) == 0);
        CHECK(memcmp(s.lower_ptr, c->pattern.lower_ptr, ((size_t)s.n_rows + 1) * sizeof *s.lower_ptr) == 0);
        for (int64_t k = 0; k < c->n_upper; k++) {
            CHECK_INT(s.upper_col[k], c->pattern.upper_col[k]);
        }
        int64_t counts[PM_ORDER_KINDS];
        pm_symbolic_ordering(again, counts);
        CHECK_INT(counts[PM_ORDER_GIVEN], s.n_blocks);
        pm_symbolic_free(again);
        chain_free(c);
    }
}

static void given_orders_that_are_wrong(void) {
    /* 0 -> 1 <-> 2 -> 3 -> 4, blocks {3} {1 2} {0} */
    chain *c = chain_new(5, 0, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 1.0, NULL);
    chain_edge(c, 2, 1, 1.0, NULL);
    chain_edge(c, 2, 3, 1.0, NULL);
    chain_edge(c, 3, 4, 1.0, NULL);
    chain_graph(c);
    const int32_t good[] = {3, 2, 1, 0};
    const int32_t blocks[] = {0, 1, 3, 4};
    const int32_t one_block[] = {0, 4};
    CHECK_INT(try_order(c, 4, 3, good, blocks), PM_OK);
    CHECK_INT(try_order(c, 4, 1, good, one_block), PM_OK); /* larger blocks than needed only cost time */
    const int32_t bad_orders[][4] = {
        {3, 2, 0, 1}, {3, 2, 2, 0}, {4, 2, 1, 0}, {3, 2, -1, 0}, {3, 2, 5, 0}, {3, 2, INT32_MAX, 0}, {1, 2, 3, 0}, {0, 2, 1, 0},
    };
    for (size_t i = 0; i < sizeof bad_orders / sizeof bad_orders[0]; i++) {
        CHECK_INT(try_order(c, 4, 3, bad_orders[i], blocks), PM_E_PATTERN);
    }
    const int32_t bad_blocks[][4] = {{1, 1, 3, 4}, {0, 1, 3, 5}, {0, 1, 3, 3}, {0, 0, 3, 4}, {0, 3, 1, 4}, {0, 7, 3, 4},
                                     {0, -5, 3, 4}, {0, 2, 3, 4}, {0, INT32_MAX, INT32_MIN, 4}};
    for (size_t i = 0; i < sizeof bad_blocks / sizeof bad_blocks[0]; i++) {
        CHECK_INT(try_order(c, 4, 3, good, bad_blocks[i]), PM_E_PATTERN);
    }
    CHECK_INT(try_order(c, 3, 3, good, blocks), PM_E_PATTERN);
    CHECK_INT(try_order(c, 0, 0, good, blocks), PM_E_PATTERN);
    CHECK_INT(try_order(c, -1, 3, good, blocks), PM_E_PATTERN);
    CHECK_INT(try_order(c, INT32_MIN, 3, good, blocks), PM_E_PATTERN);
    CHECK_INT(try_order(c, 4, 0, good, blocks), PM_E_PATTERN);
    CHECK_INT(try_order(c, 4, INT32_MAX, good, blocks), PM_E_PATTERN);
    chain_free(c);
}

static void free_nothing(void) { pm_symbolic_free(NULL); }

int main(void) {
    RUN(the_pattern_of_the_whole);
    RUN(the_same_order_given);
    RUN(given_orders_that_are_wrong);
    RUN(free_nothing);
    return test_end();
}
