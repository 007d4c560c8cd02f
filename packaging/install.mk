# make release, install, uninstall and dist: the library for programs that are compiled elsewhere.
#
#   make release                         builds what the next one copies
#   make install PREFIX=/opt/metaxy      into /opt/metaxy/lib, include, share; builds nothing, so that root may do it
#   make install DESTDIR=/tmp/package    the same tree below another root, for a packager
#   make dist                            build/metaxy-<version>-<machine>-linux-gnu.tar.gz
#
# What is installed may be moved as a whole: metaxy.pc and the CMake package find the rest by where they are.

PREFIX ?= /usr/local
DESTDIR ?=
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DOCDIR ?= $(PREFIX)/share/doc/metaxy
# debug, release or dist, which Cargo.toml says the reasons of; the static library is left out with STATIC=no.
PROFILE ?= dist
STATIC ?= yes
# A library that is there already, such as a stripped one; else the one that is built.
LIBRARY ?=
# What was said of these, for who is told to make another target: it has to be said there too.
as_said = $(foreach name,PROFILE LIBRARY STATIC,$(if $(filter-out file,$(origin $(name))),$(if $($(name)),$(name)=$($(name)))))

VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
# What `cargo rustc --crate-type staticlib -- --print native-static-libs` tells.
STATIC_LIBS := gcc_s util rt pthread m dl c

LIB := $(DESTDIR)$(LIBDIR)
INCLUDE := $(DESTDIR)$(INCLUDEDIR)
DOC := $(DESTDIR)$(DOCDIR)
# The prefix is empty where the tree below DESTDIR is all there is.
ROOT := $(or $(PREFIX),/)
# $(call relative,from,to): the way from one installed folder to another.
relative = $(or $(shell realpath -ms --relative-to='$(1)' '$(2)'),$(error no way from '$(1)' to '$(2)'))
# $(call fill,template,file,folder of the file): a template with the names of this installation.
fill = sed -e 's|@VERSION@|$(VERSION)|g' -e 's|@SONAME@|$(SONAME)|g' \
    -e 's|@PREFIX@|$(call relative,$(3),$(ROOT))|g' \
    -e 's|@LIBDIR@|$(call relative,$(ROOT),$(LIBDIR))|g' \
    -e 's|@INCLUDEDIR@|$(call relative,$(ROOT),$(INCLUDEDIR))|g' \
    -e 's|@STATIC_LIBS@|$(addprefix -l,$(STATIC_LIBS))|g' \
    -e 's|@STATIC_LIST@|$(subst $() ,;,$(STATIC_LIBS))|g' \
    packaging/$(1) >'$(2)'

