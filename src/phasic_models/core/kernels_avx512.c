/* The kernels compiled for AVX-512: the eight lanes are one register. */
#include "pm_internal.h"

#if defined(PM_HAVE_X86_KERNELS)
#if defined(__clang__)
#define PM_EXTENDED 0
#define PM_TARGET __attribute__((target("avx512f,avx512dq,avx512vl")))
#else
#define PM_TARGET __attribute__((target("avx512f,avx512dq,avx512vl,prefer-vector-width=512")))
#endif
#define PM_N PM_LANES
#define PM_NAME(x) x##_8_avx512
#include "kernels.inc.h"
#else
typedef int pm_no_avx512_kernels;
#endif
