//! What each package holds.

use std::path::Path;

use dawnkey_qemu_tests::operator::Binaries;

/// One package.
pub(super) struct Package {
    /// Its name.
    pub(super) name: &'static str,
    /// First line, then the rest, indented by a space.
    pub(super) description: &'static str,
    /// Which of the programs it is about.
    pub(super) program: fn(&Binaries) -> &Path,
    /// Packages beside those of the program's libraries.
    pub(super) depends: &'static [&'static str],
    /// Packages that most people want with it.
    pub(super) recommends: &'static [&'static str],
    /// Its files.
    pub(super) items: &'static [Item],
}

/// A file, or a folder of them.
pub(super) struct Item {
    /// Where it is installed, without a leading `/`.
    pub(super) target: &'static str,
    /// Where it comes from.
    pub(super) source: Source,
    /// Its mode.
    pub(super) mode: u32,
}

/// Where a file comes from.
pub(super) enum Source {
    /// The program.
    Program,
    /// A file of the source tree.
    Tree(&'static str),
    /// All files of a folder of the source tree with this extension.
    Folder(&'static str, &'static str),
    /// What the program prints.
    Said(&'static [&'static str]),
    /// The manual pages that the program writes.
    Manuals,
}

const fn program(target: &'static str) -> Item {
    Item {
        target,
        source: Source::Program,
        mode: 0o755,
    }
}

const fn file(target: &'static str, source: &'static str) -> Item {
    Item {
        target,
        source: Source::Tree(source),
        mode: 0o644,
    }
}

const fn script(target: &'static str, source: &'static str) -> Item {
    Item {
        target,
        source: Source::Tree(source),
        mode: 0o755,
    }
}

