//! What is compared: ways to a mounted root file system.

/// One way to open the volume that carries the root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contestant {
    /// Name for people and of its image.
    pub name: &'static str,
    /// Name in steps of the guest, and of its disk in the guest's script.
    pub key: &'static str,
    /// UUID of its LUKS header, where the kernel's command line names it.
    pub uuid: &'static str,
    /// Kernel arguments behind those that all have.
    arguments: &'static str,
    /// First words of systemd's line that starts what opens the volume.
    pub unit: &'static str,
    /// First words of systemd's line about the device that carries the root file system.
    pub device: &'static str,
}

/// Of all that map one.
const MAPPED: &str = "Found device dev-mapper-root.device";

/// Without encryption: what the others are compared with.
pub const PLAIN: Contestant = Contestant {
    name: "plain",
    key: "plain",
    uuid: "",
    arguments: "root=/dev/vdb rw",
    unit: "",
    device: "Found device dev-vdb.device",
};

/// Ours.
pub const DAWNKEY: Contestant = Contestant {
    name: "dawnkey",
    key: "dawnkey",
    uuid: "",
    arguments: "root=/dev/mapper/root rw",
    unit: "Starting dawnkey-unlock@",
    device: MAPPED,
};

/// clevis with a tang server.
pub const TANG: Contestant = Contestant {
    name: "tang",
    key: "tang",
    uuid: "0b5b1d7e-6a2f-4c58-9a43-3f0d6f1c7e01",
    arguments: "root=/dev/mapper/root rw rd.luks.name=UUID=root ip=dhcp rd.neednet=1",
    unit: "Starting systemd-cryptsetup@root",
    device: MAPPED,
};

/// All, in the order in which they take turns.
pub const ALL: [Contestant; 5] = [
    PLAIN,
    DAWNKEY,
    TANG,
    Contestant {
        name: "clevis-tpm2",
        key: "clevis_tpm2",
        uuid: "0b5b1d7e-6a2f-4c58-9a43-3f0d6f1c7e02",
        arguments: "root=/dev/mapper/root rw rd.luks.name=UUID=root",
        unit: "Starting systemd-cryptsetup@root",
        device: MAPPED,
    },
    Contestant {
        name: "systemd-tpm2",
        key: "systemd_tpm2",
        uuid: "0b5b1d7e-6a2f-4c58-9a43-3f0d6f1c7e03",
        arguments: "root=/dev/mapper/root rw rd.luks.name=UUID=root rd.luks.options=UUID=tpm2-device=auto,headless=1",
        unit: "Starting systemd-cryptsetup@root",
        device: MAPPED,
    },
];

impl Contestant {
    /// Its kernel arguments.
    pub fn arguments(&self) -> String {
        self.arguments.replace("UUID=", &format!("{}=", self.uuid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_the_volume_and_its_options() {
        let [.., systemd] = ALL;
        let arguments = systemd.arguments();
        assert!(arguments.contains("rd.luks.name=0b5b1d7e-6a2f-4c58-9a43-3f0d6f1c7e03=root"));
        assert!(arguments.contains("7e03=tpm2-device=auto,headless=1"));
        assert_eq!(PLAIN.arguments(), "root=/dev/vdb rw");
    }
}
