# make | make test | make demo (DEMO=tiny: a minute) | make bench | make lint | make install PREFIX=/usr/local
# make SAN=address,undefined test | make fuzz-imagefile CC=clang T=60 | make V=1 shows the commands
# make gates: lint, a clang build, units under sanitizers (what CI runs after the tests)
MAKEFLAGS += --no-print-directory
PREFIX ?= /usr/local
VERSION := 0.1.0
MODS  := base qcow2 kdl fleet imagefile cache image vm registry libvirt builder/container builder/context builder/appliance builder/runner builder/worker builder/host builder/build builder/transfer
PKGS  := jansson libarchive libcurl libzstd liblzma liblz4 libssh libxxhash libcrypto libisal libxml-2.0
comma := ,
BUILD ?= build/$(or $(subst $(comma),-,$(SAN)),plain)$(if $(findstring clang,$(CC)),-clang)
CFLAGS ?= -O2 -g
WARN  := -Wall -Wextra -Wshadow -Wvla -Wundef -Wstrict-prototypes -Wmissing-prototypes \
  -Wold-style-definition -Wpointer-arith -Wwrite-strings -Wformat=2 -Wswitch-enum $(if $(WERROR),-Werror)
BASE_FLAGS := -std=gnu17 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -MMD -MP -pthread $(WARN) \
  -include base/banned.h -DKILN_VERSION='"$(VERSION)"'
override CFLAGS += $(BASE_FLAGS) $(shell pkg-config --cflags $(PKGS) 2>/dev/null) \
  $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
