# Sluice: what people and CI type. Every target sets up what it needs.

CARGO ?= cargo
# Clusters of real servers are started side by side; more at once only slows all of them down.
TEST_THREADS ?= 2
ARGS ?=
CLIENTS ?=
# Per half of `make fuzz`.
SECONDS ?= 600

# Runs of each random kind in `make test-faults`.
RUNS ?= 20
# Seeds of `make simulate`.
SEEDS ?= 100000

# Of `make test-mutants`; empty: all.
MUTANTS ?=

.PHONY: help binary check test instructions test-faults test-mutants simulate demo soak fuzz bench bench-quick fix

help:
	@echo 'make check   format, lints, unit tests, habits (fast, no servers)'
	@echo 'make test    everything, against real MySQL servers'
	@echo 'make instructions  instructions per statement against their budget, part of `make test` (ARGS=--write: a new budget)'
	@echo 'make test-clients   every driver and framework, directly and through Sluice (CLIENTS="PHP PDO;PyMySQL": these)'
	@echo 'make test-mutants  known faults put back one by one: the tests have to find each (MUTANTS="role": these)'
	@echo 'make test-faults   every row of the fault matrix on real servers (RUNS=20: so many random deaths), after `make simulate`'
	@echo 'make simulate  the controller over simulated servers, struck by faults of many seeds (SEEDS=100000: so many)'
	@echo 'make binary  the binary to ship, compiled for what a load ran (ten minutes; says where it is)'
	@echo 'make demo    a cluster under load that changes its primary (ARGS=--keep leaves it running)'
	@echo 'make soak    64 sysbench threads, ten switchovers, waits measured (six minutes, quiet machine)'
	@echo 'make fuzz    hostile bytes into every decoder and the lexer (SECONDS=600 each)'
	@echo 'make bench   CPU, latency, memory and logins beside a direct connection, HAProxy and MySQL Router (quiet machine)'
	@echo 'make bench-quick  the same in under three minutes, without large results'
	@echo 'make fix     what tools can mend by themselves'

binary:
	CARGO='$(CARGO)' deploy/binary/build

check:
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) test --locked -p sluice-protocol -p sluice-routing
	$(CARGO) test --locked -p sluice --lib
	$(CARGO) test --locked -p sluice --test tidy -- --nocapture
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --locked check; \
	else \
		echo 'cargo-deny is not installed: licences, advisories and duplicates were not checked'; \
	fi

test: instructions
	SLUICE_MYSQLD="$$(deploy/mysql/fetch)" && export SLUICE_MYSQLD && tests/clients/install && \
	if $(CARGO) nextest --version >/dev/null 2>&1; then \
		$(CARGO) nextest run --workspace --locked; \
	else \
		$(CARGO) test --workspace --locked -- --test-threads=$(TEST_THREADS); \
	fi

# Half a minute the first time. Before everything else in `make test`, as it needs no server.
instructions:
	CARGO='$(CARGO)' tests/instructions/run $(ARGS)

# The fault matrix in its long form: every row, and random deaths (RUNS=20 of each kind). Needs 10 GiB of disk for the rebuild of
# 2 GiB.
test-faults: simulate
	SLUICE_MYSQLD="$$(deploy/mysql/fetch)" && export SLUICE_MYSQLD && \
	SLUICE_FAULT_RUNS=$(RUNS) $(CARGO) test --release --locked -p sluice --test suite -- \
		failover:: rebuild:: controller_ --include-ignored --test-threads=$(TEST_THREADS) --nocapture

# Clients that need nothing but seconds run in `make test` as well. The first run downloads about 250 MB into .tools/ (1.2 GB there).
test-clients:
	SLUICE_MYSQLD="$$(deploy/mysql/fetch)" && export SLUICE_MYSQLD && \
	SLUICE_CLIENTS='$(CLIENTS)' $(CARGO) test --locked -p sluice --test suite -- --ignored --exact --nocapture \
		clients::every_client_sees_the_same

# Servers and Sluice to try a client on; the end of its standard input ends it.
clients-stage:
	SLUICE_MYSQLD="$$(deploy/mysql/fetch)" && export SLUICE_MYSQLD && \
	$(CARGO) test --locked -p sluice --test suite -- --ignored --exact --nocapture clients::a_stage_to_try_clients_on

test-mutants:
	SLUICE_MYSQLD="$$(deploy/mysql/fetch)" && export SLUICE_MYSQLD && tests/mutants/run $(MUTANTS)

simulate:
	SLUICE_SEEDS=$(SEEDS) $(CARGO) test --release --locked -p sluice --test simulation -- --nocapture \
		no_seed_breaks_an_invariant

# Not by `cargo run -p sluice-demo`: it would build every dependency a second time, with that package's features alone.
demo:
	SLUICE_MYSQLD="$$(deploy/mysql/fetch)" && export SLUICE_MYSQLD && \
	$(CARGO) build --release --locked -p sluice -p sluice-demo && \
	target=$$($(CARGO) metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/') && \
	"$$target/release/demo" $(ARGS)

soak:
	SLUICE_MYSQLD="$$(deploy/mysql/fetch)" && export SLUICE_MYSQLD && \
	$(CARGO) test --release --locked -p sluice --test suite -- --ignored --exact --nocapture \
		sysbench::ten_switchovers_under_64_sysbench_threads

fuzz:
	SLUICE_FUZZ_SECONDS=$(SECONDS) $(CARGO) test --release --locked -p sluice-protocol --test corpus -- \
		--ignored --exact --nocapture every_decoder_for_a_while
	SLUICE_FUZZ_SECONDS=$(SECONDS) $(CARGO) test --release --locked -p sluice-routing --test fuzz -- \
		--ignored --exact --nocapture the_lexer_for_a_while

# Side by side with a direct connection, HAProxy and MySQL Router; on a quiet machine. The first run downloads the two.
bench:
	CARGO='$(CARGO)' bench/run $(ARGS)

bench-quick:
	CARGO='$(CARGO)' bench/run --quick $(ARGS)

fix:
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged
