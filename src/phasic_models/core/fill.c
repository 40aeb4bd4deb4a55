/*
 * The fill pattern of a block in a given order, by row merging: row i collects the kept parts of the rows that it eliminates.
 * Only the first n_eliminate positions are eliminated; the rows of the others keep entries on both sides.
 */
#include <string.h>

#include "bits.h"
#include "pm_internal.h"

typedef struct list {
    int32_t *items;
    int64_t size;
    int64_t capacity;
} list;

static int list_push(list *l, int32_t item) {
    if (l->size == l->capacity) {
        if (l->capacity > INT64_MAX / 4) {
            return PM_E_MEMORY;
        }
        const int64_t capacity = l->capacity < 32 ? 64 : l->capacity + l->capacity / 2;
        int32_t *items = pm_realloc(l->items, capacity, sizeof *items);
        if (items == NULL) {
            return PM_E_MEMORY;
        }
        l->items = items;
        l->capacity = capacity;
    }
    l->items[l->size++] = item;
    return PM_OK;
}

void pm_fill_release(pm_fill *f) {
    pm_free(f->lower_ptr);
    pm_free(f->lower_col);
    pm_free(f->upper_ptr);
    pm_free(f->upper_col);
    memset(f, 0, sizeof *f);
}

/*
 * Two levels of bits, so that the next set bit is found in a few steps even in a block of a million rows: bit w of `summary`
 * says that word w of `bits` may hold one.
 */
typedef struct bitset {
    uint64_t *bits;
    uint64_t *summary;
    int32_t words;
} bitset;

static void bitset_add(bitset *s, int32_t i) {
    pm_bit_set(s->bits, i);
    pm_bit_set(s->summary, i >> 6);
}

/* Removes and returns the lowest element that is at least `from`, or -1. Everything below `from` has been removed before. */
static int32_t bitset_take(bitset *s, int32_t from) {
    const int32_t summary_words = pm_words(s->words);
    for (int32_t i = from >> 12; i < summary_words; i++) {
        while (s->summary[i] != 0) {
            const int32_t w = i * 64 + pm_lowest(s->summary[i]);
            if (s->bits[w] != 0) {
                const int32_t bit = pm_lowest(s->bits[w]);
                s->bits[w] &= s->bits[w] - 1;
                return w * 64 + bit;
            }
            pm_bit_clear(s->summary, w);
        }
    }
    return -1;
}

int pm_block_fill(const pm_block *block, const int32_t *order, int32_t n_eliminate, const pm_budget *budget, pm_control *control,
                  pm_fill *out) {
    const int32_t n = block->n;
    int status = PM_E_MEMORY;
    pm_fill f = {0, 0, NULL, NULL, NULL, NULL, 0};
    list lower = {NULL, 0, 0};
    list upper = {NULL, 0, 0};
    bitset marks = {NULL, NULL, pm_words(n)};
    int32_t *position = pm_alloc(n, sizeof *position);
    marks.bits = pm_alloc_zero(marks.words, sizeof *marks.bits);
    marks.summary = pm_alloc_zero(pm_words(marks.words), sizeof *marks.summary);
    f.lower_ptr = pm_alloc((int64_t)n + 1, sizeof *f.lower_ptr);
    f.upper_ptr = pm_alloc((int64_t)n + 1, sizeof *f.upper_ptr);
    if (position == NULL || marks.bits == NULL || marks.summary == NULL || f.lower_ptr == NULL || f.upper_ptr == NULL) {
        goto out;
    }
    for (int32_t i = 0; i < n; i++) {
        position[order[i]] = i;
    }
    f.lower_ptr[0] = f.upper_ptr[0] = 0;
    for (int32_t i = 0; i < n; i++) {
        pm_done(control, i);
        const int32_t v = order[i];
        for (int32_t e = block->row_ptr[v]; e < block->row_ptr[v + 1]; e++) {
            bitset_add(&marks, position[block->row_col[e]]);
        }
        int32_t j = bitset_take(&marks, 0);
        for (; j >= 0 && j < i && j < n_eliminate; j = bitset_take(&marks, j)) {
            if (list_push(&lower, j) != PM_OK) {
                goto out;
            }
            for (int64_t k = f.upper_ptr[j]; k < f.upper_ptr[j + 1]; k++) {
                const int32_t w = upper.items[k];
                if (w != i) {
                    bitset_add(&marks, w);
                    f.operations++;
                }
            }
            f.operations++;
            if (budget != NULL && f.operations > budget->operations) {
                status = PM_E_LIMIT;
                goto out;
            }
            if (pm_stop(control, 2 * (f.upper_ptr[j + 1] - f.upper_ptr[j]) + 4)) {
                status = PM_E_STOPPED;
                goto out;
            }
        }
        for (; j >= 0; j = bitset_take(&marks, j)) {
            if (list_push(&upper, j) != PM_OK) {
                goto out;
            }
        }
        if (budget != NULL && lower.size + upper.size > budget->entries) {
            status = PM_E_LIMIT;
            goto out;
        }
        if (pm_stop(control, 32)) {
            status = PM_E_STOPPED;
            goto out;
        }
        f.lower_ptr[i + 1] = lower.size;
        f.upper_ptr[i + 1] = upper.size;
    }
    f.n_lower = lower.size;
    f.n_upper = upper.size;
    f.lower_col = lower.items;
    f.upper_col = upper.items;
    lower.items = upper.items = NULL;
    *out = f;
    status = PM_OK;
out:
    if (status != PM_OK) {
        pm_fill_release(&f);
    }
    pm_free(lower.items);
    pm_free(upper.items);
    pm_free(position);
    pm_free(marks.bits);
    pm_free(marks.summary);
    return status;
}
