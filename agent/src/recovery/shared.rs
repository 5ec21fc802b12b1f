//! The ports that service and operator need at the same time. Both are futures of one thread, and no call to a port waits,
//! so that no two calls can meet.

use crate::report::Event;
use dawnkey_attest::azure::hcl::HardwareKind;
use dawnkey_attest::collect::{Attester, Closing, CollectError};
use dawnkey_attest::evidence::{Evidence, Exchange};
use std::cell::RefCell;

/// A source of evidence that several ask.
pub(super) struct Shared<'c, 'a, A> {
    cell: &'c RefCell<&'a mut A>,
    kind: &'static str,
    shortfall: Option<String>,
}

impl<'c, 'a, A: Attester> Shared<'c, 'a, A> {
    pub(super) fn new(cell: &'c RefCell<&'a mut A>) -> Self {
        Self {
            kind: cell.borrow().kind(),
            shortfall: None,
            cell,
        }
    }

    /// Collects, and keeps what the evidence had to go without.
    fn with(
        &mut self,
        collect: impl FnOnce(&mut A) -> Result<Evidence, CollectError>,
    ) -> Result<Evidence, CollectError> {
        let mut attester = self.cell.borrow_mut();
        let evidence = collect(&mut attester);
        self.shortfall = attester.shortfall().map(str::to_owned);
        evidence
    }
}

impl<A: Attester> Attester for Shared<'_, '_, A> {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn collect(&mut self, exchange: &Exchange) -> Result<Evidence, CollectError> {
        self.with(|attester| attester.collect(exchange))
    }

    fn collect_over(&mut self, digest: &[u8; 48]) -> Result<Evidence, CollectError> {
        self.with(|attester| attester.collect_over(digest))
    }

    fn hardware(&mut self) -> Result<Option<HardwareKind>, CollectError> {
        self.cell.borrow_mut().hardware()
    }

    fn shortfall(&self) -> Option<&str> {
        self.shortfall.as_deref()
    }

    fn activate(
        &mut self,
        id_object: &[u8],
        encrypted_secret: &[u8],
        exchange: &Exchange,
    ) -> Result<[u8; 32], CollectError> {
        let mut attester = self.cell.borrow_mut();
        attester.activate(id_object, encrypted_secret, exchange)
    }

    fn close_boot(&mut self, events: &[Vec<u8>]) -> Result<Closing, CollectError> {
        self.cell.borrow_mut().close_boot(events)
    }
}

/// A voice that several use.
pub(super) type Voice<'c, 'a> = &'c RefCell<&'a mut dyn FnMut(&Event)>;

/// Says it.
pub(super) fn say(voice: Voice<'_, '_>, event: &Event) {
    (voice.borrow_mut())(event);
}
