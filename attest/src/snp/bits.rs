//! Bit fields of a report: what the guest's owner allows, and how the platform runs.

/// Guest policy, chosen by the owner at launch and enforced by the firmware (56860 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPolicy(pub u64);

/// Platform information bits (56860, `PLATFORM_INFO`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformInfo(pub u64);

macro_rules! bits {
    ($owner:ident: $($(#[$doc:meta])* $name:ident = $bit:literal),* $(,)?) => {
        impl $owner {
            $($(#[$doc])* #[must_use] pub fn $name(self) -> bool { self.0 & (1 << $bit) != 0 })*
        }
    };
}

bits!(GuestPolicy:
    /// The guest may run with simultaneous multithreading.
    smt = 16,
    /// Reserved, must be one.
    reserved_one = 17,
    /// A migration agent may be associated with the guest.
    migrate_ma = 18,
    /// The host may debug, that is read and write, the guest.
    debug = 19,
    /// The guest may be active on one socket only.
    single_socket = 20,
    /// CXL devices and memory may be present.
    cxl_allow = 21,
    /// Memory must be encrypted with AES-256-XTS.
    mem_aes_256_xts = 22,
    /// Running average power limits must be off.
    rapl_dis = 23,
    /// Ciphertext hiding must be on.
    ciphertext_hiding = 24,
    /// The host may not move or swap the guest's pages.
    page_swap_disable = 25,
);

impl GuestPolicy {
    /// Least ABI minor version.
    #[must_use]
    pub fn abi_minor(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// Least ABI major version.
    #[must_use]
    pub fn abi_major(self) -> u8 {
        self.0.to_le_bytes()[1]
    }
}

bits!(PlatformInfo:
    /// Simultaneous multithreading is on.
    smt_enabled = 0,
    /// Transparent memory encryption is on.
    tsme_enabled = 1,
    /// Memory has error correction.
    ecc_enabled = 2,
    /// Running average power limits are off.
    rapl_disabled = 3,
    /// Ciphertext hiding is on.
    ciphertext_hiding = 4,
    /// No aliased memory addresses were found since the last reset.
    alias_check_complete = 5,
    /// Trusted I/O is on.
    tio_enabled = 7,
);
