/* Inside uniformization: the sweep and its stored sequences, shared by values, gradients and states. */
#ifndef PM_UNIFORM_H
#define PM_UNIFORM_H

#include "pm_internal.h"

/* Steps whose entries are kept from one call to the next. */
#define PM_KEPT_STEPS 262144
/* Steps between two corrections of the mass. */
#define PM_CORRECT_EVERY 32

/* Mass below which nothing can contribute to a density above 1e-280. */
#define PM_EXHAUSTED 1e-290

struct pm_uniform {
    pm_control *control;   /* of the workspace that is used with it */
    int32_t n;             /* transient vertices */
    int32_t n_exits;
    int64_t n_inner;
    int32_t *row_of;       /* number here -> row of the plan; numbers follow the vertices */
    int64_t *in_ptr;       /* incoming edges of each vertex */
    int32_t *in_from;
    int32_t *in_slot;
    int32_t *exit_at;      /* vertices with edges to absorbing ones */
    int64_t *exit_ptr;
    int32_t *exit_slot;
    double *in_probability;
    double *stay;
    double *exit_rate;
    double *now;
    double *next;
    double *absorbed;      /* after k jumps, absorption rate */
    double *left;          /* after k jumps, mass not absorbed */
    double *done;          /* after k jumps, mass absorbed */
    int64_t capacity;
    int64_t steps;         /* entries that are filled */
    int64_t first;         /* lowest and highest k that the last mixing used */
    int64_t last;
    double rate;
    double absorbed_at_once;
    double total;          /* all mass, which no step changes */
    double carry;          /* rounding of the sum of absorbed mass */
    int exhausted;
};

/* Chain and initial mass at the weights of the workspace (one lane); forgets the stored sequences. initial: as pm_uniform_eval. */
int pm_uniform_set(const pm_plan *p, pm_workspace *ws, pm_uniform *u, const double *initial, int64_t theta_index, pm_where *where);
/* Extends the sweep until `steps` entries are stored or no mass is left. */
int pm_uniform_sweep(pm_uniform *u, int64_t steps);
/* Gives back what an unusually long sweep has stored, so that it does not stay with the model. */
void pm_uniform_trim(pm_uniform *u);

/* Which of the stored sequences is mixed. */
typedef enum { PM_ABSORBED, PM_LEFT, PM_DONE } pm_sequence;

/*
 * What the mass that is left must be multiplied by, so that nothing has leaked by rounding: a leak of 1e-17 per step would be 1e-10
 * after ten million steps. 1 where little mass is left, since the difference to what was absorbed would say nothing then.
 */
double pm_uniform_correction(double total, double done, double left);

/* Mixes one sequence at one time, extending the sweep as needed; sets first and last. */
int pm_uniform_mix(pm_uniform *u, pm_sequence what, double lambda, double tol, int64_t max_steps, double *out, pm_where *where);
/* Steps after which Poisson(lambda) has less than about 1e-20 left. */
double pm_uniform_steps(double lambda);
/* The largest total rate of a row at the weights of the workspace (one lane); 1 for a discrete graph. */
double pm_largest_rate(const pm_plan *p, const pm_workspace *ws);
/* Total rate of a row at the weights of the workspace (one lane). */
double pm_total_rate(const pm_plan *p, const pm_workspace *ws, int32_t row);
/* The largest of n values that are not negative, 0 if there are none. */
double pm_largest(const double *values, int64_t n);

#endif
