/* kernels_*.c: all instruction sets give the same bits, lane by lane, and they are right. */
#include <string.h>

#include "chain.h"

#define MAX_KERNELS 5

static int available(const pm_kernels **kernels, int32_t *lanes) {
    int n = 0;
    kernels[n] = &pm_kernels_1;
    lanes[n++] = 1;
    kernels[n] = &pm_kernels_8;
    lanes[n++] = 8;
#if defined(PM_HAVE_X86_KERNELS)
    if (__builtin_cpu_supports("avx2")) {
        kernels[n] = &pm_kernels_1_avx2;
        lanes[n++] = 1;
        kernels[n] = &pm_kernels_8_avx2;
        lanes[n++] = 8;
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
        kernels[n] = &pm_kernels_8_avx512;
        lanes[n++] = 8;
    }
#endif
    return n;
}

/* Lane `lane` of an array of n entries equals the one-lane array. */
static void same(const double *many, int32_t lanes, int32_t lane, const double *one, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (memcmp(&many[i * lanes + lane], &one[i], sizeof *one) != 0) {
            CHECK_CLOSE(many[i * lanes + lane], one[i], 0.0);
            return;
        }
    }
}

static void same_bits(void) {
    const pm_kernels *kernels[MAX_KERNELS];
    int32_t lanes[MAX_KERNELS];
    const int n_kernels = available(kernels, lanes);
    CHECK(n_kernels >= 2);
    for (uint64_t seed = 0; seed < 40; seed++) {
        const int32_t n = 1 + (int32_t)(seed * 7 % 60);
        chain *c = chain_random(seed, n, 1 + (int32_t)(seed % 2), 0.9 * (double)(seed % 6) / 5.0, 2, 0);
        uint64_t state = seed + 1;
        double theta[8][2];
        for (int l = 0; l < 8; l++) {
            theta[l][0] = random_unit(&state) * 10.0 + 1e-3;
            theta[l][1] = random_unit(&state) * 1e-3 + 1e-6;
        }
        const int32_t rows = c->pattern.n_rows;
        for (int l = 0; l < 8; l++) {
            /* The truth of the test: the plain kernel, one lane. */
            pm_workspace *ref = c->one;
            REQUIRE(pm_load_theta(c->plan, ref, l, 8, theta[0], NULL) == PM_OK);
            CHECK_INT(pm_kernels_1.factor(c->plan, ref), 0);
            double x[CHAIN_VERTICES];
            double z[CHAIN_VERTICES];
            for (int32_t i = 0; i < rows; i++) {
                ref->y[i] = 1.0 + 0.125 * i;
            }
            pm_kernels_1.solve(c->plan, ref, ref->y, x);
            memset(ref->y, 0, (size_t)rows * sizeof *ref->y);
            ref->y[rows - 1] = 1.0;
            pm_kernels_1.solve_transposed(c->plan, ref, ref->y, z);
            pm_scratch reference;
            REQUIRE(pm_scratch_make(c->plan, ref, 1, 1, &reference) == PM_OK);
            for (int32_t i = 0; i < rows; i++) {
                ref->y[i] = 1.0 + 0.125 * i;
            }
            pm_kernels_1.differences(c->plan, ref, &reference.d, ref->y);
            for (int k = 1; k < n_kernels; k++) {
                pm_workspace *ws = NULL;
                REQUIRE(pm_workspace_new(c->plan, lanes[k], &ws) == PM_OK);
                const int32_t lane = lanes[k] == 1 ? 0 : l;
                REQUIRE(pm_load_theta(c->plan, ws, lanes[k] == 1 ? l : 0, 8, theta[0], NULL) == PM_OK);
                CHECK_INT(kernels[k]->factor(c->plan, ws), 0);
                same(ws->lower, lanes[k], lane, ref->lower, c->n_lower);
                same(ws->upper, lanes[k], lane, ref->upper, c->n_upper);
                same(ws->exit, lanes[k], lane, ref->exit, rows);
                same(ws->pivot, lanes[k], lane, ref->pivot, rows);
                same(ws->total, lanes[k], lane, ref->total, rows);
                for (int32_t i = 0; i < rows * lanes[k]; i++) {
                    ws->y[i] = 1.0 + 0.125 * (i / lanes[k]);
                }
                kernels[k]->solve(c->plan, ws, ws->y, ws->x);
                same(ws->x, lanes[k], lane, x, rows);
                memset(ws->y, 0, (size_t)(rows * lanes[k]) * sizeof *ws->y);
                for (int32_t i = 0; i < lanes[k]; i++) {
                    ws->y[(rows - 1) * lanes[k] + i] = 1.0;
                }
                kernels[k]->solve_transposed(c->plan, ws, ws->y, ws->z);
                same(ws->z, lanes[k], lane, z, rows);
                pm_scratch s;
                REQUIRE(pm_scratch_make(c->plan, ws, 1, 1, &s) == PM_OK);
                for (int32_t i = 0; i < rows * lanes[k]; i++) {
                    ws->y[i] = 1.0 + 0.125 * (i / lanes[k]);
                }
                kernels[k]->differences(c->plan, ws, &s.d, ws->y);
                same(s.d.edge, lanes[k], lane, reference.d.edge, c->n_edges);
                same(s.d.edge_bound, lanes[k], lane, reference.d.edge_bound, c->n_edges);
                pm_scratch_release(&s);
                pm_workspace_free(ws);
            }
            pm_scratch_release(&reference);
        }
        chain_free(c);
    }
}

