# SPDX-License-Identifier: Apache-2.0
"""All that is compared, in the order of the tables."""

from hosts import ByHand, ByHandAgain, Macvtap, SystemBridged, SystemShared
from machines import QemuOpenvmnet, QemuPasst, QemuTap, QemuUser
from openvmnet import (
    OpenvmnetAgain,
    OpenvmnetExec,
    OpenvmnetExecMtu,
    OpenvmnetForwards,
    OpenvmnetTap,
    OpenvmnetUnguarded,
)
from peers import Kernel, KernelMtu, KernelTap, Pasta, PastaMtu, Slirp4netns, Slirp4netnsMtu
from subject import MTU_MAX


def subjects(lab, congestion):
    return [
        OpenvmnetExec(lab, congestion, "openvmnet-exec"),
        OpenvmnetExecMtu(lab, congestion, "openvmnet-exec-65520", MTU_MAX),
        Kernel(lab, congestion, "kernel"),
        KernelMtu(lab, congestion, "kernel-65520", MTU_MAX),
        Pasta(lab, congestion, "pasta"),
        PastaMtu(lab, congestion, "pasta-65520", MTU_MAX),
        Slirp4netns(lab, congestion, "slirp4netns"),
        Slirp4netnsMtu(lab, congestion, "slirp4netns-65520", MTU_MAX),
        QemuOpenvmnet(lab, congestion, "qemu-openvmnet"),
        QemuTap(lab, congestion, "qemu-tap"),
        QemuUser(lab, congestion, "qemu-user"),
        QemuPasst(lab, congestion, "qemu-passt"),
        QemuPasst(lab, congestion, "qemu-passt-65520", MTU_MAX),
        OpenvmnetTap(lab, congestion, "openvmnet"),
        KernelTap(lab, congestion, "kernel-tap"),
        SystemShared(lab, congestion, "system-shared"),
        ByHand(lab, congestion, "by-hand"),
        ByHandAgain(lab, congestion, "by-hand-again"),
        SystemBridged(lab, congestion, "system-bridged"),
        Macvtap(lab, congestion, "macvtap"),
        OpenvmnetForwards(lab, congestion, "openvmnet-10000"),
        OpenvmnetAgain(lab, congestion, "openvmnet-again"),
        OpenvmnetUnguarded(lab, congestion, "openvmnet-unguarded"),
    ]
