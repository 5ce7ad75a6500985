# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# Common to the scripts of this folder: read by them, not run. `src` is the checkout, `build`
# the folder that everything is built in. Functions end the script when they cannot do their
# work, after they have said why.

src=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd) || exit 1
build=$src/build

say()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

fail()
{
	say "$@"
	exit 1
}

# The packages of the groups that are named.
packages_of()
{
	for group; do
		sed -n "s/^$group  *//p" "$src/contrib/quickstart/packages"
	done
}

# Those of the arguments that are not installed.
missing_of()
{
	for package; do
		dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
		    printf '%s\n' "$package"
	done
}

# Installs the packages of the groups that are named, or says which are missing.
need_packages()
{
	command -v dpkg-query >/dev/null 2>&1 || {
		say "no Debian here; needed are what these packages hold:" \
		    "$(packages_of "$@" | paste -sd ' ')"
		return 0
	}
	# shellcheck disable=SC2046 # one word is one package
	missing=$(missing_of $(packages_of "$@") | paste -sd ' ')
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" -ne 0 ]; then
		say "these packages are missing:"
		# shellcheck disable=SC2086
		printf '    %s\n' $missing >&2
		say "run this script as root, or install them:"
		printf '    sudo apt-get install --no-install-recommends %s\n' "$missing" >&2
		exit 1
	fi
	say "installing: $missing"
	export DEBIAN_FRONTEND=noninteractive
	# Lists that are there may be too old, and in containers there are none.
	apt-get update -q >&2 || say "apt-get update failed, trying with the lists that are there"
	# shellcheck disable=SC2086
	apt-get install -q -y --no-install-recommends $missing >&2 ||
	    fail "apt-get could not install them"
}

# With sudo the packages were root's part; files in the checkout are to be the user's. The
# arguments are those of the script.
become_user()
{
	[ "$(id -u)" -eq 0 ] && [ -n "${SUDO_USER-}" ] && [ "$SUDO_USER" != root ] || return 0
	[ "$(stat -c %u -- "$src")" -ne 0 ] || return 0
	exec runuser -u "$SUDO_USER" -- "$0" "$@"
}

# Whatever root has made in a checkout of somebody else's becomes that one's.
give_back()
{
	[ "$(id -u)" -eq 0 ] && [ "$(stat -c %u -- "$src")" -ne 0 ] || return 0
	find "$src" -uid 0 -exec chown -h --reference="$src" -- {} +
}

# Makes configure where the sources are newer, and the Makefile in $build. Switches that a
# configure by hand has set there stay.
configure_build()
{
	cd -- "$src" || exit 1
	if [ ! -e configure ] || [ ! -e Makefile.in ] ||
	    [ -n "$(find configure.ac Makefile.am m4 -newer Makefile.in)" ]; then
		say "making configure (autoreconf)"
		autoreconf -fi >&2 || fail "autoreconf failed"
	fi
	mkdir -p -- "$build" && cd -- "$build" || exit 1
	if [ ! -e config.status ]; then
		say "configuring $build"
		"$src/configure" --quiet || fail "configure failed, see $build/config.log"
	elif [ -n "$(find "$src/configure" "$src/Makefile.in" -newer config.status)" ]; then
		say "configuring $build again"
		if ! ./config.status --recheck >config.out || ! ./config.status >>config.out; then
			fail "configure failed, see $build/config.out and config.log"
		fi
	fi
}
