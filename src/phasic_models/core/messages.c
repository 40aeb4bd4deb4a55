/* The one table of status codes and their texts. */
#include "pm_internal.h"

static const struct {
    int status;
    const char *text;
} messages[] = {
    {PM_OK, "no error"},
    {PM_E_MEMORY, "out of memory"},
    {PM_E_ARGUMENT, "an argument is out of range"},
    {PM_E_INDEX, "an index of the graph is out of bounds or out of order"},
    {PM_E_PATTERN, "the elimination order or its fill pattern does not belong to this graph"},
    {PM_E_NOT_FINITE, "a weight is not finite"},
    {PM_E_NEGATIVE, "a weight is negative"},
    {PM_E_PROBABILITY, "the jump probabilities of a state sum to more than one"},
    {PM_E_INFINITE, "absorption is not certain, so the expectation is infinite"},
    {PM_E_INITIAL, "the initial probabilities sum to zero"},
    {PM_E_OVERFLOW, "the result is too large for a double"},
    {PM_E_TIME, "a time is negative, NaN or, in a discrete model, not a whole number"},
    {PM_E_LIMIT, "more work than allowed"},
    {PM_E_STOPPED, "stopped"},
    {PM_E_ACCURACY, "the result would have too few digits"},
    {PM_E_UNCERTAIN, "absorption is not certain, and the traps can be found with an elimination only"},
};

const char *pm_message(int status) {
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        if (messages[i].status == status) {
            return messages[i].text;
        }
    }
    return "unknown status";
}

#define TEXT(x) #x
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *pm_version(void) { return VERSION(PM_VERSION_MAJOR, PM_VERSION_MINOR, PM_VERSION_PATCH); }

void pm_at(pm_where *where, int32_t kind, int64_t theta, int64_t at, double value) {
    if (where != NULL) {
        *where = (pm_where){.kind = kind, .which = 0, .theta = theta, .at = at, .value = value};
    }
}

void pm_at_part(pm_where *where, int32_t kind, int32_t which, int64_t at, double value) {
    if (where != NULL) {
        *where = (pm_where){.kind = kind, .which = which, .theta = -1, .at = at, .value = value};
    }
}

int pm_bad_argument(pm_where *where, int32_t number) {
    pm_at(where, PM_AT_ARGUMENT, -1, number, 0.0);
    return PM_E_ARGUMENT;
}
