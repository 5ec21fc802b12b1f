//! The attestation key: a restricted signing key under the endorsement key, made once and kept.

use tss_esapi::{
    Context,
    attributes::ObjectAttributesBuilder,
    constants::CapabilityType,
    handles::{KeyHandle, PersistentTpmHandle},
    interface_types::{
        algorithm::{HashingAlgorithm, PublicAlgorithm},
        dynamic_handles::Persistent,
        ecc::EccCurve,
        key_bits::RsaKeyBits,
        resource_handles::Provision,
    },
    structures::{
        CapabilityData, EccPoint, EccScheme, HashScheme, KeyDerivationFunctionScheme,
        Public as TssPublic, PublicBuilder, PublicEccParametersBuilder, PublicKeyRsa,
        PublicRsaParametersBuilder, RsaExponent, RsaScheme, SymmetricDefinitionObject,
    },
};

use super::{
    ek::{EndorsementKey, persistent, read_public},
    error::{CollectError, Doing as _},
    session::{self, Parameters},
};
use crate::tpm::{
    ALG_ECDSA, ALG_RSASSA,
    hash::Hash,
    name,
    public::{Attributes, Curve, Key, Public, Scheme},
};

/// Persistent handle of the attestation key, in the owner's range and outside those the TCG reserves.
pub const HANDLE: u32 = 0x8101_da01;
/// Persistent handle of the one that is RSA whatever the TPM can do.
pub const RSA_HANDLE: u32 = 0x8101_da02;

/// Which key is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    /// ECDSA P-256 where the TPM has that curve, else RSA-2048.
    Best,
    /// RSA-2048.
    Rsa,
}

impl Sort {
    const fn handle(self) -> u32 {
        match self {
            Self::Best => HANDLE,
            Self::Rsa => RSA_HANDLE,
        }
    }
}

/// A loaded attestation key.
pub(super) struct AttestationKey {
    /// Handle in the TSS.
    pub handle: KeyHandle,
    /// Its public area.
    pub public: Public,
}

impl AttestationKey {
    /// Opens the key of this sort at its handle, or makes it under `ek` and puts it there.
    pub(super) fn open(
        context: &mut Context,
        ek: &EndorsementKey,
        sort: Sort,
    ) -> Result<Self, CollectError> {
        let place = sort.handle();
        if let Some(handle) = persistent(context, place)? {
            let (public, qualified) = read_public(context, handle)?;
            return match problem(&public, &qualified, ek, sort) {
                None => Ok(Self { handle, public }),
                Some(problem) => Err(CollectError::HandleOccupied {
                    handle: place,
                    problem,
                }),
            };
        }
        let template = template(context, sort)?;
        let made = ek.with_use(context, Parameters::Encrypted, |context, session| {
            let made = context.execute_with_session(Some(session), |context| {
                context.create(ek.handle, template, None, None, None, None)
            });
            made.doing("make the attestation key")
        })?;
        let transient = ek.with_use(context, Parameters::Encrypted, |context, session| {
            let loaded = context.execute_with_session(Some(session), |context| {
                context.load(ek.handle, made.out_private, made.out_public)
            });
            loaded.doing("load the attestation key")
        })?;
        let handle = keep(context, ek, transient, place)?;
        let (public, _) = read_public(context, handle)?;
        Ok(Self { handle, public })
    }
}

/// Makes the key persistent and drops its transient copy.
fn keep(
    context: &mut Context,
    ek: &EndorsementKey,
    transient: KeyHandle,
    place: u32,
) -> Result<KeyHandle, CollectError> {
    let doing = "keep the attestation key";
    let place = Persistent::Persistent(PersistentTpmHandle::new(place).doing(doing)?);
    let kept = session::with_hmac(context, ek.handle, |context, session| {
        let kept = context.execute_with_session(Some(session), |context| {
            context.evict_control(Provision::Owner, transient.into(), place)
        });
        kept.doing(doing)
    });
    let flushed = context.flush_context(transient.into());
    let handle = kept?;
    flushed.doing("unload the attestation key's transient copy")?;
    Ok(handle.into())
}

