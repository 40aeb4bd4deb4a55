/* The kernels compiled for AVX2, chosen at run time. Fused multiply-adds stay off, so the bits do not change. */
#include "pm_internal.h"

#if defined(PM_HAVE_X86_KERNELS)
#define PM_EXTENDED 0
#define PM_TARGET __attribute__((target("avx2")))
#define PM_N 1
#define PM_NAME(x) x##_1_avx2
#include "kernels.inc.h"

#define PM_N PM_LANES
#define PM_NAME(x) x##_8_avx2
#include "kernels.inc.h"
#else
typedef int pm_no_avx2_kernels; /* a translation unit may not be empty */
#endif
