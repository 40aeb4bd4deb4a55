/*
 * The numeric kernels, for PM_N lanes, compiled once per instruction set: define PM_N, PM_NAME(x) and PM_TARGET, then include.
 * Each lane does the same operations in the same order whatever the instruction set, so results agree to the last bit.
 */

PM_TARGET static uint32_t PM_NAME(factor)(const pm_plan *p, pm_workspace *ws) {
    const pm_pattern *s = &p->pattern;
    const double *PM_RESTRICT slot = ws->slot;
    double *PM_RESTRICT lower = ws->lower;
    double *PM_RESTRICT upper = ws->upper;
    double *PM_RESTRICT acc = ws->acc;
    double *PM_RESTRICT exits = ws->exit;
    double *PM_RESTRICT pivots = ws->pivot;
    const int32_t *PM_RESTRICT upper_col = s->upper_col;
    uint8_t *PM_RESTRICT bad_rows = ws->bad;
    uint32_t failed = 0;
    for (int32_t b = 0; b < s->n_blocks; b++) {
        const int32_t start = s->block_ptr[b];
        for (int32_t i = start; i < s->block_ptr[b + 1]; i++) {
            for (int64_t k = s->lower_ptr[i]; k < s->lower_ptr[i + 1]; k++) {
                double *a = acc + (int64_t)(s->lower_col[k] - start) * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    a[l] = 0.0;
                }
            }
            for (int64_t k = s->upper_ptr[i]; k < s->upper_ptr[i + 1]; k++) {
                double *a = acc + (int64_t)(upper_col[k] - start) * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    a[l] = 0.0;
                }
            }
            double leave[PM_N];
            double total[PM_N];
            for (int l = 0; l < PM_N; l++) {
                leave[l] = 0.0;
                total[l] = 0.0;
                acc[(int64_t)(i - start) * PM_N + l] = 0.0; /* collects what returns to i, which is not used */
            }
            for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
                const double *w = slot + (int64_t)p->graph.edge_slot[e] * PM_N;
                const int32_t r = p->edge_row[e];
                if (r >= start) {
                    double *a = acc + (int64_t)(r - start) * PM_N;
                    for (int l = 0; l < PM_N; l++) {
                        a[l] = w[l];
                        total[l] += w[l];
                    }
                } else {
                    for (int l = 0; l < PM_N; l++) {
                        leave[l] += w[l];
                        total[l] += w[l];
                    }
                }
            }
            for (int64_t k = s->lower_ptr[i]; k < s->lower_ptr[i + 1]; k++) {
                const int32_t j = s->lower_col[k];
                double f[PM_N];
                for (int l = 0; l < PM_N; l++) {
                    f[l] = acc[(int64_t)(j - start) * PM_N + l] / pivots[(int64_t)j * PM_N + l];
                    lower[k * PM_N + l] = f[l];
                    leave[l] += f[l] * exits[(int64_t)j * PM_N + l];
                }
                const int64_t dense = p->dense_from[j];
                const int64_t end = s->upper_ptr[j + 1];
                for (int64_t q = s->upper_ptr[j]; q < dense; q++) {
                    double *a = acc + (int64_t)(upper_col[q] - start) * PM_N;
                    for (int l = 0; l < PM_N; l++) {
                        a[l] += f[l] * upper[q * PM_N + l];
                    }
                }
                if (dense < end) {
                    double *PM_RESTRICT a = acc + (int64_t)(upper_col[dense] - start) * PM_N;
                    const double *PM_RESTRICT u = upper + dense * PM_N;
                    const int64_t length = end - dense;
                    for (int64_t q = 0; q < length; q++) {
                        for (int l = 0; l < PM_N; l++) {
                            a[q * PM_N + l] += f[l] * u[q * PM_N + l];
                        }
                    }
                }
            }
            double pivot[PM_N];
            for (int l = 0; l < PM_N; l++) {
                pivot[l] = leave[l];
            }
            for (int64_t k = s->upper_ptr[i]; k < s->upper_ptr[i + 1]; k++) {
                const double *a = acc + (int64_t)(upper_col[k] - start) * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    upper[k * PM_N + l] = a[l];
                    pivot[l] += a[l];
                }
            }
            uint32_t bad = 0;
            for (int l = 0; l < PM_N; l++) {
                if (!PM_USABLE(pivot[l])) {
                    /* The caller decides what this means. What enters a trap must count as leaving the other rows of its block. */
                    bad |= (uint32_t)1 << l;
                    pivot[l] = 1.0;
                    leave[l] = 1.0;
                }
                exits[(int64_t)i * PM_N + l] = leave[l];
                ws->total[(int64_t)i * PM_N + l] = total[l];
                pivots[(int64_t)i * PM_N + l] = pivot[l];
            }
            bad_rows[i] = (uint8_t)bad;
            failed |= bad;
        }
    }
    return failed;
}

