# TEST IMAGES ONLY: functions with which a scenario makes devices of confidential VMs appear.
# The platforms come from the host, one file each: opt/dawnkey/NAME.
TEE_PLATFORM=/run/tee-platform

# tee_platform NAME: what all devices sign from now on.
tee_platform() {
    cp "/sys/firmware/qemu_fw_cfg/by_name/opt/dawnkey/$1/raw" "$TEE_PLATFORM.new" &&
        mv "$TEE_PLATFORM.new" "$TEE_PLATFORM"
}

# tee_launch: the good SNP guest, launched anew: the firmware gives each launch a report id of its own.
tee_launch() {
    tee_launch_id=$(head -c 4 /dev/urandom | hexdump -v -e '1/1 "%02x"')
    sed -E "s/(\"report\":\"([0-9a-f]{160}){4})[0-9a-f]{8}/\1$tee_launch_id/" \
        /sys/firmware/qemu_fw_cfg/by_name/opt/dawnkey/snp/raw >"$TEE_PLATFORM.new" &&
        mv "$TEE_PLATFORM.new" "$TEE_PLATFORM"
}

# tee_configfs_without_provider: the kernel's interface as it is on a machine that has no TEE.
tee_configfs_without_provider() {
    insmod /lib/modules/configfs.ko && insmod /lib/modules/tsm.ko &&
        mount -t configfs configfs /sys/kernel/config
}

# tee_configfs PROVIDER: a provider of reports behind that interface.
tee_configfs() {
    insmod /lib/modules/dawnkey_test_tsm.ko "provider=$1" &&
        dawnkey-test-tee start tsm "$TEE_PLATFORM" >/run/tee-tsm.pid
}

# tee_device sev-guest|tdx-guest: the device with its ioctls.
tee_device() {
    [ -e /dev/cuse ] || insmod /lib/modules/cuse.ko
    dawnkey-test-tee start "$1" "$TEE_PLATFORM" >"/run/tee-$1.pid"
}

# tee_quote_service: the host's quote generation service, at vsock:1:4050 on the kernel's loopback.
tee_quote_service() {
    for module in vsock vmw_vsock_virtio_transport_common vsock_loopback; do
        insmod "/lib/modules/$module.ko" || return 1
    done
    dawnkey-test-tee start quote-service "$TEE_PLATFORM" >/run/tee-quote-service.pid
}

# tee_imds: the cloud's metadata service on the loopback interface.
tee_imds() {
    ip link set dev lo up && ip addr add 169.254.169.254/32 dev lo &&
        dawnkey-test-tee start imds "$TEE_PLATFORM" >/run/tee-imds.pid
}

# tee_blob FILE: its bytes in hex. Read in one go: hexdump would pass over an error.
tee_blob() {
    cat "$1" >/run/tee-blob && hexdump -v -e '1/1 "%02x"' /run/tee-blob && echo
}

# tee_report NAME DATA [LEVEL]: a report by configfs over 64 bytes: provider, generation, then the blobs in hex.
tee_report() {
    entry=/sys/kernel/config/tsm/report/$1
    mkdir "$entry" && { [ -z "$3" ] || echo "$3" >"$entry/privlevel"; } && printf '%s' "$2" >"$entry/inblob" &&
        cat "$entry/provider" "$entry/generation" && tee_blob "$entry/outblob" && {
        [ ! -e "$entry/auxblob" ] || tee_blob "$entry/auxblob"
    }
    tee_exit=$?
    rmdir "$entry"
    return "$tee_exit"
}

# tee_remove_provider: takes the provider away, so that another can come. A module in use cannot be removed, and
# the signer holds it until its process has ended.
tee_remove_provider() {
    kill "$(cat /run/tee-tsm.pid)"
    tries=0
    until rmmod dawnkey_test_tsm 2>/dev/null; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || return 1
        usleep 10000
    done
}

# tee_remove_configfs: takes the provider and the kernel's interface away; configfs itself stays mounted.
tee_remove_configfs() {
    tee_remove_provider && rmmod tsm
}

# tee_remove_device NAME: takes a device away; its node goes when its program has ended.
tee_remove_device() {
    kill "$(cat "/run/tee-$1.pid")"
    tries=0
    while [ -e "/dev/$1" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || return 1
        usleep 10000
    done
}
