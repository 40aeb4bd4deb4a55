/* weights.c and batch.c */
#include <math.h>
#include <string.h>

#include "chain.h"

/* 0 -> 1 -> 2 -> 3 with weights made of two affine forms a = 1 + 2 x, b = y - x and a program on them. */
typedef struct program_graph {
    pm_graph graph;
    pm_graph_sizes sizes;
    pm_symbolic *symbolic;
    pm_plan *plan;
    pm_workspace *ws[2];
} program_graph;

static const int64_t edge_ptr[] = {0, 1, 2, 3, 3};
static const int32_t edge_target[] = {1, 2, 3};
static const double affine_base[] = {1.0, 0.0, 1.0};
static const int64_t affine_ptr[] = {0, 1, 3, 3};
static const int32_t affine_param[] = {0, 0, 1};
static const double affine_coef[] = {2.0, -1.0, 1.0};
static const uint8_t program_op[] = {PM_OP_ADD, PM_OP_MUL, PM_OP_DIV, PM_OP_MUL};
static const int32_t program_a[] = {0, 0, 4, 5}; /* a+b, a*b, ab/a+b..., square of that */
static const int32_t program_b[] = {1, 1, 3, 5};

static void open_program(program_graph *p, const int32_t *edge_slot) {
    memset(p, 0, sizeof *p);
    p->graph = (pm_graph){4, 2, 0, 3, 4, edge_ptr, edge_target, edge_slot, affine_base, affine_ptr, affine_param, affine_coef,
                          program_op, program_a, program_b};
    p->sizes = (pm_graph_sizes){3, 3};
    REQUIRE(pm_graph_check(&p->graph, &p->sizes, NULL) == PM_OK);
    REQUIRE(pm_symbolic_new(&p->graph, 0, 0, NULL, NULL, NULL, NULL, &p->symbolic, NULL) == PM_OK);
    pm_pattern pattern;
    pm_symbolic_pattern(p->symbolic, &pattern);
    REQUIRE(pm_plan_new(&p->graph, &p->sizes, &pattern, 0, 0, NULL, &p->plan, NULL) == PM_OK);
    REQUIRE(pm_workspace_new(p->plan, 1, &p->ws[0]) == PM_OK);
    REQUIRE(pm_workspace_new(p->plan, 8, &p->ws[1]) == PM_OK);
}

static void close_program(program_graph *p) {
    pm_workspace_free(p->ws[0]);
    pm_workspace_free(p->ws[1]);
    pm_plan_free(p->plan);
    pm_symbolic_free(p->symbolic);
}

static void forms_and_programs(void) {
    static const int32_t edge_slot[] = {2, 3, 6};
    program_graph p;
    open_program(&p, edge_slot);
    enum { N = 19 };
    double theta[N][2];
    double out[N][3];
    for (int i = 0; i < N; i++) {
        theta[i][0] = 0.1 * i;
        theta[i][1] = 5.0 - 0.07 * i;
    }
    for (int w = 0; w < 2; w++) {
        CHECK_INT(pm_weights(p.plan, p.ws[w], N, theta[0], out[0], NULL), PM_OK);
        for (int i = 0; i < N; i++) {
            const double a = 1.0 + 2.0 * theta[i][0];
            const double b = 0.0 + -1.0 * theta[i][0] + 1.0 * theta[i][1];
            const double ratio = (a * b) / (a + b);
            CHECK(out[i][0] == 1.0);
            CHECK(out[i][1] == a + b);
            CHECK(out[i][2] == ratio * ratio);
        }
    }
    close_program(&p);
}

static void refused_weights(void) {
    static const int32_t edge_slot[] = {2, 1, 5};
    program_graph p;
    open_program(&p, edge_slot);
    double theta[11][2];
    double out[11][3];
    pm_where where = {0};
    for (int w = 0; w < 2; w++) {
        for (int bad = 0; bad < 11; bad++) {
            for (int i = 0; i < 11; i++) {
                theta[i][0] = 1.0;
                theta[i][1] = 2.0;
            }
            theta[bad][0] = 3.0; /* b = -1 */
            CHECK_INT(pm_weights(p.plan, p.ws[w], 11, theta[0], out[0], &where), PM_E_NEGATIVE);
            CHECK(where.theta == bad && where.at == 1 && where.value == -1.0);
            theta[bad][0] = TEST_NAN;
            CHECK_INT(pm_weights(p.plan, p.ws[w], 11, theta[0], out[0], &where), PM_E_NOT_FINITE);
            CHECK(where.theta == bad && where.at == 1 && isnan(where.value));
            theta[bad][0] = 1.0;
            theta[bad][1] = TEST_INFINITY;
            CHECK_INT(pm_weights(p.plan, p.ws[w], 11, theta[0], out[0], &where), PM_E_NOT_FINITE);
            CHECK(where.theta == bad);
            theta[bad][0] = 1e308; /* 1 + 2 x overflows, but the form itself is no weight; the quotient is NaN */
            theta[bad][1] = 1e308;
            CHECK_INT(pm_weights(p.plan, p.ws[w], 11, theta[0], out[0], &where), PM_E_NOT_FINITE);
            CHECK(where.theta == bad && where.at == 5);
        }
    }
    close_program(&p);
}

static void what_is_no_weight_may_be_negative(void) {
    static const int32_t edge_slot[] = {2, 2, 6};
    program_graph p;
    open_program(&p, edge_slot);
    const double theta[2] = {2.0, 1.0}; /* b = -1, a b / (a + b) negative, its square positive */
    double out[3];
    CHECK_INT(pm_weights(p.plan, p.ws[1], 1, theta, out, NULL), PM_OK);
    CHECK(out[2] > 0.0);
    close_program(&p);
}

