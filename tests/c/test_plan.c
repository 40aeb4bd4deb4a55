/* plan.c, plan_arrays.c: a pattern from anywhere is either refused or right. */
#include <string.h>

#include "chain.h"

/* A copy of a pattern that may be damaged. */
typedef struct damaged {
    pm_pattern pattern;
    int32_t order[CHAIN_VERTICES];
    int32_t block_ptr[CHAIN_VERTICES + 1];
    int64_t lower_ptr[CHAIN_VERTICES + 1];
    int64_t upper_ptr[CHAIN_VERTICES + 1];
    int32_t lower_col[CHAIN_EDGES];
    int32_t upper_col[CHAIN_EDGES];
    int64_t n_lower;
    int64_t n_upper;
} damaged;

static void copy(const chain *c, damaged *d) {
    const pm_pattern *s = &c->pattern;
    memcpy(d->order, s->order, (size_t)s->n_rows * sizeof *d->order);
    memcpy(d->block_ptr, s->block_ptr, ((size_t)s->n_blocks + 1) * sizeof *d->block_ptr);
    memcpy(d->lower_ptr, s->lower_ptr, ((size_t)s->n_rows + 1) * sizeof *d->lower_ptr);
    memcpy(d->upper_ptr, s->upper_ptr, ((size_t)s->n_rows + 1) * sizeof *d->upper_ptr);
    REQUIRE(c->n_lower <= CHAIN_EDGES && c->n_upper <= CHAIN_EDGES);
    for (int64_t k = 0; k < c->n_lower; k++) {
        d->lower_col[k] = s->lower_col[k];
    }
    for (int64_t k = 0; k < c->n_upper; k++) {
        d->upper_col[k] = s->upper_col[k];
    }
    d->n_lower = c->n_lower;
    d->n_upper = c->n_upper;
    d->pattern = *s;
    d->pattern.order = d->order;
    d->pattern.block_ptr = d->block_ptr;
    d->pattern.lower_ptr = d->lower_ptr;
    d->pattern.lower_col = d->lower_col;
    d->pattern.upper_ptr = d->upper_ptr;
    d->pattern.upper_col = d->upper_col;
}

static int try_plan(const chain *c, const damaged *d, pm_plan **out) {
    pm_plan *plan = NULL;
    pm_where where;
    const int status = pm_plan_new(&c->graph, &c->sizes, &d->pattern, d->n_lower, d->n_upper, NULL, &plan, &where);
    CHECK_INT(plan == NULL, status != PM_OK);
    if (out != NULL) {
        *out = plan;
    } else {
        pm_plan_free(plan);
    }
    return status;
}

static damaged d;

static void counts(void) {
    chain *c = chain_random(1, 10, 2, 0.3, 0, 0);
    const int32_t rows = c->pattern.n_rows;
    const int32_t bad_rows[] = {rows - 1, rows + 1, 0, -1, INT32_MIN, INT32_MAX, c->n_vertices + 1};
    for (size_t i = 0; i < sizeof bad_rows / sizeof bad_rows[0]; i++) {
        copy(c, &d);
        d.pattern.n_rows = bad_rows[i];
        CHECK_INT(try_plan(c, &d, NULL), PM_E_PATTERN);
    }
    const int32_t bad_blocks[] = {0, -1, INT32_MIN, INT32_MAX, rows + 1};
    for (size_t i = 0; i < sizeof bad_blocks / sizeof bad_blocks[0]; i++) {
        copy(c, &d);
        d.pattern.n_blocks = bad_blocks[i];
        CHECK_INT(try_plan(c, &d, NULL), PM_E_PATTERN);
    }
    const int64_t bad_sizes[] = {-1, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < 3; i++) {
        copy(c, &d);
        d.n_lower = bad_sizes[i];
        CHECK_INT(try_plan(c, &d, NULL), PM_E_PATTERN);
        copy(c, &d);
        d.n_upper = bad_sizes[i];
        CHECK_INT(try_plan(c, &d, NULL), PM_E_PATTERN);
    }
    copy(c, &d);
    CHECK_INT(try_plan(c, &d, NULL), PM_OK);
    chain_free(c);
}

static void a_bad_graph_is_refused_first(void) {
    chain *c = chain_random(1, 10, 2, 0.3, 0, 0);
    copy(c, &d);
    c->edge_target[3] = c->n_vertices;
    CHECK_INT(try_plan(c, &d, NULL), PM_E_INDEX);
    chain_free(c);
}

static void an_entry_too_few(void) {
    chain *c = chain_random(2, 14, 1, 0.3, 0, 0);
    for (int64_t gone = 0; gone < c->n_lower + c->n_upper; gone++) {
        copy(c, &d);
        const int in_lower = gone < c->n_lower;
        const int64_t at = in_lower ? gone : gone - c->n_lower;
        int32_t *col = in_lower ? d.lower_col : d.upper_col;
        int64_t *ptr = in_lower ? d.lower_ptr : d.upper_ptr;
        int64_t *n = in_lower ? &d.n_lower : &d.n_upper;
        memmove(col + at, col + at + 1, (size_t)(*n - at - 1) * sizeof *col);
        (*n)--;
        for (int32_t i = 0; i <= c->pattern.n_rows; i++) {
            ptr[i] -= ptr[i] > at;
        }
        CHECK_INT(try_plan(c, &d, NULL), PM_E_PATTERN);
    }
    chain_free(c);
}

