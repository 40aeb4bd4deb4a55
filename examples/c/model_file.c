/* See model_file.h. A safetensors file is a length of 8 bytes, a header in JSON of that length, and the bytes of all tensors. */
#include "model_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- JSON: just enough to find members ------------------------------------------------------------------------------- */

/* All functions take a position in a text that ends with NUL, and return NULL where the text is not what it should be. */

static const char *space(const char *p) { return p == NULL ? NULL : p + strspn(p, " \t\r\n"); }

/* The end of the string that begins at p. */
static const char *string_end(const char *p) {
    if (*p != '"') {
        return NULL;
    }
    for (p++; *p != '"'; p++) {
        if (*p == '\0' || (*p == '\\' && *++p == '\0')) {
            return NULL;
        }
    }
    return p + 1;
}

/* The end of the value that begins at p. */
static const char *value_end(const char *p) {
    int depth = 0;
    do {
        if (*p == '"') {
            p = string_end(p);
            if (p == NULL) {
                return NULL;
            }
        } else {
            depth += (*p == '{' || *p == '[') - (*p == '}' || *p == ']');
            if (*p == '\0' || depth < 0) {
                return NULL;
            }
            p++;
        }
    } while (depth > 0 || (*p != ',' && *p != '}' && *p != ']' && *p != '\0'));
    return p;
}

/* The value of a member of the object that begins at p. */
static const char *member(const char *p, const char *key) {
    if (p == NULL || *p != '{') {
        return NULL;
    }
    p = space(p + 1);
    while (*p == '"') {
        const char *end = string_end(p);
        const int found = end != NULL && (size_t)(end - p) == strlen(key) + 2 && strncmp(p + 1, key, strlen(key)) == 0;
        p = space(end);
        if (p == NULL || *p != ':') {
            return NULL;
        }
        p = space(p + 1);
        if (found) {
            return p;
        }
        p = space(value_end(p));
        if (p == NULL || *p != ',') {
            return NULL;
        }
        p = space(p + 1);
    }
    return NULL;
}

/* The number of entries of the array of strings that begins at p; -1 if it is none. */
static int32_t count_strings(const char *p) {
    int32_t n = 0;
    if (p == NULL || *p != '[') {
        return -1;
    }
    for (p = space(p + 1); *p == '"'; n++) {
        p = space(string_end(p));
        if (p == NULL) {
            return -1;
        }
        if (*p == ',') {
            p = space(p + 1);
        }
    }
    return *p == ']' ? n : -1;
}

/* A string without its quotes and escapes. Letters written as \u become '?': none of the keys has any. The caller frees it. */
static char *unescape(const char *p) {
    const char *end = p == NULL ? NULL : string_end(p);
    char *text = end == NULL ? NULL : malloc((size_t)(end - p));
    if (text == NULL) {
        return NULL;
    }
    char *to = text;
    for (p++; p < end - 1; p++) {
        if (*p == '\\') {
            p++;
            *to++ = *p == 'u' ? '?' : *p;
        } else {
            *to++ = *p;
        }
    }
    *to = '\0';
    return text;
}

/* ---- tensors --------------------------------------------------------------------------------------------------------- */

typedef struct contents {
    const char *header;
    const unsigned char *data;
    int64_t size;
} contents;

static int big_endian(void) {
    const uint16_t one = 1;
    return *(const unsigned char *)&one == 0;
}

/* Copies a tensor of one dimension, so that it is aligned, and turns its bytes round where the machine wants that. */
static int load(const contents *c, const char *name, const char *dtype, size_t width, void **array, int64_t *length) {
    const char *tensor = member(c->header, name);
    const char *type = member(tensor, "dtype");
    const char *offsets = member(tensor, "data_offsets");
    if (type == NULL || offsets == NULL || *offsets != '[' || strncmp(type + 1, dtype, strlen(dtype)) != 0) {
        return 1;
    }
    char *rest;
    const int64_t start = strtoll(offsets + 1, &rest, 10);
    const int64_t end = *rest == ',' ? strtoll(rest + 1, &rest, 10) : -1;
    if (start < 0 || end < start || end > c->size || (end - start) % (int64_t)width != 0) {
        return 1;
    }
    const size_t bytes = (size_t)(end - start);
    unsigned char *copy = malloc(bytes == 0 ? 1 : bytes);
    if (copy == NULL) {
        return 1;
    }
    memcpy(copy, c->data + start, bytes);
    for (size_t i = 0; big_endian() && i < bytes; i += width) {
        for (size_t j = 0; j < width / 2; j++) {
            const unsigned char byte = copy[i + j];
            copy[i + j] = copy[i + width - 1 - j];
            copy[i + width - 1 - j] = byte;
        }
    }
    *array = copy;
    *length = (end - start) / (int64_t)width;
    return 0;
}

