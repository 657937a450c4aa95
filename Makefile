# Copyright The offload Authors.
# SPDX-License-Identifier: Apache-2.0
#
# `make help` lists what there is. Everything built or cached is below build/, and `make clean` removes it.

# `make demo SHELL=1` asks for a shell in the demo; to make, SHELL is what runs the recipes.
ifeq ($(origin SHELL),command line)
INTERACTIVE ?= $(SHELL)
endif
override SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO := $(shell command -v go || echo /usr/local/go/bin/go)
export PATH := $(PATH):$(dir $(GO))

BUILD := $(CURDIR)/build
LAB := $(BUILD)/offload-lab
TOOLS := $(BUILD)/tools
GOLANGCI_VERSION := v2.15.0
STATICCHECK_VERSION := v0.8.2

STATIC_BUILD = CGO_ENABLED=0 $(GO) build -buildvcs=auto -trimpath -ldflags '-s -w'
PROGRAMS = $(shell $(GO) list -f '{{if eq .Name "main"}}{{.ImportPath}}{{end}}' ./cmd/... | grep -v -e /offload-lab -e /containerd-shim-)
# There are many shims, and containerd's packages know how to leave gRPC out of what speaks ttrpc.
SHIMS = $(shell $(GO) list ./cmd/containerd-shim-...)
SHIM_BUILD = $(STATIC_BUILD) -tags no_grpc
# What needs a lab, and with it the machine to itself, is tested after the rest.
UNIT = $(shell $(GO) list ./... | grep -v -e /integration/run -e /integration/network -e /integration/docker -e /integration/builtin -e /integration/hostile -e /integration/vm/suite)

# Arguments for go test, as in: make test ARGS='-run TestRun/exit -v'
ARGS ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  Variables: ARGS (for go test), INTERACTIVE=1 (make demo: stay in a shell on the DPU)"

.PHONY: deps
deps: ## Install the Debian packages that are needed and missing (root)
	@integration/components/deps.sh

.PHONY: components
components: deps ## Build the pinned containerd, runc, dockerd and docker, once
	@integration/components/build.sh $(BUILD)/components

.PHONY: build
build: ## Build our own programs, static, into build/bin
	@mkdir -p $(BUILD)/bin
	@$(STATIC_BUILD) -o $(BUILD)/bin/ $(PROGRAMS)
	@$(SHIM_BUILD) -o $(BUILD)/bin/ $(SHIMS)
	@$(STATIC_BUILD) -o $(LAB) ./cmd/offload-lab
	@if command -v gcc >/dev/null; then $(MAKE) -s preload; fi

.PHONY: preload
preload: $(BUILD)/bin/libudsbridge.so ## Build the library that leads programs to bridged sockets on old kernels (gcc)

$(BUILD)/bin/libudsbridge.so: udsbridge/preload/libudsbridge.c
	@mkdir -p $(BUILD)/bin
	@gcc -shared -fPIC -O2 -Wall -Wextra -o $@ $< -ldl

$(LAB): build

.PHONY: images
images: deps build ## Build the container images that the lab serves, once
	@$(LAB) images --dir $(BUILD)/images

.PHONY: ready
ready: components build images

# The lab's own test runner: it fails on a test that was skipped and may not be. AGAIN=1: what failed runs once more,
# alone, and is only listed if it passes then.
AGAIN ?=
TEST = @$(LAB) test $(if $(filter-out 0,$(AGAIN)),--again) -- -race -timeout 12m

.PHONY: test
test: test-unit test-suite ## Run every test, with the race detector, and the suite in a lab (root)

.PHONY: test-unit
test-unit: ready ## Run every test but the suite in a lab
	$(TEST) $(ARGS) $(UNIT)

.PHONY: test-suite
test-suite: ready ## Run the suite in a lab only
	$(TEST) -count=1 -p 1 $(ARGS) ./integration/run ./integration/network ./integration/docker ./integration/builtin ./integration/hostile

.PHONY: test-docker
test-docker: ready ## Hold every docker verb against the same dockerd on one machine
	$(TEST) -count=1 $(ARGS) ./integration/docker

