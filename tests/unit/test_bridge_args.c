/* SPDX-License-Identifier: Apache-2.0 */
/* Command lines of QEMU, and the MACs of their NICs on a bridge. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "helper/bridge_args.h"

#define WORDS_MAX 24
#define H "helper=/x"

static const struct {
    const char *words[WORDS_MAX];
    const char *macs; /* with a blank between two */
    const char *name;
} all[] = {
    {{"qemu", "-netdev", "bridge,id=n0,br=lab," H, "-device",
      "virtio-net-pci,netdev=n0,mac="
      "52:54:00:00:00:01"},
     "52:54:00:00:00:01",
     ""},
    {{"qemu", "--netdev", "bridge,br=lab,id=n0", "--device",
      "e1000,netdev=n0,mac=52:54:00:00:00:01", "--name", "Web 1,process=x"},
     "52:54:00:00:00:01",
     "web-1"},
    {{"qemu", "-name", "guest=db", "-nic", "bridge,br=lab,model=virtio,mac=52:54:00:00:00:01"},
     "52:54:00:00:00:01",
     "db"},
    {{"qemu", "-netdev", "{\"type\":\"bridge\",\"id\":\"n0\",\"br\":\"lab\"}", "-device",
      "{\"driver\":\"virtio-net-pci\",\"netdev\":\"n0\",\"mac\":\"52:54:00:00:00:01\"}"},
     "52:54:00:00:00:01",
     ""},
    /* The device may come first; so may others. */
    {{"qemu", "-device", "e1000,netdev=n1,mac=52:54:00:00:00:02", "-device",
      "e1000,netdev=n0,mac=52:54:00:00:00:01", "-netdev", "bridge,id=n0,br=lab", "-netdev",
      "bridge,id=n1,br=lab"},
     "52:54:00:00:00:01 52:54:00:00:00:02",
     ""},
    /* Without a MAC it is QEMU's; NICs of other networks count. */
    {{"qemu", "-netdev", "bridge,id=n0,br=lab", "-device", "e1000,netdev=n0"},
     "52:54:00:12:34:56",
     ""},
    {{"qemu", "-netdev", "user,id=u", "-device", "e1000,netdev=u", "-netdev", "bridge,id=n0,br=lab",
      "-device", "e1000,netdev=n0"},
     "52:54:00:12:34:57",
     ""},
    {{"qemu", "-nic", "bridge,br=lab", "-nic", "user", "-nic", "bridge,br=lab"},
     "52:54:00:12:34:56 52:54:00:12:34:58",
     ""},
    /* Other bridges, other netdevs, what is missing. */
    {{"qemu", "-netdev", "bridge,id=n0,br=other", "-device", "e1000,netdev=n0"}, "", ""},
    {{"qemu", "-netdev", "bridge,id=n0", "-device", "e1000,netdev=n0"}, "", ""},
    {{"qemu", "-netdev", "tap,id=n0,br=lab", "-device", "e1000,netdev=n0"}, "", ""},
    {{"qemu", "-netdev", "bridge,id=n0,br=lab", "-device", "e1000,netdev=n1"}, "", ""},
    {{"qemu", "-netdev", "bridge,br=lab"}, "", ""},
    {{"qemu", "-nic", "none", "-nic"}, "", ""},
    {{"qemu", "-netdev", "{\"type\":", "-device", "{"}, "", ""},
    {{"libvirtd"}, "", ""},
    {{NULL}, "", ""},
};

static void test_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        char macs[256] = "", text[MAC_TEXT_MAX];
        struct bridge_nics nics;

        bridge_args_read((char *const *)all[i].words, "lab", &nics);
        for (size_t j = 0; j < nics.len; j++) {
            strcat(macs, j ? " " : "");
            strcat(macs, mac_format(&nics.macs[j], text));
        }
        if (strcmp(macs, all[i].macs) != 0 || strcmp(nics.name, all[i].name) != 0)
            fail_msg("%zu: '%s' called '%s'", i, macs, nics.name);
    }
}

static void test_arriving(void **state)
{
    char *const here[] = {"qemu", "-nic", "bridge,br=lab", NULL};
    char *const migrated[] = {"qemu", "-nic", "bridge,br=lab", "--incoming", "defer", NULL};
    struct bridge_nics nics;

    (void)state;
    bridge_args_read(here, "lab", &nics);
    assert_false(nics.arriving);
    bridge_args_read(migrated, "lab", &nics);
    assert_true(nics.arriving);
}

/* QEMU's own bridge, where it is told none. */
static void test_default_bridge(void **state)
{
    char *const words[] = {"qemu", "-nic", "bridge", NULL};
    struct bridge_nics nics;

    (void)state;
    bridge_args_read(words, "br0", &nics);
    assert_int_equal(nics.len, 1);
}

static void test_too_many(void **state)
{
    char *words[2 * BRIDGE_NICS_MAX + 6] = {"qemu"};
    struct bridge_nics nics;

    (void)state;
    for (size_t i = 1; i < 2 * BRIDGE_NICS_MAX + 5; i += 2) {
        words[i] = "-nic";
        words[i + 1] = i + 1 < 2 * BRIDGE_NICS_MAX + 5 ? "bridge,br=lab" : NULL;
    }
    bridge_args_read(words, "lab", &nics);
    assert_int_equal(nics.len, BRIDGE_NICS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_arriving),
        cmocka_unit_test(test_default_bridge),
        cmocka_unit_test(test_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
