# haul: `make` builds build/haul; `make help` lists the rest. Meson does the work.
BUILD ?= build
MESON_FLAGS ?=
export BUILD MESON_FLAGS KEEP

.DEFAULT_GOAL := all
.PHONY: all program help packages packages-develop demo cluster bench test sim sim-planted chaos lint format asan tsan fuzz fresh web web-check web-test screenshots clean

all: ## build build/haul
	@scripts/build

program: # only what runs, not the tests
	@scripts/build haul:executable

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' Makefile

packages: ## install the Debian packages of packaging/debian-packages.txt that are missing
	@scripts/install-packages

packages-develop: ## and those of packaging/debian-packages-develop.txt
	@scripts/install-packages --develop

demo: packages program ## transcode a real video as a background job (KEEP=1 leaves server and worker running)
	@scripts/demo

cluster: packages packages-develop program ## PostgreSQL, Redis, S3, two servers, workers and Prometheus as processes of yours, until Ctrl-C (WORKERS=2)
	@scripts/cluster --haul $(BUILD)/haul --workers $(or $(WORKERS),2)

bench: program ## measure submissions, whole lives and an idle start, beside the disk's own limits (SECONDS=5, DATA=/var/tmp)
	@bench/rates $(BUILD)/haul --seconds $(or $(SECONDS),5) --data $(or $(DATA),/var/tmp)

test: packages ## build, and run every test; the last line is "N passed, N failed"
	@scripts/test

sim: all ## simulate SEEDS installations under faults (default 10000), from seed FIRST on, and judge each by I1 to I10 (test/sim)
	@$(BUILD)/test/sim/haul-sim --seeds $(or $(SEEDS),10000) --first $(or $(FIRST),1) --jobs $(or $(JOBS),$(shell nproc))

sim-planted: ## is every bug planted in the simulator's own build caught within 3000 seeds?
	@scripts/build haul-sim-planted
	@$(BUILD)/test/sim/haul-sim-planted --bugs --seeds 3000

chaos: packages-develop all ## real processes under kills, pauses, partitions, power cuts: one round, or HOURS=n; SEED=1 (test/chaos); root for all of it
	@test/chaos/chaos.py --build $(BUILD) --seed $(or $(SEED),1) --hours $(or $(HOURS),0) $(CHAOS_FLAGS)

lint: packages-develop ## clang-format, the rooms' includes, cppcheck, gcc -fanalyzer, clang-tidy, what hardening left in the binary
	@scripts/lint

format: packages-develop ## let clang-format rewrite src, handlers and test
	@scripts/c-files | xargs -0 clang-format -i

asan: packages-develop ## every test, or those of TEST_FLAGS="-k ...", under AddressSanitizer and UBSan, by clang (whose two write into one report), in build-asan
	@CC=clang BUILD=build-asan MESON_FLAGS="$(MESON_FLAGS) -Db_sanitize=address,undefined -Db_lundef=false" scripts/test $(TEST_FLAGS)

tsan: packages ## likewise under ThreadSanitizer, in build-tsan
	@BUILD=build-tsan MESON_FLAGS="$(MESON_FLAGS) -Db_sanitize=thread -Db_lundef=false" scripts/test $(TEST_FLAGS)

fuzz: packages-develop ## run fuzz target T (default: each) for SECONDS (default 60), in build-fuzz; KEEP=1 keeps what it learnt
	@scripts/fuzz $(if $(KEEP),--keep) $(or $(T),all) $(or $(SECONDS),60)

web: packages-develop ## build the dashboard: web/src to web/dist, which is committed and embedded in the binary
	@scripts/build-web

web-check: packages-develop ## is web/dist what web/src builds to, from the locked packages, and small enough?
	@scripts/check-web

web-test: packages-develop all ## try the dashboard in Chromium, against a real server with a real worker
	@scripts/build-web && cd web && HAUL_BIN="$(CURDIR)/$(BUILD)/haul" node --test --test-reporter spec test/*.test.mjs

screenshots: packages-develop all ## docs/screenshots: each page of the dashboard in both themes
	@scripts/build-web && cd web && HAUL_BIN="$(CURDIR)/$(BUILD)/haul" node test/screenshots.mjs

fresh: ## both commands of the README in a new minimal Debian 12, and in a 13; needs root (one: scripts/fresh-root SUITE)
	@for suite in bookworm trixie; do scripts/fresh-root $$suite || exit 1; done

clean: ## remove what was built
	rm -rf build build-asan build-tsan build-fuzz
