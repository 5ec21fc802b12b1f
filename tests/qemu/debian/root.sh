#!/bin/sh
# Makes a Debian system for test guests: root.sh DIRECTORY SUITE MIRROR PACKAGE,PACKAGE…
# Needs root: debootstrap runs the new system's own programs in it.
set -eu
directory=$1 suite=$2 mirror=$3 packages=$4
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
# It is a cache: what a power cut would leave behind is made again.
export DPKG_FORCE=unsafe-io

debootstrap --variant=minbase --include="$packages" "$suite" "$directory" "$mirror"
cd "$directory"
rm -rf var/cache/apt/* var/lib/apt/lists/* usr/share/doc/* usr/share/man/* usr/share/locale/* usr/share/i18n usr/share/zoneinfo
# The mountpoints that debootstrap used.
for mounted in proc sys; do ! mountpoint -q "$mounted" || umount -l "$mounted"; done
