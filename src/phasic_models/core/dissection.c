/*
 * Nested dissection (George 1973) with separators that are levels of a breadth-first search. On a grid-like state space it needs
 * far fewer operations than any sweep from one end to the other, and it takes time O(edges x log vertices).
 */
#include "dissection.h"

#include <string.h>

enum { LEAF = 32 };

typedef struct dissection {
    int32_t *ptr;        /* neighbours in either direction */
    int32_t *col;
    int32_t *order;      /* consecutive ranges of it are parts */
    int32_t *part;       /* vertex -> number of the part that it is in */
    int32_t *level;      /* vertex -> level of the last search that met it */
    int32_t *seen;       /* vertex -> number of that search */
    int32_t *queue;
    int32_t searches;
    int32_t parts;
} dissection;

/* Both directions of every edge; a pair that leads to and fro is there twice, which does no harm. */
static int neighbours(const pm_block *b, dissection *d) {
    const int64_t edges = b->row_ptr[b->n];
    if (edges > INT32_MAX / 2) {
        return PM_E_LIMIT;
    }
    d->ptr = pm_alloc_zero((int64_t)b->n + 2, sizeof *d->ptr);
    d->col = pm_alloc(2 * edges, sizeof *d->col);
    if (d->ptr == NULL || d->col == NULL) {
        return PM_E_MEMORY;
    }
    int32_t *fill = d->ptr + 1;
    for (int32_t v = 0; v < b->n; v++) {
        for (int32_t e = b->row_ptr[v]; e < b->row_ptr[v + 1]; e++) {
            fill[v + 1]++;
            fill[b->row_col[e] + 1]++;
        }
    }
    for (int32_t v = 0; v < b->n; v++) {
        fill[v + 1] += fill[v];
    }
    for (int32_t v = 0; v < b->n; v++) {
        for (int32_t e = b->row_ptr[v]; e < b->row_ptr[v + 1]; e++) {
            d->col[fill[v]++] = b->row_col[e];
            d->col[fill[b->row_col[e]]++] = v;
        }
    }
    return PM_OK;
}

/* Goes on breadth first from `root` inside its part, behind the `size` vertices that the search has met; returns how many then. */
static int32_t extend(dissection *d, int32_t root, int32_t size) {
    const int32_t part = d->part[root];
    const int32_t number = d->searches;
    const int32_t first = size;
    d->seen[root] = number;
    d->level[root] = 0;
    d->queue[size++] = root;
    for (int32_t i = first; i < size; i++) {
        const int32_t v = d->queue[i];
        for (int32_t e = d->ptr[v]; e < d->ptr[v + 1]; e++) {
            const int32_t w = d->col[e];
            if (d->part[w] == part && d->seen[w] != number) {
                d->seen[w] = number;
                d->level[w] = d->level[v] + 1;
                d->queue[size++] = w;
            }
        }
    }
    return size;
}

/* A new search; the farthest vertex is the last in the queue. */
static int32_t search(dissection *d, int32_t root) {
    d->searches++;
    return extend(d, root, 0);
}

/* Puts connected pieces side by side, `met` being the size of the first; returns where the first half of them ends. */
static int32_t split_pieces(dissection *d, int32_t low, int32_t high, int32_t met) {
    const int32_t n = high - low;
    int32_t half = met;
    for (int32_t i = low; i < high; i++) {
        if (d->seen[d->order[i]] != d->searches) {
            met = extend(d, d->order[i], met);
            half = met <= n / 2 ? met : half;
        }
    }
    memcpy(d->order + low, d->queue, (size_t)n * sizeof *d->order);
    return low + half;
}

/* A vertex of the separating level is needed only if it touches the next one. */
static int touches_next(const dissection *d, int32_t v, int32_t part) {
    for (int32_t e = d->ptr[v]; e < d->ptr[v + 1]; e++) {
        if (d->part[d->col[e]] == part && d->level[d->col[e]] == d->level[v] + 1) {
            return 1;
        }
    }
    return 0;
}