LIBS  := $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lbz2 -ldl -lm
# Goals that compile stop here when a library is missing, with its name.
ifneq ($(filter-out setup test demo gates lint clean uninstall,$(or $(MAKECMDGOALS),all)),)
lacking := $(shell for p in $(PKGS) libguestfs; do pkg-config --exists $$p || echo $$p; done 2>/dev/null)
$(if $(lacking),$(error pkg-config does not find: $(lacking). 'tools/setup' installs the Debian packages))
endif
# Files whose text is what objects depend on, rewritten only when it changes.
keep = $(shell mkdir -p $(BUILD); echo '$(2)' | cmp -s - $(BUILD)/$(1) || echo '$(2)' >$(BUILD)/$(1))
COMMIT := $(shell git describe --always --dirty --exclude '*' 2>/dev/null)
ifneq ($(MAKECMDGOALS),clean)
$(call keep,flags,$(CC) $(filter-out -Werror,$(CFLAGS)))
$(call keep,commit,$(VERSION) $(COMMIT))
endif
objs   = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(1)))
AGENT := $(BUILD)/kiln-agent
LIB_O := $(call objs,$(MODS:%=%/*.c)) $(patsubst %,$(BUILD)/builder/agent/%.o,layout manifest message probe) \
  $(BUILD)/builder/appliance/agent_blob.o $(BUILD)/builder/host/ext4_blob.o $(BUILD)/builder/worker/guestfs_blob.o $(BUILD)/vm/wake_blob.o
# What of the agent is tested on the host.
AGENT_T := $(patsubst %,builder/agent/%.c,elf entry feed fstab hostname passwd place port probe resolve scaffold \
  sha256 sys)
# What of cli/ is tested by itself.
CLI_T := cli/columns.c cli/guest_text.c cli/screen.c
UNIT  := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c))
FUZZ  := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/fuzz/fuzz_*.c))
BENCH := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/*.c))
MAN   := $(patsubst docs/man/%.scd,$(BUILD)/man/%,$(wildcard docs/man/*.scd))
SRC    = $(shell git ls-files '*.[ch]')
say    = @$(if $(V),set -x,echo '  $(1) $(2)');
link   = $(call say,LD,$@) $(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIBS)

all: $(BUILD)/kiln man $(BUILD)/share/kiln/images.d
# Where the kiln of the build folder finds its tables.
$(BUILD)/share/kiln/images.d: ; @mkdir -p $(@D) && ln -sfn $(CURDIR)/images.d $@
# Man pages need scdoc; without it everything else is built.
SCDOC := $(shell command -v scdoc)
man: $(if $(SCDOC),$(MAN)) ; $(if $(SCDOC),@:,@echo '  no man pages: scdoc is missing (tools/setup installs it)')
# Libraries are loaded when kiln first calls them (cli/late.h); kiln-eager is linked with them, and says what it calls.
$(BUILD)/kiln-eager: $(call objs,cli/*.c) $(LIB_O) ; $(link)
$(BUILD)/late.list: $(BUILD)/kiln-eager tools/late-libs ; $(call say,LIST,$@) tools/late-libs $< >$@.tmp && mv $@.tmp $@
# ccache does not know what .include reads.
$(BUILD)/cli/late_calls.o: cli/late_calls.S $(BUILD)/late.list
	$(call say,AS,$@) CCACHE_DISABLE=1 $(CC) -DLATE='"$(BUILD)/late.list"' -c -o $@ $<
$(BUILD)/kiln: private LIBS := -ldl -lm
$(BUILD)/kiln: $(call objs,cli/*.c) $(LIB_O) $(BUILD)/cli/late_calls.o ; $(link)
$(UNIT): %: %.o $(LIB_O) $(call objs,$(AGENT_T) $(CLI_T)) ; $(link) -lcmocka
$(BENCH): %: %.o $(LIB_O) ; $(link)
$(FUZZ): %: %.o $(BUILD)/tests/fuzz/replay.o $(LIB_O) $(call objs,$(AGENT_T) $(CLI_T)) ; $(link)
$(BUILD)/cli/version.o: $(BUILD)/commit
$(BUILD)/cli/version.o: override CFLAGS += -DKILN_COMMIT='"$(COMMIT)"'
$(BUILD)/%.o: %.c $(BUILD)/flags Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) $(CFLAGS) -c -o $@ $<

# The agent runs in the builder VM: static, without sanitizers, and carried inside kiln.
AGENT_O := $(patsubst %.c,$(BUILD)/static/%.o,$(wildcard builder/agent/*.c) base/alloc.c base/buf.c base/vector.c \
  base/error.c base/file.c base/mode.c base/path.c imagefile/glob.c imagefile/ignore.c)
$(BUILD)/static/%.o: %.c $(BUILD)/flags Makefile
	@mkdir -p $(@D)
	$(call say,CC,$@) $(CC) -O2 -g $(BASE_FLAGS) -c -o $@ $<
$(AGENT): $(AGENT_O) ; $(call say,LD,$@) $(CC) -static -o $@ $^ && strip -o $@.tmp $@ && mv $@.tmp $@
$(BUILD)/builder/appliance/agent_blob.o: builder/appliance/agent_blob.S $(AGENT)
	@mkdir -p $(@D)
	$(call say,AS,$@) $(CC) -DAGENT='"$(AGENT)"' -c -o $@ $<
# Writes ext4 without a VM (builder/ext4/job.h): static, so that what it is made of is known, and carried like the agent.
EXT4   := $(BUILD)/kiln-ext4
EXT4_O := $(patsubst %.c,$(BUILD)/static/%.o,$(wildcard builder/ext4/*.c) qcow2/chain.c qcow2/judge.c base/alloc.c \
  base/buf.c base/vector.c base/error.c base/file.c base/mode.c $(patsubst %,builder/agent/%.c,entry message passwd probe resolve sys))
$(EXT4): $(EXT4_O) ; $(call say,LD,$@) $(CC) -static -o $@ $^ -lext2fs -lcom_err && strip -o $@.tmp $@ && mv $@.tmp $@
$(BUILD)/builder/host/ext4_blob.o: builder/host/ext4_blob.S $(EXT4)
	@mkdir -p $(@D)
	$(call say,AS,$@) $(CC) -DPROGRAM='"$(EXT4)"' -c -o $@ $<
# The one program with libguestfs in it, carried as well: kiln starts without the library.
GUESTFS   := $(BUILD)/kiln-guestfs
GUESTFS_O := $(patsubst %.c,$(BUILD)/static/%.o,$(wildcard builder/guestfs/*.c) base/alloc.c)
$(GUESTFS): $(GUESTFS_O) ; $(call say,LD,$@) $(CC) -pthread -o $@ $^ -lguestfs -ljansson && strip -o $@.tmp $@ && mv $@.tmp $@
$(BUILD)/builder/worker/guestfs_blob.o: builder/worker/guestfs_blob.S $(GUESTFS)
	@mkdir -p $(@D)
	$(call say,AS,$@) $(CC) -DPROGRAM='"$(GUESTFS)"' -c -o $@ $<
$(BUILD)/man/%: docs/man/%.scd ; @mkdir -p $(@D) && scdoc <$< >$@

# What waits in a guest whose boot is saved: no library, and carried inside kiln, too.
WAKE := $(BUILD)/kiln-wake
$(WAKE): vm/guest/wake.c vm/guest/command.c vm/guest/calls.h vm/wake.h $(BUILD)/flags Makefile
	$(call say,LD,$@) $(CC) -std=gnu17 -I. -O2 $(WARN) -ffreestanding -fno-stack-protector -fno-pie -fcf-protection=none \
	  -static -nostdlib -Wl,--build-id=none -Wl,-z,noseparate-code -s -o $@ vm/guest/wake.c vm/guest/command.c
$(BUILD)/vm/wake_blob.o: vm/wake_blob.S $(WAKE)
	@mkdir -p $(@D)
	$(call say,AS,$@) $(CC) -DWAKE='"$(WAKE)"' -c -o $@ $<

test: setup
	$(MAKE) -j$$(nproc) all units
	$(MAKE) check
# check = test without the set-up of packages
units: $(UNIT) $(FUZZ)
check: all units
	@tests/run $(BUILD) $(UNIT)
setup: ; @tools/setup
demo: setup
	$(MAKE) -j$$(nproc) all
	tools/demo $(BUILD)/kiln $(DEMO)
# KVM, emulated in a VM; four minutes, and the images of make demo.
test-kvm: all ; tests/kvm/run $(BUILD)/kiln
bench: all ; tools/bench $(BUILD)/kiln
# One page of README, manuals and man pages; and the README's picture anew, which takes the image debian.
docs: ; $(call say,DOCS,build/docs/kiln.html) tools/manual build/docs/kiln.html
picture: all
	PATH="$$PWD/$(BUILD):$$PATH" tools/picture docs/build.svg 88x15 'kiln builds a web server on Debian' -- kiln build --no-cache examples/web
fuzz-%: $(filter %_blob.o,$(LIB_O))
	@mkdir -p build/corpus-$*
	$(call say,LD,build/$@) $(CC) $(CFLAGS) -fsanitize=fuzzer,address -MF /dev/null -o build/$@ tests/fuzz/fuzz_$*.c \
	  $(wildcard $(MODS:%=%/*.c)) $(patsubst %,builder/agent/%.c,layout manifest message) $(AGENT_T) $(CLI_T) $^ $(LIBS)
	build/$@ -max_total_time=$(or $(T),60) build/corpus-$* tests/fuzz/corpus/$*
# What CI runs after the tests; each may be run alone. Units that boot VMs are left to `make SAN=… check`.
GATES := lint clang asan tsan
SAN_UNIT = $(filter-out %_vm %/test_appliance %/test_crash %/test_store_qemu %/test_vm %/test_ssh,$(UNIT))
gates: ; for g in $(GATES); do $(MAKE) $$g || exit; done
clang: ; $(MAKE) -j$$(nproc) CC=clang WERROR=1 all units
asan: ; $(MAKE) -j$$(nproc) SAN=address,undefined CFLAGS='-O1 -g' san-units
tsan: ; $(MAKE) -j$$(nproc) SAN=thread CFLAGS='-O1 -g' san-units
san-units: $(SAN_UNIT) $(FUZZ)
	KILN_TESTS=' ' KILN_JOBS=$$(nproc) tests/run $(BUILD) $(SAN_UNIT)
# The longest first: they run side by side.
LINTS := $(patsubst %,lint-%,cppcheck examples format layers shell)
lint: ; $(MAKE) -Otarget -j$$(nproc) $(LINTS)
# build/cppcheck: what it found in files that have not changed since.
lint-cppcheck:
	@mkdir -p build/cppcheck
	$(call say,cppcheck,$(words $(SRC)) files) cppcheck --quiet --cppcheck-build-dir=build/cppcheck --std=c11 --error-exitcode=1 --enable=warning,portability --inline-suppr \
	  --suppressions-list=tools/cppcheck.suppress -I. -D_GNU_SOURCE -DKILN_VERSION='""' -DKILN_COMMIT='""' $(filter %.c,$(SRC))
lint-examples: ; @tools/check-examples $(CC) $(filter-out -MMD -MP,$(CFLAGS)) -- $(filter %.h,$(SRC))
lint-format: ; $(call say,clang-format,$(words $(SRC)) files) clang-format --dry-run -Werror $(SRC)
lint-layers: ; tools/check-layers
lint-shell: ; shellcheck $(shell git ls-files -- tools .ci examples | xargs grep -lE '^#!.*(ba)?sh$$' 2>/dev/null)
COMPLETIONS := bash-completion/completions zsh/vendor-completions fish/vendor_completions.d
install: all
	install -D -m 755 $(BUILD)/kiln $(DESTDIR)$(PREFIX)/bin/kiln
	install -d $(DESTDIR)$(PREFIX)/share/doc/kiln
	for d in README.md NEWS.md docs/json.md; do install -D -m 644 $$d $(DESTDIR)$(PREFIX)/share/doc/kiln/$${d##*/}; done
	install -d $(COMPLETIONS:%=$(DESTDIR)$(PREFIX)/share/%)
	$(BUILD)/kiln completion bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/kiln
	$(BUILD)/kiln completion zsh >$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_kiln
	$(BUILD)/kiln completion fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/kiln.fish
	find examples -type f ! -name rootfs.tar ! -name image.tar ! -name rootfs.recipe ! -name authorized_keys \
	  -exec cp --parents -t $(DESTDIR)$(PREFIX)/share/doc/kiln {} +
	for t in images.d/*.json; do install -D -m 644 $$t $(DESTDIR)$(PREFIX)/share/kiln/$$t; done
	for m in $(if $(SCDOC),$(MAN)); do install -D -m 644 $$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/kiln
	for f in bash-completion/completions/kiln zsh/vendor-completions/_kiln fish/vendor_completions.d/kiln.fish; do \
	  rm -f $(DESTDIR)$(PREFIX)/share/$$f; done
	rm -rf $(DESTDIR)$(PREFIX)/share/kiln $(DESTDIR)$(PREFIX)/share/doc/kiln
	for m in $(MAN); do rm -f $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done
# build/kiln_VERSION_amd64.deb of what is built; dpkg-buildpackage makes it with Debian's own flags.
deb: all
	KILN_BUILD=$(BUILD) DEB_DIR=build MAKEFLAGS= debian/rules binary
	KILN_BUILD=$(BUILD) MAKEFLAGS= debian/rules clean
	lintian --fail-on error,warning build/kiln_$(VERSION)_amd64.deb
compile_commands.json: ; bear -- $(MAKE) -B all
clean: ; rm -rf build compile_commands.json
-include $(shell find $(BUILD) -name '*.d' -type f 2>/dev/null)
.SECONDARY:
.PHONY: all man docs picture test check units test-kvm setup demo bench gates $(GATES) $(LINTS) san-units install uninstall deb clean
