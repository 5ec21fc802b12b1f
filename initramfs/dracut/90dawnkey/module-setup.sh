#!/bin/bash
# dracut module: unlocks Dawnkey volumes in an initramfs with systemd. docs/install.md.

dawnkey_list=${DAWNKEY_LIST:-/usr/lib/dawnkey/initramfs-list}

check() {
    local wanted=0
    "$dawnkey_list" wanted || wanted=$?
    case $wanted in
        0) return 0 ;;
        # Only where somebody names it, which fails then with the reason.
        1) return 255 ;;
        *) exit 1 ;;
    esac
}

depends() {
    local networks="systemd-networkd network-manager network" network
    for network in $networks; do
        # shellcheck disable=SC2154
        if dracut_module_path "$network" &> /dev/null; then break; fi
    done
    echo "systemd dm $network"
    if [[ -x /usr/lib/systemd/systemd-resolved ]] && dracut_module_path systemd-resolved &> /dev/null; then
        echo systemd-resolved
    fi
}

# Modules of the kernel that nothing in this machine may have loaded yet: the image is for another one.
installkernel() {
    local kind name
    while read -r kind name; do
        case $kind in
            module) hostonly='' instmods "$name" ;;
            optional) hostonly='' instmods -s "$name" ;;
        esac
    done < <("$dawnkey_list" files)
}

install() {
    local parts kind name first=
    parts=$("$dawnkey_list" files) || exit 1
    while read -r kind name; do
        case $kind in
            program) inst_binary "$name" ;;
            file) inst_simple "$name" ;;
            library) inst_libdir_file "$name" "tss2/$name" ;;
            crypttab) dawnkey_crypttab "$name" ;;
            unit)
                dawnkey_unlock_by "$name"
                name=${name#*@}
                first=${first:-${name%.service}}
                ;;
        esac
    done <<< "$parts"
    # shellcheck disable=SC2154
    inst_multiple -o "$systemdsystemunitdir/cryptsetup.target" "$systemdsystemunitdir/network-online.target" \
        "$systemdsystemunitdir/sys-kernel-config.mount" "$systemdsystemunitdir/sys-kernel-security.mount" \
        "$systemdsystemunitdir/systemd-networkd-wait-online.service" "$systemdsystemunitdir/systemd-udev-settle.service" \
        /usr/lib/systemd/systemd-networkd-wait-online
    mkdir -p "${initdir:?}/etc/modules-load.d"
    echo configfs > "$initdir/etc/modules-load.d/dawnkey.conf"
    dawnkey_network
    dawnkey_no_shell "$first"
}

# Wanted by everything that waits for disks.
dawnkey_unlock_by() {
    local target
    inst_simple /usr/lib/systemd/system/dawnkey-unlock@.service
    inst_simple /usr/lib/systemd/system/dawnkey-failed@.service
    # shellcheck disable=SC2154
    for target in cryptsetup.target initrd.target; do
        mkdir -p "$initdir/etc/systemd/system/$target.wants"
        ln -sf /usr/lib/systemd/system/dawnkey-unlock@.service "$initdir/etc/systemd/system/$target.wants/$1"
    done
}

# Volumes that systemd-cryptsetup opens with a header of the agent's: their lines, and a wait for them before the root file
# system is looked for.
dawnkey_crypttab() {
    local target=cryptsetup.target
    grep '^[^#]*header=/run/dawnkey/' "$1" >> "$initdir/etc/crypttab"
    inst_simple "$systemdsystemunitdir/cryptsetup-pre.target"
    mkdir -p "$initdir/etc/systemd/system/$target.d" "$initdir/etc/systemd/system/initrd.target.wants"
    ln -sf "$systemdsystemunitdir/$target" "$initdir/etc/systemd/system/initrd.target.wants/$target"
    printf '[Unit]\nBefore=initrd-root-device.target\n' > "$initdir/etc/systemd/system/$target.d/90-dawnkey.conf"
}

# With systemd-networkd: what /etc/systemd/network or `ip=` say, and DHCP for whatever they do not name.
dawnkey_network() {
    local wait=systemd-networkd-wait-online.service
    [[ -e $systemdsystemunitdir/systemd-networkd.service ]] || return 0
    # shellcheck disable=SC2154
    inst_multiple -o "$systemdnetworkconfdir/*"
    mkdir -p "$initdir/etc/systemd/network" "$initdir/etc/systemd/system/$wait.d" \
        "$initdir/etc/systemd/system/network-online.target.wants"
    printf '[Match]\nType=ether\n\n[Network]\nDHCP=yes\n' > "$initdir/etc/systemd/network/zz-dawnkey.network"
    ln -sf "$systemdsystemunitdir/$wait" "$initdir/etc/systemd/system/network-online.target.wants/$wait"
    # One address is enough to ask, and a network that gives none is the agent's to tell of.
    cat > "$initdir/etc/systemd/system/$wait.d/90-dawnkey.conf" << EOF
[Service]
ExecStart=
ExecStart=/usr/lib/systemd/systemd-networkd-wait-online --any --timeout=30
EOF
}

# What dracut and systemd offer on failure, or when a kernel argument asks for it, is a shell on a console that belongs to the
# host. Here each of them is the failure action of the first configuration.
dawnkey_no_shell() {
    local unit
    local instance=$1
    for unit in emergency.service rescue.service dracut-emergency.service; do
        mkdir -p "$initdir/etc/systemd/system/$unit.d"
        cat > "$initdir/etc/systemd/system/$unit.d/90-dawnkey.conf" << EOF
[Service]
Environment=
ExecStartPre=
ExecStart=
ExecStart=-/usr/bin/dawnkey-agent --config /etc/dawnkey/$instance.toml failed
ExecStopPost=
StandardInput=null
StandardOutput=journal+console
StandardError=journal+console
EOF
    done
    for unit in debug-shell.service console-getty.service getty@.service serial-getty@.service; do
        ln -sf /dev/null "$initdir/etc/systemd/system/$unit"
    done
    # dracut's own scripts read this before the kernel's command line.
    mkdir -p "$initdir/etc/cmdline.d"
    echo "rd.shell=0 rd.emergency=poweroff" > "$initdir/etc/cmdline.d/90-dawnkey.conf"
}
