//! Google's attestation key: made from the template in NV, certified in the index beside it.
//!
//! Google provisions each VM with a template for a primary key of the endorsement hierarchy and with a certificate for
//! the key that the template makes, which names the instance. Source: `client/signer.go` of Google's go-tpm-tools.

use tss_esapi::{
    Context, interface_types::resource_handles::Hierarchy, structures::Public as TssPublic,
    traits::UnMarshall as _,
};

use super::{
    ak::AttestationKey,
    ek::{EndorsementKey, read_public},
    error::{CollectError, Doing as _},
    nv,
};

/// NV indices of certificate and template, RSA before ECC.
pub const INDICES: [(u32, u32); 2] = [(0x01c1_0000, 0x01c1_0001), (0x01c1_0002, 0x01c1_0003)];

/// Makes the key of the first template that has a certificate; gives it with its certificate, DER, possibly padded.
pub(super) fn open(
    context: &mut Context,
    ek: &EndorsementKey,
) -> Result<(AttestationKey, Vec<u8>), CollectError> {
    for (certificate, template) in INDICES {
        if !nv::exists(context, certificate)? || !nv::exists(context, template)? {
            continue;
        }
        let doing = "read the attestation key's template";
        let bytes = nv::read(context, ek.handle, template, doing)?;
        let template = TssPublic::unmarshall(&bytes).doing(doing)?;
        let doing = "make the attestation key from its template";
        let made = context.execute_with_nullauth_session(|context| {
            context.create_primary(Hierarchy::Endorsement, template, None, None, None, None)
        });
        let handle = made.doing(doing)?.key_handle;
        let (public, _) = read_public(context, handle)?;
        if !public.attributes.is_attestation_key() {
            return Err(CollectError::Answer {
                doing,
                problem: "it is not a restricted signing key that never leaves the TPM",
            });
        }
        let doing = "read the attestation key's certificate";
        let certificate = nv::read(context, ek.handle, certificate, doing)?;
        return Ok((AttestationKey { handle, public }, certificate));
    }
    let [(index, _), ..] = INDICES;
    Err(CollectError::NvAbsent {
        what: "certificate and template of Google's attestation key",
        index,
    })
}
