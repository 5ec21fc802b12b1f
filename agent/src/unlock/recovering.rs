//! A volume that an operator's grant opens: no service has issued a generation, so that the header stays as it is.

use super::disk::Disk;
use super::{By, Made, Mapped, Measured, Outcome, Unlock};
use crate::error::UnlockError;
use crate::recovery::Judged;
use crate::report::{Event, Sink, Stage};
use dawnkey_dm::{Mapper, SealedHeader};
use tokio::time::Instant;

impl Unlock<Measured> {
    /// The header that a grant could open; `None` for anything but a volume of Dawnkey's.
    #[must_use]
    pub fn header(&self) -> Option<&SealedHeader> {
        match &self.state.disk {
            Disk::Volume(volume) => Some(volume.header()),
            Disk::Adopted(_) | Disk::Blank(_) | Disk::None => None,
        }
    }

    /// Opens the volume with the DEK of a grant that was judged for `header`, and writes nothing.
    ///
    /// # Errors
    /// The disk shows another header now; the volume could not be mapped.
    pub fn recover<S>(
        self,
        judged: Judged,
        header: &SealedHeader,
        mapper: &mut impl Mapper,
        report: Sink<'_>,
    ) -> Result<Unlock<Mapped<S>>, UnlockError> {
        let mut trace = self.trace;
        let began = Instant::now();
        let volume = match self.state.disk {
            Disk::Volume(volume) if volume.header() == header => volume,
            _ => return Err(UnlockError::OtherHeader),
        };
        let mapping = mapper
            .open_as_it_is(volume, &judged.dek)
            .map_err(UnlockError::Open)?;
        drop(judged.dek);
        trace.stages.add(Stage::Open, began.elapsed());
        report(&Event::Mapped {
            device: mapping.device.clone(),
            generation: mapping.seen.generation,
            elapsed: began.elapsed(),
        });
        let made = Made {
            outcome: Outcome::Recovered,
            volume: self.state.volume,
            mapping,
            by: By::Operator(judged.key),
        };
        let session = None;
        Ok(Unlock::<Mapped<S>>::next(trace, Mapped { made, session }))
    }
}