HEADERS := metaxy.h metaxy.hpp
EXAMPLES := $(wildcard examples/c/*.c examples/c/*.h examples/cpp/*.cpp examples/cpp/*.hpp)
BUILT := $(or $(LIBRARY),$(TARGET)/$(PROFILE)/libmetaxy.so)
ARCHIVE := $(if $(filter-out no,$(STATIC)),$(TARGET)/$(PROFILE)/libmetaxy.a)
THIRD_PARTY := $(TARGET)/$(PROFILE)/THIRD_PARTY.txt

# Make takes a blank for the end of a path, the shell a quote for that of a text, and sed these others for its own.
PATHS := PREFIX DESTDIR LIBDIR INCLUDEDIR DOCDIR DISTDIR LIBRARY TARGET
plain = $(foreach name,$(PATHS),$(if $(word 2,x$($(name))x)$(strip \
    $(foreach bad,' | & \,$(findstring $(bad),$($(name))))),$(error \
    $(name) is "$($(name))": a path with a blank or one of ' | & \ will not do)))

.PHONY: release install uninstall dist library licences

# The licences come first: what they lack is known at once, and not after the build.
release: licences library ## build what make install copies: the optimised library and, but for STATIC=no, the static one

licences: rust build-tools
	$(plain)python3 scripts/licenses.py '$(THIRD_PARTY)'

# Both libraries in one go, as optimising across crates is most of the work. It is left out where the Rust library, which
# takes no part in it, is built as well.
library: rust build-tools
	@[ -n '$(LIBRARY)' ] || cargo rustc --locked --profile $(PROFILE:debug=dev) --lib \
	    --crate-type cdylib$(if $(ARCHIVE),$(comma)staticlib)

install: ## install what make release has built below PREFIX (/usr/local), for pkg-config and CMake too
	@$(plain)for file in '$(BUILT)' $(if $(ARCHIVE),'$(ARCHIVE)') '$(THIRD_PARTY)'; do [ -e "$$file" ] || { \
	    echo "$$file is not there: $(strip run make release $(as_said) $(if $(ARCHIVE),(or say STATIC=no to both)) first)" >&2; \
	    exit 1; }; done
	install -d '$(LIB)/pkgconfig' '$(LIB)/cmake/metaxy' '$(INCLUDE)' '$(DOC)'
	install -m 755 '$(BUILT)' '$(LIB)/libmetaxy.so.$(VERSION)'
	ln -sf libmetaxy.so.$(VERSION) '$(LIB)/$(SONAME)'
	ln -sf $(SONAME) '$(LIB)/libmetaxy.so'
	$(if $(ARCHIVE),install -m 644 '$(ARCHIVE)' '$(LIB)/libmetaxy.a')
	install -m 644 $(addprefix include/,$(HEADERS)) '$(INCLUDE)/'
	$(call fill,metaxy.pc.in,$(LIB)/pkgconfig/metaxy.pc,$(LIBDIR)/pkgconfig)
	$(call fill,metaxyConfig.cmake.in,$(LIB)/cmake/metaxy/metaxyConfig.cmake,$(LIBDIR)/cmake/metaxy)
	$(call fill,metaxyConfigVersion.cmake.in,$(LIB)/cmake/metaxy/metaxyConfigVersion.cmake,$(LIBDIR)/cmake/metaxy)
	for file in $(EXAMPLES); do install -D -m 644 $$file '$(DOC)'/$$file; done
	install -m 644 LICENSE '$(THIRD_PARTY)' '$(DOC)/'
	@[ -n '$(DESTDIR)' ] || [ "$$(id -u)" != 0 ] || ldconfig

# It removes by name what `install` has put there, and folders only when they are empty: others may have their files in
# the same ones. A link that leads to another version stays with it.
uninstall: ## remove what make install has installed there
	@$(plain)[ "$$(readlink '$(LIB)/$(SONAME)')" != libmetaxy.so.$(VERSION) ] || rm -f '$(LIB)/$(SONAME)'
	@[ "$$(readlink '$(LIB)/libmetaxy.so')" != $(SONAME) ] || [ -e '$(LIB)/$(SONAME)' ] || rm -f '$(LIB)/libmetaxy.so'
	rm -f '$(LIB)/libmetaxy.so.$(VERSION)' '$(LIB)/libmetaxy.a' '$(LIB)/pkgconfig/metaxy.pc' \
	    $(foreach name,$(HEADERS),'$(INCLUDE)/$(name)') \
	    $(foreach name,metaxyConfig metaxyConfigVersion,'$(LIB)/cmake/metaxy/$(name).cmake') \
	    $(foreach name,$(EXAMPLES) LICENSE THIRD_PARTY.txt RELEASE,'$(DOC)/$(name)')
	@for folder in $(foreach name,cmake/metaxy cmake pkgconfig,'$(LIB)/$(name)') \
	    $(foreach name,examples/c examples/cpp examples,'$(DOC)/$(name)') '$(DOC)'; do \
	    [ ! -d "$$folder" ] || rmdir --ignore-fail-on-non-empty "$$folder"; done
	@for file in '$(LIB)'/libmetaxy.so.*; do \
	    [ ! -e "$$file" ] || echo "$$file stays: make install of this version has not put it there"; done

# Where the tarballs go.
DISTDIR ?= build
DIST := metaxy-$(VERSION)-$(shell uname -m)-linux-gnu
STAGE := $(DISTDIR)/dist/$(DIST)
# The same files give the same bytes.
tar = tar --sort=name --mtime=@$(or $(SOURCE_DATE_EPOCH),$(shell git log -1 --format=%ct 2>/dev/null),0) \
    --owner=0 --group=0 --numeric-owner -C $(DISTDIR)/dist -czf

dist: licences library ## make a tarball of the library and one of its debug information, in build
	$(plain)rm -rf '$(DISTDIR)/dist' && mkdir -p '$(DISTDIR)/dist'
	objcopy --only-keep-debug --compress-debug-sections $(BUILT) $(DISTDIR)/dist/libmetaxy.so.$(VERSION).debug
	strip --strip-unneeded -o $(DISTDIR)/dist/libmetaxy.so.$(VERSION) $(BUILT)
	cd $(DISTDIR)/dist && objcopy --add-gnu-debuglink=libmetaxy.so.$(VERSION).debug libmetaxy.so.$(VERSION)
	$(MAKE) --no-print-directory install STATIC=no LIBRARY=$(DISTDIR)/dist/libmetaxy.so.$(VERSION) \
	    DESTDIR='$(abspath $(STAGE))' PREFIX= LIBDIR=/lib INCLUDEDIR=/include DOCDIR=/share/doc/metaxy
	python3 scripts/release.py $(STAGE)/lib/libmetaxy.so.$(VERSION) | tee $(STAGE)/share/doc/metaxy/RELEASE
	cd $(STAGE) && find . -type f ! -name SHA256SUMS -printf '%P\0' | sort -z | xargs -0 sha256sum >SHA256SUMS
	$(tar) $(DISTDIR)/$(DIST).tar.gz $(DIST)
	mkdir -p $(DISTDIR)/dist/debug/$(DIST)/lib && mv $(DISTDIR)/dist/libmetaxy.so.$(VERSION).debug $(DISTDIR)/dist/debug/$(DIST)/lib/
	$(tar) $(DISTDIR)/$(DIST)-debug.tar.gz -C debug $(DIST)
	cd $(DISTDIR) && sha256sum $(DIST).tar.gz $(DIST)-debug.tar.gz | tee $(DIST).sha256
	cp $(STAGE)/share/doc/metaxy/RELEASE $(DISTDIR)/$(DIST).txt
