# headgate - make works without ./configure; `make help` says what there is.
#
# Knobs (on the command line, or in config.mak, which ./configure writes):
#   DEVELOPER=1   warnings are errors; named crash points are compiled in
#   SAN=asan      AddressSanitizer, LeakSanitizer and UBSan
#   B=DIR         where objects and programs go (build)
#   T='t/t20*'    which whole-system tests `make check` runs (all)
#   J=N           how many of them at a time (2; they wait more than they work)
#   prefix, sysconfdir, runstatedir, mandir, docdir, DESTDIR   as usual
#   initdir, unitdir, defaultdir, logrotatedir   where the system looks for services

prefix = /usr/local
sbindir = $(prefix)/sbin
bindir = $(prefix)/bin
sysconfdir = $(prefix)/etc
mandir = $(prefix)/share/man
runstatedir = /run
docdir = $(prefix)/share/doc/headgate
initdir = /etc/init.d
unitdir = /lib/systemd/system
defaultdir = /etc/default
logrotatedir = /etc/logrotate.d
PYTHON = /usr/bin/python3
-include config.mak

.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

B = build
CC = gcc
OPT = -O2 -g
CFLAGS = $(OPT)
LDFLAGS =
VERSION := 0.1.0

WARN = -Wall -Wextra -Wno-unused-parameter -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wvla -Wformat-security -Wshadow -Wwrite-strings
HARDEN = -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
LINK_HARDEN = -pie -Wl,-z,relro,-z,now
CPPFLAGS_OWN = -D_GNU_SOURCE -Isrc -DHEADGATE_VERSION='"$(VERSION)"' \
	-DHEADGATE_SYSCONFDIR='"$(sysconfdir)"' -DHEADGATE_RUNSTATEDIR='"$(runstatedir)"'
ifeq ($(DEVELOPER),1)
WARN += -Werror
CPPFLAGS_OWN += -DHEADGATE_DEVELOPER
endif
ifeq ($(SAN),asan)
HARDEN = -fPIE -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
LINK_HARDEN = -pie -fsanitize=address,undefined
endif
ALL_CFLAGS = -std=gnu11 $(CFLAGS) $(WARN) $(HARDEN) $(CPPFLAGS_OWN) $(CPPFLAGS) -MMD -MP

LIBS_BASE = -levent_core -lm
LIBS_CONF = -lyaml -lssl -lcrypto
LIBS_CLUSTER = -lhiredis
LIBS_WORKER = -levhtp -levent_openssl -levent_extra -levent_core -lwslay -lz -lnghttp2 -lcurl -ljansson -lssl -lcrypto
LIBS_CHECK := $(shell pkg-config --libs check 2>/dev/null || echo -lcheck)

