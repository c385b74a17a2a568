# Penfold: short names for the build (Meson and Ninja) and for the tools in tools/.
#   make            build into build/           make check       tests, about 15 minutes
#   make deps       install Debian packages     make check-full  all tests, about 75 minutes
#   make run        a mail host in ./run        make bench       speed beside Postfix+Dovecot and OpenSMTPD
#   make install    obeys DESTDIR and PREFIX    make fuzz        fuzz the parsers (FUZZ_SECONDS=60 each)
#   make deb        a Debian package in dist/      make bench-cluster  speed of a store on Ceph
PREFIX  ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 60
PYTHON  := $(firstword $(wildcard /usr/bin/python3) python3)
JOBS    ?= $(shell nproc)

all: build/build.ninja
	@ninja -C build -j $(JOBS) programs

build/build.ninja:
	@tools/deps --list build || { echo "make: packages are missing: run 'make deps'"; exit 1; }
	@meson setup build

deps:
	@tools/deps

run:
	@tools/deps build run
	@$(MAKE) --no-print-directory all
	@exec $(PYTHON) tools/run $(RUN_OPTIONS)

check:
	@tools/deps build run deb test ceph fetch
	@exec $(PYTHON) tools/check

check-full:
	@tools/deps
	@exec $(PYTHON) tools/check --full

bench: all
	@tools/deps fetch
	@ninja -C build -j $(JOBS)
	@exec $(PYTHON) bench/run

bench-cluster: all
	@tools/deps ceph
	@ninja -C build -j $(JOBS)
	@exec $(PYTHON) bench/cluster

fuzz:
	@exec $(PYTHON) tools/fuzz --seconds $(FUZZ_SECONDS)

install: all
	@meson setup --reconfigure build -Dprefix=$(PREFIX) >/dev/null
	@meson install -C build --no-rebuild --destdir "$(DESTDIR)"

deb:
	@tools/deps build deb
	@tools/make-deb

clean:
	rm -rf build build-asan build-tsan build-clang build-tools dist

.PHONY: all deps run check check-full bench bench-cluster fuzz install deb clean
