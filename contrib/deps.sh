#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# contrib/deps.sh [build|check|demo|lint|system|bench|coexist]: what building, testing, the demo, linting,
# measuring or the tests beside other programs need.
#
# Where apt is at home, missing packages are installed, as root or through sudo; without either, the
# command to run is printed. Recommended packages are left out and dnsmasq-base is taken instead of
# dnsmasq; no service is started. Elsewhere what is missing is named and the command that
# installs it is printed. Exit code: 0 everything is there, 1 something is missing, 2 wrong usage.
set -eu

group=${1:-build}

# libc6-dev is named because gcc only recommends it. clang and libbpf are for the shortcut of bridged networks: where libbpf
# is older than 1.0, as in Ubuntu 22.04, all is built but that.
deb_build="gcc libc6-dev meson ninja-build pkg-config libmnl-dev libnftables-dev libjansson-dev
    libseccomp-dev libcap-ng-dev libinih-dev libpcap-dev libncurses-dev
    libblocksruntime-dev clang libbpf-dev dnsmasq-base scdoc"
deb_demo="qemu-system-x86 busybox-static iperf3 python3 zstd"
deb_check="libcmocka-dev python3-pytest
    python3-pytest-rerunfailures python3-scapy iproute2 nftables procps util-linux curl
    bind9-dnsutils iputils-ping strace tcpdump traceroute openssh-client dropbear-bin g++ zsh fish
    frr iptables radvd openvswitch-switch libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients"
deb_coexist="ufw firewalld dbus-daemon docker.io"
deb_system="$deb_check mmdebstrap systemd-container debhelper dpkg-dev fakeroot lintian"
deb_lint="clang-format clang-tidy flake8 shellcheck"
deb_bench="iproute2 nftables passt slirp4netns python3-pytest"

# The same for the others: commands, and pkg-config modules.
commands_build="cc meson ninja pkg-config clang dnsmasq scdoc"
modules_build="libmnl libnftables jansson libseccomp libcap-ng libbpf inih libpcap ncursesw"
commands_demo="qemu-system-x86_64 busybox iperf3 python3 zstd"
commands_check="ip nft ps unshare curl dig ping strace tcpdump traceroute ssh dropbear c++ zsh fish
    vtysh iptables radvd ovs-vsctl libvirtd virsh"
commands_coexist="ufw firewalld dbus-daemon dockerd"
modules_check="cmocka"
commands_lint="clang-format clang-tidy flake8 shellcheck"
commands_system="mmdebstrap systemd-nspawn dpkg-buildpackage dh fakeroot lintian"
commands_bench="ip nft ss pasta slirp4netns"

case $group in
build)
    packages=$deb_build commands=$commands_build modules=$modules_build ;;
system)
    packages="$deb_build $deb_system" commands="$commands_build $commands_system"
    modules="$modules_build $modules_check" ;;
demo)
    packages="$deb_build $deb_demo" commands="$commands_build $commands_demo"
    modules=$modules_build ;;
check)
    packages="$deb_build $deb_demo $deb_check" modules="$modules_build $modules_check"
    commands="$commands_build $commands_demo $commands_check" ;;
lint)
    packages="$deb_build $deb_lint" commands="$commands_build $commands_lint"
    modules=$modules_build ;;
bench)
    packages="$deb_build $deb_demo $deb_bench" modules=$modules_build
    commands="$commands_build $commands_demo $commands_bench" ;;
coexist)
    packages="$deb_build $deb_demo $deb_check $deb_coexist" modules="$modules_build $modules_check"
    commands="$commands_build $commands_demo $commands_check $commands_coexist" ;;
*)
    echo "usage: contrib/deps.sh [build|check|demo|lint|system|bench|coexist]" >&2
    exit 2 ;;
esac

