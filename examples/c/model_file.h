/* Reads the .safetensors file of a model (docs/format.md) into the structs of pm_core.h. */
#ifndef MODEL_FILE_H
#define MODEL_FILE_H

#include "pm_core.h"

typedef struct model_file {
    pm_graph graph;
    pm_graph_sizes sizes;
    pm_pattern pattern;
    int64_t n_lower;
    int64_t n_upper;
    void *arrays[16]; /* what the structs point to */
} model_file;

/*
 * Returns 0, or 1 after a message to stderr. Sizes are checked here, indices by pm_plan_new. The SHA-256 in the header is not: a
 * file that comes from elsewhere should be compared with the manifest of its library first.
 */
int model_file_open(const char *path, model_file *out);
void model_file_close(model_file *file);

#endif
