# SPDX-License-Identifier: Apache-2.0
#
# Names for the commands that are used most; Meson does the work. `make help` lists them.
#
#   BUILD    build directory                          (build)
#   PREFIX   where `make install` puts files          (/usr/local)
#   DESTDIR  staging directory, for packagers         (none)
#   PYTHON   the Python that has pytest and scapy     (the system's, not the first in PATH)
#   TESTS    the network and guest tests to run       (all)
#   RERUNS   how often a test that failed is run again (0); it is named where it passes then
#   BENCH    options of the benchmark, such as --quick (none)

BUILD ?= build
PREFIX ?= /usr/local
PYTHON ?= /usr/bin/python3
TESTS ?= tests/net tests/guest
RERUNS ?= 0
BENCH ?=
SYSTEM_TESTS_S ?= 1200
FUZZ ?=
FUZZ_S ?= 120

MESON ?= meson
PYTEST = $(PYTHON) -m pytest -p no:cacheprovider -q $(if $(filter-out 0,$(RERUNS)),--reruns $(RERUNS))
UNPRIVILEGED = $(PYTHON) tests/unprivileged.py
# Without what is for other systems, or for the kernel, and is not compiled as the rest is.
TIDY = $(addprefix tidy/,$(filter-out %_macos.c src/plane/macos/% %.bpf.c,$(filter src/%.c,$(SOURCES))))
ROOT_TESTS = $(filter tests/net%,$(TESTS))
SOURCES = $(shell find src include docs/examples tests -name '*.[ch]' 2>/dev/null)
SCRIPTS = .ci/run contrib/deps.sh $(wildcard contrib/debian/*.p* tests/guest/*.sh)

export PYTHONDONTWRITEBYTECODE = 1

all: build

help:
	@echo 'make build          compile into $(BUILD)/'
	@echo 'make deps           install what building and testing need, or say how'
	@echo 'make demo           boot a virtual machine on a network and show what works'
	@echo 'make check          unit, network and guest tests'
	@echo 'make bench          measure openvmnet beside others, as root; BENCH=--quick takes a minute'
	@echo 'make bench-system   networks of the system beside what is made by hand, and macvtap'
	@echo 'make soak           the network tests that take minutes'
	@echo 'make system-tests   the packages of make deb installed, used and purged under a real systemd; needs root'
	@echo 'make churn          a million short connections leave nothing behind'
	@echo 'make coexist-tests  networks of the system beside firewalls and libvirt, as root; installs them'
	@echo 'make asan           unit and network tests with the address and undefined behaviour sanitizers'
	@echo 'make tsan           the same with the thread sanitizer'
	@echo 'make fuzz           each fuzzer for FUZZ_S seconds (120); FUZZ=wire one of them; needs clang'
	@echo 'make macos          cross-build for macOS, and check the results; needs npm'
	@echo 'make lint           formatting, scripts, a build with clang without warnings, clang-tidy'
	@echo 'make lint-quick     of these what takes seconds'
	@echo 'make format         format the sources'
	@echo 'make install        install below PREFIX ($(PREFIX)), honours DESTDIR'
	@echo 'make deb            Debian packages in $(BUILD)/deb'
	@echo 'make uninstall      remove what that put there, with the same PREFIX and DESTDIR'
	@echo 'make clean          remove all build directories'

deps:
	@contrib/deps.sh check

# $(1) build directory, $(2) options of meson setup
define compile
@test -f $(1)/build.ninja || $(MESON) setup $(1) $(2)
$(MESON) compile -C $(1)
endef

# Warnings are errors where they are looked at, not for a user with a compiler newer than we know.
WERROR = $(if $(CI),-Dwerror=true)

build:
	$(call compile,$(BUILD),--prefix=$(PREFIX) $(WERROR))

clang-build:
	@test -f build-clang/build.ninja || CC=clang $(MESON) setup build-clang -Dwerror=true
	$(MESON) compile -C build-clang

demo:
	@$(PYTHON) tests/guest/demo.py --build=$(BUILD)

check: deps
	@$(MAKE) --no-print-directory build clang-build unit-tests network-tests

unit-tests:
	@test -d build-macos/zig || echo 'unit-tests: macos is SKIPPED: its compiler is not here; make macos fetches it'
	$(MESON) test -C $(BUILD) --no-rebuild --print-errorlogs

# As an ordinary user, whom the product is for, also where root calls; beside it, root's networks too. The tests
# mostly wait, so two runs take hardly longer than one. Each is shown when it ends.
network-tests:
	$(PYTHON) tests/guest/image.py --build=$(BUILD)
	@test "$$(id -u)" != 0 || echo 'network-tests: as an ordinary user and as root, side by side; each is shown when it ends'
	@if test "$$(id -u)" != 0; then $(MAKE) --no-print-directory tests-as-user; \
	else $(MAKE) --no-print-directory -j2 -k --output-sync=target tests-as-user tests-as-root; fi

tests-as-user:
	OPENVMNET_BUILD=$(abspath $(BUILD)) $(UNPRIVILEGED) $(PYTEST) $(TESTS)

tests-as-root:
	$(if $(ROOT_TESTS),OPENVMNET_BUILD=$(abspath $(BUILD)) $(PYTEST) $(ROOT_TESTS))

# Tests that watch an idle network for a minute, or wait for an address that does not come back, or until an
# idle UDP port is given up; a gibibyte each way of an emulated machine.
soak: build
	$(PYTHON) tests/guest/image.py --build=$(BUILD)
	OPENVMNET_BUILD=$(abspath $(BUILD)) OPENVMNET_SOAK=1 $(UNPRIVILEGED) \
		$(PYTEST) tests/net/test_idle.py tests/net/test_host_changes.py tests/net/test_udp_nat.py \
		tests/guest/test_sockets.py

# A million connections, 200,000 mappings; some minutes.
churn: build
	OPENVMNET_BUILD=$(abspath $(BUILD)) OPENVMNET_CHURN=1000000 $(UNPRIVILEGED) \
		$(PYTEST) -s tests/net/test_churn.py

# Networks of the system beside ufw, firewalld, Docker and libvirt, which are large or slow. For root.
coexist-tests: build
	@contrib/deps.sh coexist
	OPENVMNET_BUILD=$(abspath $(BUILD)) OPENVMNET_COEXIST=1 $(PYTEST) tests/net/test_system_firewalls.py

# The packages under a real systemd, in namespaces; for root. Two small Debians are downloaded the first time.
system-tests: build
	@contrib/deps.sh system
	@$(MAKE) --no-print-directory deb
	OPENVMNET_BUILD=$(abspath $(BUILD)) timeout $(SYSTEM_TESTS_S) $(PYTEST) -rs tests/system

# A peer that cannot be installed is named as missing, and the others are measured.
bench:
	@contrib/deps.sh bench || echo 'make bench: goes on without these'
	@$(MAKE) --no-print-directory build
	-$(PYTHON) tests/guest/image.py --build=$(BUILD)
	OPENVMNET_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/bench/bench.py $(BENCH)

# Networks of the system, beside what is made by hand. Some five minutes.
bench-system: build
	OPENVMNET_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/bench/bench.py --quick --rounds 15 \
		--only '^(system-|by-hand|macvtap).*/(tcp-|host-|vm|connect|rr)' $(BENCH)

# What many TCP streams carry together, by the number of workers.
bench-streams: build
	OPENVMNET_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/bench/streams.py $(STREAMS)

# What there is for macOS, on Linux (docs/macos.md).
macos:
	@MESON='$(MESON)' $(PYTHON) contrib/macos/build.py build-macos

# No guest tests here: an emulated guest under a sanitizer proves little and takes long. As an ordinary user and, where
# root calls, as root, one after the other: beside each other they would be too slow for what waits. By clang, whose sanitizers
# programs with blocks can have too: libvmnet's and the plane for macOS (tests/net/test_vmnet_*.py).
asan: export CC = clang
asan:
	$(call compile,build-asan,-Db_sanitize=address$(comma)undefined -Db_lundef=false)
	$(MESON) test -C build-asan --no-rebuild --print-errorlogs
	@$(MAKE) --no-print-directory -k BUILD=build-asan TESTS=tests/net tests-as-user \
		$(if $(filter 0,$(shell id -u)),tests-as-root)

# Needs root: the sanitizer's own thread forbids a process to make a user namespace (unshare(2)). A race ends
# the engine, and the tests notice. What is left out counts on a parent with a single thread.
tsan: export CC = clang
tsan:
	@test "$$(id -u)" = 0 || { echo 'make tsan needs root'; exit 1; }
	$(call compile,build-tsan,-Db_sanitize=thread -Db_lundef=false)
	$(MESON) test -C build-tsan --no-rebuild --print-errorlogs
	TSAN_OPTIONS=halt_on_error=1 OPENVMNET_BUILD=$(abspath build-tsan) $(PYTEST) tests/net \
		--deselect tests/net/test_lifecycle.py::test_parent_is_killed

# Each fuzzer for FUZZ_S seconds, or those of FUZZ alone (tests/fuzz/README.md).
fuzz: export CC = clang
fuzz:
	@test -f build-fuzz/build.ninja || $(MESON) setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined \
		-Db_lundef=false '-Dc_args=-fsanitize=fuzzer-no-link -fno-sanitize-recover=all'
	$(MESON) compile -C build-fuzz fuzzers
	$(PYTHON) tests/fuzz/run.py $(abspath build-fuzz) $(FUZZ_S) $(FUZZ)

# As many files at a time as there are processors; what is said of a file stays together, and the others go on.
lint: lint-quick
	@$(MAKE) --no-print-directory clang-build
	@echo 'clang-tidy: $(words $(TIDY)) files, which takes a few minutes'
	@$(MAKE) --no-print-directory -j$$(getconf _NPROCESSORS_ONLN) -k --output-sync=target $(TIDY)

# What takes seconds: layout, what shells would take otherwise than it is meant, names in Python that nobody defines or uses.
lint-quick:
	@contrib/deps.sh lint
	@echo 'clang-format: $(words $(SOURCES)) files'
	@clang-format --dry-run -Werror $(SOURCES)
	shellcheck $(SCRIPTS)
	$(PYTHON) -m flake8 --isolated --select=F contrib tests

# A file a process: the analyzer forgets va_start() in the second. Its count of what it left out is not shown.
tidy/%:
	@said=$$(clang-tidy --quiet -p build-clang $* 2>&1) || { echo "$$said"; exit 1; }

format:
	clang-format -i $(SOURCES)

# A build directory made by `make build` may have had another prefix.
define configure
@test -f $(BUILD)/build.ninja || $(MESON) setup $(BUILD) --prefix=$(PREFIX)
$(MESON) configure $(BUILD) -Dprefix=$(PREFIX)
endef

install:
	$(configure)
	$(MESON) compile -C $(BUILD)
	DESTDIR=$(DESTDIR) MESON='$(MESON)' $(PYTHON) contrib/install.py install $(BUILD)

# With the same PREFIX and DESTDIR. Nothing is compiled for it.
uninstall:
	$(configure)
	$(MESON) setup --reconfigure $(BUILD) >/dev/null
	DESTDIR=$(DESTDIR) MESON='$(MESON)' $(PYTHON) contrib/install.py uninstall $(BUILD)

# Packages for Debian and its like, in $(BUILD)/deb.
deb:
	@$(PYTHON) contrib/deb.py $(BUILD)

clean:
	rm -rf build build-asan build-tsan build-fuzz build-clang build-macos

comma = ,

.PHONY: all help deps build clang-build demo check unit-tests network-tests tests-as-user tests-as-root soak churn coexist-tests \
	system-tests bench bench-system bench-streams asan tsan fuzz macos lint lint-quick format install uninstall deb clean
