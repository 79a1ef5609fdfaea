# Postern. `make` builds it, `make demo` shows it, `make test` proves it, `make bench-peers` and
# `make bench-scale` measure it.

.PHONY: build demo test setup check simulate bench-peers bench-scale

.NOTPARALLEL:

SEEDS = 2000

build:
	go build -trimpath -o postern ./cmd/postern

demo: build
	./postern demo

# Everything: format, vet, staticcheck, the embedded pages against their sources, all tests under the race detector,
# and 2,000 simulated sessions. As root on Debian, setup installs what the tests need; elsewhere it names what is missing.
test: setup check
	go test -race -shuffle=on -timeout 15m ./...
	$(MAKE) simulate

setup:
	.ci/setup

# Random sessions between random clients and backends, each from its seed. SEEDS=100000 is for a night; a seed that
# fails plays again with: go test ./proxy -run 'TestSimulate/^SEED$$' -seeds 1000000
simulate:
	go test -run TestSimulate -timeout 12h ./proxy -seeds $(SEEDS)

check:
	@out=$$(gofmt -l cmd docs proxy tlsup audit web) && test -z "$$out" || { echo "gofmt -w $$out"; exit 1; }
	go vet ./...
	$$(go -C .ci/tools tool -n staticcheck) ./...
	.ci/ui check

# Postern beside HAProxy, nginx, hitch, stunnel and Dovecot, at the same work: some 25 minutes on a machine that does
# nothing else. docs/performance.md says how to read it. BENCH="-modes short -peers haproxy,postern -rounds 1" is a
# look; BENCH=-help lists the rest.
bench-peers: build
	.ci/bench-peers
	go run ./cmd/internal/bench $(BENCH)

# How Postern's costs grow: with 22,000 sessions at once, from 10 to 10,000, and with a log of 20 GB, for which -dir needs
# 25 GB. As root, or memory cannot be read. BENCH="-parts steps -steps 10,100 -rounds 1" is a look; BENCH=-help lists
# the rest.
bench-scale: build
	go run ./cmd/internal/bench scale $(BENCH)
