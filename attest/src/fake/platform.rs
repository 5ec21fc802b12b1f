//! What cloud platforms leave in a virtual machine's TPM, put into a software TPM: NV indices and provided keys.

use std::io::Write as _;
use std::str::FromStr as _;

use tss_esapi::{
    Context, TctiNameConf,
    abstraction::nv::NvOpenOptions,
    attributes::{NvIndexAttributesBuilder, ObjectAttributesBuilder},
    handles::{AuthHandle, KeyHandle, NvIndexTpmHandle, PcrHandle, PersistentTpmHandle},
    interface_types::{
        algorithm::{HashingAlgorithm, PublicAlgorithm},
        dynamic_handles::Persistent,
        ecc::EccCurve,
        key_bits::RsaKeyBits,
        resource_handles::{Hierarchy, NvAuth, Provision},
        session_handles::AuthSession,
    },
    structures::{
        Auth, Digest, DigestValues, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme,
        NvPublicBuilder, Public as TssPublic, PublicBuilder, PublicEccParametersBuilder,
        PublicKeyRsa, PublicRsaParametersBuilder, RsaExponent, RsaScheme,
        SymmetricDefinitionObject,
    },
    traits::Marshall as _,
};

use super::{EkKind, Swtpm};
use crate::tpm::public::Public;

/// A connection to a software TPM for provisioning it as a platform's maker does.
pub struct Provisioner {
    context: Context,
}

impl Provisioner {
    /// Connects.
    #[must_use]
    pub fn connect(tpm: &Swtpm) -> Self {
        Self::at(&tpm.tcti())
    }

    /// Connects to the TPM that a TCTI text names.
    #[must_use]
    pub fn at(tcti: &str) -> Self {
        let tcti = TctiNameConf::from_str(tcti).unwrap();
        Self {
            context: Context::new(tcti).unwrap(),
        }
    }

    /// Defines an NV index that the owner may read, with this content.
    pub fn write_nv(&mut self, index: u32, content: &[u8]) {
        let attributes = NvIndexAttributesBuilder::new()
            .with_owner_write(true)
            .with_owner_read(true)
            .with_auth_read(true)
            .with_no_da(true)
            .build()
            .unwrap();
        let public = NvPublicBuilder::new()
            .with_nv_index(NvIndexTpmHandle::new(index).unwrap())
            .with_index_name_algorithm(HashingAlgorithm::Sha256)
            .with_index_attributes(attributes)
            .with_data_area_size(content.len())
            .build()
            .unwrap();
        self.context
            .set_sessions((Some(AuthSession::Password), None, None));
        let mut writer = NvOpenOptions::NewIndex {
            nv_public: public,
            auth_handle: NvAuth::Owner,
        }
        .open(&mut self.context)
        .unwrap();
        writer.write_all(content).unwrap();
        drop(writer);
        self.context.clear_sessions();
    }

    /// Gives the owner hierarchy a password, which it had not.
    pub fn set_owner_auth(&mut self, password: &[u8]) {
        let auth = Auth::try_from(password).unwrap();
        self.context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.hierarchy_change_auth(AuthHandle::Owner, auth)
            })
            .unwrap();
    }

    /// Extends PCR 15 of the SHA-256 bank.
    pub fn extend_15(&mut self) {
        let mut values = DigestValues::new();
        let digest = Digest::try_from([1; 32].as_slice()).unwrap();
        values.set(HashingAlgorithm::Sha256, digest);
        self.context
            .execute_with_session(Some(AuthSession::Password), |context| {
                context.pcr_extend(PcrHandle::Pcr15, values)
            })
            .unwrap();
    }

    /// The template of a restricted signing key, `TPMT_PUBLIC`.
    #[must_use]
    pub fn template(kind: EkKind) -> Vec<u8> {
        template(kind).marshall().unwrap()
    }

    /// The key that a template makes under the endorsement hierarchy.
    #[must_use]
    pub fn public_of(&mut self, kind: EkKind) -> Public {
        let (handle, public) = self.make(kind, Hierarchy::Endorsement);
        self.context.flush_context(handle.into()).unwrap();
        public
    }

    /// Makes a key and keeps it at a persistent handle.
    pub fn persist(&mut self, kind: EkKind, handle: u32) -> Public {
        let (key, public) = self.make(kind, Hierarchy::Owner);
        let place = Persistent::Persistent(PersistentTpmHandle::new(handle).unwrap());
        self.context
            .execute_with_nullauth_session(|context| {
                context.evict_control(Provision::Owner, key.into(), place)
            })
            .unwrap();
        self.context.flush_context(key.into()).unwrap();
        public
    }

    fn make(&mut self, kind: EkKind, hierarchy: Hierarchy) -> (KeyHandle, Public) {
        let made = self.context.execute_with_nullauth_session(|context| {
            context.create_primary(hierarchy, template(kind), None, None, None, None)
        });
        let made = made.unwrap();
        let public = Public::parse(&made.out_public.marshall().unwrap()).unwrap();
        (made.key_handle, public)
    }
}

fn template(kind: EkKind) -> TssPublic {
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_restricted(true)
        .with_sign_encrypt(true)
        .build()
        .unwrap();
    let builder = PublicBuilder::new()
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes);
    let scheme = HashScheme::new(HashingAlgorithm::Sha256);
    match kind {
        EkKind::Rsa => {
            let parameters = PublicRsaParametersBuilder::new()
                .with_symmetric(SymmetricDefinitionObject::Null)
                .with_scheme(RsaScheme::RsaSsa(scheme))
                .with_key_bits(RsaKeyBits::Rsa2048)
                .with_exponent(RsaExponent::default())
                .with_restricted(true)
                .with_is_signing_key(true)
                .build()
                .unwrap();
            builder
                .with_public_algorithm(PublicAlgorithm::Rsa)
                .with_rsa_parameters(parameters)
                .with_rsa_unique_identifier(PublicKeyRsa::default())
                .build()
        }
        EkKind::Ecc => {
            let parameters = PublicEccParametersBuilder::new()
                .with_symmetric(SymmetricDefinitionObject::Null)
                .with_ecc_scheme(EccScheme::EcDsa(scheme))
                .with_curve(EccCurve::NistP256)
                .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
                .with_restricted(true)
                .with_is_signing_key(true)
                .build()
                .unwrap();
            builder
                .with_public_algorithm(PublicAlgorithm::Ecc)
                .with_ecc_parameters(parameters)
                .with_ecc_unique_identifier(EccPoint::default())
                .build()
        }
    }
    .unwrap()
}
