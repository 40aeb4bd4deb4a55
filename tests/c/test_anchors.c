/* anchors.c */
#include "chain.h"

/* Vertex of the anchor of the block of v; 0 stands for absorption. */
static int32_t anchor_of(const chain *c, int32_t v) {
    const int32_t row = c->one->anchor[c->one->block[c->plan->position[v]]];
    return row < 0 ? 0 : c->pattern.order[row];
}

static void small_graphs(void) {
    /* 1 -> {2, 3} -> 4 <-> 5 -> 6 -> 7, absorbed at 8; 5 also leads to 7. */
    chain *c = chain_new(9, 0, 0);
    const int32_t edges[][2] = {{0, 1}, {1, 2}, {1, 3}, {2, 4}, {3, 4}, {4, 5}, {5, 4}, {5, 6}, {5, 7}, {6, 7}, {7, 8}};
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        chain_edge(c, edges[i][0], edges[i][1], 1.0, NULL);
    }
    chain_plan(c);
    CHECK_INT(pm_find_anchors(c->plan, c->one), PM_OK);
    CHECK_INT(anchor_of(c, 0), 1);
    CHECK_INT(anchor_of(c, 1), 4);
    CHECK_INT(anchor_of(c, 2), 4);
    CHECK_INT(anchor_of(c, 3), 4);
    CHECK_INT(anchor_of(c, 4), 7);
    CHECK_INT(anchor_of(c, 5), 7);
    CHECK_INT(anchor_of(c, 6), 7);
    CHECK_INT(anchor_of(c, 7), 0);
    CHECK_INT(pm_find_anchors(c->plan, c->one), PM_OK); /* found once */
    chain_free(c);
}

/* Every path from v to absorption meets its anchor: without the anchor absorption is out of reach. */
static void every_path_meets_it(void) {
    for (uint64_t seed = 0; seed < 200; seed++) {
        chain *c = chain_random(seed, 1 + (int32_t)(seed % 20), 1 + (int32_t)(seed % 2), 0.02 * (double)(seed % 5), 0, 0);
        CHECK_INT(pm_find_anchors(c->plan, c->one), PM_OK);
        for (int32_t v = 0; v < c->n_vertices; v++) {
            if (c->plan->position[v] < 0 || anchor_of(c, v) == 0) {
                continue;
            }
            const int32_t anchor = anchor_of(c, v);
            uint8_t seen[CHAIN_VERTICES] = {0};
            seen[v] = 1;
            for (int32_t round = 0; round < c->n_vertices; round++) {
                for (int32_t u = 0; u < c->n_vertices; u++) {
                    for (int64_t e = c->edge_ptr[u]; e < c->edge_ptr[u + 1] && seen[u] && u != anchor; e++) {
                        seen[c->edge_target[e]] = 1;
                    }
                }
            }
            CHECK(seen[anchor]);
            for (int32_t u = 1; u < c->n_vertices; u++) {
                CHECK(!(seen[u] && c->plan->position[u] < 0));
            }
        }
        chain_free(c);
    }
}

int main(void) {
    RUN(small_graphs);
    RUN(every_path_meets_it);
    return test_end();
}
