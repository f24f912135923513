#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
#
# Process 1 of the test guest. Sets up the machine but not its network, then does what the host
# wants: runs /script where the initramfs has one (see image.py, append_files()), else the commands
# that come over the serial console, one a line. Then it powers off.
#
# Everything meant for the host starts with "@@":
#   @@ ready           waits for a command; comes once
#   @@ begin / @@ end STATUS   around what a command printed
# shellcheck shell=dash
/bin/busybox mkdir -p /proc /sys /dev /tmp /etc /www
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
ln -sf /proc/self/fd /dev/fd
while read -r module; do
    insmod "/lib/modules/$module"
done </lib/modules/order
ip link set lo up
# udhcpc has no patience for an interface that is not there yet.
for _ in $(seq 50); do
    [ -e /sys/class/net/eth0 ] && break
    usleep 100000
done

# timed COMMAND...: runs the command silently and prints the seconds that it took; its status.
timed() {
    read -r before _ </proc/uptime
    "$@" >/tmp/output 2>&1 || { status=$?; cat /tmp/output; return $status; }
    read -r after _ </proc/uptime
    awk "BEGIN { printf \"%.2f\\n\", $after - $before }"
}

# Asks for an IPv4 lease, with the options given (-x hostname:NAME), and prints the seconds it took.
lease() {
    ip link set eth0 up
    timed udhcpc -i eth0 -f -n -q -t 20 -T 1 -O mtu -s /lib/udhcpc.sh "$@"
}

# poll SECONDS COMMAND...: runs the command until it succeeds; fails after that many seconds.
poll() {
    tries=$(($1 * 10))
    shift
    until "$@"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        usleep 100000
    done
}

# Prints the IPv6 address that was made from a router advertisement; fails where there is none yet.
address6() {
    ip -6 addr show dev eth0 scope global | awk '
        /inet6/ && !/tentative/ { split($2, part, "/"); print part[1]; found = 1; exit }
        END { exit !found }'
}

# The firmware ends with control sequences, but without a newline.
echo
if [ -e /script ]; then
    # shellcheck source=/dev/null
    . /script
else
    stty -echo
    echo "@@ ready"
    while read -r command; do
        output=$(eval "$command" 2>&1)
        printf '@@ begin\n%s\n@@ end %d\n' "$output" $?
    done
fi
poweroff -f
