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

/*
 * Arrays that share a block are kept apart under the address sanitizer, so that it finds an index that leaves its array all the same.
 */
#if defined(__SANITIZE_ADDRESS__)
#define PM_GAP 64
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PM_GAP 64
#endif
#endif
#if defined(PM_GAP)
#include <sanitizer/asan_interface.h>
static void forbid(char *p, int64_t bytes) { ASAN_POISON_MEMORY_REGION(p, (size_t)bytes); }
#else
#define PM_GAP 0
static void forbid(char *p, int64_t bytes) {
    (void)p;
    (void)bytes;
}
#endif

/* Each array starts on a cache line. */
static int64_t padded(int64_t bytes) { return (bytes + 63) / 64 * 64 + PM_GAP; }

void *pm_take(pm_arena *a, const void *from, int64_t count, size_t size) {
    if (a->used < 0 || count < 0 || count > (INT64_MAX / 4 - a->used) / 64) {
        a->used = -1;
        return NULL;
    }
    char *at = a->memory == NULL ? NULL : (char *)a->memory + a->used;
    const int64_t bytes = count * (int64_t)size;
    if (at != NULL && from != NULL && bytes > 0) {
        memcpy(at, from, (size_t)bytes);
    }
    if (at != NULL) {
        forbid(at + bytes, padded(bytes) - bytes);
    }
    a->used += padded(bytes);
    return at;
}

int pm_arena_make(pm_arena *a) {
    a->memory = a->used < 0 ? NULL : pm_alloc_aligned((a->used + 7) / 8);
    a->used = 0;
    return a->memory == NULL ? PM_E_MEMORY : PM_OK;
}

int pm_alloc_parts(const pm_part *parts, size_t n_parts, double **memory) {
    pm_arena a = {NULL, 0};
    *memory = NULL;
    for (size_t i = 0; i < n_parts; i++) {
        pm_take(&a, NULL, parts[i].count, sizeof(double));
    }
    const int status = pm_arena_make(&a);
    for (size_t i = 0; i < n_parts && status == PM_OK; i++) {
        *parts[i].array = pm_take(&a, NULL, parts[i].count, sizeof(double));
    }
    *memory = a.memory;
    return status;
}
