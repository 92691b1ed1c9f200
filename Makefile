# Hallway. "make help" lists the targets; the work is in scripts/ and in
# fdw_shim/Makefile. Everything built or started stays under .dev/, but for the
# shim's objects in fdw_shim/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := all

PG_CONFIG ?= pg_config
PREFIX ?= /usr/local
FUZZ_QUERIES ?= 2000

# The Go that scripts/bootstrap fetched, where the machine has none that will do.
export PATH := $(CURDIR)/.dev/go/bin:$(CURDIR)/.dev/bin:$(PATH)
export GOTOOLCHAIN := local
export PG_CONFIG

.PHONY: help
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z][a-z0-9\/-]*:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# ---- build -----------------------------------------------------------------

.PHONY: all build build-shim build-sidecar build-pocketbase build-stripe-mock
all: build
build: build-sidecar build-shim ## The sidecar (.dev/bin/hallway) and the shim (fdw_shim/hallway.so)

build-shim: bootstrap-build
	scripts/build-shim

build-sidecar: bootstrap-build
	go build -o .dev/bin/hallway ./sidecar/cmd/hallway

build-pocketbase: bootstrap-build
	cd tests/pocketbase && go build -o "$(CURDIR)/.dev/bin/pocketbase" .

build-stripe-mock: bootstrap-build
	cd tests/stripemock && go build -o "$(CURDIR)/.dev/bin/stripe-mock" github.com/stripe/stripe-mock

.PHONY: install install-shim uninstall
install: build install-shim ## Install the shim for PG_CONFIG and the sidecar below PREFIX; honours DESTDIR
	install -d "$(DESTDIR)$(PREFIX)/bin"
	install -m 755 .dev/bin/hallway "$(DESTDIR)$(PREFIX)/bin/hallway"

install-shim: build-shim
	$(MAKE) -C fdw_shim install with_llvm=no

uninstall: ## Remove what install put there
	$(MAKE) -C fdw_shim uninstall with_llvm=no
	rm -f "$(DESTDIR)$(PREFIX)/bin/hallway"

# ---- demo ------------------------------------------------------------------

.PHONY: demo demo-down
demo: ## A private PostgreSQL, the sidecar and a CRM, and a guided tour of them
	@scripts/demo

demo-down: ## Stop what demo started and remove its data
	@scripts/dev-cluster down

# ---- generated files -------------------------------------------------------

.PHONY: generate generate-proto generate-docs
generate: generate-proto generate-docs ## Generated Go, C and docs, anew

generate-proto: bootstrap-test
	go build -o .dev/bin/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
	protoc -I proto --go_out=. --go_opt=module=github.com/hallwaydb/hallway \
		--go-grpc_out=. --go-grpc_opt=module=github.com/hallwaydb/hallway proto/hallway/v1/*.proto
	protoc-c -I proto --c_out=fdw_shim/gen proto/hallway/v1/*.proto

generate-docs: bootstrap-build
	go generate ./...

# ---- checks ----------------------------------------------------------------

.PHONY: lint verify
lint: bootstrap-test ## Style and likely mistakes, in Go, C and shell
	scripts/lint

verify: bootstrap-test ## Generated files, go.mod and formatting are as they should be
	scripts/verify

.PHONY: test test-unit test-regress test-e2e test-clients test-fuzz test-faults test-demo test-valgrind test-pg
test: bootstrap-test ## All tests: unit, regress, end to end, clients, fuzzing, faults, the demo
	scripts/test all

test-unit: bootstrap-test ## Go packages, and the CRM's own tests
	scripts/test unit

test-regress: bootstrap-test ## pg_regress in a private cluster
	scripts/test regress

test-e2e: bootstrap-test ## A real PostgreSQL, sidecar and API
	scripts/test e2e

test-clients: bootstrap-test ## Drivers and ORMs (Go, node, psql) over foreign tables
	scripts/test clients

test-fuzz: bootstrap-test ## Queries compared with a local copy (FUZZ_QUERIES, FUZZ_SEED), and row batches under ASan
	scripts/test fuzz

test-faults: bootstrap-test ## A sidecar or an API that fails
	scripts/test faults

test-demo: bootstrap-test ## The demo twice, beside one that runs here
	scripts/test demo

test-valgrind: bootstrap-test ## pg_regress with PostgreSQL under valgrind's memcheck: no invalid access, no leak
	scripts/test valgrind

test-pg: ## The shim and pg_regress on another PostgreSQL: PG=17 or PG=18
	scripts/test-pg "$(PG)"

.PHONY: bench
bench: bootstrap-build build build-pocketbase ## Speed, side by side with local tables and postgres_fdw
	scripts/test bench

# ---- house -----------------------------------------------------------------

.PHONY: bootstrap-build bootstrap-test clean
bootstrap-build:
	@scripts/bootstrap build
bootstrap-test:
	@scripts/bootstrap test

clean: demo-down ## Remove what was built
	rm -rf --one-file-system .dev/bin .dev/build .dev/regress*.out .dev/demo.out .dev/valgrind.out .dev/debian-* .dev/*.log
	-$(MAKE) -C fdw_shim clean
