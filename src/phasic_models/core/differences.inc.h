/*
 * Differences x[v] - x[u] along the edges u -> v of a solution of A x = r, r >= 0, each with a bound of its error. Where absorption
 * is rare the x[v] are nearly equal, and their differences computed from them have no digit left. They are computed here without
 * them: with q held, x[v] - x[q] is what is earned from v until q is met, less the chance that it never is, times x[q]. Along the
 * elimination that is one recursion over the later rows k that v leads to,
 *     x[v] - x[q] = (y[v] - exit[v] x[q] + sum_k upper[v,k] (x[k] - x[q])) / pivot[v],
 * for every row v that q eliminates. Row v's later rows k then have x[k] - x[v] = (x[k] - x[q]) - (x[v] - x[q]), from whichever q
 * bounds it best; where the x differ much, a simple difference has the better bound and is taken. All is counted from the anchor of the block, a vertex through which every path out of the block leads (anchors.c),
 * so that what comes after it, however long, does not enter.
 */

/* What is earned from row r, lane l, until row `until` is met: it lies on every path. */
PM_TARGET static inline PM_T PM_NAME(earned_until)(const pm_differences *d, int32_t r, int32_t until, int l) {
    if (until < 0) {
        return ((const PM_T *)(const void *)d->value)[(int64_t)r * PM_N + l];
    }
    PM_T sum = PM_NUM(0.0);
    for (; r != until; r = d->anchor[d->block[r]]) {
        sum = PM_ADD(sum, ((const PM_T *)(const void *)d->offset)[(int64_t)r * PM_N + l]);
    }
    return sum;
}

/* Solves block b, counted from its anchor; y keeps the right-hand side after the elimination of earlier rows. */
PM_TARGET static void PM_NAME(solve_from_anchor)(const pm_plan *p, const pm_workspace *ws, const pm_differences *d, int32_t b, PM_T *y) {
    const pm_pattern *s = &p->pattern;
    const PM_T *slot = (const PM_T *)(const void *)ws->slot;
    const PM_T *lower = (const PM_T *)(const void *)ws->lower;
    const PM_T *upper = (const PM_T *)(const void *)ws->upper;
    const PM_T *pivot = (const PM_T *)(const void *)ws->pivot;
    PM_T *offset = (PM_T *)(void *)d->offset;
    PM_T *value = (PM_T *)(void *)d->value;
    const int32_t start = s->block_ptr[b];
    const int32_t end = s->block_ptr[b + 1];
    const int32_t anchor = d->anchor[b];
    for (int32_t i = start; i < end; i++) {
        for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
            const int32_t r = p->edge_row[e];
            for (int l = 0; l < PM_N && r >= 0 && r < start && r != anchor; l++) {
                const PM_T w = slot[(int64_t)p->graph.edge_slot[e] * PM_N + l];
                y[(int64_t)i * PM_N + l] = PM_ADD(y[(int64_t)i * PM_N + l], PM_MUL(w, PM_NAME(earned_until)(d, r, anchor, l)));
            }
        }
        for (int64_t k = s->lower_ptr[i]; k < s->lower_ptr[i + 1]; k++) {
            for (int l = 0; l < PM_N; l++) {
                const PM_T term = PM_MUL(lower[k * PM_N + l], y[(int64_t)s->lower_col[k] * PM_N + l]);
                y[(int64_t)i * PM_N + l] = PM_ADD(y[(int64_t)i * PM_N + l], term);
            }
        }
    }
    for (int32_t i = end - 1; i >= start; i--) {
        for (int l = 0; l < PM_N; l++) {
            PM_T t = y[(int64_t)i * PM_N + l];
            for (int64_t k = s->upper_ptr[i]; k < s->upper_ptr[i + 1]; k++) {
                t = PM_ADD(t, PM_MUL(upper[k * PM_N + l], offset[(int64_t)s->upper_col[k] * PM_N + l]));
            }
            t = PM_DIV(t, pivot[(int64_t)i * PM_N + l]);
            offset[(int64_t)i * PM_N + l] = t;
            value[(int64_t)i * PM_N + l] = anchor < 0 ? t : PM_ADD(t, value[(int64_t)anchor * PM_N + l]);
        }
    }
}

/* A row as seen from the row at hand: the difference, and the bound of its error with the rounding of what it is multiplied by. */
typedef struct PM_NAME(seen) {
    PM_T value[PM_N];
    double error[PM_N];
} PM_NAME(seen);

/* One term of the sum below; value and error go side by side through one vector. */
PM_TARGET static inline void PM_NAME(add_one)(PM_NAME(seen) *sum, const PM_T *PM_RESTRICT upper, const PM_NAME(seen) *PM_RESTRICT row) {
    for (int l = 0; l < PM_N; l++) {
        sum->value[l] = PM_ADD(sum->value[l], PM_MUL(upper[l], row->value[l]));
        sum->error[l] += PM_VALUE(upper[l]) * row->error[l];
    }
}

