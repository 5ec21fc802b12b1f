#!/bin/sh
# Makes what `cargo xtask bench boot` boots: bench.sh BASE KERNEL PACKAGE CONFIGURATION GUEST IO OUT
#   BASE … CONFIGURATION  as for images.sh; BASE has clevis, systemd's and tpm2's tools too
#   GUEST                 what reports to the host: guest/ beside this script with results.sh, and root-init from bench/
#   IO                    dawnkey-test-io
#   OUT/NAME.initrd for each NAME that is compared, all by dracut from the same system, lists of their files as NAME.list,
#   and OUT/system.disk: that system, with the label `source`, where /usr/lib/dawnkey-test/root is a small root file system.
# Needs root, for chroot.
set -eu
base=$1 kernel=$2 package=$3 configuration=$4 guest=$5 io=$6 out=$7
. "$(dirname "$0")/system.sh"

# What the kernel needs for the same volumes, whoever opens them.
volumes="dm-crypt dm-integrity xts authenc hmac sha256 aesni-intel sha256-ssse3"
with_dracut plain ""
with_dracut tang "systemd-networkd clevis clevis-pin-tang" "$volumes"
with_dracut clevis-tpm2 "clevis clevis-pin-tpm2" "$volumes"
with_dracut systemd-tpm2 "crypt tpm2-tss" "$volumes"
install_agent
with_dracut dawnkey dawnkey

quiet_system
install -m 0755 "$io" "$root/usr/bin/dawnkey-test-io"
# A root file system that says when it was reached, and nothing else.
small=$root/usr/lib/dawnkey-test/root
mkdir -p "$small"
for directory in bin dev etc proc run sbin sys tmp usr/lib; do mkdir -p "$small/$directory"; done
# Links to /bin/busybox, one of that name among them.
inside busybox --install -s /usr/lib/dawnkey-test/root/bin
cp --remove-destination "$root/bin/busybox" "$small/bin/busybox"
install -m 0755 "$guest/root-init" "$small/sbin/init"
install -m 0644 "$guest/results.sh" "$small/etc/results.sh"
# systemd switches to nothing without one.
printf 'ID=dawnkey-bench\n' >"$small/usr/lib/os-release"
ln -sf ../usr/lib/os-release "$small/etc/os-release"

cd "$root"
rm -rf boot tmp/* var/cache/apt var/cache/ldconfig usr/lib/dracut usr/share/doc usr/share/locale usr/lib/udev/hwdb*
system_disk system.disk