.PHONY: test-hostile
test-hostile: ready ## Have a HOST lie to the DPU, with its own certificate, in every way that is known
	$(TEST) -count=1 $(ARGS) ./integration/hostile

.PHONY: test-stock
test-stock: ready ## Run the suite against stock daemons, to tell a wrong test from a wrong system
	@OFFLOAD_LAB_KIND=stock $(LAB) test -- -timeout 30m -count=1 -p 1 $(ARGS) ./integration/run ./integration/network

# make faults SEED=7 ROUNDS=3 ONLY='^kill' SHORT=1
SEED ?=
ROUNDS ?= 1
ONLY ?=
SHORT ?=

.PHONY: faults
faults: ready ## Inject faults into a lab and hold what has to come of them (SEED, ROUNDS, ONLY, SHORT=1)
	@$(LAB) faults --out $(BUILD)/report/faults.json --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) \
		$(if $(ONLY),--only '$(ONLY)') $(if $(filter-out 0,$(SHORT)),--short)

.PHONY: fault-table
fault-table: build ## Put the table of the last make faults into docs/faults.md
	@$(LAB) faults --out $(BUILD)/report/faults.json --render docs/faults.md

DURATION ?= 1h

.PHONY: soak
soak: ready ## Have containers come and go while things break, and compare before and after (DURATION=1h, SEED)
	@$(LAB) soak --duration $(DURATION) $(if $(SEED),--seed $(SEED))

# make fuzz FUZZTIME=1h ONLY=remotefs
FUZZTIME ?= 30s

.PHONY: fuzz
fuzz: ## Run every fuzz test in turn (FUZZTIME=30s each, or a number of inputs as 300x; ONLY)
	@PATH='$(PATH)' integration/fuzz/run.sh '$(FUZZTIME)' '$(ONLY)'

.PHONY: lint
lint: $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION) $(TOOLS)/staticcheck-$(STATICCHECK_VERSION) ## Run the linters
	@$(GO) vet ./...
	@$(TOOLS)/golangci-lint-$(GOLANGCI_VERSION) run ./...
	@$(TOOLS)/staticcheck-$(STATICCHECK_VERSION) ./...

$(TOOLS)/golangci-lint-$(GOLANGCI_VERSION):
	@integration/components/tool.sh $(TOOLS) github.com/golangci/golangci-lint/v2/cmd/golangci-lint $(GOLANGCI_VERSION)

$(TOOLS)/staticcheck-$(STATICCHECK_VERSION):
	@integration/components/tool.sh $(TOOLS) honnef.co/go/tools/cmd/staticcheck $(STATICCHECK_VERSION)

.PHONY: demo
demo: ready ## Show a docker run on the DPU and its container on the HOST (SHELL=1: and stay in a shell there)
	@$(LAB) demo $(if $(filter-out 0,$(INTERACTIVE)),--shell)

.PHONY: lab
lab: ready ## Put a lab up and open a shell on its DPU
	@$(LAB) up

.PHONY: lab-stock
lab-stock: ready ## The same with stock daemons in a single environment
	@$(LAB) up --stock

.PHONY: shell
shell: ## Open a shell on the DPU of the lab that is up in another terminal
	@$(LAB) shell dpu

