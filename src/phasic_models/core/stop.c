/* Whether a call shall go on: cheap counting, a clock now and then, and about fifty times a second the caller is asked. */
#if !defined(PM_NO_CLOCK)
#include <time.h>
#endif

#include "pm_internal.h"

/* Operations between two looks at the clock: about a millisecond. */
#define LOOK_EVERY 1000000
/* Seconds between two questions. */
#define ASK_EVERY 0.02

/* Without a clock (PM_NO_CLOCK, for a WebAssembly module without imports) the caller is asked at every look. */
static double now(void) {
#if defined(PM_NO_CLOCK)
    return 0.0;
#else
    struct timespec t;
    return timespec_get(&t, TIME_UTC) == TIME_UTC ? (double)t.tv_sec + 1e-9 * (double)t.tv_nsec : 0.0;
#endif
}

int pm_poll(pm_control *c) {
    if (c->stopped) {
        return 1; /* the credit stays used up, so that every later question is answered alike */
    }
    c->credit = LOOK_EVERY;
    if (c->poll == NULL) {
        return 0;
    }
    const double t = now();
    /* A clock that was set back must not put the next question off. */
    if (t < c->next && t > c->next - 2.0 * ASK_EVERY) {
        return 0;
    }
    if (c->poll(c->context) != 0) {
        c->stopped = 1;
        c->credit = -1;
        return 1;
    }
#if !defined(PM_NO_CLOCK)
    c->next = now() + ASK_EVERY;
#endif
    return 0;
}

void pm_stage(pm_control *c, int32_t stage, int64_t total) {
    if (c != NULL) {
        c->stage = stage;
        c->done = 0;
        c->total = total;
    }
}

void pm_workspace_control(pm_workspace *ws, pm_control *control) { ws->control = control; }
