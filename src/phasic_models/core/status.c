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

void pm_at(pm_where *where, int64_t a, int64_t b, double value) {
    if (where != NULL) {
        where->a = a;
        where->b = b;
        where->value = value;
    }
}
