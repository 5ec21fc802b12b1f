#!/bin/sh
# Installs a node's package and configuration into a copy of a Debian system, and makes from it what test guests boot:
#   images.sh BASE KERNEL PACKAGE CONFIGURATION GUEST OUT
#     BASE           made by root.sh
#     KERNEL         an unpacked kernel package
#     PACKAGE        dawnkey-agent's .deb
#     CONFIGURATION  directory that becomes /etc/dawnkey
#     GUEST          what reports to the host, the directory guest/ beside this script
#   OUT/dracut.initrd, OUT/initramfs-tools.initrd, OUT/crypttab.initrd and the first two without Dawnkey (and without the network that it brings) as
#   *.plain.initrd, lists of their files as *.list, OUT/system.disk: the system itself, an ext4 file system with the label `source`.
# Needs root, for chroot.
set -eu
base=$1 kernel=$2 package=$3 configuration=$4 guest=$5 out=$6
. "$(dirname "$0")/system.sh"

with_initramfs_tools() {
    inside sh -c 'mkinitramfs -o /tmp/initrd "$1" && lsinitramfs -l /tmp/initrd >/tmp/list' sh "$version"
    made "$1"
}

sed -i 's/^MODULES=.*/MODULES=list/; s/^COMPRESS=.*/COMPRESS=zstd/; s/^# COMPRESSLEVEL=.*/COMPRESSLEVEL=10/' \
    "$root/etc/initramfs-tools/initramfs.conf"
printf '%s\n' virtio_pci virtio_blk virtio_net ext4 >>"$root/etc/initramfs-tools/modules"
with_dracut dracut.plain ""
with_initramfs_tools initramfs-tools.plain

install_agent
with_dracut dracut dawnkey
with_initramfs_tools initramfs-tools

# The same node with its data volume in /etc/crypttab; OUT/crypttab holds its files.
mv "$root/etc/dawnkey/agent.toml" "$root/tmp/agent.toml"
install -m 0644 "$out/crypttab/agent.toml" "$root/etc/dawnkey/agent.toml"
install -m 0644 "$out/crypttab/crypttab" "$root/etc/crypttab"
with_dracut crypttab dawnkey
# What initramfs-tools cannot do it says.
if said=$(inside mkinitramfs -o /tmp/initrd "$version" 2>&1); then echo "initramfs-tools took a volume of crypttab" >&2; exit 1; fi
case $said in *"needs systemd in the initramfs"*) ;; *) echo "$said" >&2; exit 1 ;; esac
mv "$root/tmp/agent.toml" "$root/etc/dawnkey/agent.toml"
rm -f "$root/etc/crypttab" "$root/tmp/initrd"

quiet_system
install -m 0644 "$guest/fstab" "$root/etc/fstab"
mkdir -p "$root/state"

# What the guest has no use for: each megabyte is copied to an emulated encrypted disk.
cd "$root"
rm -rf boot tmp/* var/cache/* var/lib/dpkg usr/lib/dracut usr/share/initramfs-tools usr/share/perl* usr/share/doc usr/bin/perl* \
    usr/lib/*/perl-base usr/lib/*/gconv usr/lib/udev/hwdb* usr/lib/apt usr/lib/*/libapt* usr/lib/*/libstdc++* usr/bin/apt* \
    usr/bin/dpkg* usr/bin/pzstd usr/bin/busybox usr/share/locale usr/lib/systemd/boot usr/share/bash-completion usr/sbin/tc
find usr/lib/modules -name '*.ko*' ! -name 'qemu_fw_cfg.ko*' -delete
system_disk system.disk
