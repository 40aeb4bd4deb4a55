/* Numbers of fixed chains, to compare platforms bit by bit; only pm_core.h is used. */
#ifndef SAME_BITS_H
#define SAME_BITS_H

#include <stdint.h>

/* Moments, covariances and gradients of moments: the core promises the same bits everywhere. */
#define SAME_BITS_EXACT 0
/* Densities, their gradients and samples, which also call exp and log of the C library. */
#define SAME_BITS_LIBRARY 1

/* Computes everything; returns PM_OK or the first status that was not. */
int32_t same_bits_run(void);
/* The results of one kind, and their number. */
int32_t same_bits_count(int32_t kind);
const double *same_bits_values(int32_t kind);

#endif
