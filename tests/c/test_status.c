/* status.c */
#include <string.h>

#include "chain.h"

static void every_code_has_its_own_text(void) {
    for (int a = PM_E_STOPPED; a <= PM_OK; a++) {
        CHECK(strlen(pm_message(a)) > 5);
        CHECK(strcmp(pm_message(a), "unknown status") != 0);
        for (int b = PM_E_STOPPED; b < a; b++) {
            CHECK(strcmp(pm_message(a), pm_message(b)) != 0);
        }
    }
    CHECK(strcmp(pm_message(1), "unknown status") == 0);
    CHECK(strcmp(pm_message(-10000), "unknown status") == 0);
}

static void where_may_be_null(void) {
    pm_where where = {1, 2, 3.0};
    pm_at(NULL, 4, 5, 6.0);
    pm_at(&where, 4, 5, 6.0);
    CHECK(where.a == 4 && where.b == 5 && where.value == 6.0);
}

int main(void) {
    RUN(every_code_has_its_own_text);
    RUN(where_may_be_null);
    return test_end();
}
