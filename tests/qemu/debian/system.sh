# For images.sh and bench.sh, which read this file: a copy of a Debian system with a kernel in it, and initramfs that are
# made there. Needs root, for chroot; $base, $kernel, $package, $configuration and $out are theirs.
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

# with_dracut NAME MODULES [DRIVERS]
with_dracut() {
    inside dracut --quiet --force --kver "$version" --no-hostonly --no-hostonly-cmdline --no-early-microcode \
        --compress "zstd -q -10 -T1" --modules "$2 systemd-initrd dracut-systemd rootfs-block fs-lib base" \
        --drivers "virtio_blk virtio_net ext4 ${3:-}" /tmp/initrd
    inside sh -c 'lsinitrd /tmp/initrd | sed -n "/^[-dlc][-rwxst]\{9\}/p" >/tmp/list'
    made "$1"
}

# The package of a node with its configuration.
install_agent() {
    cp "$package" "$root/tmp/agent.deb"
    inside dpkg --install /tmp/agent.deb
    cp "$configuration"/* "$root/etc/dawnkey/"
    chown -R 0:0 "$root/etc/dawnkey"
    chmod -R u=rwX,go=rX "$root/etc/dawnkey"
}

# The system that boots behind the initramfs: no logins and no shells there either, and the unit that reports; $guest has it.
quiet_system() {
    for unit in emergency.service rescue.service debug-shell.service getty@.service serial-getty@.service console-getty.service \
        apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
        systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service dbus.service dbus.socket \
        systemd-logind.service systemd-pcrphase.service systemd-pcrphase-sysinit.service; do
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    install -D -m 0755 "$guest/run" "$root/usr/lib/dawnkey-test/run"
    install -m 0644 "$guest/results.sh" "$root/usr/lib/dawnkey-test/results.sh"
    install -m 0644 "$guest/dawnkey-test.service" "$root/etc/systemd/system/dawnkey-test.service"
    mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
    ln -sf ../dawnkey-test.service "$root/etc/systemd/system/multi-user.target.wants/dawnkey-test.service"
    ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
    echo dawnkey-test >"$root/etc/hostname"
    : >"$root/etc/machine-id"
}

# system_disk NAME: the system as an ext4 file system with the label `source`; the copy is gone then.
system_disk() {
    cd "$root"
    depmod -b "$root" "$version"
    size=$(du -sm --apparent-size . | cut -f 1)
    rm -f "$out/$1"
    mke2fs -q -t ext4 -L source -O ^has_journal -d . "$out/$1" "$((size * 5 / 4 + 16))M"
    cd /
    rm -rf "$root"
}