/* Any damage: refused, or the plan gives the right expectation. */
static void random_damage(void) {
    uint64_t state = 99;
    int accepted = 0;
    int refused = 0;
    for (int round = 0; round < 6000; round++) {
        const int32_t size = 2 + random_below(&state, 12);
        chain *c = chain_random((uint64_t)(round / 100), size, 1 + random_below(&state, 2), random_unit(&state) * 0.5, 0, 0);
        copy(c, &d);
        const int hits = 1 + random_below(&state, 3);
        for (int i = 0; i < hits; i++) {
            const int32_t extremes[] = {-1, 0, 1, INT32_MIN, INT32_MAX, c->pattern.n_rows, c->n_vertices};
            const int32_t value = random_below(&state, 2) == 0 ? random_below(&state, c->pattern.n_rows + 2)
                                                               : extremes[random_below(&state, 7)];
            const int64_t wide = random_below(&state, 4) == 0 ? (int64_t)random_next(&state) : value;
            const int32_t row = random_below(&state, c->pattern.n_rows + 1);
            switch (random_below(&state, 8)) {
            case 0:
                d.order[row < c->pattern.n_rows ? row : 0] = value;
                break;
            case 1:
                d.block_ptr[random_below(&state, c->pattern.n_blocks + 1)] = value;
                break;
            case 2:
                d.lower_ptr[row] = wide;
                break;
            case 3:
                d.upper_ptr[row] = wide;
                break;
            case 4:
                if (c->n_lower > 0) {
                    d.lower_col[random_below(&state, (int32_t)c->n_lower)] = value;
                }
                break;
            case 5:
                if (c->n_upper > 0) {
                    d.upper_col[random_below(&state, (int32_t)c->n_upper)] = value;
                }
                break;
            case 6: {
                /* Swap two places of the order: often another valid one, with another pattern. */
                const int32_t other = random_below(&state, c->pattern.n_rows);
                const int32_t at = random_below(&state, c->pattern.n_rows);
                const int32_t t = d.order[at];
                d.order[at] = d.order[other];
                d.order[other] = t;
                break;
            }
            default:
                if (c->pattern.n_blocks > 1) {
                    /* Join two blocks. */
                    const int32_t b = 1 + random_below(&state, c->pattern.n_blocks - 1);
                    memmove(d.block_ptr + b, d.block_ptr + b + 1, (size_t)(c->pattern.n_blocks - b) * sizeof *d.block_ptr);
                    d.pattern.n_blocks = c->pattern.n_blocks - 1;
                    i = hits;
                }
                break;
            }
        }
        pm_plan *plan = NULL;
        const int status = try_plan(c, &d, &plan);
        if (status == PM_OK) {
            pm_workspace *ws = NULL;
            double value[3] = {0.0, 0.0, 0.0};
            double expected[3];
            accepted++;
            REQUIRE(pm_workspace_new(plan, 8, &ws) == PM_OK);
            CHECK_INT(pm_moments(plan, ws, 1, NULL, 3, NULL, value, NULL), PM_OK);
            chain_moments(c, NULL, 3, NULL, expected);
            for (int i = 0; i < 3; i++) {
                CHECK_CLOSE(value[i], expected[i], 1e-12);
            }
            pm_workspace_free(ws);
            pm_plan_free(plan);
        } else {
            refused++;
            CHECK_INT(status, PM_E_PATTERN);
        }
        chain_free(c);
    }
    CHECK(accepted > 100 && refused > 100);
}

static void free_nothing(void) { pm_plan_free(NULL); }

