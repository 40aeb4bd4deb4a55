/*
 * Allocation: sizes are checked for overflow, and a request for nothing gives a pointer that can be freed.
 *
 * Whoever embeds the core may bring an allocator of their own, at compile time, since there is no global state to keep one in: define
 * PM_MALLOC, PM_CALLOC, PM_REALLOC and PM_FREE, all four, as names of functions like those of stdlib.h.
 */
#include <stdlib.h>
#include <string.h>

#include "pm_internal.h"

#if defined(PM_MALLOC)
void *PM_MALLOC(size_t size);
void *PM_CALLOC(size_t count, size_t size);
void *PM_REALLOC(void *p, size_t size);
void PM_FREE(void *p);
#else
#define PM_MALLOC malloc
#define PM_CALLOC calloc
#define PM_REALLOC realloc
#define PM_FREE free
#endif

static int too_large(int64_t count, size_t size) {
    return count < 0 || (size != 0 && (uint64_t)count > (uint64_t)(PTRDIFF_MAX / (ptrdiff_t)size));
}

void *pm_alloc(int64_t count, size_t size) {
    if (too_large(count, size)) {
        return NULL;
    }
    size_t bytes = (size_t)count * size;
    return PM_MALLOC(bytes == 0 ? 1 : bytes);
}

void *pm_alloc_zero(int64_t count, size_t size) {
    if (too_large(count, size)) {
        return NULL;
    }
    return count == 0 ? PM_CALLOC(1, 1) : PM_CALLOC((size_t)count, size);
}

void *pm_realloc(void *p, int64_t count, size_t size) {
    const size_t bytes = (size_t)count * size;
    return too_large(count, size) ? NULL : PM_REALLOC(p, bytes == 0 ? 1 : bytes);
}

void pm_free(void *p) { PM_FREE(p); }

/* aligned_alloc is missing from Microsoft's C library, so the offset is kept in front of the block. */
double *pm_alloc_aligned(int64_t count) {
    if (count < 0 || count > (INT64_MAX / 16) || count > (int64_t)(PTRDIFF_MAX / 16)) {
        return NULL;
    }
    size_t bytes = (size_t)count * sizeof(double) + 64 + sizeof(void *);
    char *raw = PM_MALLOC(bytes);
    if (raw == NULL) {
        return NULL;
    }
    uintptr_t start = ((uintptr_t)raw + sizeof(void *) + 63u) & ~(uintptr_t)63u;
    char *aligned = raw + (start - (uintptr_t)raw);
    memcpy(aligned - sizeof(void *), &raw, sizeof(void *));
    return (double *)(void *)aligned;
}

void pm_free_aligned(double *p) {
    if (p != NULL) {
        void *raw;
        memcpy(&raw, (char *)p - sizeof(void *), sizeof(void *));
        PM_FREE(raw);
    }
}

/* Rounded up so that each array starts on a cache line. */
static int64_t cut(int64_t count) { return (count + 7) / 8 * 8; }

int pm_alloc_parts(const pm_part *parts, size_t n_parts, double **memory) {
    int64_t total = 0;
    *memory = NULL;
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].count < 0 || parts[i].count > INT64_MAX / 64 - total) {
            return PM_E_MEMORY;
        }
        total += cut(parts[i].count);
    }
    *memory = pm_alloc_aligned(total);
    if (*memory == NULL) {
        return PM_E_MEMORY;
    }
    double *next = *memory;
    for (size_t i = 0; i < n_parts; i++) {
        *parts[i].array = next;
        next += cut(parts[i].count);
    }
    return PM_OK;
}