/* The chain rule against differences, for every slot. */
static void pullback(void) {
    static const int32_t edge_slot[] = {2, 3, 6};
    program_graph p;
    open_program(&p, edge_slot);
    for (int w = 0; w < 2; w++) {
        const int32_t lanes = w == 0 ? 1 : 8;
        double theta[8][2];
        double grad[16] = {0.0};
        double grad_bound[16] = {0.0};
        double bars[64 * 8];
        double bounds[64 * 8] = {0.0};
        for (int l = 0; l < lanes; l++) {
            theta[l][0] = 0.3 + 0.1 * l;
            theta[l][1] = 2.0 + 0.2 * l;
        }
        REQUIRE(pm_load_theta(p.plan, p.ws[w], 0, lanes, theta[0], NULL) == PM_OK);
        REQUIRE(p.plan->n_slots <= 64);
        for (int32_t i = 0; i < p.plan->n_slots * lanes; i++) {
            bars[i] = i / lanes == 6 ? 3.0 : i / lanes == 3 ? -1.5 : 0.0;
        }
        pm_passes_for(p.ws[w])->pull(p.plan, p.ws[w], 1e-15, bars, bounds, grad, grad_bound);
        for (int l = 0; l < lanes; l++) {
            for (int j = 0; j < 2; j++) {
                double value[2];
                const double h = 1e-6;
                for (int side = 0; side < 2; side++) {
                    double moved[2] = {theta[l][0], theta[l][1]};
                    double out[3];
                    moved[j] += side == 0 ? -h : h;
                    REQUIRE(pm_weights(p.plan, p.ws[0], 1, moved, out, NULL) == PM_OK);
                    value[side] = 3.0 * out[2] - 1.5 * out[1];
                }
                CHECK_CLOSE(grad[l * 2 + j], (value[1] - value[0]) / (2 * h), 1e-8);
                CHECK(grad_bound[l * 2 + j] > 0.0 && grad_bound[l * 2 + j] < 1e-13);
            }
        }
    }
    close_program(&p);
}

/* A weight that is a small difference of large terms keeps its digits: 1 - theta, in each lane by itself. */
static void cancellation(void) {
    const double minus[] = {-0.1};
    chain *c = chain_new(3, 1, 0);
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 1.0, minus);
    chain_plan(c);
    double theta[8];
    double out[8][2];
    for (int l = 0; l < 8; l++) {
        theta[l] = 10.0 - ldexp(1.0, -5 * l);
    }
    CHECK_INT(pm_weights(c->plan, c->eight, 8, theta, out[0], NULL), PM_OK);
    for (int l = 0; l < 8; l++) {
        /* 0.1 is 2^-56 * 7205759403792794, a little more than a tenth, so that 1 - 0.1 theta is exact in these parts. */
        const double expected = ldexp(7205759403792794.0, -56) * ldexp(1.0, -5 * l) - ldexp(4.0, -56);
        CHECK_CLOSE(out[l][1], expected, 2.3e-16);
        double alone[2];
        CHECK_INT(pm_weights(c->plan, c->one, 1, theta + l, alone, NULL), PM_OK);
        CHECK(alone[1] == out[l][1]);
    }
    chain_free(c);
}

/* Lanes beyond the batch repeat the last theta, and do not count. */
static void batches_of_any_length(void) {
    chain *c = chain_random(5, 8, 1, 0.3, 3, 0);
    uint64_t state = 3;
    double theta[20][3];
    double single[20];
    for (int i = 0; i < 20; i++) {
        for (int j = 0; j < 3; j++) {
            theta[i][j] = random_unit(&state) + 0.01;
        }
        CHECK_INT(pm_moments(c->plan, c->one, 1, theta[i], 1, NULL, &single[i], NULL), PM_OK);
    }
    for (int n = 0; n <= 20; n++) {
        double out[21];
        out[n] = -7.0;
        CHECK_INT(pm_moments(c->plan, c->eight, n, theta[0], 1, NULL, out, NULL), PM_OK);
        CHECK(memcmp(out, single, (size_t)n * sizeof *out) == 0);
        CHECK(out[n] == -7.0);
    }
    chain_free(c);
}

static void probabilities_above_one(void) {
    chain *c = chain_new(4, 1, 1);
    const double one[] = {1.0};
    chain_edge(c, 0, 1, 1.0, NULL);
    chain_edge(c, 1, 2, 0.5, NULL);
    chain_edge(c, 2, 1, 0.25, one);
    chain_edge(c, 2, 3, 0.25, NULL);
    chain_plan(c);
    double theta[] = {0.1, 0.5, 0.5000001, 0.2};
    double out[4];
    pm_where where;
    pm_workspace *ws[] = {c->one, c->eight};
    for (int w = 0; w < 2; w++) {
        CHECK_INT(pm_moments(c->plan, ws[w], 2, theta, 1, NULL, out, &where), PM_OK);
        CHECK_INT(pm_moments(c->plan, ws[w], 4, theta, 1, NULL, out, &where), PM_E_PROBABILITY);
        CHECK(where.theta == 2 && where.at == 2 && where.value > 1.0);
    }
    chain_free(c);
}

int main(void) {
    RUN(forms_and_programs);
    RUN(refused_weights);
    RUN(what_is_no_weight_may_be_negative);
    RUN(pullback);
    RUN(cancellation);
    RUN(batches_of_any_length);
    RUN(probabilities_above_one);
    return test_end();
}