/* sum += upper[v, k] row[k] over the later rows k of v, by four running sums, so that additions need not wait for each other. */
PM_TARGET static void PM_NAME(add_later)(const pm_plan *p, const pm_workspace *ws, const PM_NAME(seen) *row, int32_t start, int32_t v,
                                         PM_NAME(seen) *sum) {
    const pm_pattern *s = &p->pattern;
    const PM_T *PM_RESTRICT upper = (const PM_T *)(const void *)ws->upper;
    const int32_t *PM_RESTRICT column = s->upper_col;
    PM_NAME(seen) one = *sum;
    PM_NAME(seen) two;
    for (int l = 0; l < PM_N; l++) {
        two.value[l] = PM_NUM(0.0);
        two.error[l] = 0.0;
    }
    PM_NAME(seen) three = two;
    PM_NAME(seen) four = two;
    int64_t k = s->upper_ptr[v];
    const int64_t end = s->upper_ptr[v + 1];
    for (; k + 4 <= end; k += 4) {
        PM_NAME(add_one)(&one, upper + k * PM_N, row + (column[k] - start));
        PM_NAME(add_one)(&two, upper + (k + 1) * PM_N, row + (column[k + 1] - start));
        PM_NAME(add_one)(&three, upper + (k + 2) * PM_N, row + (column[k + 2] - start));
        PM_NAME(add_one)(&four, upper + (k + 3) * PM_N, row + (column[k + 3] - start));
    }
    for (; k < end; k++) {
        PM_NAME(add_one)(&one, upper + k * PM_N, row + (column[k] - start));
    }
    for (int l = 0; l < PM_N; l++) {
        sum->value[l] = PM_ADD(PM_ADD(one.value[l], two.value[l]), PM_ADD(three.value[l], four.value[l]));
        sum->error[l] = (one.error[l] + two.error[l]) + (three.error[l] + four.error[l]);
    }
}

/* Row v as seen from row q, both of the block that starts at `start`. Returns whether no later row has seen it as well, in some lane. */
PM_TARGET static int PM_NAME(pair)(const pm_plan *p, const pm_workspace *ws, const pm_differences *d, const PM_T *y, int32_t start, int32_t q,
                                   int32_t v, int *better) {
    const double unit = d->unit;
    PM_NAME(seen) *row = (PM_NAME(seen) *)(void *)d->row;
    PM_NAME(seen) sum;
    for (int l = 0; l < PM_N; l++) {
        const PM_T never = PM_MUL(((const PM_T *)(const void *)ws->exit)[(int64_t)v * PM_N + l],
                                  ((const PM_T *)(const void *)d->offset)[(int64_t)q * PM_N + l]);
        const PM_T earned = y[(int64_t)v * PM_N + l];
        sum.value[l] = PM_SUB(earned, never);
        sum.error[l] = unit * (PM_VALUE(earned) + PM_VALUE(never));
    }
    PM_NAME(add_later)(p, ws, row, start, v, &sum);
    int any = 0;
    for (int l = 0; l < PM_N; l++) {
        const PM_T pivot = ((const PM_T *)(const void *)ws->pivot)[(int64_t)v * PM_N + l];
        const int64_t at = (int64_t)(v - start) * PM_N + l;
        const PM_T here = ((const PM_T *)(const void *)d->offset)[(int64_t)v * PM_N + l];
        const PM_T there = ((const PM_T *)(const void *)d->offset)[(int64_t)q * PM_N + l];
        PM_T value = PM_DIV(sum.value[l], pivot);
        double bound = sum.error[l] / PM_VALUE(pivot) + unit * fabs(PM_VALUE(value));
        const double simple = unit * (PM_VALUE(here) + PM_VALUE(there));
        if (!(bound < simple)) {
            value = PM_SUB(here, there);
            bound = simple;
        }
        const double size = unit * fabs(PM_VALUE(value));
        row[v - start].value[l] = value;
        row[v - start].error[l] = bound + size;
        d->row_bound[at] = bound;
        better[l] = bound < d->best[at];
        d->best[at] = better[l] ? bound : d->best[at];
        any |= better[l];
    }
    return any;
}

/* What the pairs of q say of the later rows k of v, in the lanes in which v is seen better from q than from others: k seen from v. */
PM_TARGET static void PM_NAME(turn)(const pm_plan *p, const pm_differences *d, int32_t start, int32_t v, const int *better) {
    const pm_pattern *s = &p->pattern;
    const PM_NAME(seen) *row = (const PM_NAME(seen) *)(const void *)d->row;
    PM_T *pairs = (PM_T *)(void *)d->pair;
    const int64_t at = (int64_t)(v - start) * PM_N;
    for (int64_t k = s->upper_ptr[v]; k < s->upper_ptr[v + 1]; k++) {
        const int64_t w = (int64_t)(s->upper_col[k] - start) * PM_N;
        for (int l = 0; l < PM_N; l++) {
            const PM_T difference = PM_SUB(row[s->upper_col[k] - start].value[l], row[v - start].value[l]);
            const double bound = d->row_bound[w + l] + d->row_bound[at + l] + PM_ROUNDING * fabs(PM_VALUE(difference));
            if (better[l] && bound < d->pair_bound[k * PM_N + l]) {
                pairs[k * PM_N + l] = difference;
                d->pair_bound[k * PM_N + l] = bound;
            }
        }
    }
}

