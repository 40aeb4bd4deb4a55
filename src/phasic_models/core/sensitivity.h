/*
 * Derivatives of the sweep of uniformization by each parameter: made for one plan, set at the weights of a workspace, and carried along
 * with the values.
 */
#ifndef PM_SENSITIVITY_H
#define PM_SENSITIVITY_H

#include "number.h"
#include "uniform.h"

/* Jumps between two entries of `bound`. */
#define PM_BOUND_EVERY 4
/* Derivatives below this need not be right. */
#define PM_SLOPE_FLOOR 1e-300

typedef struct pm_sensitivity {
    int32_t p;          /* parameters */
    int32_t *power;     /* (p) */
    double *slot;       /* (n_slots, p): derivatives of the weights, in units of 2^power */
    double *inner;      /* (n_inner, p): of the rates between states */
    double *stay;       /* (n, p): minus that of the rate out of a state, and its rounding */
    double *stay_low;
    double *exit;       /* (n_exits, p): of the rates of absorption */
    double *exit_share; /* (n_exits): the rates of absorption over q */
    double *initial;    /* (n_rows, p): of the initial mass */
    double *now;        /* (n, p): y, with its rounding */
    double *now_low;
    double *next;
    double *next_low;
    double *scale;      /* (p): a power of two times `unit` */
    double *two;        /* (p): this power */
    double *factor;     /* (p): what y is multiplied by in the next jump */
    double *weight;     /* (p): of the terms m P', in the unit of y */
    double *source;     /* (p): the sum of these terms for one state */
    double *leaving;    /* (p): the derivative of the mass absorbed, in the unit of y */
    double *steepest;   /* (p): bound of the sum of |P'| over a row */
    double *exit_slope; /* (p): bound of |exit'| */
    double *first;      /* (p): sum of |m'| before the first jump */
    double *total;      /* (p): the sum of |terms| of a mixture */
    double *low;        /* (p): the rounding of a mixture */
    double *absorbed;   /* (capacity, p): by number of jumps */
    double *bound;      /* (capacity / PM_BOUND_EVERY + 1, p): of the sum of |m'| */
    int64_t capacity;
    int64_t steps;      /* entries that are filled */
    double exit_most;   /* the largest share of absorption */
    double dither;
    pm_dd unit;         /* of y, for all parameters: with more digits, since it changes at every jump */
    int over;           /* no mass is left and no derivative either */
} pm_sensitivity;

int pm_sensitivity_make(const pm_plan *plan, const pm_uniform *u, pm_sensitivity *s);
/* Also of what `make` left when memory ran out. */
void pm_sensitivity_release(pm_sensitivity *s);
/*
 * Derivatives at the weights of the workspace (one lane), for which u has been set. absorbed_at_once: (p), of the mass absorbed at
 * discrete time 0. PM_E_OVERFLOW if the derivative of a weight is no double.
 */
int pm_sensitivity_set(const pm_plan *plan, pm_workspace *ws, const pm_uniform *u, pm_sensitivity *s, double *absorbed_at_once);
/* Takes values and derivatives together to `steps` entries, or until nothing is left of both. */
int pm_sensitivity_sweep(pm_uniform *u, pm_sensitivity *s, int64_t steps);

#endif
