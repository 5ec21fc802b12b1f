# Run as root in the bench's Debian guest, behind an initramfs that has made the volume `root` with dawnkey-agent. Makes the
# volumes of the others, puts a small root file system on each, and takes the figures that need no boot of their own.
# $rounds and $tang_url come from the host, $dawnkey … $plain are the disks.
for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name" 2>/dev/null)" = dawnkey.control ] && control=/dev/${port##*/}
done
# await_host NAME: reports a step of that name, then waits for a line of the host.
await_host() {
    step "$1" true
    read -r said <"$control"
}
run() { name=$1; shift; step "$name" dawnkey-test-io run "$@"; }
passphrase=/run/passphrase
tr -dc a-f0-9 </dev/urandom | head -c 64 >$passphrase
fill() { mount "$1" /mnt && cp -a /usr/lib/dawnkey-test/root/. /mnt && umount /mnt; }
# The same cipher, tags and blocks as Dawnkey's; the passphrase's keyslot is for this script only.
encrypted() {
    cryptsetup luksFormat -q --type luks2 --uuid "$2" --cipher aes-xts-plain64 --key-size 512 --integrity hmac-sha256 \
        --sector-size 4096 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "$1" $passphrase &&
        cryptsetup open --key-file $passphrase "$1" made && mke2fs -q -t ext4 /dev/mapper/made && fill /dev/mapper/made
    code=$?
    cryptsetup close made && return $code
}
plain() { mke2fs -q -t ext4 "$1" && fill "$1"; }
enrol() { systemd-cryptenroll --unlock-key-file=$passphrase --tpm2-device=auto --tpm2-pcrs=7 "$1"; }

step journal journalctl -b -o short-monotonic -u dawnkey-unlock@agent.service
step fill_dawnkey fill /dev/mapper/root
# udev looks at what was unmounted.
udevadm settle
step close dawnkey-agent close root
step make_tang encrypted "$tang" "$tang_uuid"
step make_clevis_tpm2 encrypted "$clevis_tpm2" "$clevis_tpm2_uuid"
step make_systemd_tpm2 encrypted "$systemd_tpm2" "$systemd_tpm2_uuid"
step make_plain plain "$plain"
step bind_tang clevis luks bind -y -k $passphrase -d "$tang" tang "{\"url\":\"$tang_url\"}"
step bind_clevis_tpm2 clevis luks bind -y -k $passphrase -d "$clevis_tpm2" tpm2 '{"pcr_bank":"sha256","pcr_ids":"7"}'
step bind_systemd_tpm2 enrol "$systemd_tpm2"

# How each opens and closes its volume in a running system.
dawnkey() {
    opens="dawnkey-agent reopen root"
    shuts="dawnkey-agent close root"
}
tang() {
    opens="clevis luks unlock -d $tang -n other"
    shuts="cryptsetup close other"
}
clevis_tpm2() {
    opens="clevis luks unlock -d $clevis_tpm2 -n other"
    shuts="cryptsetup close other"
}
systemd_tpm2() {
    opens="/lib/systemd/systemd-cryptsetup attach other $systemd_tpm2 - tpm2-device=auto,headless=1"
    shuts="/lib/systemd/systemd-cryptsetup detach other"
}
keyfile() {
    opens="cryptsetup open --key-file $passphrase $systemd_tpm2 other"
    shuts="cryptsetup close other"
}
all="dawnkey tang clevis_tpm2 systemd_tpm2 keyfile"

# In turns; the first of each is shown apart.
for round in $(seq 0 "$rounds"); do
    for contestant in $all; do
        $contestant
        run "open_${contestant}_$round" $opens
        step "shut_${contestant}_$round" $shuts
    done
done

# The largest process of each.
for contestant in $all; do
    $contestant
    step "memory_$contestant" dawnkey-test-io peak $opens
    step "shut_memory_$contestant" $shuts
done

# One opening of each that uses the network, with what went over the wire counted outside.
for contestant in dawnkey tang; do
    $contestant
    await_host "before_$contestant"
    step "counted_$contestant" $opens
    await_host "after_$contestant"
    step "shut_counted_$contestant" $shuts
done

# Nobody answers: in a network namespace of its own, where both services' addresses refuse or lead nowhere. Prints when it began
# and ended, and the exit code; all four at once, since they only wait.
offline() {
    unshare -n sh -c '
        network=$1 out=$2; shift 2
        ip link set lo up
        if [ "$network" = refused ]; then
            ip addr add 10.0.2.100/32 dev lo && ip addr add 10.0.2.101/32 dev lo
        else
            ip link add hole type dummy && ip addr add 10.0.2.15/24 dev hole && ip link set hole up
        fi
        read -r before idle </proc/uptime
        "$@" >"$out.said" 2>&1
        code=$?
        read -r after idle </proc/uptime
        echo "$before $after $code" >"$out"
    ' offline "$@"
}
modprobe dummy
for network in refused silent; do
    offline "$network" "/run/${network}_dawnkey" dawnkey-agent unlock &
    offline "$network" "/run/${network}_tang" clevis luks unlock -d "$tang" -n "$network" &
done
wait
for network in refused silent; do
    for contestant in dawnkey tang; do
        step "${network}_$contestant" cat "/run/${network}_$contestant" "/run/${network}_$contestant.said"
    done
done

# A TPM that does not give the key, for those who ask nobody else.
tpm2_pcrextend 7:sha256=0000000000000000000000000000000000000000000000000000000000000001
for contestant in clevis_tpm2 systemd_tpm2; do
    $contestant
    read -r before idle </proc/uptime
    $opens >/run/denied 2>&1
    code=$?
    read -r after idle </proc/uptime
    echo "$before $after $code" >/run/times
    step "denied_$contestant" cat /run/times /run/denied
done
sync