/*
 * Rearranges order[low .. high) into two parts and what separates them: [low, a), [a, b), [b, high). Returns 0 if the part is too
 * tightly knit to be worth a cut.
 */
static int split(dissection *d, int32_t low, int32_t high, int32_t *a, int32_t *b) {
    const int32_t n = high - low;
    const int32_t part = d->part[d->order[low]];
    int32_t met = search(d, d->order[low]);
    if (met < n) {
        /* Not connected, so nothing separates. All pieces are found at once: one by one they would take quadratic time. */
        *a = split_pieces(d, low, high, met);
        *b = high;
        return 1;
    }
    /* From an end of the part, levels are many and small. */
    met = search(d, d->queue[met - 1]);
    met = search(d, d->queue[met - 1]);
    const int32_t levels = d->level[d->queue[met - 1]] + 1;
    if (levels < 4) {
        return 0;
    }
    int32_t middle = d->level[d->queue[met / 2]];
    middle = middle == 0 ? 1 : middle == levels - 1 ? levels - 2 : middle;
    /* The queue is in order of levels: below, then the separator, then above. */
    int32_t below = low;
    int32_t cut = 0;
    for (int32_t i = 0; i < met; i++) {
        const int32_t v = d->queue[i];
        if (d->level[v] < middle || (d->level[v] == middle && !touches_next(d, v, part))) {
            d->order[below++] = v;
        } else if (d->level[v] == middle) {
            cut++;
        }
    }
    int32_t above = below;
    int32_t last = high - cut;
    *a = below;
    *b = last;
    for (int32_t i = 0; i < met; i++) {
        const int32_t v = d->queue[i];
        if (d->level[v] > middle) {
            d->order[above++] = v;
        } else if (d->level[v] == middle && touches_next(d, v, part)) {
            d->order[last++] = v;
        }
    }
    return *a > low && *b > *a;
}

static void mark(dissection *d, int32_t low, int32_t high) {
    const int32_t number = ++d->parts;
    for (int32_t i = low; i < high; i++) {
        d->part[d->order[i]] = number;
    }
}

static void release(dissection *d) {
    pm_free(d->ptr);
    pm_free(d->col);
    pm_free(d->part);
    pm_free(d->level);
    pm_free(d->seen);
    pm_free(d->queue);
}

int pm_dissection_order(const pm_block *block, pm_control *control, int32_t *order) {
    const int32_t n = block->n;
    dissection d = {NULL, NULL, order, NULL, NULL, NULL, NULL, 0, 0};
    int status = neighbours(block, &d);
    int32_t *todo = pm_alloc(2 * (int64_t)n, sizeof *todo); /* ranges: each split leaves two that are shorter, so n suffice */
    d.part = pm_alloc_zero(n, sizeof *d.part);
    d.level = pm_alloc_zero(n, sizeof *d.level);
    d.seen = pm_alloc_zero(n, sizeof *d.seen);
    d.queue = pm_alloc(n, sizeof *d.queue);
    if (status == PM_OK && (todo == NULL || d.part == NULL || d.level == NULL || d.seen == NULL || d.queue == NULL)) {
        status = PM_E_MEMORY;
    }
    if (status != PM_OK) {
        goto out;
    }
    for (int32_t v = 0; v < n; v++) {
        order[v] = v;
    }
    int32_t top = 0;
    todo[top++] = 0;
    todo[top++] = n;
    while (top > 0) {
        const int32_t high = todo[--top];
        const int32_t low = todo[--top];
        int32_t a = 0;
        int32_t b = 0;
        if (pm_stop(control, 64 * ((int64_t)high - low))) {
            status = PM_E_STOPPED;
            goto out;
        }
        if (high - low <= LEAF || !split(&d, low, high, &a, &b)) {
            continue;
        }
        mark(&d, low, a);
        mark(&d, a, b);
        mark(&d, b, high);
        todo[top++] = low;
        todo[top++] = a;
        todo[top++] = a;
        todo[top++] = b;
    }
out:
    pm_free(todo);
    release(&d);
    return status;
}
