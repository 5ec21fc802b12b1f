//! Shell functions for scenarios on machines that start without firmware, and what is asserted about every console.

use dawnkey_qemu_tests::VmError;
use dawnkey_qemu_tests::running::Running;

/// A key is given once per launch, so that a volume that was confirmed takes a `tee_launch` before it opens again.
///
/// - `tee_begin` makes SNP reports available;
/// - `configure DEVICE ID NAME` writes `/run/NAME.toml`;
/// - `unlock STEP NAME` runs the agent with it as a step;
/// - `put NAME BLOCK WORD` writes and flushes a block that begins with the word, `get STEP NAME BLOCK` reads its first bytes;
/// - `close` takes every mapping away, `mapped STEP` lists what is mapped;
/// - `alone DISK COMMAND...` runs a command that finds this one disk when it lists all.
pub const FUNCTIONS: &str = r##"
tee_begin() { tee_configfs_without_provider && tee_launch && tee_configfs sev_guest; }
configure() {
    {
        sed -e "s#/dev/vdb#$1#" -e "s#^id = .*#id = \"$2\"#" -e "s#^name = \"state\"#name = \"$3\"#" \
            /etc/dawnkey/agent.toml
        printf '[attestation]\nkind = "snp"\nwithout_runtime_register = "report"\n'
    } >"/run/$3.toml"
}
unlock() { step "$1" dawnkey-agent --config "/run/$2.toml" --json unlock; }
put() { printf '%s\n' "$3" | dd "of=/dev/mapper/$1" bs=4096 "seek=$2" conv=sync,notrunc,fsync 2>/dev/null; }
get() { step "$1" get_block "$2" "$3"; }
get_block() { dd "if=/dev/mapper/$1" bs=4096 "skip=$2" count=1 2>/dev/null | tr -d '\0'; }
close() { sync; dmsetup remove_all; }
mapped() { step "$1" ls /dev/mapper; }
alone() {
    mkdir -p "/run/only/$1/$1" && cp "/sys/class/block/$1/size" "/run/only/$1/$1/size"
    unshare -m sh -c 'mount --bind "$0" /sys/class/block && exec "$@"' "/run/only/$@"
}
"##;

/// Events of the agent, in the order in which a console must show them.
pub fn events(console: &str, expected: &[String]) {
    let mut lines = console.lines();
    for event in expected {
        let word = format!("dawnkey-agent: {event}");
        let found = lines.any(|line| line.contains(&word));
        assert!(found, "no `{event}` in its place:\n{console}");
    }
}

/// The machine switched itself off, and its console never offered a shell or asked for anything.
pub fn ended_without_a_shell(console: &str) {
    assert!(console.contains("reboot: Power down"), "{console}");
    for prompt in PROMPTS {
        assert!(!console.contains(prompt), "`{prompt}` in\n{console}");
    }
}

/// What shells, logins and programs that ask for a passphrase show.
const PROMPTS: [&str; 10] = [
    "sulogin",
    "Press Enter",
    "Entering emergency mode",
    "sh-5",
    "dracut:/#",
    ":/# ",
    "(initramfs)",
    "login:",
    "passphrase",
    "Password",
];

/// Types what a stranger would try, and noise; after breaks too, which make the kernel take the next key as a command.
///
/// None of it is a key with which SysRq switches the machine off, resets it, makes its file systems read-only or ends what
/// runs at the console: a host can do such things to its machine anyhow, and the scenario would end there.
pub fn hammer(running: &mut Running) -> Result<(), VmError> {
    let mut state = 0x9e37_79b9_u32;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    for line in [
        "admin",
        "sh",
        "\u{1b}[A\u{3}\u{4}\u{1a}\u{1c}",
        "g 01",
        "yes",
        "init=/x",
    ] {
        running.keys(line.as_bytes())?;
        running.keys(b"\r")?;
        let harmless = (0..256).map(|_| noise());
        let harmless = harmless.filter(|key| !b"boukBOUK".contains(key));
        running.keys(&harmless.collect::<Vec<_>>())?;
    }
    for key in b"hlmptwerdisz" {
        running.send_break()?;
        running.keys(&[*key])?;
    }
    Ok(())
}
