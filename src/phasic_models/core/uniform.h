/* Inside uniformization: the sweep and its stored sequences, shared by values, gradients and states. */
#ifndef PM_UNIFORM_H
#define PM_UNIFORM_H

#include <math.h>

#include "pm_internal.h"

/* Steps whose entries are kept from one call to the next. */
#define PM_KEPT_STEPS 262144
/* Jumps between two repairs of what rounding takes away one way. */
#define PM_REPAIR_EVERY 1024
/* Unit in which the mass left is carried, so that its rounding is a normal number as long as the mass is one. */
#define PM_MASS_UNIT 0x1p500

struct pm_uniform {
    pm_control *control;   /* of the workspace that is used with it */
    const double *stay;    /* discrete, by vertex: the probability to stay, or NULL for what the edges leave */
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
    double *base;          /* probability to stay: base (0 or 1) + change + change_low */
    double *change;
    double *change_low;
    double *exit_rate;
    double *now;           /* the shape of the mass that is left, in a unit of its own, with its rounding */
    double *now_low;
    double *next;          /* after a jump: the shape before it */
    double *next_low;
    double *absorbed;      /* after k jumps, absorption rate */
    double *left;          /* after k jumps, mass not absorbed */
    double *done;          /* after k jumps, mass absorbed */
    double *memory;        /* holds the arrays above but the three that grow */
    int64_t capacity;
    int64_t steps;         /* entries that are filled, or jumps that were made without storing them */
    double absorbed_now;   /* the entries of the last jump */
    double left_now;
    double done_now;
    double rate;
    double absorbed_at_once;
    double total;          /* all mass, which no step changes */
    double mass;           /* left now, times PM_MASS_UNIT, and its rounding */
    double mass_low;
    double sum;            /* of the shape before the last jump */
    double share;          /* of it that the last jump absorbed */
    double factor;         /* by which the shape was scaled after it */
    double dither;
    double carry;          /* rounding of the sum of absorbed mass */
    int exhausted;
};

/*
 * Chain and initial mass at the weights of the workspace (one lane); forgets the stored sequences. initial: as pm_uniform_eval.
 * The clock rings at the rate `least` at least.
 */
int pm_uniform_set_clock(const pm_plan *p, pm_workspace *ws, pm_uniform *u, const double *initial, double least, int64_t theta_index,
                         pm_where *where);
/* The same with the slowest clock that serves. */
int pm_uniform_set(const pm_plan *p, pm_workspace *ws, pm_uniform *u, const double *initial, int64_t theta_index, pm_where *where);
/* Extends the sweep until `steps` entries are stored or no mass is left. */
int pm_uniform_sweep(pm_uniform *u, int64_t steps);
/* Room for the entries of so many steps. */
int pm_uniform_reserve(pm_uniform *u, int64_t steps);
/* One jump: stores the entries of step u->steps, for which there is room, and moves the vector on. */
void pm_uniform_jump(pm_uniform *u);
/* The same, but the entries are those of the last jump only. */
void pm_uniform_pass(pm_uniform *u);
/* Another vector (with its rounding) after one more jump, times `factor`. What is in `low` is taken in, however large. */
void pm_uniform_move(const pm_uniform *u, double factor, const double *now, const double *low, double *next, double *next_low);
/* next: what makes up in a vector for what the last PM_REPAIR_EVERY jumps have lost one way. */
void pm_uniform_repair(const pm_uniform *u, const double *now, double *next);
/* Sum of the entries of a vector. */
double pm_uniform_sum(const double *v, int32_t n);
/* Share of a vector with the sum `sum` that the next jump absorbs, times the rate of the clock. */
double pm_uniform_exit_rate(const pm_uniform *u, const double *now, double sum);
/* Gives back what an unusually long sweep has stored, so that it does not stay with the model. */
void pm_uniform_trim(pm_uniform *u);

/* Which of the stored sequences is mixed. */
typedef enum { PM_ABSORBED, PM_LEFT, PM_DONE } pm_sequence;

/* Mixes one sequence at one time; returns 0 if that needs entries that are not stored yet. */
int pm_uniform_try(const pm_uniform *u, pm_sequence what, double lambda, double tol, double *out);
/* The same, extending the sweep as needed. */
int pm_uniform_mix(pm_uniform *u, pm_sequence what, double lambda, double tol, int64_t max_steps, double *out, pm_where *where);
/* Steps after which Poisson(lambda) has less than about 1e-20 left. */
double pm_uniform_steps(double lambda);
/* The largest total rate of a row at the weights of the workspace (one lane); 1 for a discrete graph. */
double pm_largest_rate(const pm_plan *p, const pm_workspace *ws);
/* Total rate of a row at the weights of the workspace (one lane). */
double pm_total_rate(const pm_plan *p, const pm_workspace *ws, int32_t row);
/* Sum of the weights of a row, divided by `scale`: high + low, with the rounding of high in low. */
void pm_leaving(const pm_plan *p, const pm_workspace *ws, int32_t row, double scale, double *high, double *low);
/* sum + low += term, without rounding in sum + low but for that of low (Neumaier 1974). */
static inline void pm_add_exactly(double *sum, double *low, double term) {
    const double next = *sum + term;
    *low += fabs(*sum) >= fabs(term) ? (*sum - next) + term : (term - next) + *sum;
    *sum = next;
}

/* high + low += term, where low is the rounding of high and becomes that of the new one. */
static inline void pm_carry_on(double *high, double *low, double term) {
    term += *low;
    *low = 0.0;
    pm_add_exactly(high, low, term);
}

/* The largest of n values that are not negative, 0 if there are none. */
double pm_largest(const double *values, int64_t n);

/* About how many operations it takes to mix at one time. */
static inline int64_t pm_window(double lambda) { return 64 + (int64_t)(80.0 * sqrt(lambda < 1e12 ? lambda : 1e12)); }

#endif