PM_TARGET static void PM_NAME(solve)(const pm_plan *p, const pm_workspace *ws, double *PM_RESTRICT y, double *PM_RESTRICT x) {
    const pm_pattern *s = &p->pattern;
    const double *PM_RESTRICT slot = ws->slot;
    const double *PM_RESTRICT lower = ws->lower;
    const double *PM_RESTRICT upper = ws->upper;
    for (int32_t b = 0; b < s->n_blocks; b++) {
        const int32_t start = s->block_ptr[b];
        const int32_t end = s->block_ptr[b + 1];
        for (int32_t i = start; i < end; i++) {
            double t[PM_N];
            for (int l = 0; l < PM_N; l++) {
                t[l] = y[(int64_t)i * PM_N + l];
            }
            for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
                const int32_t r = p->edge_row[e];
                if (r >= 0 && r < start) {
                    const double *w = slot + (int64_t)p->graph.edge_slot[e] * PM_N;
                    for (int l = 0; l < PM_N; l++) {
                        t[l] += w[l] * x[(int64_t)r * PM_N + l];
                    }
                }
            }
            for (int64_t k = s->lower_ptr[i]; k < s->lower_ptr[i + 1]; k++) {
                const double *v = y + (int64_t)s->lower_col[k] * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    t[l] += lower[k * PM_N + l] * v[l];
                }
            }
            for (int l = 0; l < PM_N; l++) {
                y[(int64_t)i * PM_N + l] = t[l];
            }
        }
        for (int32_t i = end - 1; i >= start; i--) {
            double t[PM_N];
            for (int l = 0; l < PM_N; l++) {
                t[l] = y[(int64_t)i * PM_N + l];
            }
            for (int64_t k = s->upper_ptr[i]; k < s->upper_ptr[i + 1]; k++) {
                const double *v = x + (int64_t)s->upper_col[k] * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    t[l] += upper[k * PM_N + l] * v[l];
                }
            }
            for (int l = 0; l < PM_N; l++) {
                x[(int64_t)i * PM_N + l] = t[l] / ws->pivot[(int64_t)i * PM_N + l];
            }
        }
    }
}

PM_TARGET static void PM_NAME(solve_transposed)(const pm_plan *p, const pm_workspace *ws, double *PM_RESTRICT y,
                                                double *PM_RESTRICT z) {
    const pm_pattern *s = &p->pattern;
    const double *PM_RESTRICT slot = ws->slot;
    const double *PM_RESTRICT lower = ws->lower;
    const double *PM_RESTRICT upper = ws->upper;
    for (int32_t b = s->n_blocks - 1; b >= 0; b--) {
        const int32_t start = s->block_ptr[b];
        const int32_t end = s->block_ptr[b + 1];
        for (int32_t i = start; i < end; i++) {
            double t[PM_N];
            for (int l = 0; l < PM_N; l++) {
                t[l] = y[(int64_t)i * PM_N + l] / ws->pivot[(int64_t)i * PM_N + l];
                z[(int64_t)i * PM_N + l] = t[l];
            }
            for (int64_t k = s->upper_ptr[i]; k < s->upper_ptr[i + 1]; k++) {
                double *v = y + (int64_t)s->upper_col[k] * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    v[l] += upper[k * PM_N + l] * t[l];
                }
            }
        }
        for (int32_t i = end - 1; i >= start; i--) {
            double t[PM_N];
            for (int l = 0; l < PM_N; l++) {
                t[l] = z[(int64_t)i * PM_N + l];
            }
            for (int64_t k = s->lower_ptr[i]; k < s->lower_ptr[i + 1]; k++) {
                double *v = z + (int64_t)s->lower_col[k] * PM_N;
                for (int l = 0; l < PM_N; l++) {
                    v[l] += lower[k * PM_N + l] * t[l];
                }
            }
            for (int64_t e = p->edge_start[i]; e < p->edge_end[i]; e++) {
                const int32_t r = p->edge_row[e];
                if (r >= 0 && r < start) {
                    const double *w = slot + (int64_t)p->graph.edge_slot[e] * PM_N;
                    double *v = y + (int64_t)r * PM_N;
                    for (int l = 0; l < PM_N; l++) {
                        v[l] += w[l] * t[l];
                    }
                }
            }
        }
    }
}

const pm_kernels PM_NAME(pm_kernels) = {PM_NAME(factor), PM_NAME(solve), PM_NAME(solve_transposed)};

#undef PM_N
#undef PM_NAME
