/*
 * The numbers that the kernels compute with: double, or the unevaluated sum of two doubles (Dekker 1971), some 31 digits. Before
 * a file ending in .inc.h is included, PM_EXTENDED is defined as 0 or 1.
 */
#ifndef PM_NUMBER_H
#define PM_NUMBER_H

#include <math.h>

typedef struct pm_dd {
    double hi;
    double lo;
} pm_dd;

/* a + b as a sum without rounding (Knuth). */
static inline pm_dd pm_two_sum(double a, double b) {
    const double s = a + b;
    const double v = s - a;
    const pm_dd r = {s, (a - (s - v)) + (b - v)};
    return r;
}

/* The same for |a| >= |b|, or a = 0. */
static inline pm_dd pm_quick_sum(double a, double b) {
    const double s = a + b;
    const pm_dd r = {s, b - (s - a)};
    return r;
}

/* a * b as a sum without rounding (Veltkamp, Dekker); beyond 2^990, where splitting would overflow, as one double. */
static inline pm_dd pm_two_product(double a, double b) {
    const double p = a * b;
    pm_dd r = {p, 0.0};
    if (fabs(a) < 1e298 && fabs(b) < 1e298 && fabs(p) < 1e305) {
        const double ca = 134217729.0 * a;
        const double cb = 134217729.0 * b;
        const double a1 = ca - (ca - a);
        const double b1 = cb - (cb - b);
        const double a2 = a - a1;
        const double b2 = b - b1;
        r.lo = ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2;
    }
    return r;
}

static inline pm_dd pm_dd_from(double x) {
    const pm_dd r = {x, 0.0};
    return r;
}

static inline pm_dd pm_dd_add(pm_dd a, pm_dd b) {
    pm_dd s = pm_two_sum(a.hi, b.hi);
    const pm_dd t = pm_two_sum(a.lo, b.lo);
    s = pm_quick_sum(s.hi, s.lo + t.hi);
    return pm_quick_sum(s.hi, s.lo + t.lo);
}

static inline pm_dd pm_dd_negative(pm_dd a) {
    const pm_dd r = {-a.hi, -a.lo};
    return r;
}

static inline pm_dd pm_dd_sub(pm_dd a, pm_dd b) { return pm_dd_add(a, pm_dd_negative(b)); }

static inline pm_dd pm_dd_mul(pm_dd a, pm_dd b) {
    const pm_dd p = pm_two_product(a.hi, b.hi);
    return pm_quick_sum(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}

static inline pm_dd pm_dd_div(pm_dd a, pm_dd b) {
    const double first = a.hi / b.hi;
    pm_dd rest = pm_dd_sub(a, pm_dd_mul(pm_dd_from(first), b));
    const double second = rest.hi / b.hi;
    rest = pm_dd_sub(rest, pm_dd_mul(pm_dd_from(second), b));
    return pm_dd_add(pm_quick_sum(first, second), pm_dd_from(rest.hi / b.hi));
}

/* How far a result of the elimination may be from exact, relative to the sum of what was added: this times its condition. */
#define PM_ROUNDING_DOUBLE 4.44e-16
#define PM_ROUNDING_EXTENDED 1e-30

#endif

#undef PM_T
#undef PM_NUM
#undef PM_VALUE
#undef PM_ADD
#undef PM_SUB
#undef PM_MUL
#undef PM_DIV
#undef PM_NEG
#undef PM_ROUNDING
#undef PM_EFFORT
#if defined(PM_EXTENDED) && PM_EXTENDED
#define PM_T pm_dd
#define PM_NUM(x) pm_dd_from(x)
#define PM_VALUE(a) ((a).hi)
#define PM_ADD(a, b) pm_dd_add(a, b)
#define PM_SUB(a, b) pm_dd_sub(a, b)
#define PM_MUL(a, b) pm_dd_mul(a, b)
#define PM_DIV(a, b) pm_dd_div(a, b)
#define PM_NEG(a) pm_dd_negative(a)
#define PM_ROUNDING PM_ROUNDING_EXTENDED
#define PM_EFFORT 16 /* of one operation, in those of doubles */
#else
#define PM_T double
#define PM_NUM(x) (x)
#define PM_VALUE(a) (a)
#define PM_ADD(a, b) ((a) + (b))
#define PM_SUB(a, b) ((a) - (b))
#define PM_MUL(a, b) ((a) * (b))
#define PM_DIV(a, b) ((a) / (b))
#define PM_NEG(a) (-(a))
#define PM_ROUNDING PM_ROUNDING_DOUBLE
#define PM_EFFORT 1
#endif
