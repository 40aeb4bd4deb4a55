/*
 * The numeric kernels, for PM_N lanes, compiled once per instruction set: define PM_N, PM_NAME(x) and PM_TARGET, then include.
 * Each lane does the same operations in the same order whatever the instruction set, so results agree to the last bit.
 *
 * The orders below are promised (docs/engine.md): edges of a row as they are stored; earlier and later rows ascending; each update one
 * product and one sum; a pivot is the rate out of the block, then later entries ascending; division last. Loops over lanes may be
 * changed freely, since lanes do not meet.
 */

#include "number.h"

PM_TARGET static uint32_t PM_NAME(factor)(const pm_plan *p, pm_workspace *ws) {
    const pm_pattern *s = &p->pattern;
    const PM_T *PM_RESTRICT slot = (const PM_T *)(const void *)ws->slot;
    PM_T *PM_RESTRICT lower = (PM_T *)(void *)ws->lower;
    PM_T *PM_RESTRICT upper = (PM_T *)(void *)ws->upper;
    PM_T *PM_RESTRICT acc = (PM_T *)(void *)ws->acc;
    PM_T *PM_RESTRICT exits = (PM_T *)(void *)ws->exit;
    PM_T *PM_RESTRICT pivots = (PM_T *)(void *)ws->pivot;
    PM_T *PM_RESTRICT totals = (PM_T *)(void *)ws->total;
    const int32_t *PM_RESTRICT upper_col = s->upper_col;
    uint8_t *PM_RESTRICT bad_rows = ws->bad;
    uint32_t failed = 0;
    for (int32_t b = 0; b < s->n_blocks; b++) {
        const int32_t start = s->block_ptr[b];
        for (int32_t i = start; i < s->block_ptr[b + 1]; i++) {
            int64_t work = 1;
            for (int64_t k = s->lower_ptr[i]; k < s->lower_ptr[i + 1]; k++) {
                PM_T *a = acc + (int64_t)(s->lower_col[k] - start) * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    a[l] = PM_NUM(0.0);
                }
            }
            for (int64_t k = s->upper_ptr[i]; k < s->upper_ptr[i + 1]; k++) {
                PM_T *a = acc + (int64_t)(upper_col[k] - start) * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    a[l] = PM_NUM(0.0);
                }
            }
            PM_T leave[PM_N];
            PM_T total[PM_N];
            for (int l = 0; l < PM_N; l++) {
                leave[l] = PM_NUM(0.0);
                total[l] = PM_NUM(0.0);
                acc[(int64_t)(i - start) * PM_N + l] = PM_NUM(0.0); /* collects what returns to i, which is not used */
            }
            for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
                const PM_T *w = slot + (int64_t)p->graph.edge_slot[e] * PM_N;
                const int32_t r = p->edge_row[e];
                if (r >= start) {
                    PM_T *a = acc + (int64_t)(r - start) * PM_N;
                    for (int l = 0; l < PM_N; l++) {
                        a[l] = w[l];
                        total[l] = PM_ADD(total[l], w[l]);
                    }
                } else {
                    for (int l = 0; l < PM_N; l++) {
                        leave[l] = PM_ADD(leave[l], w[l]);
                        total[l] = PM_ADD(total[l], w[l]);
                    }
                }
            }
            for (int64_t k = s->lower_ptr[i]; k < s->lower_ptr[i + 1]; k++) {
                const int32_t j = s->lower_col[k];
                PM_T f[PM_N];
                for (int l = 0; l < PM_N; l++) {
                    f[l] = PM_DIV(acc[(int64_t)(j - start) * PM_N + l], pivots[(int64_t)j * PM_N + l]);
                    lower[k * PM_N + l] = f[l];
                    leave[l] = PM_ADD(leave[l], PM_MUL(f[l], exits[(int64_t)j * PM_N + l]));
                }
                const int64_t dense = p->dense_from[j];
                const int64_t end = s->upper_ptr[j + 1];
                work += end - s->upper_ptr[j];
                for (int64_t q = s->upper_ptr[j]; q < dense; q++) {
                    PM_T *a = acc + (int64_t)(upper_col[q] - start) * PM_N;
                    for (int l = 0; l < PM_N; l++) {
                        a[l] = PM_ADD(a[l], PM_MUL(f[l], upper[q * PM_N + l]));
                    }
                }
                if (dense < end) {
                    PM_T *PM_RESTRICT a = acc + (int64_t)(upper_col[dense] - start) * PM_N;
                    const PM_T *PM_RESTRICT u = upper + dense * PM_N;
                    const int64_t length = end - dense;
                    for (int64_t q = 0; q < length; q++) {
                        for (int l = 0; l < PM_N; l++) {
                            a[q * PM_N + l] = PM_ADD(a[q * PM_N + l], PM_MUL(f[l], u[q * PM_N + l]));
                        }
                    }
                }
            }
            PM_T pivot[PM_N];
            for (int l = 0; l < PM_N; l++) {
                pivot[l] = leave[l];
            }
            for (int64_t k = s->upper_ptr[i]; k < s->upper_ptr[i + 1]; k++) {
                const PM_T *a = acc + (int64_t)(upper_col[k] - start) * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    upper[k * PM_N + l] = a[l];
                    pivot[l] = PM_ADD(pivot[l], a[l]);
                }
            }
            uint32_t bad = 0;
            for (int l = 0; l < PM_N; l++) {
                if (!PM_USABLE(PM_VALUE(pivot[l]))) {
                    /* The caller decides what this means. What enters a trap must count as leaving the other rows of its block. */
                    bad |= (uint32_t)1 << l;
                    pivot[l] = PM_NUM(1.0);
                    leave[l] = PM_NUM(1.0);
                }
                exits[(int64_t)i * PM_N + l] = leave[l];
                totals[(int64_t)i * PM_N + l] = total[l];
                pivots[(int64_t)i * PM_N + l] = pivot[l];
            }
            bad_rows[i] = (uint8_t)bad;
            failed |= bad;
            if (pm_stop(ws->control, PM_EFFORT * PM_N * work)) {
                return failed;
            }
        }
    }
    return failed;
}

