/*
 * Poisson probabilities with full relative accuracy by the saddle-point expansion (C. Loader, "Fast and accurate computation of
 * binomial probabilities", 2000): the large terms of k log(lambda) - lambda - log(k!) cancel before they are rounded.
 */
#include <math.h>

#include "pm_internal.h"

#define TWO_PI 6.283185307179586476925286766559

/* log(k!) minus Stirling's formula. */
static double stirling_error(double k) {
    static const double small[16] = {
        0.0, /* unused: k = 0 is handled by the caller */
        0.08106146679532725821967026359438236, 0.04134069595540929409382208140711750, 0.02767792568499833914878929274624466,
        0.02079067210376509311152277176784865, 0.01664469118982119216319486537359339, 0.01387612882307074799874572702376290,
        0.01189670994589177009505572411765943, 0.01041126526197209649747856713253462, 0.00925546218271273291772863663310013,
        0.00833056343336287125646931865962855, 0.00757367548795184079497202421159508, 0.00694284010720952986566415266347536,
        0.00640899418800420706843963108297831, 0.00595137011275884773562441604646945, 0.00555473355196280137103868995979228,
    };
    if (k < 16.0) {
        return small[(int)k];
    }
    const double kk = k * k;
    return (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - (1.0 / 1188.0) / kk) / kk) / kk) / kk) / k;
}

/* k log(k / lambda) + lambda - k, without cancellation near k = lambda. */
static double deviance(double k, double lambda) {
    const double d = k - lambda;
    if (fabs(d) < 0.5 * (k + lambda)) {
        const double v = d / (k + lambda);
        double sum = d * v;
        double term = 2.0 * k * v;
        const double vv = v * v;
        for (int j = 1; j < 1000; j++) {
            term *= vv;
            const double next = sum + term / (2 * j + 1);
            if (next == sum) {
                return next;
            }
            sum = next;
        }
    }
    return k * log(k / lambda) + lambda - k;
}

double pm_poisson(double k, double lambda) {
    if (lambda == 0.0) {
        return k == 0.0 ? 1.0 : 0.0;
    }
    if (k == 0.0) {
        return exp(-lambda);
    }
    if (k < lambda * 1e-300) {
        return 0.0;
    }
    return exp(-stirling_error(k) - deviance(k, lambda)) / sqrt(TWO_PI * k);
}