/* The numeric scheme that docs/format.md promises, spelled out with dense rows. */
static void the_promised_scheme(void) {
    for (uint64_t seed = 0; seed < 20; seed++) {
        chain *c = chain_random(seed, 1 + (int32_t)(seed * 3 % 40), 1, 0.3, 0, 0);
        const pm_pattern *s = &c->pattern;
        const int32_t n = s->n_rows;
        static double l[CHAIN_VERTICES][CHAIN_VERTICES];
        static double u[CHAIN_VERTICES][CHAIN_VERTICES];
        double out[CHAIN_VERTICES];
        double pivot[CHAIN_VERTICES];
        REQUIRE(pm_load_theta(c->plan, c->one, 0, 1, NULL, NULL) == PM_OK);
        CHECK_INT(pm_kernels_for(c->one)->factor(c->plan, c->one), 0);
        for (int32_t b = 0; b < s->n_blocks; b++) {
            for (int32_t i = s->block_ptr[b]; i < s->block_ptr[b + 1]; i++) {
                double acc[CHAIN_VERTICES] = {0.0};
                double leave = 0.0;
                for (int64_t e = c->edge_ptr[s->order[i]]; e < c->edge_ptr[s->order[i] + 1]; e++) {
                    const int32_t r = c->plan->position[c->edge_target[e]];
                    if (r >= s->block_ptr[b]) {
                        acc[r] = c->base[e];
                    } else {
                        leave += c->base[e];
                    }
                }
                for (int64_t q = s->lower_ptr[i]; q < s->lower_ptr[i + 1]; q++) {
                    const int32_t j = s->lower_col[q];
                    l[i][j] = acc[j] / pivot[j];
                    leave += l[i][j] * out[j];
                    for (int64_t k = s->upper_ptr[j]; k < s->upper_ptr[j + 1]; k++) {
                        acc[s->upper_col[k]] += l[i][j] * u[j][s->upper_col[k]];
                    }
                    CHECK(l[i][j] == c->one->lower[q]);
                }
                out[i] = leave;
                pivot[i] = leave;
                for (int64_t k = s->upper_ptr[i]; k < s->upper_ptr[i + 1]; k++) {
                    u[i][s->upper_col[k]] = acc[s->upper_col[k]];
                    pivot[i] += acc[s->upper_col[k]];
                    CHECK(c->one->upper[k] == acc[s->upper_col[k]]);
                }
                CHECK(c->one->exit[i] == out[i]);
                CHECK(c->one->pivot[i] == pivot[i]);
            }
        }
        CHECK(n > 0);
        chain_free(c);
    }
}

static void zero_pivots_by_lane(void) {
    const double x[] = {1.0};
    chain *c = chain_new(4, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 3, 1.0, NULL);
    chain_edge(c, 1, 2, 0.0, x);
    chain_edge(c, 2, 3, 0.0, x);
    chain_plan(c);
    const double theta[8] = {1, 0, 1, 1, 0, 1, 1, 0};
    const pm_kernels *kernels[MAX_KERNELS];
    int32_t lanes[MAX_KERNELS];
    const int n_kernels = available(kernels, lanes);
    for (int k = 0; k < n_kernels; k++) {
        pm_workspace *ws = lanes[k] == 1 ? c->one : c->eight;
        for (int l = 0; l < (lanes[k] == 1 ? 8 : 1); l++) {
            REQUIRE(pm_load_theta(c->plan, ws, l, 8, theta, NULL) == PM_OK);
            CHECK_INT(kernels[k]->factor(c->plan, ws), lanes[k] == 8 ? 0x92u : theta[l] == 0.0);
        }
    }
    chain_free(c);
}

int main(void) {
    RUN(same_bits);
    RUN(the_promised_scheme);
    RUN(zero_pivots_by_lane);
    return test_end();
}