PM_TARGET static void PM_NAME(solve)(const pm_plan *p, const pm_workspace *ws, double *right, double *solution) {
    const pm_pattern *s = &p->pattern;
    PM_T *PM_RESTRICT y = (PM_T *)(void *)right;
    PM_T *PM_RESTRICT x = (PM_T *)(void *)solution;
    const PM_T *PM_RESTRICT pivot = (const PM_T *)(const void *)ws->pivot;
    const PM_T *PM_RESTRICT slot = (const PM_T *)(const void *)ws->slot;
    const PM_T *PM_RESTRICT lower = (const PM_T *)(const void *)ws->lower;
    const PM_T *PM_RESTRICT upper = (const PM_T *)(const void *)ws->upper;
    for (int32_t b = 0; b < s->n_blocks; b++) {
        const int32_t start = s->block_ptr[b];
        const int32_t end = s->block_ptr[b + 1];
        for (int32_t i = start; i < end; i++) {
            PM_T t[PM_N];
            for (int l = 0; l < PM_N; l++) {
                t[l] = y[(int64_t)i * PM_N + l];
            }
            for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
                const int32_t r = p->edge_row[e];
                if (r >= 0 && r < start) {
                    const PM_T *w = slot + (int64_t)p->graph.edge_slot[e] * PM_N;
                    for (int l = 0; l < PM_N; l++) {
                        t[l] = PM_ADD(t[l], PM_MUL(w[l], x[(int64_t)r * PM_N + l]));
                    }
                }
            }
            for (int64_t k = s->lower_ptr[i]; k < s->lower_ptr[i + 1]; k++) {
                const PM_T *v = y + (int64_t)s->lower_col[k] * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    t[l] = PM_ADD(t[l], PM_MUL(lower[k * PM_N + l], v[l]));
                }
            }
            for (int l = 0; l < PM_N; l++) {
                y[(int64_t)i * PM_N + l] = t[l];
            }
            if (pm_stop(ws->control, PM_EFFORT * PM_N * (s->lower_ptr[i + 1] - s->lower_ptr[i] + 1))) {
                return;
            }
        }
        for (int32_t i = end - 1; i >= start; i--) {
            PM_T t[PM_N];
            for (int l = 0; l < PM_N; l++) {
                t[l] = y[(int64_t)i * PM_N + l];
            }
            for (int64_t k = s->upper_ptr[i]; k < s->upper_ptr[i + 1]; k++) {
                const PM_T *v = x + (int64_t)s->upper_col[k] * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    t[l] = PM_ADD(t[l], PM_MUL(upper[k * PM_N + l], v[l]));
                }
            }
            for (int l = 0; l < PM_N; l++) {
                x[(int64_t)i * PM_N + l] = PM_DIV(t[l], pivot[(int64_t)i * PM_N + l]);
            }
            if (pm_stop(ws->control, PM_EFFORT * PM_N * (s->upper_ptr[i + 1] - s->upper_ptr[i] + 1))) {
                return;
            }
        }
    }
}

