//! `dawnkey volume rotate`: a new DEK for a volume.

use super::view::VolumeView;
use super::{VolumeArgs, reference, subject};
use crate::outcome::{Exit, Failure};
use crate::output::{self, Output};
use uuid::Uuid;

impl VolumeArgs {
    /// Gives a volume its next epoch.
    pub(super) fn rotate(&self, id: Uuid, output: Output) -> Result<Exit, Failure> {
        let record =
            self.connect()?
                .call("rotate the key of a volume", &subject(id), async |client| {
                    client.rotate_volume(reference(id)).await
                })?;
        let exit = VolumeView::from(record).show(output)?;
        output::note(
            "The node takes the new epoch up at its next unlock; until that is confirmed both keys open the volume.",
        );
        Ok(exit)
    }
}
