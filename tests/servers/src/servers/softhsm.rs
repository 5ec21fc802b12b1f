//! SoftHSM 2: a token in files, behind the module that Debian ships.

use crate::process::run;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// The module.
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// The label of the token that [`SoftHsm::new`] makes.
pub const TOKEN: &str = "dawnkey";
/// Its user PIN.
pub const PIN: &str = "29384756";

/// A token directory. The module reads its place from the environment, once in a process.
pub struct SoftHsm {
    dir: TempDir,
    module: Pkcs11,
    session: Session,
}

impl SoftHsm {
    /// The configuration file of a directory; `SOFTHSM2_CONF` must name it before the process loads the module.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn directory() -> (TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("scratch directory");
        let tokens = dir.path().join("tokens");
        fs::create_dir(&tokens).expect("token directory");
        let config = dir.path().join("softhsm2.conf");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        fs::write(&config, text).expect("configuration");
        (dir, config)
    }

    /// A new token with its PIN in the file `pin`.
    ///
    /// # Panics
    /// When SoftHSM refuses.
    #[must_use]
    pub fn new((dir, config): (TempDir, PathBuf)) -> Self {
        run(Command::new("softhsm2-util")
            .env("SOFTHSM2_CONF", &config)
            .args(["--init-token", "--free", "--label", TOKEN])
            .args(["--so-pin", "12345678", "--pin", PIN]));
        let pin = dir.path().join("pin");
        fs::write(&pin, PIN).expect("PIN file");
        fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).expect("mode");
        let module = Pkcs11::new(MODULE).expect("SoftHSM's module");
        let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        module.initialize(arguments).expect("initialise SoftHSM");
        let slots = module.get_slots_with_initialized_token().expect("slots");
        let slot = slots.first().copied().expect("the token");
        let session = module.open_rw_session(slot).expect("a session");
        session
            .login(UserType::User, Some(&AuthPin::from(PIN)))
            .expect("log in");
        Self {
            dir,
            module,
            session,
        }
    }

    /// Place of the PIN file.
    #[must_use]
    pub fn pin(&self) -> PathBuf {
        self.dir.path().join("pin")
    }

    /// What the module says of itself.
    ///
    /// # Panics
    /// When it says nothing.
    #[must_use]
    pub fn version(&self) -> String {
        let info = self.module.get_library_info().expect("library info");
        let version = info.library_version();
        format!("SoftHSM {}.{}", version.major(), version.minor())
    }

    /// Makes an AES-256 key on the token; `more` are attributes beside label, id and what every key has.
    ///
    /// # Panics
    /// When SoftHSM refuses.
    pub fn key(&self, label: &str, id: &[u8], more: &[Attribute]) -> ObjectHandle {
        let mut template = vec![
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::ValueLen(32.into()),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Id(id.to_vec()),
        ];
        template.extend_from_slice(more);
        self.session
            .generate_key(&Mechanism::AesKeyGen, &template)
            .expect("make a key")
    }

    /// Logs out: a login holds for all sessions of a process.
    ///
    /// # Panics
    /// When SoftHSM refuses.
    pub fn log_out(&self) {
        self.session.logout().expect("log out");
    }

    /// Removes the key of an id.
    ///
    /// # Panics
    /// When there is none.
    pub fn remove(&self, id: &[u8]) {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Id(id.to_vec()),
        ];
        let found = self.session.find_objects(&template).expect("find");
        let key = found.first().copied().expect("the key");
        self.session.destroy_object(key).expect("destroy");
    }
}

/// Attributes of a key that never leaves and may do what is said.
#[must_use]
pub fn locked_up(encrypts: bool, wraps: bool) -> Vec<Attribute> {
    vec![
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Encrypt(encrypts),
        Attribute::Decrypt(encrypts),
        Attribute::Wrap(wraps),
        Attribute::Unwrap(wraps),
    ]
}
