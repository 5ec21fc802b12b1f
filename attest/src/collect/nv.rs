//! Reading NV indices that the owner may read.

use tss_esapi::{
    Context,
    abstraction::nv,
    handles::{KeyHandle, NvIndexTpmHandle},
    interface_types::resource_handles::NvAuth,
};

use super::{
    ek,
    error::{CollectError, Doing as _},
    session,
};

/// Whether the TPM has an index.
pub(super) fn exists(context: &mut Context, index: u32) -> Result<bool, CollectError> {
    Ok(ek::handles(context, index, 1)?.contains(&index))
}

/// The whole content of an index, at most 64 KiB.
pub(super) fn read(
    context: &mut Context,
    salt_key: KeyHandle,
    index: u32,
    doing: &'static str,
) -> Result<Vec<u8>, CollectError> {
    let index = NvIndexTpmHandle::new(index).doing(doing)?;
    session::with_hmac(context, salt_key, |context, session| {
        let read = context.execute_with_session(Some(session), |context| {
            nv::read_full(context, NvAuth::Owner, index)
        });
        read.doing(doing)
    })
}