const fn said(target: &'static str, arguments: &'static [&'static str]) -> Item {
    Item {
        target,
        source: Source::Said(arguments),
        mode: 0o644,
    }
}

/// All packages.
pub(super) const PACKAGES: [&Package; 3] = [&AGENT, &KEYSERVICE, &TOOL];

/// For nodes.
pub(super) const AGENT: Package = Package {
    name: "dawnkey-agent",
    description: "unlocks encrypted disks of confidential VMs with nobody watching\n \
        The program of the initramfs that attests the machine to a Dawnkey key service and\n \
        maps its volumes, with units, a dracut module and a hook for initramfs-tools.",
    program: |binaries| &binaries.agent,
    // The TSS opens its device driver by name; udev's rules for mappings come with dmsetup.
    depends: &["libtss2-tcti-device0", "dmsetup", "kmod"],
    recommends: &["dracut-core | initramfs-tools", "e2fsprogs"],
    items: &[
        program("usr/bin/dawnkey-agent"),
        file("etc/dawnkey/initramfs.conf", "initramfs/initramfs.conf"),
        file(
            "usr/lib/systemd/system/dawnkey-unlock@.service",
            "systemd/dawnkey-unlock@.service",
        ),
        file(
            "usr/lib/systemd/system/dawnkey-failed@.service",
            "systemd/dawnkey-failed@.service",
        ),
        file(
            "usr/lib/systemd/system/dawnkey-hold@.service",
            "systemd/dawnkey-hold@.service",
        ),
        file(
            "usr/lib/systemd/system/dawnkey-wipe@.service",
            "systemd/dawnkey-wipe@.service",
        ),
        file(
            "usr/lib/systemd/system/systemd-cryptsetup@.service.d/50-dawnkey.conf",
            "systemd/systemd-cryptsetup@.service.d/50-dawnkey.conf",
        ),
        script("usr/lib/dawnkey/initramfs-list", "initramfs/list"),
        script(
            "usr/lib/dracut/modules.d/90dawnkey/module-setup.sh",
            "initramfs/dracut/90dawnkey/module-setup.sh",
        ),
        script(
            "usr/share/initramfs-tools/hooks/dawnkey",
            "initramfs/initramfs-tools/hooks/dawnkey",
        ),
        script(
            "usr/share/initramfs-tools/scripts/local-top/dawnkey",
            "initramfs/initramfs-tools/scripts/local-top/dawnkey",
        ),
        script(
            "usr/bin/clevis-encrypt-dawnkey",
            "packaging/clevis/clevis-encrypt-dawnkey",
        ),
        script(
            "usr/bin/clevis-decrypt-dawnkey",
            "packaging/clevis/clevis-decrypt-dawnkey",
        ),
        script("usr/lib/dawnkey/clevis-jwe", "packaging/clevis/clevis-jwe"),
        file("usr/share/doc/dawnkey-agent/agent.md", "docs/agent.md"),
        file("usr/share/doc/dawnkey-agent/install.md", "docs/install.md"),
        file(
            "usr/share/doc/dawnkey-agent/crypttab.md",
            "docs/crypttab.md",
        ),
        file("usr/share/doc/dawnkey-agent/clevis.md", "docs/clevis.md"),
    ],
};

/// For operators' servers.
const KEYSERVICE: Package = Package {
    name: "dawnkey-keyservice",
    description: "hands disk keys to confidential VMs that prove what they booted\n \
        The service that nodes with dawnkey-agent ask: it verifies their evidence, decides by a\n \
        policy file, keeps keys wrapped by the KMS at hand, and writes every verdict down.",
    program: |binaries| &binaries.keyservice,
    depends: &["systemd | systemd-standalone-sysusers"],
    recommends: &["ca-certificates", "dawnkey"],
    items: &[
        program("usr/bin/dawnkey-keyservice"),
        file(
            "usr/lib/systemd/system/dawnkey-keyservice.service",
            "systemd/dawnkey-keyservice.service",
        ),
        file(
            "usr/lib/sysusers.d/dawnkey-keyservice.conf",
            "packaging/deb/dawnkey-keyservice/sysusers.conf",
        ),
        file(
            "usr/lib/tmpfiles.d/dawnkey-keyservice.conf",
            "packaging/deb/dawnkey-keyservice/tmpfiles.conf",
        ),
        file(
            "usr/share/dawnkey/prometheus-rules.yaml",
            "packaging/prometheus-rules.yaml",
        ),
        file(
            "usr/share/dawnkey/kubernetes.yaml",
            "packaging/kubernetes.yaml",
        ),
        file(
            "usr/share/doc/dawnkey-keyservice/operations.md",
            "docs/operations.md",
        ),
        file(
            "usr/share/doc/dawnkey-keyservice/policy.md",
            "docs/policy.md",
        ),
        file(
            "usr/share/doc/dawnkey-keyservice/stores.md",
            "docs/stores.md",
        ),
        file("usr/share/doc/dawnkey-keyservice/audit.md", "docs/audit.md"),
        file("usr/share/doc/dawnkey-keyservice/kek.md", "docs/kek.md"),
        Item {
            target: "usr/share/doc/dawnkey-keyservice/kms",
            source: Source::Folder("docs/kms", "md"),
            mode: 0o644,
        },
    ],
};

/// For operators.
const TOOL: Package = Package {
    name: "dawnkey",
    description: "operates Dawnkey: keys and certificates, volumes, policy, audit\n \
        The tool of those who run dawnkey-keyservice and build images with dawnkey-agent.",
    program: |binaries| &binaries.dawnkey,
    depends: &[],
    recommends: &["cryptsetup-bin"],
    items: &[
        program("usr/bin/dawnkey"),
        said(
            "usr/share/bash-completion/completions/dawnkey",
            &["completions", "bash"],
        ),
        said(
            "usr/share/zsh/vendor-completions/_dawnkey",
            &["completions", "zsh"],
        ),
        said(
            "usr/share/fish/vendor_completions.d/dawnkey.fish",
            &["completions", "fish"],
        ),
        Item {
            target: "usr/share/man/man1",
            source: Source::Manuals,
            mode: 0o644,
        },
        file("usr/share/doc/dawnkey/cli.md", "docs/cli.md"),
        file("usr/share/doc/dawnkey/measure.md", "docs/measure.md"),
        file("usr/share/doc/dawnkey/migrate.md", "docs/migrate.md"),
        file("usr/share/doc/dawnkey/rescue.md", "docs/rescue.md"),
    ],
};