/* Without a pattern: the same bits of distributions, weights and draws; no call that eliminates. */
static void the_graph_alone(void) {
    static double a[3][64];
    static double b[3][64];
    const double times[] = {0.0, 1.0, 7.0, 300.0};
    for (uint64_t seed = 0; seed < 20; seed++) {
        chain *c = chain_random(seed, 5 + 4 * (int32_t)seed, 2, 0.1, 1, (int)(seed % 2));
        const double theta[] = {0.7};
        pm_plan *alone = NULL;
        pm_workspace *ws = NULL;
        REQUIRE(pm_plan_new(&c->graph, &c->sizes, NULL, 0, 0, NULL, &alone, NULL) == PM_OK);
        REQUIRE(pm_workspace_new(alone, 1, &ws) == PM_OK);
        const pm_plan *plans[] = {c->plan, alone};
        pm_workspace *spaces[] = {c->one, ws};
        for (int i = 0; i < 2; i++) {
            double(*to)[64] = i == 0 ? a : b;
            pm_uniform *u = NULL;
            pm_sampler *s = NULL;
            REQUIRE(pm_uniform_new(plans[i], &u) == PM_OK);
            CHECK_INT(pm_uniform_eval(plans[i], spaces[i], u, 1, theta, NULL, NULL, 4, times, 1e-12, 1000000, to[0], to[0] + 4, to[0] + 8, NULL),
                      PM_OK);
            CHECK_INT(pm_uniform_grad(plans[i], spaces[i], u, 1, theta, 4, times, 1e-12, 1000000, to[1], to[1] + 4, NULL), PM_OK);
            REQUIRE(pm_sampler_new(plans[i], &s) == PM_OK);
            CHECK_INT(pm_sampler_set(plans[i], spaces[i], s, theta, NULL, NULL), PM_OK);
            CHECK_INT(pm_sampler_draw(plans[i], s, 3, 0, 64, 1000000, NULL, to[2], NULL), PM_OK);
            pm_uniform_free(u);
            pm_sampler_free(s);
        }
        CHECK(memcmp(a, b, sizeof a) == 0);
        double value = 0.0;
        uint8_t keep[CHAIN_VERTICES] = {1};
        pm_censored *censored = NULL;
        CHECK_INT(pm_moments(alone, ws, 1, theta, 1, NULL, &value, NULL), PM_E_ARGUMENT);
        CHECK_INT(pm_moments_grad(alone, ws, 1, theta, 1, NULL, &value, &value, NULL), PM_E_ARGUMENT);
        CHECK_INT(pm_sojourn(alone, ws, 1, theta, a[0], NULL), PM_E_ARGUMENT);
        CHECK_INT(pm_censored_new(alone, keep, NULL, &censored, NULL), PM_E_ARGUMENT);
        pm_workspace_free(ws);
        pm_plan_free(alone);
        CHECK_INT(pm_plan_new(&c->graph, &c->sizes, NULL, 1, 0, NULL, &alone, NULL), PM_E_PATTERN);
        chain_free(c);
    }
}

/* What the caller does to the arrays afterwards changes nothing. */
static void the_plan_owns_its_arrays(void) {
    for (uint64_t seed = 0; seed < 10; seed++) {
        chain *c = chain_random(seed, 8, 2, 0.5, 3, seed % 2);
        uint8_t op[2] = {PM_OP_MUL, PM_OP_DIV};
        int32_t a[2] = {0, 1};
        int32_t b[2] = {1, 0};
        c->graph.n_program = 2;
        c->graph.program_op = op;
        c->graph.program_a = a;
        c->graph.program_b = b;
        c->edge_slot[c->n_edges - 1] = c->n_edges; /* its product with itself would be another */
        const double theta[3] = {0.3, 0.2, 0.4};
        const double time = 2.0;
        double before[3][2];
        double after[3][2];
        pm_plan *plan = NULL;
        pm_workspace *ws = NULL;
        pm_uniform *u = NULL;
        copy(c, &d);
        REQUIRE(try_plan(c, &d, &plan) == PM_OK && pm_workspace_new(plan, 1, &ws) == PM_OK && pm_uniform_new(plan, &u) == PM_OK);
        for (int i = 0; i < 2; i++) {
            double (*out)[2] = i == 0 ? before : after;
            CHECK_INT(pm_moments(plan, ws, 1, theta, 2, NULL, out[0], NULL), PM_OK);
            CHECK_INT(pm_uniform_eval(plan, ws, u, 1, theta, NULL, NULL, 1, &time, 1e-12, 1000, out[1], out[1] + 1, out[2], NULL), PM_OK);
            out[2][1] = 0.0;
            memset(&d, 0xff, sizeof d);
            memset(op, 0xff, sizeof op);
            memset(a, 0xff, sizeof a);
            memset(b, 0xff, sizeof b);
            memset(c->edge_ptr, 0xff, sizeof c->edge_ptr);
            memset(c->edge_target, 0xff, sizeof c->edge_target);
            memset(c->edge_slot, 0xff, sizeof c->edge_slot);
            memset(c->affine_base, 0xff, sizeof c->affine_base);
            memset(c->affine_ptr, 0xff, sizeof c->affine_ptr);
            memset(c->affine_param, 0xff, sizeof c->affine_param);
            memset(c->affine_coef, 0xff, sizeof c->affine_coef);
        }
        CHECK(memcmp(before, after, sizeof before) == 0);
        pm_plan_free(plan);
        pm_uniform_free(u); /* after the plan, too */
        pm_workspace_free(ws);
        chain_free(c);
    }
}

int main(void) {
    RUN(the_plan_owns_its_arrays);
    RUN(the_graph_alone);
    RUN(counts);
    RUN(a_bad_graph_is_refused_first);
    RUN(an_entry_too_few);
    RUN(random_damage);
    RUN(free_nothing);
    return test_end();
}