# The benchmarks are the targets bench-NAME of this file; bench-vm needs two virtual machines and is asked for by name.
BENCHES = $(filter-out bench-vm,$(shell sed -n 's/^\(bench-[a-z]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST))))

.PHONY: bench
bench: ready ## Run every benchmark, one after the other, on a machine that should be idle
	@set -e; for bench in $(BENCHES); do $(MAKE) --no-print-directory "$$bench"; done
	@$(GO) run ./integration/bench/publish --from $(BUILD)/bench --to docs/benchmarks

.PHONY: bench-link
bench-link: ## Measure a stream of the link against the bare connection below it
	@$(GO) run ./integration/bench/link --out $(BUILD)/bench/link.json

.PHONY: bench-run
bench-run: ready ## Time docker run and ctr run against the same stock daemons
	@$(LAB) bench-run --out $(BUILD)/bench/run.json

.PHONY: bench-data
bench-data: ready ## Measure containers' output, logs, docker cp, pull and build against the same stock daemons
	@$(LAB) bench-data --out $(BUILD)/bench/data.json

.PHONY: bench-bridge
bench-bridge: build ## Measure bridged unix sockets against plain ones, TCP, socat and ssh -L
	@$(GO) run ./integration/bench/bridge --udsbridge $(BUILD)/bin/udsbridge --out $(BUILD)/bench/bridge.json

.PHONY: bench-rexec
bench-rexec: build ## Measure programs run by rexec against ssh, with and without ControlMaster
	@$(GO) run ./integration/bench/rexec --rexec $(BUILD)/bin/rexec --out $(BUILD)/bench/rexec.json

.PHONY: bench-net
bench-net: ready ## Measure the networks of containers against stock docker's bridge and the link itself
	@$(STATIC_BUILD) -o $(BUILD)/peer ./integration/bench/net/peer
	@$(LAB) bench-net --peer $(BUILD)/peer --out $(BUILD)/bench/net.json

.PHONY: bench-remotefs
bench-remotefs: ## Measure remotefs against sshfs, go-fuse's loopback, the file system itself and a TCP stream
	@integration/components/deps.sh sshfs:/usr/bin/sshfs openssh-sftp-server:/usr/lib/openssh/sftp-server git:/usr/bin/git
	@$(STATIC_BUILD) -o $(BUILD)/bench-remotefs ./integration/bench/remotefs
	@$(BUILD)/bench-remotefs --out $(BUILD)/bench/remotefs.json

.PHONY: soak-link
soak-link: build ## Cut the link for a minute, a hundred times, below connections whose every byte is looked at (ARGS='-cuts 10 -down 10s')
	@$(GO) run ./integration/soak -udsbridge $(BUILD)/bin/udsbridge $(ARGS)

.PHONY: vm-images
vm-images: build ## Build the disk images of the two virtual machines, once
	@integration/components/deps.sh mmdebstrap:/usr/bin/mmdebstrap e2fsprogs:/usr/sbin/mke2fs
	@$(LAB) vm build

.PHONY: integration-vm
integration-vm: ready vm-images ## Run the suite between two virtual machines, over TCP and vsock
	@$(GO) test -timeout 60m -count=1 -v $(ARGS) ./integration/vm/suite

.PHONY: vm-up
vm-up: ready vm-images ## Start the two virtual machines with everything installed, and leave them running
	@$(LAB) vm up

.PHONY: vm-ssh-host
vm-ssh-host: ## Open a shell on the virtual HOST
	@$(LAB) vm ssh host

.PHONY: vm-ssh-dpu
vm-ssh-dpu: ## Open a shell on the virtual DPU
	@$(LAB) vm ssh dpu

.PHONY: vm-down
vm-down: ## Stop the two virtual machines
	@$(LAB) vm down

# Where and what to install: make install DESTDIR=/tmp/tree PREFIX=/usr SIDE=host
DESTDIR ?=
PREFIX ?= /usr/local
SIDE ?= both

.PHONY: install
install: build ## Install programs, units, manual and completions (SIDE=host or dpu, PREFIX, DESTDIR)
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' packaging/install.sh $(BUILD)/bin $(SIDE)

.PHONY: deb
deb: build ## Build the Debian packages offload-host and offload-dpu, for amd64 and arm64
	@for arch in amd64 arm64; do \
		GOARCH=$$arch $(STATIC_BUILD) -o $(BUILD)/deb/$$arch/ $(PROGRAMS); \
		GOARCH=$$arch $(SHIM_BUILD) -o $(BUILD)/deb/$$arch/ $(SHIMS); \
		OFFLOADCTL=$(BUILD)/bin/offloadctl packaging/deb.sh $(BUILD)/deb/$$arch $$arch $(BUILD)/deb; \
	done

.PHONY: clean
clean: ## Remove everything that was built
	@rm -rf $(BUILD)
