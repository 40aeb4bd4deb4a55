/* The passes of moments and gradients in double precision, and the choice between both precisions. */
#include <math.h>

#include "rows.h"

#define PM_EXTENDED 0
#define PM_NAME(x) x##_double
#include "passes.inc.h"

const pm_passes *pm_passes_for(const pm_workspace *ws) { return ws->extended ? &pm_passes_extended : &pm_passes_double; }
