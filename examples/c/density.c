/*
 * The density (of a discrete model: the probabilities) of a model of a library, at the given times:
 *
 *     density MODEL.safetensors THETA,THETA,... TIME [TIME ...]
 */
#include <stdio.h>
#include <stdlib.h>

#include "model_file.h"

/* Reads numbers that are separated by commas; returns how many, or -1. */
static int32_t numbers(const char *text, int32_t room, double *out) {
    int32_t n = 0;
    while (*text != '\0') {
        char *end;
        const double value = strtod(text, &end);
        if (n == room || end == text || (*end != ',' && *end != '\0')) {
            return -1;
        }
        out[n++] = value;
        text = *end == ',' ? end + 1 : end;
    }
    return n;
}

static int print_density(const model_file *file, const double *theta, int n_times, const double *times, double *density) {
    pm_plan *plan = NULL;
    pm_workspace *workspace = NULL;
    pm_uniform *uniform = NULL;
    pm_where where = {0};
    /* The pattern is checked against the graph, whatever the file says. */
    int status = pm_plan_new(&file->graph, &file->sizes, &file->pattern, file->n_lower, file->n_upper, NULL, &plan, &where);
    if (status == PM_OK) {
        status = pm_workspace_new(plan, 1, &workspace);
    }
    if (status == PM_OK) {
        status = pm_uniform_new(plan, &uniform);
    }
    if (status == PM_OK) {
        status = pm_check_times(plan, n_times, times, &where);
    }
    if (status == PM_OK) {
        status = pm_uniform_eval(plan, workspace, uniform, 1, theta, NULL, NULL, n_times, times, 1e-12, 100000000, density,
                                 NULL, NULL, &where);
    }
    for (int i = 0; status == PM_OK && i < n_times; i++) {
        printf("%.17g %.17g\n", times[i], density[i]);
    }
    if (status != PM_OK) {
        fprintf(stderr, "%s\n", pm_message(status));
    }
    pm_uniform_free(uniform);
    pm_workspace_free(workspace);
    pm_plan_free(plan);
    return status == PM_OK ? 0 : 1;
}

int main(int argc, char **argv) {
    double theta[64];
    model_file file;
    if (argc < 4) {
        fprintf(stderr, "usage: density MODEL.safetensors THETA,THETA,... TIME [TIME ...]\n");
        return 2;
    }
    if (model_file_open(argv[1], &file) != 0) {
        return 1;
    }
    int result = 1;
    const int n_times = argc - 3;
    double *times = malloc(2 * (size_t)n_times * sizeof *times);
    if (numbers(argv[2], 64, theta) != file.graph.n_params) {
        fprintf(stderr, "this model has %d parameters\n", (int)file.graph.n_params);
    } else if (times != NULL) {
        for (int i = 0; i < n_times; i++) {
            times[i] = strtod(argv[i + 3], NULL);
        }
        result = print_density(&file, theta, n_times, times, times + n_times);
    }
    free(times);
    model_file_close(&file);
    return result;
}
