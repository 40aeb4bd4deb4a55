/* graph.c */
#include "chain.h"

static pm_where where;

static int check(chain *c) {
    pm_at(&where, -1, -1, -1, -1.0);
    return pm_graph_check(&c->graph, &c->sizes, &where);
}

static chain *example(void) {
    chain *c = chain_random(7, 6, 2, 0.5, 3, 0);
    CHECK_INT(check(c), PM_OK);
    return c;
}

static void refused(chain *c, int array) {
    CHECK_INT(check(c), PM_E_INDEX);
    CHECK_INT(where.kind, PM_AT_ARRAY);
    CHECK_INT(where.which, array);
    CHECK_INT(where.theta, -1);
    CHECK_INT(pm_graph_check(&c->graph, &c->sizes, NULL), PM_E_INDEX);
}

static void refused32(chain *c, int32_t *entry, int32_t value, int array) {
    const int32_t kept = *entry;
    *entry = value;
    refused(c, array);
    *entry = kept;
    CHECK_INT(check(c), PM_OK);
}

static void refused64(chain *c, int64_t *entry, int64_t value, int array) {
    const int64_t kept = *entry;
    *entry = value;
    refused(c, array);
    *entry = kept;
    CHECK_INT(check(c), PM_OK);
}

static void sizes(void) {
    chain *c = example();
    refused32(c, &c->graph.n_vertices, 0, PM_ARRAY_SIZES);
    refused32(c, &c->graph.n_vertices, -1, PM_ARRAY_SIZES);
    refused32(c, &c->graph.n_vertices, INT32_MIN, PM_ARRAY_SIZES);
    refused32(c, &c->graph.n_vertices, INT32_MAX, PM_ARRAY_SIZES);
    refused32(c, &c->graph.n_params, -1, PM_ARRAY_SIZES);
    refused32(c, &c->graph.n_affine, -1, PM_ARRAY_SIZES);
    refused32(c, &c->graph.n_program, -1, PM_ARRAY_SIZES);
    refused32(c, &c->graph.n_program, INT32_MAX, PM_ARRAY_SIZES);
    refused64(c, &c->sizes.n_edges, -1, PM_ARRAY_SIZES);
    refused64(c, &c->sizes.n_affine_terms, INT64_MIN, PM_ARRAY_SIZES);
    chain_free(c);
}

static void pointers(void) {
    chain *c = example();
    refused64(c, &c->edge_ptr[0], 1, PM_ARRAY_EDGE_PTR);
    refused64(c, &c->edge_ptr[0], -1, PM_ARRAY_EDGE_PTR);
    refused64(c, &c->edge_ptr[2], c->edge_ptr[1] - 1, PM_ARRAY_EDGE_PTR);
    refused64(c, &c->edge_ptr[2], INT64_MAX, PM_ARRAY_EDGE_PTR);
    refused64(c, &c->edge_ptr[2], INT64_MIN, PM_ARRAY_EDGE_PTR);
    refused64(c, &c->edge_ptr[c->n_vertices], c->n_edges + 1, PM_ARRAY_EDGE_PTR);
    refused64(c, &c->sizes.n_edges, c->n_edges - 1, PM_ARRAY_EDGE_PTR);
    refused64(c, &c->sizes.n_edges, c->n_edges + 1, PM_ARRAY_EDGE_PTR);
    refused64(c, &c->affine_ptr[0], 1, PM_ARRAY_AFFINE_PTR);
    refused64(c, &c->affine_ptr[3], INT64_MAX, PM_ARRAY_AFFINE_PTR);
    refused64(c, &c->sizes.n_affine_terms, c->sizes.n_affine_terms + 1, PM_ARRAY_AFFINE_PTR);
    chain_free(c);
}

static void targets(void) {
    chain *c = example();
    for (int32_t e = 0; e < c->n_edges; e++) {
        refused32(c, &c->edge_target[e], 0, PM_ARRAY_EDGE_TARGET);
        refused32(c, &c->edge_target[e], -1, PM_ARRAY_EDGE_TARGET);
        refused32(c, &c->edge_target[e], INT32_MIN, PM_ARRAY_EDGE_TARGET);
        refused32(c, &c->edge_target[e], c->n_vertices, PM_ARRAY_EDGE_TARGET);
        refused32(c, &c->edge_target[e], INT32_MAX, PM_ARRAY_EDGE_TARGET);
        refused32(c, &c->edge_target[e], c->from[e], PM_ARRAY_EDGE_TARGET);
        if (e > 0 && c->from[e] == c->from[e - 1]) {
            refused32(c, &c->edge_target[e], c->edge_target[e - 1], PM_ARRAY_EDGE_TARGET); /* twice, and out of order */
        }
        refused32(c, &c->edge_slot[e], -1, PM_ARRAY_EDGE_SLOT);
        refused32(c, &c->edge_slot[e], c->graph.n_affine, PM_ARRAY_EDGE_SLOT);
        CHECK_INT(where.at, -1); /* refused32 ended with a good check, which says nothing */
    }
    chain_free(c);
}

