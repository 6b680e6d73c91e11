# ByteTalk. `make` builds, `make run` tries it out, `make check` tests it. docs/ARCHITECTURE.md says what is where.

VERSION  := 0.1.0
PREFIX   ?= /usr/local
DESTDIR  ?=
PYTHON   ?= /usr/bin/python3
NANOPB   ?= /usr/bin/nanopb_generator.py
ifeq ($(origin CC),default)
CC       := gcc
endif

# SAN=1 builds everything with the address and undefined-behaviour sanitizers, in a tree of its own.
ifdef SAN
BUILD    := build/san
OPT      := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
else
BUILD    := build/$(if $(filter clang%,$(notdir $(CC))),clang,release)
OPT      ?= -O2 -g
# The server and the load tool are optimized as a whole when they are linked (gcc); all else links the same objects as they are.
ifeq ($(findstring clang,$(notdir $(CC))),)
LTO      := -flto=auto -ffat-lto-objects
NO_LTO   := -fno-lto
endif
endif

PKGS     := libuv sqlite3 libsodium inih libmariadb hiredis
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
CFLAGS   += -std=c11 -D_GNU_SOURCE $(OPT) $(WARN) $(WERROR)
CPPFLAGS += -I. -I$(BUILD)/gen -DBT_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LIBS     := -Wl,--as-needed $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lunistring -lprotobuf-nanopb -lzookeeper_st -lpthread -lm
CLI_LIBS := -ledit

# Generated from the .proto files: messages (nanopb), methods and codecs (proto/gen_*.py); and the schema as a string.
PROTOS   := client node
GEN_C    := $(PROTOS:%=$(BUILD)/gen/proto/%.pb.c) $(BUILD)/gen/proto/methods.c $(BUILD)/gen/proto/codec.c $(BUILD)/gen/store/schema.c
GEN_H    := $(PROTOS:%=$(BUILD)/gen/proto/%.pb.h) $(BUILD)/gen/proto/methods.h $(BUILD)/gen/proto/stubs.h

