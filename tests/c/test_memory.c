/* memory.c and workspace.c */
#include <stdlib.h>

#include "chain.h"

static void sizes_that_do_not_fit(void) {
    CHECK(pm_alloc(-1, 8) == NULL);
    CHECK(pm_alloc_zero(-1, 8) == NULL);
    CHECK(pm_alloc_aligned(-1) == NULL);
    CHECK(pm_alloc(INT64_MAX, 8) == NULL);
    CHECK(pm_alloc(INT64_MAX / 8 + 1, 8) == NULL);
    CHECK(pm_alloc_zero(INT64_MAX, 2) == NULL);
    CHECK(pm_alloc_aligned(INT64_MAX) == NULL);
    CHECK(pm_alloc_aligned(INT64_MAX / 16 + 1) == NULL);
}

static void nothing_is_a_pointer(void) {
    void *a = pm_alloc(0, 8);
    void *b = pm_alloc_zero(0, 8);
    double *c = pm_alloc_aligned(0);
    CHECK(a != NULL && b != NULL && c != NULL);
    free(a);
    free(b);
    pm_free_aligned(c);
    pm_free_aligned(NULL);
}

static void zeroed(void) {
    unsigned char *p = pm_alloc_zero(1000, 3);
    REQUIRE(p != NULL);
    for (int i = 0; i < 3000; i++) {
        CHECK_INT(p[i], 0);
    }
    free(p);
}

static void aligned_and_writable_to_the_end(void) {
    for (int64_t count = 0; count < 100; count++) {
        double *p = pm_alloc_aligned(count);
        REQUIRE(p != NULL);
        CHECK_INT((int64_t)((uintptr_t)p % 64), 0);
        for (int64_t i = 0; i < count; i++) {
            p[i] = 1.0;
        }
        pm_free_aligned(p);
    }
}

static void parts(void) {
    double *one = NULL;
    double *two = NULL;
    double *three = NULL;
    double *memory = NULL;
    const pm_part good[] = {{&one, 3}, {&two, 0}, {&three, 17}};
    CHECK_INT(pm_alloc_parts(good, 3, &memory), PM_OK);
    CHECK(one == memory && two >= one + 8 && three >= two); /* apart under the address sanitizer */
    for (int i = 0; i < 17; i++) {
        three[i] = 1.0;
    }
    pm_free_aligned(memory);
    const pm_part negative[] = {{&one, 3}, {&two, -1}};
    CHECK_INT(pm_alloc_parts(negative, 2, &memory), PM_E_MEMORY);
    CHECK(memory == NULL);
    const pm_part large[] = {{&one, INT64_MAX / 100}, {&two, INT64_MAX / 100}};
    CHECK_INT(pm_alloc_parts(large, 2, &memory), PM_E_MEMORY);
    CHECK(memory == NULL);
}

static void arenas(void) {
    const int16_t from[3] = {1, 2, 3};
    for (int missing = 0; missing < 2; missing++) {
        pm_arena a = {NULL, 0};
        int16_t *copied = pm_take(&a, from, 3, sizeof *copied);
        uint8_t *bytes = pm_take(&a, NULL, 65, 1);
        const void *nothing = pm_take(&a, NULL, 0, 8);
        CHECK(copied == NULL && bytes == NULL && nothing == NULL && a.used >= 3 * 64);
        const int64_t used = a.used;
        if (missing) {
            test_fail_only(0);
            CHECK_INT(pm_arena_make(&a), PM_E_MEMORY);
            CHECK(a.memory == NULL);
            continue;
        }
        REQUIRE(pm_arena_make(&a) == PM_OK);
        copied = pm_take(&a, from, 3, sizeof *copied);
        bytes = pm_take(&a, NULL, 65, 1);
        nothing = pm_take(&a, NULL, 0, 8);
        REQUIRE(copied != NULL && bytes != NULL);
        CHECK(copied[0] == 1 && copied[1] == 2 && copied[2] == 3);
        CHECK((uintptr_t)copied % 64 == 0 && (uintptr_t)bytes % 64 == 0 && (uintptr_t)nothing % 64 == 0 && a.used == used);
        for (int i = 0; i < 65; i++) {
            bytes[i] = 255;
        }
        CHECK(copied[2] == 3);
        pm_free_aligned(a.memory);
    }
    const int64_t bad[] = {-1, INT64_MAX, INT64_MAX / 64, INT64_MAX / 256};
    for (int i = 0; i < 4; i++) {
        pm_arena a = {NULL, 64};
        CHECK(pm_take(&a, from, bad[i], 8) == NULL);
        CHECK(pm_take(&a, from, 3, 2) == NULL);
        CHECK_INT(pm_arena_make(&a), PM_E_MEMORY);
    }
}

static void workspace_arrays(void) {
    chain *c = chain_random(3, 9, 2, 0.4, 2, 0);
    pm_workspace *w = c->one;
    CHECK(pm_workspace_new(c->plan, 0, &w) == PM_E_ARGUMENT && w == NULL);
    CHECK(pm_workspace_new(c->plan, 2, &w) == PM_E_ARGUMENT && w == NULL);
    CHECK(pm_workspace_new(c->plan, -8, &w) == PM_E_ARGUMENT && w == NULL);
    const pm_workspace *ws[] = {c->one, c->eight};
    for (int i = 0; i < 2; i++) {
        const double *arrays[] = {ws[i]->theta, ws[i]->slot, ws[i]->lower, ws[i]->upper, ws[i]->exit, ws[i]->pivot,
                                  ws[i]->total, ws[i]->acc, ws[i]->x, ws[i]->y, ws[i]->z};
        const int64_t counts[] = {c->n_params, c->plan->n_slots, c->n_lower, c->n_upper, c->pattern.n_rows, c->pattern.n_rows,
                                  c->pattern.n_rows, c->plan->max_block, c->pattern.n_rows, c->pattern.n_rows,
                                  c->pattern.n_rows};
        for (int a = 0; a < 11; a++) {
            CHECK_INT((int64_t)((uintptr_t)arrays[a] % 64), 0);
            if (a > 0) {
                CHECK(arrays[a] >= arrays[a - 1] + counts[a - 1] * ws[i]->lanes);
            }
        }
    }
    pm_workspace_free(NULL);
    chain_free(c);
}

int main(void) {
    RUN(sizes_that_do_not_fit);
    RUN(nothing_is_a_pointer);
    RUN(zeroed);
    RUN(aligned_and_writable_to_the_end);
    RUN(parts);
    RUN(arenas);
    RUN(workspace_arrays);
    return test_end();
}
