# Copyright 2026 The sumlog Authors.
# Use of this source code is governed by a BSD-style
# license that can be found in the LICENSE file.

# Functions shared by the scripts beside this file, which source it from the
# root of the repository. POSIX sh.

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

die() {
	say "$@"
	exit 1
}

# help_if_asked prints the comment at the head of the script, if that is what its
# arguments ask for.
help_if_asked() {
	case ${1:-} in
	-h | -help | --help | help)
		sed -n '5,/^[^#]/s/^# \{0,1\}//p' "scripts/$(basename "$0")"
		exit 0
		;;
	esac
}

# no_arguments refuses arguments: one that is passed over is taken for done.
no_arguments() {
	[ $# -eq 0 ] || die_usage "takes no arguments, and was given: $*"
}

# die_usage says how the script is used instead.
die_usage() {
	say "$@"
	say "hint: scripts/$(basename "$0") -h"
	exit 2
}

# need_go checks for Go 1.26 or newer.
need_go() {
	command -v go >/dev/null 2>&1 ||
		die "needs Go 1.26 or newer, and there is no go in PATH; install it as https://go.dev/doc/install says"
	version=$(GOTOOLCHAIN=local go env GOVERSION)
	minor=${version#go1.}
	minor=${minor%%[!0-9]*}
	case $version in
	go1.*) [ "${minor:-0}" -ge 26 ] || die "needs Go 1.26 or newer, and this is $version; install it as https://go.dev/doc/install says" ;;
	devel*) ;;
	*) die "cannot tell whether $version is Go 1.26 or newer" ;;
	esac
}

# compiles reports whether there is a C compiler with a C library.
compiles() {
	printf '#include <stdlib.h>\nint main(void) { return 0; }\n' |
		$(go env CC) -x c -fsyntax-only - >/dev/null 2>&1
}

# need_cc checks for a C compiler, which SQLite and the race detector need, and
# installs one on Debian if it may.
need_cc() {
	compiles && return
	if [ -f /etc/debian_version ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
		say "no C compiler, which SQLite needs: installing gcc and libc6-dev"
		apt-get update -q >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends gcc libc6-dev >&2
		compiles && return
	fi
	die "needs a C compiler with the headers of a C library, for SQLite ($(go env CC) does not compile); on Debian: apt-get install gcc libc6-dev"
}

# own_settings takes away the settings that sumlog prints for its clients:
# built through itself, sumlog could not be built while it does not run, and a
# server that inherited them would ask itself.
own_settings() {
	case "$(go env GOPROXY)" in
	*://127.*:8070* | *://localhost:8070* | *'://[::1]:8070'*) ;;
	*)
		case "$(go env GOSUMDB)" in
		localhost/*+*+*) ;;
		*) return 0 ;;
		esac
		;;
	esac
	say "GOPROXY and GOSUMDB are those of a client of a sumlog on this machine, so they are not used here"
	unset GOPROXY GOSUMDB GONOPROXY GONOSUMDB GOPRIVATE
	# go env -w writes to a file; what else it holds is passed on.
	flags=$(go env GOFLAGS)
	toolchain=$(go env GOTOOLCHAIN)
	export GOENV=off GOFLAGS="$flags" GOTOOLCHAIN="$toolchain"
}

# set_up makes sure that sumlog can be built.
set_up() {
	need_go
	own_settings
	export CGO_ENABLED=1
	need_cc
	# A checkout that belongs to somebody else cannot be stamped with its commit.
	if ! git status >/dev/null 2>&1; then
		export GOFLAGS="$(go env GOFLAGS) -buildvcs=false"
	fi
}

# tests runs all tests, as scripts/internal/gotest says. With CI=true they run as
# in check, with the race detector, so that one run serves both: the second finds
# the results of the first in the cache.
tests() {
	race=
	if [ "${CI:-}" = true ]; then
		race=-race
		need_tools
	fi
	go build -o bin/gotest ./scripts/internal/gotest
	# shellcheck disable=SC2086 # no flag is better than an empty one
	bin/gotest $race -timeout=20m ./...
}

# need_tools installs what tests use that are skipped without it, where that is
# easy: strace, with which one simulates the loss of power, OpenSSH's agent, git,
# and unshare, which makes a network without interfaces.
need_tools() {
	missing=
	command -v strace >/dev/null 2>&1 || missing="$missing strace"
	command -v ssh-agent >/dev/null 2>&1 || missing="$missing openssh-client"
	command -v git >/dev/null 2>&1 || missing="$missing git"
	command -v unshare >/dev/null 2>&1 || missing="$missing util-linux"
	[ -n "$missing" ] || return 0
	if [ -f /etc/debian_version ] && [ "$(id -u)" = 0 ]; then
		# shellcheck disable=SC2086 # a list of packages
		apt-get update -q >/dev/null 2>&1 && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null 2>&1 || true
	fi
}
