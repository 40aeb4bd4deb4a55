/* The kernels for any processor, and the choice among those for x86-64. */
#include "pm_internal.h"

#define PM_EXTENDED 0
#define PM_TARGET
#define PM_N 1
#define PM_NAME(x) x##_1
#include "kernels.inc.h"

#define PM_N PM_LANES
#define PM_NAME(x) x##_8
#include "kernels.inc.h"

const pm_kernels *pm_kernels_for(const pm_workspace *ws) {
    const int32_t lanes = ws->lanes;
    if (ws->extended) {
        return &pm_kernels_extended;
    }
#if defined(PM_HAVE_X86_KERNELS)
    if (lanes != 1 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl")) {
        return &pm_kernels_8_avx512;
    }
    if (__builtin_cpu_supports("avx2")) {
        return lanes == 1 ? &pm_kernels_1_avx2 : &pm_kernels_8_avx2;
    }
#endif
    return lanes == 1 ? &pm_kernels_1 : &pm_kernels_8;
}