/* The edges of row q, whose differences to the rows of its own block stand in d->row. */
PM_TARGET static void PM_NAME(read_edges)(const pm_plan *p, const pm_differences *d, int32_t b, int32_t q) {
    const int32_t start = p->pattern.block_ptr[b];
    const int32_t anchor = d->anchor[b];
    const PM_NAME(seen) *row = (const PM_NAME(seen) *)(const void *)d->row;
    const PM_T *offset = (const PM_T *)(const void *)d->offset + (int64_t)q * PM_N;
    PM_T *edge = (PM_T *)(void *)d->edge;
    for (int64_t e = p->edge_start[q]; e < p->edge_end[q]; e++) {
        const int32_t r = p->edge_row[e];
        for (int l = 0; l < PM_N; l++) {
            if (r >= start) {
                edge[e * PM_N + l] = row[r - start].value[l];
                d->edge_bound[e * PM_N + l] = d->row_bound[(int64_t)(r - start) * PM_N + l];
            } else {
                const PM_T there = r == anchor ? PM_NUM(0.0) : PM_NAME(earned_until)(d, r, anchor, l);
                edge[e * PM_N + l] = PM_SUB(there, offset[l]);
                d->edge_bound[e * PM_N + l] = d->unit * (PM_VALUE(there) + PM_VALUE(offset[l]));
            }
        }
    }
}

/* Sets the difference of row r of the block to q, with its bound. */
PM_TARGET static void PM_NAME(set_row)(const pm_differences *d, int64_t r, const PM_T *difference, const double *bound) {
    for (int l = 0; l < PM_N; l++) {
        PM_NAME(seen) *row = (PM_NAME(seen) *)(void *)d->row + r;
        row->value[l] = difference[l];
        row->error[l] = bound[l] + d->unit * fabs(PM_VALUE(difference[l]));
        d->row_bound[r * PM_N + l] = bound[l];
    }
}

/* Pairs as simple differences, until they are seen better. */
PM_TARGET static void PM_NAME(subtract_pairs)(const pm_plan *p, const pm_differences *d, int32_t start, int32_t end) {
    const pm_pattern *s = &p->pattern;
    const PM_T *offset = (const PM_T *)(const void *)d->offset;
    for (int32_t v = start; v < end; v++) {
        for (int64_t k = s->upper_ptr[v]; k < s->upper_ptr[v + 1]; k++) {
            for (int l = 0; l < PM_N; l++) {
                const PM_T here = offset[(int64_t)v * PM_N + l];
                const PM_T there = offset[(int64_t)s->upper_col[k] * PM_N + l];
                ((PM_T *)(void *)d->pair)[k * PM_N + l] = PM_SUB(there, here);
                d->pair_bound[k * PM_N + l] = d->unit * (PM_VALUE(there) + PM_VALUE(here));
            }
        }
    }
}

PM_TARGET static void PM_NAME(differences)(const pm_plan *p, const pm_workspace *ws, const pm_differences *d, double *right) {
    const pm_pattern *s = &p->pattern;
    PM_T *y = (PM_T *)(void *)right;
    PM_T zero[PM_N];
    double no_bound[PM_N];
    for (int l = 0; l < PM_N; l++) {
        zero[l] = PM_NUM(0.0);
        no_bound[l] = 0.0;
    }
    for (int32_t b = 0; b < s->n_blocks; b++) {
        const int32_t start = s->block_ptr[b];
        const int32_t end = s->block_ptr[b + 1];
        PM_NAME(solve_from_anchor)(p, ws, d, b, y);
        PM_NAME(subtract_pairs)(p, d, start, end);
        for (int64_t at = 0; at < (int64_t)(end - start) * PM_N; at++) {
            d->best[at] = DBL_MAX;
        }
        for (int32_t q = end - 1; q >= start; q--) {
            PM_NAME(set_row)(d, q - start, zero, no_bound);
            for (int64_t k = s->upper_ptr[q]; k < s->upper_ptr[q + 1]; k++) {
                PM_NAME(set_row)(d, s->upper_col[k] - start, (const PM_T *)(const void *)d->pair + k * PM_N, d->pair_bound + k * PM_N);
            }
            for (int64_t k = s->lower_ptr[q + 1] - 1; k >= s->lower_ptr[q]; k--) {
                int better[PM_N];
                if (PM_NAME(pair)(p, ws, d, y, start, q, s->lower_col[k], better)) {
                    PM_NAME(turn)(p, d, start, s->lower_col[k], better);
                }
                if (pm_stop(ws->control, PM_EFFORT * PM_N * 2 * (s->upper_ptr[s->lower_col[k] + 1] - s->upper_ptr[s->lower_col[k]] + 1))) {
                    return;
                }
            }
            PM_NAME(read_edges)(p, d, b, q);
            if (pm_stop(ws->control, PM_EFFORT * PM_N * (p->edge_end[q] - p->edge_start[q] + 1))) {
                return;
            }
        }
    }
}
