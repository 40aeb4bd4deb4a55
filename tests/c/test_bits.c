/* bits.h; the runner compiles this once more without __GNUC__, for the branches of other compilers. */
#include "bits.h"

#include "harness.h"

static int32_t slow_count(uint64_t x) {
    int32_t count = 0;
    for (int i = 0; i < 64; i++) {
        count += (int32_t)((x >> i) & 1u);
    }
    return count;
}

static int32_t slow_lowest(uint64_t x) {
    int32_t i = 0;
    while (((x >> i) & 1u) == 0) {
        i++;
    }
    return i;
}

static void counts(void) {
    uint64_t state = 1;
    CHECK_INT(pm_popcount(0), 0);
    CHECK_INT(pm_popcount(UINT64_MAX), 64);
    for (int i = 0; i < 64; i++) {
        CHECK_INT(pm_popcount((uint64_t)1 << i), 1);
        CHECK_INT(pm_lowest((uint64_t)1 << i), i);
        CHECK_INT(pm_lowest(UINT64_MAX << i), i);
    }
    for (int i = 0; i < 2000; i++) {
        const uint64_t x = random_next(&state) & random_next(&state);
        CHECK_INT(pm_popcount(x), slow_count(x));
        if (x != 0) {
            CHECK_INT(pm_lowest(x), slow_lowest(x));
        }
    }
}

static void words(void) {
    CHECK_INT(pm_words(0), 0);
    CHECK_INT(pm_words(1), 1);
    CHECK_INT(pm_words(64), 1);
    CHECK_INT(pm_words(65), 2);
    CHECK_INT(pm_words(INT32_MAX), 33554432);
}

static void rows(void) {
    uint64_t row[4] = {0, 0, 0, 0};
    for (int32_t i = 0; i < 256; i += 3) {
        pm_bit_set(row, i);
    }
    for (int32_t i = 0; i < 256; i++) {
        CHECK_INT(pm_bit_test(row, i), i % 3 == 0);
    }
    for (int32_t i = 0; i < 256; i += 6) {
        pm_bit_clear(row, i);
    }
    for (int32_t i = 0; i < 256; i++) {
        CHECK_INT(pm_bit_test(row, i), i % 6 == 3);
    }
}

int main(void) {
    RUN(counts);
    RUN(words);
    RUN(rows);
    return test_end();
}
