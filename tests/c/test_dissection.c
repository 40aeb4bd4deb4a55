/* dissection.c: a permutation on every kind of block, and far fewer operations than a sweep on a grid. */
#include "block.h"
#include "dissection.h"

static test_block b;

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

static void clear(int32_t n) {
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < n; j++) {
            b.edge[i][j] = 0;
        }
    }
}

static void link_both(int32_t i, int32_t j) { b.edge[i][j] = b.edge[j][i] = 1; }

static int64_t cost_of(const int32_t *order) {
    pm_fill fill;
    REQUIRE(pm_block_fill(&b.block, order, b.block.n, NULL, NULL, &fill) == PM_OK);
    const int64_t operations = fill.operations;
    pm_fill_release(&fill);
    return operations;
}

static void random_blocks(void) {
    uint64_t state = 23;
    for (int i = 0; i < 120; i++) {
        int32_t order[BLOCK_MAX];
        const int32_t n = 1 + random_below(&state, BLOCK_MAX);
        block_random(&b, &state, n, random_unit(&state) * random_unit(&state) * 0.2);
        REQUIRE(pm_dissection_order(&b.block, NULL, order) == PM_OK);
        CHECK(is_permutation(n, order));
    }
}

/* Parts that no edge connects occur once the separators are taken away; here they are there from the start. */
static void disconnected(void) {
    const int32_t n = 180;
    int32_t order[BLOCK_MAX];
    clear(n);
    for (int32_t i = 0; i + 1 < n; i++) {
        if (i % 60 != 59) {
            link_both(i, i + 1);
        }
    }
    block_rows(&b, n);
    REQUIRE(pm_dissection_order(&b.block, NULL, order) == PM_OK);
    CHECK(is_permutation(n, order));
}

static void complete(void) {
    const int32_t n = 70;
    int32_t order[BLOCK_MAX];
    clear(n);
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < i; j++) {
            link_both(i, j);
        }
    }
    block_rows(&b, n);
    REQUIRE(pm_dissection_order(&b.block, NULL, order) == PM_OK);
    CHECK(is_permutation(n, order));
}

/* A path is cut in the middle again and again: at most two neighbours are left whenever a vertex goes. */
static void path(void) {
    const int32_t n = BLOCK_MAX;
    int32_t order[BLOCK_MAX];
    clear(n);
    for (int32_t i = 0; i + 1 < n; i++) {
        link_both(i, i + 1);
    }
    block_rows(&b, n);
    REQUIRE(pm_dissection_order(&b.block, NULL, order) == PM_OK);
    CHECK(is_permutation(n, order));
    CHECK(cost_of(order) <= 4 * n);
}

/* A grid of s x s: a sweep in the order of the rows costs about s^4, dissection far less than half of that. */
static void grid(void) {
    enum { S = 48, N = S * S };
    static int32_t row_ptr[N + 1];
    static int32_t row_col[4 * N];
    static int32_t order[N];
    static int32_t natural[N];
    int32_t used = 0;
    for (int32_t v = 0; v < N; v++) {
        row_ptr[v] = used;
        natural[v] = v;
        if (v >= S) {
            row_col[used++] = v - S;
        }
        if (v % S > 0) {
            row_col[used++] = v - 1;
        }
        if (v % S < S - 1) {
            row_col[used++] = v + 1;
        }
        if (v < N - S) {
            row_col[used++] = v + S;
        }
    }
    row_ptr[N] = used;
    b.block.root = 0;
    b.block.n = N;
    b.block.row_ptr = row_ptr;
    b.block.row_col = row_col;
    REQUIRE(pm_dissection_order(&b.block, NULL, order) == PM_OK);
    CHECK(2 * cost_of(order) < cost_of(natural));
}

int main(void) {
    RUN(random_blocks);
    RUN(disconnected);
    RUN(complete);
    RUN(path);
    RUN(grid);
    return test_end();
}