/// What keeps a key found at its handle from being the attestation key under `ek`.
fn problem(
    public: &Public,
    qualified: &[u8],
    ek: &EndorsementKey,
    sort: Sort,
) -> Option<&'static str> {
    let scheme = match &public.key {
        Key::Ecc { .. } if sort == Sort::Rsa => return Some("it is no RSA key"),
        Key::Ecc {
            curve: Curve::P256, ..
        } => ALG_ECDSA,
        Key::Rsa { .. } => ALG_RSASSA,
        Key::Ecc { .. } => return Some("its curve is not P-256"),
    };
    let bound = Scheme {
        scheme,
        hash: Hash::Sha256.id(),
    };
    let parent = name::qualified_under_endorsement(ek.public.name_alg, &ek.public.name());
    if !public.attributes.is_attestation_key() {
        Some("its attributes are not those of a restricted signing key that never leaves the TPM")
    } else if !public.attributes.has(Attributes::USER_WITH_AUTH) || !public.auth_policy.is_empty() {
        Some("its authorisation is not the empty value")
    } else if public.scheme != Some(bound) {
        Some("its scheme is not ECDSA or RSASSA with SHA-256")
    } else if qualified != name::qualified(public.name_alg, &parent, &public.name()) {
        Some("its parent is not this TPM's endorsement key")
    } else {
        None
    }
}

fn template(context: &mut Context, sort: Sort) -> Result<TssPublic, CollectError> {
    let doing = "build the attestation key's template";
    let attributes = ObjectAttributesBuilder::new()
        .with_fixed_tpm(true)
        .with_fixed_parent(true)
        .with_sensitive_data_origin(true)
        .with_user_with_auth(true)
        .with_no_da(true)
        .with_restricted(true)
        .with_sign_encrypt(true)
        .build()
        .doing(doing)?;
    let builder = PublicBuilder::new()
        .with_name_hashing_algorithm(HashingAlgorithm::Sha256)
        .with_object_attributes(attributes);
    let built = if sort == Sort::Best && has_p256(context)? {
        let parameters = PublicEccParametersBuilder::new()
            .with_symmetric(SymmetricDefinitionObject::Null)
            .with_ecc_scheme(EccScheme::EcDsa(HashScheme::new(HashingAlgorithm::Sha256)))
            .with_curve(EccCurve::NistP256)
            .with_key_derivation_function_scheme(KeyDerivationFunctionScheme::Null)
            .with_restricted(true)
            .with_is_signing_key(true)
            .build()
            .doing(doing)?;
        builder
            .with_public_algorithm(PublicAlgorithm::Ecc)
            .with_ecc_parameters(parameters)
            .with_ecc_unique_identifier(EccPoint::default())
            .build()
    } else {
        let parameters = PublicRsaParametersBuilder::new()
            .with_symmetric(SymmetricDefinitionObject::Null)
            .with_scheme(RsaScheme::RsaSsa(HashScheme::new(HashingAlgorithm::Sha256)))
            .with_key_bits(RsaKeyBits::Rsa2048)
            .with_exponent(RsaExponent::default())
            .with_restricted(true)
            .with_is_signing_key(true)
            .build()
            .doing(doing)?;
        builder
            .with_public_algorithm(PublicAlgorithm::Rsa)
            .with_rsa_parameters(parameters)
            .with_rsa_unique_identifier(PublicKeyRsa::default())
            .build()
    };
    built.doing(doing)
}

fn has_p256(context: &mut Context) -> Result<bool, CollectError> {
    let listed = context.execute_without_session(|context| {
        context.get_capability(CapabilityType::EccCurves, 0, 64)
    });
    match listed {
        Ok((CapabilityData::EccCurves(curves), _)) => {
            Ok(curves.iter().any(|one| *one == EccCurve::NistP256.into()))
        }
        // A TPM without ECC refuses the capability or answers with an empty one.
        _ => Ok(false),
    }
}
