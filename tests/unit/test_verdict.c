/* SPDX-License-Identifier: Apache-2.0 */
/* What rules make of a packet, as nft(8) lists them in JSON; what cannot be told is told as both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <linux/rtnetlink.h>

#include "plane/linux/verdict.h"

#define BOTH (VERDICT_ACCEPT | VERDICT_DROP)
#define RULE(chain, expressions) "{\"rule\":{\"chain\":\"" chain "\",\"expr\":[" expressions "]}}"
#define META(key, op, right)                                                                       \
    "{\"match\":{\"op\":\"" op "\",\"left\":{\"meta\":{\"key\":\"" key "\"}},\"right\":" right "}" \
    "}"
#define FIELD(protocol, field, right)                                                              \
    "{\"match\":{\"op\":\"==\",\"left\":{\"payload\":{\"protocol\":\"" protocol                    \
    "\",\"field\":\"" field "\"}},\"right\":" right "}}"
#define XT(type, name) "{\"xt\":{\"type\":\"" type "\",\"name\":\"" name "\"}}"
#define ACCEPT "{\"accept\":null}"
#define DROP "{\"drop\":null}"
#define JUMP(chain) "{\"jump\":{\"target\":\"" chain "\"}}"
#define GOTO(chain) "{\"goto\":{\"target\":\"" chain "\"}}"
#define COUNTER "{\"counter\":{\"packets\":1,\"bytes\":2}}"

/* All in a chain "base" whose policy is to drop; a connection of 192.168.64.2 from vmnet-a over eth0. */
static const struct {
    const char *rules;
    unsigned verdicts;
} cases[] = {
    {"", VERDICT_DROP},
    {RULE("base", COUNTER "," ACCEPT), VERDICT_ACCEPT},
    {RULE("base", COUNTER), VERDICT_DROP},
    {RULE("other", ACCEPT), VERDICT_DROP},
    {RULE("base", META("iifname", "==", "\"vmnet-*\"") "," ACCEPT), VERDICT_ACCEPT},
    {RULE("base", META("iifname", "!=", "\"vmnet-a\"") "," ACCEPT), VERDICT_DROP},
    {RULE("base", META("oifname", "==", "{\"set\":[\"eth1\",\"eth0\"]}") "," ACCEPT),
     VERDICT_ACCEPT},
    {RULE("base", META("mark", "==", "7") "," ACCEPT), BOTH},
    {RULE("base", META("mark", "==", "7") "," DROP), VERDICT_DROP},
    {RULE("base", META("l4proto", "==", "\"icmp\"") "," ACCEPT), VERDICT_DROP},
    {RULE("base", META("l4proto", "==", "6") "," ACCEPT), VERDICT_ACCEPT},
    {RULE("base", META("unheard", "==", "{\"unheard\":[]}") "," ACCEPT), BOTH},
    {RULE("base",
          FIELD("ip", "saddr", "{\"prefix\":{\"addr\":\"192.168.0.0\",\"len\":16}}") "," ACCEPT),
     VERDICT_ACCEPT},
    {RULE("base",
          FIELD("ip", "saddr", "{\"prefix\":{\"addr\":\"192.168.0.0\",\"len\":99}}") "," ACCEPT),
     VERDICT_DROP},
    {RULE("base",
          FIELD("ip", "saddr", "{\"range\":[\"192.168.64.1\",\"192.168.64.9\"]}") "," ACCEPT),
     VERDICT_ACCEPT},
    {RULE("base", FIELD("ip", "saddr", "\"nonsense\"") "," ACCEPT), BOTH},
    {RULE("base", FIELD("ip", "daddr", "\"203.0.113.1\"") "," ACCEPT), VERDICT_DROP},
    {RULE("base", FIELD("ip6", "saddr", "{\"prefix\":{\"addr\":\"::\",\"len\":0}}") "," ACCEPT),
     VERDICT_DROP},
    {RULE("base", FIELD("tcp", "dport", "443") "," ACCEPT), VERDICT_DROP},
    {RULE("base", FIELD("tcp", "dport", "{\"range\":[1024,65535]}") "," ACCEPT), VERDICT_ACCEPT},
    {RULE("base", FIELD("udp", "dport", "{\"range\":[1,65535]}") "," ACCEPT), VERDICT_DROP},
    /* iptables' */
    {RULE("base", XT("match", "conntrack") "," ACCEPT), VERDICT_DROP},
    {RULE("base", META("iifname", "==", "\"vmnet-a\"") "," XT("match", "conntrack") "," ACCEPT),
     VERDICT_ACCEPT},
    /* --ctstate INVALID -j DROP, by itself or in a chain that logs. */
    {RULE("base", XT("match", "conntrack") "," DROP) "," RULE("base", ACCEPT), BOTH},
    {RULE("base", XT("match", "conntrack") "," JUMP("sub")) "," RULE("sub", DROP) "," RULE("base",
                                                                                           ACCEPT),
     BOTH},
    {RULE("base", XT("match", "conntrack") "," DROP), VERDICT_DROP},
    {RULE("base", XT("match", "comment") "," ACCEPT), VERDICT_ACCEPT},
    {RULE("base", XT("match", "set") "," ACCEPT), BOTH},
    {RULE("base", XT("target", "LOG")) "," RULE("base", ACCEPT), VERDICT_ACCEPT},
    {RULE("base", XT("target", "REJECT")) "," RULE("base", ACCEPT), VERDICT_DROP},
    /* Chains. */
    {RULE("base", JUMP("sub")) "," RULE("sub", "{\"return\":null}") "," RULE("sub", DROP) "," RULE(
         "base", ACCEPT),
     VERDICT_ACCEPT},
    {RULE("base", GOTO("sub")) "," RULE("base", ACCEPT), VERDICT_DROP},
    {RULE("base", META("mark", "==", "7") "," JUMP("sub")) "," RULE("sub", ACCEPT), BOTH},
    {RULE("base", JUMP("base")), BOTH}, /* no kernel has that, and we do not end in it */
    {RULE("base", JUMP("sub") "," ACCEPT) "," RULE("sub", JUMP("sub")) "," RULE("sub", JUMP("sub")),
     BOTH},
    /* A drop by the network's name is meant. */
    {RULE("base", META("iifname", "==", "\"vmnet-a\"") "," DROP), VERDICT_ACCEPT},
};

static void test_rules(void **state)
{
    char text[4096];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct verdict_packet packet = {.family = AF_INET,
                                        .iif = "vmnet-a",
                                        .oif = "eth0",
                                        .named = "vmnet-a",
                                        .from = ip_from_u32(0xc0a84002),
                                        .protocol = IPPROTO_TCP,
                                        .to_type = RTN_UNICAST};
        json_t *table, *chain = json_pack("{s:s, s:s}", "name", "base", "policy", "drop");

        snprintf(text, sizeof(text), "[%s]", cases[i].rules);
        table = json_loads(text, 0, NULL);
        if (!table || verdict_of_chain(table, chain, &packet) != cases[i].verdicts)
            fail_msg("%s: not %u", cases[i].rules, cases[i].verdicts);
        json_decref(table);
        json_decref(chain);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rules)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
