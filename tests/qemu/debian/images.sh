#!/bin/sh
# Installs a node's package and configuration into a copy of a Debian system, and makes from it what test guests boot:
#   images.sh BASE KERNEL PACKAGE CONFIGURATION GUEST OUT
#     BASE           made by root.sh
#     KERNEL         an unpacked kernel package
#     PACKAGE        dawnkey-agent's .deb
#     CONFIGURATION  directory that becomes /etc/dawnkey
#     GUEST          what reports to the host, the directory guest/ beside this script
#   OUT/dracut.initrd, OUT/initramfs-tools.initrd and the same without Dawnkey (and without the network that it brings) as
#   *.plain.initrd, lists of their files as *.list, OUT/system.disk: the system itself, an ext4 file system with the label `source`.
# Needs root, for chroot.
set -eu
base=$1 kernel=$2 package=$3 configuration=$4 guest=$5 out=$6
export LC_ALL=C DEBIAN_FRONTEND=noninteractive DPKG_FORCE=unsafe-io

mkdir -p "$out"
root=$out/root
cp -a "$base" "$root"
version=$(ls "$kernel/lib/modules")
mkdir -p "$root/usr/lib/modules" "$root/boot"
cp -a "$kernel/lib/modules/$version" "$root/usr/lib/modules/"
cp "$kernel/boot/config-$version" "$root/boot/"
# /lib is a link in a merged system, and the kernel's package knows no other place.
depmod -b "$root" "$version"

# inside COMMAND…: runs it in the system, with what programs expect in /proc, /sys and /dev, and nothing mounted afterwards.
inside() {
    unshare --mount --propagation private sh -eu -c '
        root=$1; shift
        mount -t proc proc "$root/proc"
        mount --rbind /sys "$root/sys"
        mount --rbind /dev "$root/dev"
        exec chroot "$root" "$@"' inside "$root" "$@"
}

# made NAME: a compressed initramfs and the list of its files.
made() {
    mv "$root/tmp/initrd" "$out/$1.initrd"
    inside cat /tmp/list >"$out/$1.list"
    chmod 0644 "$out/$1.initrd"
}

with_dracut() {
    inside dracut --quiet --force --kver "$version" --no-hostonly --no-hostonly-cmdline --no-early-microcode \
        --compress "zstd -q -10 -T1" --modules "$2 systemd-initrd dracut-systemd rootfs-block fs-lib base" \
        --drivers "virtio_blk virtio_net ext4" /tmp/initrd
    inside sh -c 'lsinitrd /tmp/initrd | sed -n "/^[-dlc][-rwxst]\{9\}/p" >/tmp/list'
    made "$1"
}

with_initramfs_tools() {
    inside sh -c 'mkinitramfs -o /tmp/initrd "$1" && lsinitramfs -l /tmp/initrd >/tmp/list' sh "$version"
    made "$1"
}

sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=zstd/; s/^# COMPRESSLEVEL=.*/COMPRESSLEVEL=10/' \
    "$root/etc/initramfs-tools/initramfs.conf"
printf '%s\n' virtio_pci virtio_blk virtio_net ext4 >>"$root/etc/initramfs-tools/modules"
with_dracut dracut.plain ""
with_initramfs_tools initramfs-tools.plain

cp "$package" "$root/tmp/agent.deb"
inside dpkg --install /tmp/agent.deb
cp "$configuration"/* "$root/etc/dawnkey/"
chown -R 0:0 "$root/etc/dawnkey"
chmod -R u=rwX,go=rX "$root/etc/dawnkey"
with_dracut dracut dawnkey
with_initramfs_tools initramfs-tools

# The system that boots behind the initramfs: no logins and no shells there either, and the unit that reports.
for unit in emergency.service rescue.service debug-shell.service getty@.service serial-getty@.service console-getty.service \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service dbus.service dbus.socket \
    systemd-logind.service systemd-pcrphase.service systemd-pcrphase-sysinit.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
install -D -m 0755 "$guest/run" "$root/usr/lib/dawnkey-test/run"
install -m 0644 "$guest/results.sh" "$root/usr/lib/dawnkey-test/results.sh"
install -m 0644 "$guest/dawnkey-test.service" "$root/etc/systemd/system/dawnkey-test.service"
install -m 0644 "$guest/fstab" "$root/etc/fstab"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants" "$root/state"
ln -sf ../dawnkey-test.service "$root/etc/systemd/system/multi-user.target.wants/dawnkey-test.service"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
echo dawnkey-test >"$root/etc/hostname"
: >"$root/etc/machine-id"

# What the guest has no use for: each megabyte is copied to an emulated encrypted disk.
cd "$root"
rm -rf boot tmp/* var/cache/* var/lib/dpkg usr/lib/dracut usr/share/initramfs-tools usr/share/perl* usr/share/doc usr/bin/perl* \
    usr/lib/*/perl-base usr/lib/*/gconv usr/lib/udev/hwdb* usr/lib/apt usr/lib/*/libapt* usr/lib/*/libstdc++* usr/bin/apt* \
    usr/bin/dpkg* usr/bin/pzstd usr/bin/busybox usr/share/locale usr/lib/systemd/boot usr/share/bash-completion usr/sbin/tc
find usr/lib/modules -name '*.ko*' ! -name 'qemu_fw_cfg.ko*' -delete
depmod -b "$root" "$version"
size=$(du -sm --apparent-size . | cut -f 1)
rm -f "$out/system.disk"
mke2fs -q -t ext4 -L source -O ^has_journal -d . "$out/system.disk" "$((size * 5 / 4 + 16))M"
cd /
rm -rf "$root"