# Where another distribution's names differ, its own list stands.
hint_fedora="dnf install gcc meson ninja-build pkgconf-pkg-config libmnl-devel nftables-devel \
jansson-devel libseccomp-devel libcap-ng-devel libbpf-devel inih-devel libpcap-devel ncurses-devel \
libblocksruntime-devel dnsmasq \
scdoc libcmocka-devel python3-pytest python3-pytest-rerunfailures python3-scapy clang clang-tools-extra qemu-system-x86-core \
busybox iperf3 iproute nftables procps-ng util-linux curl bind-utils iputils strace tcpdump \
traceroute openssh-clients dropbear gcc-c++ zsh fish zstd passt frr openvswitch \
slirp4netns python3-flake8 ShellCheck ufw firewalld dbus-daemon iptables-nft radvd moby-engine libvirt-daemon \
libvirt-daemon-driver-qemu libvirt-client"
hint_arch="pacman -S --needed gcc meson ninja pkgconf libmnl nftables jansson libseccomp libcap-ng libbpf \
libinih libpcap ncurses dnsmasq scdoc cmocka python-pytest python-scapy clang qemu-system-x86 \
busybox iperf3 iproute2 procps-ng util-linux curl bind iputils strace tcpdump traceroute openssh dropbear zsh \
fish zstd passt slirp4netns flake8 shellcheck frr openvswitch ufw firewalld dbus iptables-nft radvd docker libvirt"
hint_brew="brew install meson ninja pkgconf jansson inih libpcap ncurses dnsmasq scdoc cmocka pytest \
scapy qemu iperf3 tcpdump dropbear zsh fish zstd"

# Sets $missing to those of $packages that are not installed. Asks dpkg's status only.
find_missing_packages() {
    # shellcheck disable=SC2086 # a list of words
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $packages 2>/dev/null |
        sed -n 's/^installed //p') || :
    missing=
    for package in $packages; do
        case "
$installed
" in
        *"
$package
"*) ;;
        *) missing="$missing $package" ;;
        esac
    done
}

# True where apt knows a version of each package that is missing.
have_candidates() {
    for package in $missing; do
        apt-cache policy "$package" | grep -q '^  Candidate: [^(]' || return 1
    done
}

apt() {
    # shellcheck disable=SC2086 # $as_root is empty or a command
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"
}

# Units that a package brings and would start. They stay masked: `systemctl unmask frr` where one is wanted.
units_of() {
    case $1 in
    frr | firewalld | radvd) echo "$1.service" ;;
    openvswitch-switch) echo "$1.service ovs-vswitchd.service ovsdb-server.service ovs-record-hostname.service" ;;
    docker.io) echo "docker.service docker.socket containerd.service" ;;
    esac
}

# Nothing starts now, by whatever starts services here (policy-rc.d of invoke-rc.d(8)), nor later by systemd.
hold_services() {
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        # shellcheck disable=SC2064 # as it is now
        trap "$as_root rm -f $policy" EXIT
        printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
        $as_root chmod 755 "$policy"
    fi
    [ -d /etc/systemd/system ] || return 0
    for package in $missing; do
        for unit in $(units_of "$package"); do
            [ -e "/etc/systemd/system/$unit" ] || $as_root ln -s /dev/null "/etc/systemd/system/$unit"
        done
    done
}

install_with_apt() {
    find_missing_packages
    [ -n "$missing" ] || exit 0
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif command -v sudo >/dev/null; then
        as_root=sudo
    else
        echo "Missing packages. As root, run:" >&2
        echo "    apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    echo "Installing:$missing"
    have_candidates || apt update
    hold_services
    # shellcheck disable=SC2086 # a list of words
    apt install -y --no-install-recommends $missing
    find_missing_packages
    [ -z "$missing" ] || { echo "Still missing after the installation:$missing" >&2; exit 1; }
    exit 0
}

if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
    install_with_apt
fi

missing=
# Administrator's commands may be missing in a user's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
for command in $commands; do
    command -v "$command" >/dev/null || missing="$missing $command"
done
for module in $modules; do
    pkg-config --exists "$module" 2>/dev/null || missing="$missing $module"
done
if [ "$group" = check ]; then
    for module in pytest scapy; do
        python3 -c "import $module" 2>/dev/null || missing="$missing python3-$module"
    done
fi
[ -n "$missing" ] || exit 0

echo "Missing:$missing" >&2
for manager in dnf:"$hint_fedora" pacman:"$hint_arch" brew:"$hint_brew"; do
    if command -v "${manager%%:*}" >/dev/null; then
        echo "Install with:" >&2
        echo "    ${manager#*:}" >&2
        exit 1
    fi
done
echo "No package manager that is known here was found; install these by hand." >&2
exit 1