SERVER_C := $(wildcard *.c roles/*.c)
LIB_C    := $(wildcard net/*.c rpc/*.c)
STORE_C  := $(wildcard store/*.c)
CLI_C    := $(wildcard client/cli.c client/cli_*.c)
BENCH_C  := $(wildcard client/bench*.c)
BENCH_AID := $(addprefix client/bench_,hist.c proc.c random.c stat.c)
CLIENT_C := $(filter-out $(CLI_C) $(BENCH_C),$(wildcard client/*.c))
UNIT_C   := $(wildcard test/unit/test_*.c)
UNIT_AID := $(filter-out $(UNIT_C),$(wildcard test/unit/*.c))

obj       = $(patsubst $(BUILD)/gen/%.c,$(BUILD)/gen/%.o,$(patsubst %.c,$(BUILD)/obj/%.o,$(1)))
SERVER_O := $(call obj,$(SERVER_C) $(LIB_C) $(STORE_C)) $(patsubst %.c,%.o,$(GEN_C))
CLIENT_O := $(call obj,$(LIB_C) $(CLIENT_C)) $(patsubst %.c,%.o,$(filter-out %schema.c,$(GEN_C)))
# Everything but main(), for the unit tests.
UNIT_O   := $(sort $(filter-out $(BUILD)/obj/bytetalk.o,$(SERVER_O)) $(CLIENT_O) $(call obj,$(UNIT_AID) $(BENCH_AID)))
# The chaos test's load: a program over the client library.
CHAOS_C  := $(wildcard test/chaos/workload*.c)
SIM      := $(BUILD)/test/ring-sim $(BUILD)/test/presence-cost
CHAOS    := $(BUILD)/test/chaos-workload $(BUILD)/test/chaos-relay $(BUILD)/test/chaos-patience.so
STORM_C  := $(wildcard test/storm/*.c)
UNITS    := $(UNIT_C:test/unit/%.c=$(BUILD)/test/%)

# The server with planted bugs (net/planted.h), for the test of the chaos checker: only the objects that differ are made anew.
PLANTED_D := $(if $(filter build/release,$(BUILD)),build/planted,$(BUILD)/planted)
PLANTED_C := $(shell grep -lsE 'net/planted.h|BYTETALK_PLANTED' *.c roles/*.c store/*.c)
PLANTED_O := $(filter-out $(call obj,$(PLANTED_C)),$(SERVER_O)) $(PLANTED_C:%.c=$(PLANTED_D)/obj/%.o)

# V=1 shows the commands.
say       = $(if $(V),,@echo "  $(1)" $(patsubst $(BUILD)/%,%,$(2));)

comma    := ,

# What is generated stays, and so do the objects of tests.
.SECONDARY:

# For the targets that call make: use all processors, unless a number was given.
JOBS      = $(if $(findstring j,$(filter -j% --jobserver%,$(MAKEFLAGS))),,-j$(shell nproc))

.PHONY: all
ifdef PLANTED
all: $(PLANTED_D)/bytetalk
else
all: $(BUILD)/bytetalk $(BUILD)/bytetalk-cli $(BUILD)/bytetalk-bench $(BUILD)/libbytetalk.a
endif

$(BUILD)/bytetalk: $(SERVER_O)
	$(call say,link,$@)$(CC) $(CFLAGS) $(LTO) $(LDFLAGS) -o $@ $^ $(LIBS)

$(PLANTED_D)/bytetalk: $(PLANTED_O)
	$(call say,link,$@)$(CC) $(CFLAGS) $(LTO) $(LDFLAGS) -o $@ $^ $(LIBS)

$(PLANTED_D)/obj/%.o: %.c | $(GEN_H)
	@mkdir -p $(@D)
	$(call say,cc  ,planted $<)$(CC) $(CPPFLAGS) -DBYTETALK_PLANTED $(CFLAGS) $(LTO) -MMD -MP -c -o $@ $<

$(BUILD)/bytetalk-cli: $(call obj,$(CLI_C)) $(BUILD)/libbytetalk.a
	$(call say,link,$@)$(CC) $(CFLAGS) $(NO_LTO) $(LDFLAGS) -o $@ $^ $(LIBS) $(CLI_LIBS)

$(BUILD)/bytetalk-bench: $(call obj,$(BENCH_C)) $(BUILD)/libbytetalk.a
	$(call say,link,$@)$(CC) $(CFLAGS) $(LTO) $(LDFLAGS) -o $@ $^ $(LIBS)

# What the server is compared with; no part of the product.
$(BUILD)/test/router: $(BUILD)/obj/test/bench/router.o
	@mkdir -p $(@D)
	$(call say,link,$@)$(CC) $(CFLAGS) $(NO_LTO) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/libbytetalk.a: $(CLIENT_O)
	$(call say,ar  ,$@)rm -f $@ && ar rcs $@ $^

$(BUILD)/test/%: $(BUILD)/obj/test/unit/%.o $(UNIT_O)
	@mkdir -p $(@D)
	$(call say,link,$@)$(CC) $(CFLAGS) $(NO_LTO) $(LDFLAGS) -o $@ $^ $(LIBS) -lcmocka

$(BUILD)/test/chaos-workload: $(call obj,$(CHAOS_C)) $(BUILD)/libbytetalk.a
	@mkdir -p $(@D)
	$(call say,link,$@)$(CC) $(CFLAGS) $(NO_LTO) $(LDFLAGS) -o $@ $^ $(LIBS) -lm

# Clients by the thousand: proxies that die under them, more messages than can be taken.
$(BUILD)/test/storm: $(call obj,$(STORM_C) $(addprefix client/bench_,net.c hist.c random.c)) $(BUILD)/libbytetalk.a
	@mkdir -p $(@D)
	$(call say,link,$@)$(CC) $(CFLAGS) $(NO_LTO) $(LDFLAGS) -o $@ $^ $(LIBS)

# Loaded into the server by the tests of power cuts; it is on no side of the sanitizers.
$(BUILD)/test/%.so: test/cutvfs/%.c
	@mkdir -p $(@D)
	$(call say,link,$@)$(CC) -std=c11 -D_GNU_SOURCE -O2 -g $(WARN) $(WERROR) -shared -fPIC -o $@ $< -lsqlite3

# The simulations' two programs: the server's own ring, and its presence against a real Redis.
$(BUILD)/test/ring-sim: $(call obj,test/sim/ring_sim.c rpc/ring.c net/mem.c)
	@mkdir -p $(@D)
	$(call say,link,$@)$(CC) $(CFLAGS) $(NO_LTO) $(LDFLAGS) -o $@ $^ -lm

$(BUILD)/test/presence-cost: $(call obj,test/sim/presence_cost.c) $(filter-out $(BUILD)/obj/bytetalk.o,$(SERVER_O))
	@mkdir -p $(@D)
	$(call say,link,$@)$(CC) $(CFLAGS) $(NO_LTO) $(LDFLAGS) -o $@ $^ $(LIBS)

# What the chaos test starts besides: a slow road, and a library for MariaDB.
$(BUILD)/test/chaos-relay: $(BUILD)/obj/test/chaos/relay.o
	@mkdir -p $(@D)
	$(call say,link,$@)$(CC) $(CFLAGS) $(NO_LTO) $(LDFLAGS) -o $@ $^

$(BUILD)/test/chaos-patience.so: test/chaos/patience.c
	@mkdir -p $(@D)
	$(call say,link,$@)$(CC) -std=c11 -D_GNU_SOURCE -O2 -g $(WARN) $(WERROR) -shared -fPIC -o $@ $<

$(BUILD)/obj/%.o: %.c | $(GEN_H)
	@mkdir -p $(@D)
	$(call say,cc  ,$<)$(CC) $(CPPFLAGS) $(CFLAGS) $(LTO) -MMD -MP -c -o $@ $<

$(BUILD)/gen/%.o: $(BUILD)/gen/%.c | $(GEN_H)
	@mkdir -p $(@D)
	$(call say,cc  ,$<)$(CC) $(CPPFLAGS) $(CFLAGS) $(LTO) -MMD -MP -c -o $@ $<

$(BUILD)/gen/proto/%.pb.c $(BUILD)/gen/proto/%.pb.h: proto/%.proto proto/%.options proto/options.proto
	@mkdir -p $(@D)
	$(call say,gen ,$<)$(NANOPB) -q -I proto -D $(BUILD)/gen/proto -x options.proto $*.proto

$(BUILD)/gen/proto/methods.c $(BUILD)/gen/proto/codec.c $(BUILD)/gen/proto/methods.h $(BUILD)/gen/proto/stubs.h &: \
    proto/gen_methods.py proto/gen_codec.py $(PROTOS:%=proto/%.proto) proto/options.proto
	@mkdir -p $(@D)
	$(call say,gen ,$@)$(PYTHON) proto/gen_methods.py --proto-dir proto --out $(BUILD)/gen/proto $(PROTOS:%=%.proto)

$(BUILD)/gen/store/schema.c: schema.sql Makefile
	@mkdir -p $(@D)
	@{ printf '/* made from schema.sql */\nextern const char store_schema_sql[];\nconst char store_schema_sql[] =\n'; \
	   sed -e 's/--.*//' -e 's/[[:space:]]*$$//' -e '/^$$/d' -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/.*/    "&\\n"/' $<; printf ';\n'; } > $@

-include $(shell find $(BUILD) $(PLANTED_D) -name '*.d' 2>/dev/null)

# ---- trying it out, testing, installing -------------------------------------------------------------------------------

# What building and running need, and what the tests need besides. Both act only when something is missing.
.PHONY: deps deps-check
deps:
	@deploy/install-deps build
deps-check:
	@deploy/install-deps build check

# In calls of their own: what the first one installs changes what the second one finds.
.PHONY: run
run: deps
	@$(MAKE) --no-print-directory $(JOBS) all
	@BUILD=$(BUILD) deploy/run-here

# A whole cluster on this machine, until Control-C; in scratch directories, with the servers that the tests use.
.PHONY: cluster
cluster: deps-check
	@$(MAKE) --no-print-directory $(JOBS) all
	@$(PYTHON) test/run_cluster --build=$(BUILD)

# A cluster under load, one fault after another, and whether every promise held; test/chaos/README.md. SEED= repeats a run,
# TIME= seconds of load, ONLY=kind,kind some faults, ROUNDS=2 each twice, SHORT=1 each quick one once.
#
# chaos-planted: whether the checker finds the bugs that are planted for it, and nothing without them. BUGS= names some.
.PHONY: chaos chaos-planted
chaos: deps-check
	@$(MAKE) --no-print-directory $(JOBS) all $(CHAOS)
	@$(PYTHON) test/chaos/run.py --build=$(BUILD) $(if $(SAN),--sanitized) $(if $(SEED),--seed=$(SEED)) $(if $(TIME),--time=$(TIME)) \
	    $(if $(ONLY),--only=$(ONLY)) $(if $(ROUNDS),--rounds=$(ROUNDS)) $(if $(GRACE),--grace-s=$(GRACE)) $(if $(SHORT),--short)
chaos-planted: deps-check
	@$(MAKE) --no-print-directory $(JOBS) $(PLANTED_D)/bytetalk $(CHAOS) $(BUILD)/test/cutvfs.so
	@$(PYTHON) test/chaos/planted.py --build=$(BUILD) $(BUGS)

# The failures that users feel, in full: 15,000 clients whose proxy is killed; a minute of three times what the cluster can take.
.PHONY: chaos-storm chaos-overload
chaos-storm chaos-overload: deps-check
	@$(MAKE) --no-print-directory $(JOBS) all $(BUILD)/test/storm
	@BYTETALK=$(CURDIR)/$(BUILD)/bytetalk BYTETALK_CLI=$(CURDIR)/$(BUILD)/bytetalk-cli BYTETALK_BUILD=$(CURDIR)/$(BUILD) BYTETALK_MODE=cluster \
	 STORM_USERS=1000 STORM_DEVICES=15 OVERLOAD_S=60 $(PYTHON) -m pytest -q -s -p no:cacheprovider test/integration/test_cluster_$(@:chaos-%=%).py

.PHONY: check tests
check: deps-check
	@$(PYTHON) test/run_check --build=$(BUILD) $(if $(SAN),--sanitized) -- $(MAKE) --no-print-directory $(JOBS) WERROR=-Werror all tests $(PLANTED_D)/bytetalk
tests: export FLAGS := $(CPPFLAGS) -std=c11 -D_GNU_SOURCE $(WARN)
tests: $(UNITS) $(BUILD)/test/router $(CHAOS) $(BUILD)/test/storm $(SIM) $(patsubst test/cutvfs/%.c,$(BUILD)/test/%.so,$(wildcard test/cutvfs/*.c))
	@mkdir -p $(BUILD)/test
	@printf '%s\n' "$$FLAGS" > $(BUILD)/test/flags

# Figures, beside a bare router: make bench; or a part: make bench ONLY=A,B,embedded ROUNDS=1 SECONDS=2
.PHONY: bench
bench: deps-check
	@$(MAKE) --no-print-directory $(JOBS) all $(BUILD)/test/router
	@$(PYTHON) test/bench/run_bench.py --build=$(BUILD) $(if $(ROUNDS),--rounds=$(ROUNDS)) $(if $(SECONDS),--seconds=$(SECONDS)) \
	           $(if $(ONLY),--only=$(ONLY)) $(if $(CLIENTS),--clients=$(CLIENTS)) $(if $(ACCOUNTS),--accounts=$(ACCOUNTS)) $(if $(WRITE),--write)

# An hour of load (SECONDS=3600), and whether a message costs as much at its end, and memory is what it was; ONLY=cluster: of a cluster.
.PHONY: soak
soak:
	@$(MAKE) --no-print-directory bench ONLY=soak$(if $(ONLY),$(comma)$(ONLY))

# What a message costs in instructions, from now on: for a change that is worth it. make check compares with it.
.PHONY: instructions
instructions: deps-check
	@$(MAKE) --no-print-directory $(JOBS) all
	@BYTETALK=$(CURDIR)/$(BUILD)/bytetalk BYTETALK_CLI=$(CURDIR)/$(BUILD)/bytetalk-cli BYTETALK_BUILD=$(CURDIR)/$(BUILD) BYTETALK_INSTRUCTIONS=write \
	 $(PYTHON) -m pytest -q -p no:cacheprovider test/integration/test_instructions.py

# How far it goes: the simulations behind docs/CAPACITY.md, then its table from the inputs in it. MEASURE=1 measures this machine first.
.PHONY: sim
sim: deps-check
	@$(MAKE) --no-print-directory $(JOBS) all $(SIM)
	@$(PYTHON) test/sim/run.py --build=$(BUILD) $(if $(MEASURE),--measure) $(if $(WRITE),--write)

.PHONY: install
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/include/bytetalk \
	           $(DESTDIR)$(PREFIX)/share/bytetalk/proto $(DESTDIR)$(PREFIX)/share/doc/bytetalk
	install -m 755 $(BUILD)/bytetalk $(BUILD)/bytetalk-cli $(BUILD)/bytetalk-bench $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(BUILD)/libbytetalk.a $(DESTDIR)$(PREFIX)/lib
	install -m 644 client/bytetalk.h $(DESTDIR)$(PREFIX)/include/bytetalk
	install -m 644 bytetalk.ini $(DESTDIR)$(PREFIX)/share/bytetalk
	install -m 644 proto/client.proto proto/options.proto $(DESTDIR)$(PREFIX)/share/bytetalk/proto
	install -m 644 README.md LICENSE docs/*.md $(DESTDIR)$(PREFIX)/share/doc/bytetalk

.PHONY: clean
clean:
	rm -rf build