PM_TARGET static void PM_NAME(solve_transposed)(const pm_plan *p, const pm_workspace *ws, double *right, double *solution) {
    const pm_pattern *s = &p->pattern;
    PM_T *PM_RESTRICT y = (PM_T *)(void *)right;
    PM_T *PM_RESTRICT z = (PM_T *)(void *)solution;
    const PM_T *PM_RESTRICT pivot = (const PM_T *)(const void *)ws->pivot;
    const PM_T *PM_RESTRICT slot = (const PM_T *)(const void *)ws->slot;
    const PM_T *PM_RESTRICT lower = (const PM_T *)(const void *)ws->lower;
    const PM_T *PM_RESTRICT upper = (const PM_T *)(const void *)ws->upper;
    for (int32_t b = s->n_blocks - 1; b >= 0; b--) {
        const int32_t start = s->block_ptr[b];
        const int32_t end = s->block_ptr[b + 1];
        for (int32_t i = start; i < end; i++) {
            PM_T t[PM_N];
            for (int l = 0; l < PM_N; l++) {
                t[l] = PM_DIV(y[(int64_t)i * PM_N + l], pivot[(int64_t)i * PM_N + l]);
                z[(int64_t)i * PM_N + l] = t[l];
            }
            for (int64_t k = s->upper_ptr[i]; k < s->upper_ptr[i + 1]; k++) {
                PM_T *v = y + (int64_t)s->upper_col[k] * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    v[l] = PM_ADD(v[l], PM_MUL(upper[k * PM_N + l], t[l]));
                }
            }
            if (pm_stop(ws->control, PM_EFFORT * PM_N * (s->upper_ptr[i + 1] - s->upper_ptr[i] + 1))) {
                return;
            }
        }
        for (int32_t i = end - 1; i >= start; i--) {
            PM_T t[PM_N];
            for (int l = 0; l < PM_N; l++) {
                t[l] = z[(int64_t)i * PM_N + l];
            }
            for (int64_t k = s->lower_ptr[i]; k < s->lower_ptr[i + 1]; k++) {
                PM_T *v = z + (int64_t)s->lower_col[k] * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    v[l] = PM_ADD(v[l], PM_MUL(lower[k * PM_N + l], t[l]));
                }
            }
            for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
                const int32_t r = p->edge_row[e];
                if (r >= 0 && r < start) {
                    const PM_T *w = slot + (int64_t)p->graph.edge_slot[e] * PM_N;
                    PM_T *v = y + (int64_t)r * PM_N;
                    for (int l = 0; l < PM_N; l++) {
                        v[l] = PM_ADD(v[l], PM_MUL(w[l], t[l]));
                    }
                }
            }
            if (pm_stop(ws->control, PM_EFFORT * PM_N * (s->lower_ptr[i + 1] - s->lower_ptr[i] + 1))) {
                return;
            }
        }
    }
}

#include "differences.inc.h"

const pm_kernels PM_NAME(pm_kernels) = {PM_NAME(factor), PM_NAME(solve), PM_NAME(solve_transposed), PM_NAME(differences)};

#undef PM_N
#undef PM_NAME
