/* messages.c */
#include <stdio.h>
#include <string.h>

#include "chain.h"

static void every_code_has_its_own_text(void) {
    for (int a = PM_E_UNCERTAIN; a <= PM_OK; a++) {
        CHECK(strlen(pm_message(a)) > 5);
        CHECK(strcmp(pm_message(a), "unknown status") != 0);
        for (int b = PM_E_UNCERTAIN; b < a; b++) {
            CHECK(strcmp(pm_message(a), pm_message(b)) != 0);
        }
    }
    CHECK(strcmp(pm_message(1), "unknown status") == 0);
    CHECK(strcmp(pm_message(-10000), "unknown status") == 0);
}

static void where_may_be_null(void) {
    pm_where where = {1, 2, 3, 4, 5.0};
    pm_at(NULL, PM_AT_SLOT, 7, 8, 9.0);
    pm_at(&where, PM_AT_SLOT, 7, 8, 9.0);
    CHECK(where.kind == PM_AT_SLOT && where.which == 0 && where.theta == 7 && where.at == 8 && where.value == 9.0);
    pm_at_part(NULL, PM_AT_ARRAY, 1, 2, 3.0);
    pm_at_part(&where, PM_AT_ARRAY, 1, 2, 3.0);
    CHECK(where.kind == PM_AT_ARRAY && where.which == 1 && where.theta == -1 && where.at == 2 && where.value == 3.0);
    CHECK_INT(pm_bad_argument(NULL, 4), PM_E_ARGUMENT);
    CHECK_INT(pm_bad_argument(&where, 4), PM_E_ARGUMENT);
    CHECK(where.kind == PM_AT_ARGUMENT && where.which == 0 && where.theta == -1 && where.at == 4 && where.value == 0.0);
}

static void version(void) {
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", PM_VERSION_MAJOR, PM_VERSION_MINOR, PM_VERSION_PATCH);
    CHECK(strcmp(pm_version(), text) == 0);
}

/* Each PM_E_ARGUMENT names the argument by its position in pm_core.h, and a status about one theta says what it counts. */
static void refused(int status, const pm_where *where, int64_t argument) {
    CHECK_INT(status, PM_E_ARGUMENT);
    CHECK_INT(where->kind, PM_AT_ARGUMENT);
    CHECK_INT(where->at, argument);
    CHECK_INT(where->theta, -1);
}

static void every_bad_argument_is_named(void) {
    chain *c = chain_erlang(3, 1.0);
    const pm_plan *p = c->plan;
    const double t = 1.0;
    double out[64];
    uint8_t keep[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    pm_where w = {0};
    pm_uniform *u = NULL;
    pm_sampler *sampler = NULL;
    pm_censored *censored = NULL;
    pm_plan *bare = NULL;
    REQUIRE(pm_uniform_new(p, &u) == PM_OK && pm_sampler_new(p, &sampler) == PM_OK);
    REQUIRE(pm_censored_new(p, keep, NULL, &censored, NULL) == PM_OK);
    REQUIRE(pm_plan_new(&c->graph, &c->sizes, NULL, 0, 0, NULL, &bare, NULL) == PM_OK);
    refused(pm_moments(p, c->one, 1, NULL, 0, NULL, out, &w), &w, 6);
    refused(pm_vertex_moments(p, c->one, 1, NULL, PM_MAX_MOMENT + 1, NULL, NULL, out, &w), &w, 6);
    refused(pm_joint_moment(p, c->one, 1, NULL, PM_MAX_JOINT + 1, NULL, out, &w), &w, 6);
    refused(pm_covariance(p, c->one, 1, NULL, 0, NULL, out, out, &w), &w, 6);
    refused(pm_moments_grad(p, c->one, 1, NULL, 0, NULL, out, out, &w), &w, 6);
    refused(pm_moments(bare, c->one, 1, NULL, 1, NULL, out, &w), &w, 1);
    refused(pm_uniform_eval(p, c->eight, u, 1, NULL, NULL, NULL, 1, &t, 1e-12, 10, out, NULL, NULL, &w), &w, 2);
    refused(pm_uniform_eval(p, c->one, u, 1, NULL, NULL, NULL, 1, &t, 0.0, 10, out, NULL, NULL, &w), &w, 10);
    refused(pm_uniform_eval(p, c->one, u, 1, NULL, NULL, NULL, 1, &t, 1e-12, 0, out, NULL, NULL, &w), &w, 11);
    refused(pm_uniform_grad(p, c->eight, u, 1, NULL, 1, &t, 1e-12, 10, out, out, &w), &w, 2);
    refused(pm_uniform_grad(p, c->one, u, 1, NULL, 1, &t, 1.0, 10, out, out, &w), &w, 8);
    refused(pm_uniform_grad(p, c->one, u, 1, NULL, 1, &t, 1e-12, 0, out, out, &w), &w, 9);
    refused(pm_uniform_advance(p, c->eight, u, NULL, 1.0, 0, NULL, 10, out, out + 32, &w), &w, 2);
    refused(pm_uniform_advance(p, c->one, u, NULL, 1.0, -1, NULL, 10, out, out + 32, &w), &w, 6);
    refused(pm_uniform_advance(p, c->one, u, NULL, 1.0, 0, NULL, 0, out, out + 32, &w), &w, 8);
    refused(pm_uniform_rate(p, c->eight, 1, NULL, out, &w), &w, 2);
    refused(pm_sampler_set(p, c->eight, sampler, NULL, NULL, &w), &w, 2);
    refused(pm_censored_weights(p, c->eight, censored, 1, NULL, out, NULL, &w), &w, 2);
    pm_censored *none = NULL;
    refused(pm_censored_new(bare, keep, NULL, &none, &w), &w, 1);
    pm_censored_free(censored);
    pm_sampler_free(sampler);
    pm_uniform_free(u);
    pm_plan_free(bare);
    chain_free(c);
}

int main(void) {
    RUN(every_code_has_its_own_text);
    RUN(where_may_be_null);
    RUN(version);
    RUN(every_bad_argument_is_named);
    return test_end();
}