static void params(void) {
    chain *c = example();
    for (int64_t i = 0; i < c->sizes.n_affine_terms; i++) {
        refused32(c, &c->affine_param[i], -1, PM_ARRAY_AFFINE_PARAM);
        refused32(c, &c->affine_param[i], c->n_params, PM_ARRAY_AFFINE_PARAM);
    }
    chain_free(c);
}

static void programs(void) {
    chain *c = example();
    uint8_t op[2] = {PM_OP_ADD, PM_OP_DIV};
    int32_t a[2] = {0, c->n_edges};
    int32_t b[2] = {1, 2};
    c->graph.n_program = 2;
    c->graph.program_op = op;
    c->graph.program_a = a;
    c->graph.program_b = b;
    c->edge_slot[2] = c->n_edges + 1;
    CHECK_INT(check(c), PM_OK);
    refused32(c, &a[0], c->n_edges, PM_ARRAY_PROGRAM); /* itself */
    refused32(c, &b[0], c->n_edges + 1, PM_ARRAY_PROGRAM);
    refused32(c, &b[1], -1, PM_ARRAY_PROGRAM);
    refused32(c, &c->edge_slot[2], c->n_edges + 2, PM_ARRAY_EDGE_SLOT);
    op[0] = 0;
    refused(c, PM_ARRAY_PROGRAM);
    op[0] = 4;
    refused(c, PM_ARRAY_PROGRAM);
    CHECK_INT(where.at, 0);
    chain_free(c);
}

static void only_a_start(void) {
    chain *c = chain_new(1, 0, 0);
    chain_graph(c);
    CHECK_INT(check(c), PM_OK);
    pm_symbolic *symbolic = NULL;
    CHECK_INT(pm_symbolic_new(&c->graph, 0, 0, NULL, NULL, NULL, NULL, &symbolic, &where), PM_E_PATTERN);
    CHECK(symbolic == NULL);
    chain_free(c);
}

static void reachable(void) {
    for (uint64_t seed = 0; seed < 30; seed++) {
        chain *c = chain_random(seed, 12, 3, 0.02 * (double)(seed % 6), 0, 0);
        static int path[CHAIN_VERTICES][CHAIN_VERTICES];
        const int32_t n = c->n_vertices;
        for (int32_t i = 0; i < n; i++) {
            for (int32_t j = 0; j < n; j++) {
                path[i][j] = i == j;
            }
        }
        for (int32_t e = 0; e < c->n_edges; e++) {
            path[c->from[e]][c->to[e]] = 1;
        }
        for (int32_t k = 0; k < n; k++) {
            for (int32_t i = 0; i < n; i++) {
                for (int32_t j = 0; j < n; j++) {
                    path[i][j] |= path[i][k] && path[k][j];
                }
            }
        }
        const int32_t roots[] = {5, (int32_t)(seed % 12), 5};
        uint8_t seen[CHAIN_VERTICES];
        CHECK_INT(pm_reachable(n, c->edge_ptr, c->edge_target, 3, roots, seen), PM_OK);
        for (int32_t v = 0; v < n; v++) {
            CHECK_INT(seen[v], path[roots[0]][v] || path[roots[1]][v]);
        }
        CHECK_INT(pm_reachable(n, c->edge_ptr, c->edge_target, 0, roots, seen), PM_OK);
        CHECK_INT(seen[0], 0);
        const int32_t bad[] = {3, n, -1};
        CHECK_INT(pm_reachable(n, c->edge_ptr, c->edge_target, 2, bad, seen), PM_E_INDEX);
        CHECK_INT(pm_reachable(n, c->edge_ptr, c->edge_target, 1, bad + 2, seen), PM_E_INDEX);
        test_fail_only(0);
        CHECK_INT(pm_reachable(n, c->edge_ptr, c->edge_target, 1, roots, seen), PM_E_MEMORY);
        test_fail_from(-1);
        chain_free(c);
    }
}

int main(void) {
    RUN(sizes);
    RUN(pointers);
    RUN(targets);
    RUN(params);
    RUN(programs);
    RUN(only_a_start);
    RUN(reachable);
    return test_end();
}
