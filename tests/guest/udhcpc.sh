#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# What udhcpc calls in the test guest; the lease comes in the environment.
# shellcheck shell=dash disable=SC2154
[ "$1" = bound ] || [ "$1" = renew ] || exit 0

ip addr flush dev "$interface" scope global
ip addr add "$ip/$mask" dev "$interface"
[ -n "$mtu" ] && ip link set "$interface" mtu "$mtu"
for gateway in $router; do
    ip route add default via "$gateway" dev "$interface"
done
{
    [ -n "$domain" ] && echo "search $domain"
    for server in $dns; do
        echo "nameserver $server"
    done
} >/etc/resolv.conf
[ -n "$hostname" ] && hostname "$hostname"
exit 0
