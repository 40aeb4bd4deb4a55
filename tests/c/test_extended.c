/* extended.c and number.h: sums of two doubles, beside exact identities. */
#include <math.h>

#include "chain.h"
#define PM_EXTENDED 1
#include "number.h"

static const pm_asked asked = {0, NULL, NULL};

/* a is b to within `units` of 2^-104. */
static void same(pm_dd a, pm_dd b, double units) {
    const pm_dd d = pm_dd_sub(a, b);
    CHECK(fabs(d.hi) <= units * 0x1p-104 * fabs(b.hi));
}

static pm_dd random_number(uint64_t *state) {
    const double hi = (random_unit(state) + 0.5) * pow(2.0, random_below(state, 200) - 100);
    return pm_quick_sum(hi, hi * 0x1p-54 * (random_unit(state) - 0.5));
}

static void arithmetic(void) {
    uint64_t state = 7;
    for (int i = 0; i < 2000; i++) {
        const pm_dd a = random_number(&state);
        const pm_dd b = random_number(&state);
        const pm_dd c = random_number(&state);
        same(pm_dd_mul(pm_dd_div(a, b), b), a, 16.0);
        same(pm_dd_sub(pm_dd_add(a, b), b), a, 16.0 * (1.0 + fabs(b.hi / a.hi)));
        same(pm_dd_mul(a, pm_dd_add(b, c)), pm_dd_add(pm_dd_mul(a, b), pm_dd_mul(a, c)), 16.0);
        const pm_dd square = pm_two_product(a.hi, a.hi);
        CHECK(square.hi == a.hi * a.hi && fabs(square.lo) <= 0x1p-53 * square.hi);
    }
    /* (2^53 + 1)^2 = 2^106 + 2^54 + 1 */
    const pm_dd exact = pm_two_product(0x1p27 + 1.0, 0x1p27 + 1.0);
    CHECK(exact.hi + exact.lo == exact.hi && exact.hi - 0x1p54 == 0x1p28 && exact.lo == 1.0);
    CHECK(pm_two_product(1e300, 1e-300).lo == 0.0); /* beyond what can be split: as one double */
    CHECK(pm_two_sum(1.0, 1e-30).lo == 1e-30);
}

/* Weights and elimination in both kinds of numbers: the first part of the longer is the shorter, to rounding. */
static void elimination(void) {
    for (uint64_t seed = 0; seed < 30; seed++) {
        chain *c = chain_random(seed, 1 + (int32_t)(seed % 19), 1, 0.3, 2, (int32_t)(seed % 2));
        const double theta[] = {0.3, 1e-7};
        int32_t n_lanes = 0;
        pm_workspace *more = NULL;
        REQUIRE(pm_factor_lanes(c->plan, c->one, 0, 1, theta, &asked, &n_lanes, NULL) == PM_OK);
        REQUIRE(pm_extended_factor(c->plan, c->one, 0, 0, theta, &more, NULL) == PM_OK);
        for (int32_t i = 0; i < c->pattern.n_rows; i++) {
            CHECK_CLOSE(pm_value(more, more->pivot, i), c->one->pivot[i], 1e-14);
            if (c->graph.discrete && i < c->plan->n_transient) {
                CHECK_CLOSE(pm_value(more, more->stay, i), c->one->stay[i], 1e-14);
            }
        }
        for (int64_t k = 0; k < c->n_upper; k++) {
            CHECK_CLOSE(pm_value(more, more->upper, k), c->one->upper[k], 1e-14);
        }
        chain_free(c);
    }
}

int main(void) {
    RUN(arithmetic);
    RUN(elimination);
    return test_end();
}
