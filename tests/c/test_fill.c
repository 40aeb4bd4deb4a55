/* fill.c, against elimination on a boolean matrix. */
#include <stdlib.h>

#include "block.h"

static test_block b;
static uint8_t filled[BLOCK_MAX][BLOCK_MAX];

static void check_fill(const int32_t *order) {
    const int32_t n = b.block.n;
    const int64_t operations = block_eliminate(&b, order, filled);
    pm_fill fill;
    REQUIRE(pm_block_fill(&b.block, order, n, NULL, NULL, &fill) == PM_OK);
    CHECK_INT(fill.operations, operations);
    for (int32_t i = 0; i < n; i++) {
        int64_t k = fill.lower_ptr[i];
        for (int32_t j = 0; j < i; j++) {
            if (filled[i][j]) {
                CHECK(k < fill.lower_ptr[i + 1] && fill.lower_col[k] == j);
                k++;
            }
        }
        CHECK_INT(k, fill.lower_ptr[i + 1]);
        k = fill.upper_ptr[i];
        for (int32_t j = i + 1; j < n; j++) {
            if (filled[i][j]) {
                CHECK(k < fill.upper_ptr[i + 1] && fill.upper_col[k] == j);
                k++;
            }
        }
        CHECK_INT(k, fill.upper_ptr[i + 1]);
    }
    CHECK_INT(fill.n_lower, fill.lower_ptr[n]);
    CHECK_INT(fill.n_upper, fill.upper_ptr[n]);
    pm_fill_release(&fill);
    CHECK(fill.lower_col == NULL);
    pm_fill_release(&fill); /* twice does no harm */

    CHECK_INT(pm_block_fill(&b.block, order, n, &(pm_budget){operations, INT64_MAX}, NULL, &fill), PM_OK);
    pm_fill_release(&fill);
    if (operations > 0) {
        CHECK_INT(pm_block_fill(&b.block, order, n, &(pm_budget){operations - 1, INT64_MAX}, NULL, &fill), PM_E_LIMIT);
    }
}

/* Only the first m positions are eliminated: the rest keeps what they leave, on both sides of the diagonal. */
static void check_partial(const int32_t *order, int32_t m) {
    const int32_t n = b.block.n;
    for (int32_t i = 0; i < n; i++) {
        for (int32_t j = 0; j < n; j++) {
            filled[i][j] = b.edge[order[i]][order[j]];
        }
    }
    for (int32_t v = 0; v < m; v++) {
        for (int32_t u = v + 1; u < n; u++) {
            for (int32_t w = v + 1; filled[u][v] && w < n; w++) {
                filled[u][w] |= filled[v][w] && w != u;
            }
        }
    }
    pm_fill fill;
    REQUIRE(pm_block_fill(&b.block, order, m, NULL, NULL, &fill) == PM_OK);
    for (int32_t i = 0; i < n; i++) {
        int64_t lower = fill.lower_ptr[i];
        int64_t upper = fill.upper_ptr[i];
        for (int32_t j = 0; j < n; j++) {
            if (!filled[i][j]) {
                continue;
            }
            if (j < i && j < m) {
                CHECK(lower < fill.lower_ptr[i + 1] && fill.lower_col[lower++] == j);
            } else {
                CHECK(upper < fill.upper_ptr[i + 1] && fill.upper_col[upper++] == j);
            }
        }
        CHECK_INT(lower, fill.lower_ptr[i + 1]);
        CHECK_INT(upper, fill.upper_ptr[i + 1]);
    }
    pm_fill_release(&fill);
}

static void random_blocks(void) {
    uint64_t state = 5;
    int32_t order[BLOCK_MAX];
    for (int i = 0; i < 120; i++) {
        const int32_t n = 1 + random_below(&state, i < 100 ? 30 : BLOCK_MAX);
        block_random(&b, &state, n, random_unit(&state) * 0.3);
        random_permutation(&state, n, order);
        check_fill(order);
        check_partial(order, random_below(&state, n + 1));
    }
}

/* More than 64 x 64 rows, so that the second level of the bit set matters: a path, where nothing fills in. */
static void many_rows(void) {
    enum { N = 70000 };
    int32_t *row_ptr = calloc(N + 1, sizeof *row_ptr);
    int32_t *row_col = calloc(2 * N, sizeof *row_col);
    int32_t *order = calloc(N, sizeof *order);
    REQUIRE(row_ptr != NULL && row_col != NULL && order != NULL);
    int32_t used = 0;
    for (int32_t i = 0; i < N; i++) {
        row_ptr[i] = used;
        if (i > 0) {
            row_col[used++] = i - 1;
        }
        if (i < N - 1) {
            row_col[used++] = i + 1;
        }
        order[i] = i;
    }
    row_ptr[N] = used;
    const pm_block path = {0, N, row_ptr, row_col};
    pm_fill fill;
    REQUIRE(pm_block_fill(&path, order, N, NULL, NULL, &fill) == PM_OK);
    CHECK_INT(fill.n_lower, N - 1);
    CHECK_INT(fill.n_upper, N - 1);
    CHECK_INT(fill.operations, N - 1);
    for (int32_t i = 1; i < N; i++) {
        CHECK_INT(fill.lower_col[i - 1], i - 1);
        CHECK_INT(fill.upper_col[i - 1], i);
    }
    pm_fill_release(&fill);
    /* Odd ones first, then the even ones: each join of two neighbours leaps over one. */
    for (int32_t i = 0; i < N; i++) {
        order[i] = i < N / 2 ? 2 * i + 1 : 2 * (i - N / 2);
    }
    REQUIRE(pm_block_fill(&path, order, N, NULL, NULL, &fill) == PM_OK);
    CHECK_INT(fill.n_lower, 2 * (N - 1) - (N / 2 - 1) - N / 2 + N / 2 - 1);
    pm_fill_release(&fill);
    free(row_ptr);
    free(row_col);
    free(order);
}

int main(void) {
    RUN(random_blocks);
    RUN(many_rows);
    return test_end();
}
