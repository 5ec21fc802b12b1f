# What the demo's image does after it is set up: open the state disk, then leave or find a file.
if step unlock dawnkey-agent --config /etc/dawnkey/agent.toml --json unlock; then
    step mount mount -t ext4 /dev/mapper/state /mnt
    if [ -e /mnt/first-boot ]; then
        step found cat /mnt/first-boot
    else
        write_first() { echo "written by the first boot" >/mnt/first-boot; sync; }
        step written write_first
    fi
    step umount umount /mnt
fi