room = $(patsubst src/%.c,$(B)/obj/%.o,$(wildcard src/$(1)/*.c))
BASE = $(call room,base)
CONF = $(call room,conf)
SHM = $(call room,shm)
PAGES = $(patsubst src/worker/endpoint/pages/%.html,$(B)/obj/page_%.o,$(wildcard src/worker/endpoint/pages/*.html))
WORKER = $(PAGES) $(call room,worker) $(foreach r,exchange admit provider http endpoint,$(call room,worker/$(r)))
CLUSTER = $(B)/obj/lease_lua.o $(call room,cluster)
MASTER = $(call room,master)
DAEMON = $(BASE) $(CONF) $(SHM) $(WORKER) $(CLUSTER) $(MASTER)
STAT = $(call room,tools/headgatestat)
SIM = $(call room,tools/llmsim)
PROGRAMS = $(B)/headgate $(B)/headgatestat $(B)/llmsim
UNITS = $(patsubst t/unit/%.c,$(B)/unit/%,$(wildcard t/unit/test_*.c))

all: $(PROGRAMS)

# Objects are made again when the flags change, as in git's own Makefile.
FLAGS_NOW = $(CC) $(ALL_CFLAGS) $(LINK_HARDEN) $(LDFLAGS)
$(B)/flags: FORCE
	@mkdir -p $(B); echo '$(subst ','\'',$(FLAGS_NOW))' | cmp -s - $@ || echo '$(subst ','\'',$(FLAGS_NOW))' > $@

$(B)/obj/%.o: src/%.c $(B)/flags
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(ALL_CFLAGS) -c -o $@ $<

# Pages become C, with a policy that fits them.
.PRECIOUS: $(B)/obj/page_%.c
$(B)/obj/page_%.c: src/worker/endpoint/pages/%.html scripts/page-to-c
	@mkdir -p $(@D)
	@echo "  PAGE  $<"
	@$(PYTHON) scripts/page-to-c $* $< > $@
$(B)/obj/page_%.o: $(B)/obj/page_%.c $(B)/flags
	@echo "  CC    $<"
	@$(CC) $(ALL_CFLAGS) -c -o $@ $<

# What Redis runs for us.
$(B)/obj/lease_lua.c: src/cluster/lease.lua scripts/text-to-c
	@mkdir -p $(@D)
	@$(PYTHON) scripts/text-to-c lease_lua cluster/lease_lua.h $< > $@
$(B)/obj/lease_lua.o: $(B)/obj/lease_lua.c $(B)/flags
	@echo "  CC    $<"
	@$(CC) $(ALL_CFLAGS) -c -o $@ $<

link = @echo "  LINK  $@"; $(CC) $(CFLAGS) $(LINK_HARDEN) $(LDFLAGS) -o $@

$(B)/headgate: $(B)/obj/main.o $(DAEMON)
	$(link) $^ $(LIBS_CLUSTER) $(LIBS_WORKER) $(LIBS_CONF) $(LIBS_BASE)
$(B)/headgatestat: $(STAT) $(BASE) $(SHM)
	$(link) $^ -ljansson $(LIBS_BASE)
$(B)/llmsim: $(SIM) $(BASE)
	$(link) $^ -ljansson $(LIBS_BASE)

# A unit test is linked with every room of the daemon; the linker takes what it needs.
$(B)/libheadgate.a: $(DAEMON)
	@rm -f $@; ar rcs $@ $^
$(B)/unit/%: t/unit/%.c t/unit/unit.h $(B)/libheadgate.a $(B)/flags
	@mkdir -p $(@D)
	@echo "  TEST  $<"
	@$(CC) $(ALL_CFLAGS) -It/unit -MF $@.d $(LINK_HARDEN) $(LDFLAGS) -o $@ $< $(B)/libheadgate.a \
		$(LIBS_CHECK) $(LIBS_CLUSTER) $(LIBS_WORKER) $(LIBS_CONF) $(LIBS_BASE)

# ---- tests ------------------------------------------------------------------
# `make check` builds its own tree with the developer's switches (crash points!)
# beside the one that you run, and tests that.
CHECK_B = $(if $(filter asan,$(SAN)),build/asan,build/check)
T = t/t*.t
J = 2
check:
	@scripts/deps check
	+@$(MAKE) --no-print-directory -j$$(nproc) check-here B=$(CHECK_B) DEVELOPER=1
check-here: check-tree all $(UNITS)
	HEADGATE_BUILD=$(B) prove -j $(J) --timer -e '' $(UNITS) $(wildcard $(T))
check-unit:
	+@$(MAKE) --no-print-directory -j$$(nproc) check-unit-here B=$(CHECK_B) DEVELOPER=1
check-unit-here: $(UNITS)
	prove -j $(J) --timer -e '' $(UNITS)
# What the tree promises about itself: rooms, sizes, documentation.
check-tree:
	@scripts/check-includes
	@scripts/check-size

# ---- a first look -----------------------------------------------------------
deps:
	@scripts/deps
# npm's openai, @openai/agents, ai and ws, for the tests with real clients (skipped, and said so, where they are not installed).
node-clients: build/node/node_modules/.done
build/node/node_modules/.done: t/node/package.json
	@mkdir -p build/node; cp $< build/node/
	npm install --prefix build/node --no-audit --no-fund --loglevel=error
	@touch $@
demo: deps
	+@$(MAKE) --no-print-directory -j$$(nproc) all
	@B=$(B) scripts/demo start
demo-stop:
	@B=$(B) scripts/demo stop
# Three headgates that share a limit through a redis-server of the demo's own.
demo-cluster:
	@scripts/deps cluster
	+@$(MAKE) --no-print-directory -j$$(nproc) all
	@B=$(B) $(PYTHON) scripts/demo-cluster start
demo-cluster-stop:
	@B=$(B) $(PYTHON) scripts/demo-cluster stop

# ---- speed --------------------------------------------------------------------
BENCH = $(B)/bench/floor $(B)/bench/load $(B)/bench/mock $(B)/bench/gate $(B)/bench/awake
$(B)/bench/%: bench/%.c bench/wire.h $(B)/flags
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(ALL_CFLAGS) -MF $@.d $(LINK_HARDEN) $(LDFLAGS) -o $@ $< -lcrypto -lm
$(B)/bench/gate: bench/gate.c bench/wire.h $(SHM) $(BASE) $(B)/flags
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) $(ALL_CFLAGS) -MF $@.d $(LINK_HARDEN) $(LDFLAGS) -o $@ $< $(SHM) $(BASE) $(LIBS_BASE)
# Stands in front of the C library: nothing may be turned into calls of itself.
$(B)/bench/counted.so: bench/counted.c $(B)/flags
	@mkdir -p $(@D)
	@echo "  CC    $<"
	@$(CC) -std=gnu11 $(OPT) $(WARN) -D_GNU_SOURCE -U_FORTIFY_SOURCE -fPIC -fno-builtin -shared -o $@ $< -ldl
bench: all $(BENCH)
	HEADGATE_BUILD=$(B) bench/run
bench-quick: all $(BENCH)
	HEADGATE_BUILD=$(B) bench/run --quick
# System calls, allocations, copies and timers for each request and token; WRITE=--write puts them into doc/performance.md.
bench-count: all $(BENCH) $(B)/bench/counted.so
	HEADGATE_BUILD=$(B) bench/count $(WRITE)

install: all
	install -d $(DESTDIR)$(sbindir) $(DESTDIR)$(bindir) $(DESTDIR)$(sysconfdir)/headgate \
		$(foreach n,1 5 7 8,$(DESTDIR)$(mandir)/man$(n))
	install -m 755 $(B)/headgate $(DESTDIR)$(sbindir)/headgate
	install -m 755 $(B)/headgatestat $(B)/llmsim $(DESTDIR)$(bindir)
	test -e $(DESTDIR)$(sysconfdir)/headgate/headgate.yaml || \
		install -m 640 etc/headgate.yaml $(DESTDIR)$(sysconfdir)/headgate/headgate.yaml
	for n in 1 5 7 8; do install -m 644 man/*.$$n $(DESTDIR)$(mandir)/man$$n || exit; done
	install -d $(DESTDIR)$(initdir) $(DESTDIR)$(unitdir) $(DESTDIR)$(logrotatedir) \
		$(DESTDIR)$(docdir)/examples
	$(call install_service,755,etc/init.d/headgate,$(initdir))
	$(call install_service,644,etc/systemd/headgate.service,$(unitdir))
	$(call install_service,644,etc/systemd/headgate.socket,$(unitdir))
	$(call install_service,644,etc/logrotate.d/headgate,$(logrotatedir))
	install -m 644 etc/sysctl.d/headgate.conf $(DESTDIR)$(docdir)/examples/sysctl.conf
	install -m 644 etc/examples/*.yaml etc/examples/haproxy.cfg etc/examples/nginx.conf $(DESTDIR)$(docdir)/examples
# A file of etc/ with the paths of this installation: mode, file, directory.
install_service = sed -e 's|@sbindir@|$(sbindir)|g' -e 's|@sysconfdir@|$(sysconfdir)|g' \
	-e 's|@defaultdir@|$(defaultdir)|g' $(2) > $(DESTDIR)$(3)/$(notdir $(2)) && \
	chmod $(1) $(DESTDIR)$(3)/$(notdir $(2))

# A Debian package in build/deb, of the files that git knows.
DEB = build/deb/headgate-$(VERSION)
deb:
	rm -rf build/deb; mkdir -p $(DEB)
	git ls-files -z | xargs -0 cp --parents -t $(DEB)
	cd $(DEB) && dpkg-buildpackage -b -us -uc
	lintian --fail-on error,warning build/deb/*.changes

# The parts of the manual that options.def, stats.def and endings.def say.
manual: $(PROGRAMS)
	scripts/manual $(B)
format:
	clang-format -i $$(git ls-files '*.c' '*.h')
clean:
	rm -rf build
help:
	@echo 'make              build headgate, headgatestat and llmsim into build/'
	@echo 'make deps         install the Debian packages that headgate needs'
	@echo 'make demo         all of it: packages, build, daemon with a simulated provider, a streamed chat'
	@echo 'make demo-stop    stop what make demo started'
	@echo 'make demo-cluster three headgates that share a limit through Redis (demo-cluster-stop ends them)'
	@echo 'make check        unit tests and whole-system tests (T="t/t20*" for some of them)'
	@echo 'make check SAN=asan   the same under AddressSanitizer and UBSan'
	@echo 'make check-unit   unit tests only'
	@echo 'make manual       put what the tables say into the manual pages'
	@echo 'make deb          a Debian package in build/deb'
	@echo 'make bench        headgate beside nginx, HAProxy and a relay that does nothing (10 minutes; make bench-quick: 2)'
	@echo 'make bench-count  system calls, allocations, copies and timers of each request and token'
	@echo 'make install      to $(prefix); DESTDIR is honoured'
	@echo 'make DEVELOPER=1  warnings are errors, crash points are compiled in'

FORCE:
.PHONY: all bench bench-count bench-quick manual node-clients check check-here check-unit check-unit-here check-tree deps demo demo-cluster demo-cluster-stop demo-stop install deb format clean help FORCE

-include $(shell find $(B) -type f -name '*.d' 2>/dev/null)
