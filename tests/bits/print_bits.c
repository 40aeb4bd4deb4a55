/* Prints the results as 16 hexadecimal digits a line, each kind under its number. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "pm_core.h"
#include "same_bits.h"

int main(void) {
    const int32_t status = same_bits_run();
    if (status != PM_OK) {
        fprintf(stderr, "%s\n", pm_message(status));
        return 1;
    }
    for (int32_t kind = 0; kind < 2; kind++) {
        printf("kind %" PRId32 "\n", kind);
        for (int32_t i = 0; i < same_bits_count(kind); i++) {
            uint64_t bits;
            memcpy(&bits, same_bits_values(kind) + i, sizeof bits);
            printf("%016" PRIx64 "\n", bits);
        }
    }
    return 0;
}