/* Fills the structs; 0 unless a tensor is missing, or the lengths do not agree. */
static int fill(const contents *c, model_file *f) {
    static const struct {
        const char *name;
        const char *dtype;
        size_t width;
    } tensors[] = {
        {"edge_ptr", "I64", 8}, {"edge_target", "I32", 4}, {"edge_slot", "I32", 4}, {"affine_base", "F64", 8},
        {"affine_ptr", "I64", 8}, {"affine_param", "I32", 4}, {"affine_coef", "F64", 8}, {"program_op", "U8", 1},
        {"program_a", "I32", 4}, {"program_b", "I32", 4}, {"order", "I32", 4}, {"block_ptr", "I32", 4}, {"lower_ptr", "I64", 8},
        {"lower_col", "I32", 4}, {"upper_ptr", "I64", 8}, {"upper_col", "I32", 4},
    };
    enum { N_TENSORS = sizeof tensors / sizeof tensors[0] };
    int64_t n[N_TENSORS];
    for (int i = 0; i < N_TENSORS; i++) {
        if (load(c, tensors[i].name, tensors[i].dtype, tensors[i].width, &f->arrays[i], &n[i]) != 0) {
            fprintf(stderr, "tensor %s is missing or has another type or size\n", tensors[i].name);
            return 1;
        }
        if (n[i] > INT32_MAX) {
            fprintf(stderr, "tensor %s is larger than this example reads\n", tensors[i].name);
            return 1;
        }
    }
    if (n[0] < 2 || n[1] != n[2] || n[4] != n[3] + 1 || n[5] != n[6] || n[7] != n[8] || n[7] != n[9] || n[11] < 1
        || n[12] != n[10] + 1 || n[14] != n[10] + 1) {
        fprintf(stderr, "the lengths of the tensors do not agree\n");
        return 1;
    }
    pm_graph *g = &f->graph;
    g->n_vertices = (int32_t)n[0] - 1;
    g->n_affine = (int32_t)n[3];
    g->n_program = (int32_t)n[7];
    g->edge_ptr = f->arrays[0];
    g->edge_target = f->arrays[1];
    g->edge_slot = f->arrays[2];
    g->affine_base = f->arrays[3];
    g->affine_ptr = f->arrays[4];
    g->affine_param = f->arrays[5];
    g->affine_coef = f->arrays[6];
    g->program_op = f->arrays[7];
    g->program_a = f->arrays[8];
    g->program_b = f->arrays[9];
    f->sizes.n_edges = n[1];
    f->sizes.n_affine_terms = n[5];
    pm_pattern *p = &f->pattern;
    p->n_rows = (int32_t)n[10];
    p->n_blocks = (int32_t)n[11] - 1;
    p->order = f->arrays[10];
    p->block_ptr = f->arrays[11];
    p->lower_ptr = f->arrays[12];
    p->lower_col = f->arrays[13];
    p->upper_ptr = f->arrays[14];
    p->upper_col = f->arrays[15];
    f->n_lower = n[13];
    f->n_upper = n[15];
    return 0;
}

/* What no tensor says: the number of parameters, and whether time is discrete. */
static int labels(const contents *c, model_file *f) {
    char *text = unescape(member(member(c->header, "__metadata__"), "phasic_models"));
    const char *model = text == NULL ? NULL : member(text, "model");
    const char *discrete = member(model, "is_discrete");
    f->graph.n_params = count_strings(member(model, "param_names"));
    const int sound = discrete != NULL && f->graph.n_params >= 0;
    f->graph.discrete = sound && strncmp(discrete, "true", 4) == 0;
    free(text);
    if (!sound) {
        fprintf(stderr, "the header has no metadata of a model\n");
    }
    return !sound;
}

/* ---- the file -------------------------------------------------------------------------------------------------------- */

static unsigned char *read_all(const char *path, int64_t *size) {
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = NULL;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) {
        *size = ftell(file);
        bytes = *size < 8 ? NULL : malloc((size_t)*size);
        rewind(file);
        if (bytes != NULL && fread(bytes, 1, (size_t)*size, file) != (size_t)*size) {
            free(bytes);
            bytes = NULL;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return bytes;
}

int model_file_open(const char *path, model_file *out) {
    int64_t size = 0;
    memset(out, 0, sizeof *out);
    unsigned char *bytes = read_all(path, &size);
    uint64_t length = 0;
    for (int i = 7; bytes != NULL && i >= 0; i--) {
        length = length << 8 | bytes[i];
    }
    char *header = bytes == NULL || length > (uint64_t)size - 8 ? NULL : malloc((size_t)length + 1);
    if (header == NULL) {
        fprintf(stderr, "%s cannot be read, or is no safetensors file\n", path);
        free(bytes);
        return 1;
    }
    memcpy(header, bytes + 8, (size_t)length);
    header[length] = '\0';
    const contents c = {.header = header, .data = bytes + 8 + length, .size = size - 8 - (int64_t)length};
    const int failed = labels(&c, out) || fill(&c, out);
    free(header);
    free(bytes);
    if (failed) {
        model_file_close(out);
    }
    return failed;
}

void model_file_close(model_file *file) {
    for (size_t i = 0; i < sizeof file->arrays / sizeof file->arrays[0]; i++) {
        free(file->arrays[i]);
    }
    memset(file, 0, sizeof *file);
}
