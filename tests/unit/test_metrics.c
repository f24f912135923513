/* SPDX-License-Identifier: Apache-2.0 */
/* Every counter that there is has a name for monitoring. The text's form: tests/net/test_status.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/metrics.h"
#include "pump/pump.h"
#include "uplink/uplink.h"

#define COUNTER_NAME(name) #name,

static void test_all_counters_are_known(void **state)
{
    static const char *const names[] = {UPLINK_COUNTERS(COUNTER_NAME) PUMP_COUNTERS(COUNTER_NAME)};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!metrics_know(names[i]))
            fail_msg("%s has no line in the table of src/cli/metrics.c", names[i]);
    assert_false(metrics_know("no_such_counter"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_counters_are_known)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
