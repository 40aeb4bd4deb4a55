/* Nested dissection: split a block by few vertices, order the parts first and the few last, and so on inside the parts. */
#ifndef PM_DISSECTION_H
#define PM_DISSECTION_H

#include "pm_internal.h"

/* Blocks below this size have nothing to gain. */
#define PM_DISSECTION_MIN 64

int pm_dissection_order(const pm_block *block, pm_control *control, int32_t *order);

#endif
