/* components.c, against reachability by repeated squaring of the adjacency. */
#include <string.h>

#include "chain.h"

static int reach[CHAIN_VERTICES][CHAIN_VERTICES];

static void set_reach(const chain *c) {
    memset(reach, 0, sizeof reach);
    for (int32_t e = 0; e < c->n_edges; e++) {
        reach[c->from[e]][c->to[e]] = 1;
    }
    for (int32_t k = 0; k < c->n_vertices; k++) {
        for (int32_t i = 0; i < c->n_vertices; i++) {
            for (int32_t j = 0; j < c->n_vertices; j++) {
                reach[i][j] |= reach[i][k] && reach[k][j];
            }
        }
    }
}

static void check_components(const chain *c) {
    int32_t order[CHAIN_VERTICES];
    int32_t block_ptr[CHAIN_VERTICES + 1];
    int32_t block_of[CHAIN_VERTICES];
    int32_t n_rows = 0;
    int32_t n_blocks = 0;
    REQUIRE(pm_components(&c->graph, NULL, &n_rows, &n_blocks, order, block_ptr) == PM_OK);
    set_reach(c);
    int32_t expected = 0;
    for (int32_t v = 0; v < c->n_vertices; v++) {
        block_of[v] = -1;
        expected += c->edge_ptr[v] < c->edge_ptr[v + 1];
    }
    CHECK_INT(n_rows, expected);
    CHECK_INT(block_ptr[0], 0);
    CHECK_INT(block_ptr[n_blocks], n_rows);
    CHECK_INT(order[n_rows - 1], 0);
    for (int32_t b = 0; b < n_blocks; b++) {
        CHECK(block_ptr[b] < block_ptr[b + 1]);
        for (int32_t i = block_ptr[b]; i < block_ptr[b + 1]; i++) {
            CHECK_INT(block_of[order[i]], -1);
            block_of[order[i]] = b;
            CHECK(i == block_ptr[b] || order[i - 1] < order[i]);
        }
    }
    for (int32_t v = 0; v < c->n_vertices; v++) {
        for (int32_t w = 0; w < c->n_vertices; w++) {
            if (v != w && block_of[v] >= 0 && block_of[w] >= 0) {
                CHECK_INT(block_of[v] == block_of[w], reach[v][w] && reach[w][v]);
            }
        }
    }
    for (int32_t e = 0; e < c->n_edges; e++) {
        CHECK(block_of[c->to[e]] <= block_of[c->from[e]]);
    }
}

static void random_graphs(void) {
    for (uint64_t seed = 0; seed < 60; seed++) {
        chain *c = chain_random(seed, 1 + (int32_t)(seed % 23), 1 + (int32_t)(seed % 3), 0.02 * (double)(seed % 9), 0, 0);
        check_components(c);
        chain_free(c);
    }
}

static void a_long_cycle_needs_no_recursion(void) {
    chain *c = chain_birth_death(CHAIN_VERTICES - 2, 1.0, 2.0);
    check_components(c);
    chain_free(c);
}

static void vertices_that_are_not_reached_are_rows_too(void) {
    chain *c = chain_new(6, 0, 0);
    chain_edge(c, 0, 2, 1.0, NULL);
    chain_edge(c, 2, 5, 1.0, NULL);
    chain_edge(c, 1, 2, 1.0, NULL);
    chain_edge(c, 3, 4, 1.0, NULL);
    chain_edge(c, 4, 3, 1.0, NULL);
    chain_graph(c);
    check_components(c);
    chain_free(c);
}

int main(void) {
    RUN(random_graphs);
    RUN(a_long_cycle_needs_no_recursion);
    RUN(vertices_that_are_not_reached_are_rows_too);
    return test_end();
}
