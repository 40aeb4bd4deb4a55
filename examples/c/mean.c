/*
 * A machine works, is broken, or scrapped. It breaks at rate theta[0] and is repaired at rate theta[1]; a broken machine is scrapped
 * at rate 1/2. Prints the mean time until it is scrapped, and its derivatives by both rates: mean FAILURE REPAIR
 */
#include <stdio.h>
#include <stdlib.h>

#include "pm_core.h"

/* Vertex 0 is the start and leads to the working machine. Absorbing vertices have no edges. */
enum { START, SCRAPPED, BROKEN, WORKS, N_VERTICES };

static int fail(int status) {
    fprintf(stderr, "%s\n", pm_message(status));
    return 1;
}

int main(int argc, char **argv) {
    /* Edges by source. The weight of each is a slot: a base, plus coefficients times parameters. */
    static const int64_t edge_ptr[N_VERTICES + 1] = {0, 1, 1, 3, 4};
    static const int32_t edge_target[] = {WORKS, SCRAPPED, WORKS, BROKEN};
    static const int32_t edge_slot[] = {0, 1, 2, 3};
    static const double affine_base[] = {1.0, 0.5, 0.0, 0.0};
    static const int64_t affine_ptr[] = {0, 0, 0, 1, 2}; /* the last two have one coefficient each */
    static const int32_t affine_param[] = {1, 0};
    static const double affine_coef[] = {1.0, 1.0};

    if (argc != 3) {
        fprintf(stderr, "usage: mean FAILURE REPAIR\n");
        return 2;
    }
    const double theta[2] = {strtod(argv[1], NULL), strtod(argv[2], NULL)};
    const pm_graph graph = {
        .n_vertices = N_VERTICES, .n_params = 2, .n_affine = 4, .edge_ptr = edge_ptr, .edge_target = edge_target,
        .edge_slot = edge_slot, .affine_base = affine_base, .affine_ptr = affine_ptr, .affine_param = affine_param,
        .affine_coef = affine_coef,
    };
    const pm_graph_sizes sizes = {.n_edges = 4, .n_affine_terms = 2};

    pm_symbolic *symbolic = NULL;
    pm_plan *plan = NULL;
    pm_workspace *workspace = NULL;
    pm_pattern pattern;
    double mean;
    double gradient[2];
    /* pm_symbolic_new trusts the graph, so it is checked before. */
    int status = pm_graph_check(&graph, &sizes, NULL);
    if (status == PM_OK) {
        status = pm_symbolic_new(&graph, 0, 0, NULL, NULL, NULL, NULL, &symbolic, NULL);
    }
    if (status == PM_OK) {
        pm_symbolic_pattern(symbolic, &pattern);
        status = pm_plan_new(&graph, &sizes, &pattern, pattern.lower_ptr[pattern.n_rows], pattern.upper_ptr[pattern.n_rows], NULL,
                             &plan, NULL);
    }
    if (status == PM_OK) {
        status = pm_workspace_new(plan, 1, &workspace);
    }
    if (status == PM_OK) {
        status = pm_moments_grad(plan, workspace, 1, theta, 1, NULL, &mean, gradient, NULL);
    }
    if (status == PM_OK) {
        printf("%.17g\n%.17g %.17g\n", mean, gradient[0], gradient[1]);
    }
    pm_workspace_free(workspace);
    pm_plan_free(plan);
    pm_symbolic_free(symbolic);
    return status == PM_OK ? 0 : fail(status);
}
