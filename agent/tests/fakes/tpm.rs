//! A TPM that gives evidence naming its binder.

use dawnkey_attest::collect::{Attester, Closing, CollectError, Register};
use dawnkey_attest::evidence::{Evidence, Exchange, VtpmEvidence};

/// What the TPM fails at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fails {
    Nothing,
    Collect,
    Activate,
    CloseBoot,
    /// Not a failure: it has no key to enrol.
    NoKey,
    /// Not a failure: it has no register to close the boot in.
    NoRegister,
}

pub struct FakeTpm {
    pub fails: Fails,
    /// Binders that evidence was collected for.
    pub collected: Vec<[u8; 64]>,
    /// Events that the boot was closed with.
    pub closed: Vec<Vec<u8>>,
    /// Whether the boot was closed.
    pub capped: bool,
}

/// What the fake proves an activation with.
pub const PROOF: [u8; 32] = [0xac; 32];

impl FakeTpm {
    pub fn that_fails_at(fails: Fails) -> Self {
        Self {
            fails,
            collected: Vec::new(),
            closed: Vec::new(),
            capped: false,
        }
    }

    fn unless(&self, fails: Fails) -> Result<(), CollectError> {
        if self.fails == fails {
            return Err(CollectError::Answer {
                doing: "play along",
                problem: "told to fail",
            });
        }
        Ok(())
    }
}

impl Attester for FakeTpm {
    fn kind(&self) -> &'static str {
        "vtpm"
    }

    fn collect(&mut self, exchange: &Exchange) -> Result<Evidence, CollectError> {
        self.unless(Fails::Collect)?;
        self.collected.push(exchange.0);
        Ok(Evidence::Vtpm(Box::new(VtpmEvidence {
            quote: exchange.0.to_vec(),
            ..VtpmEvidence::default()
        })))
    }

    fn activate(
        &mut self,
        _: &[u8],
        _: &[u8],
        exchange: &Exchange,
    ) -> Result<[u8; 32], CollectError> {
        self.unless(Fails::Activate)?;
        if self.fails == Fails::NoKey {
            return Err(CollectError::NoEnrolment { kind: "snp" });
        }
        assert_eq!(Some(&exchange.0), self.collected.last());
        Ok(PROOF)
    }

    fn close_boot(&mut self, events: &[Vec<u8>]) -> Result<Closing, CollectError> {
        self.unless(Fails::CloseBoot)?;
        assert!(!std::mem::replace(&mut self.capped, true), "closed twice");
        self.closed.extend_from_slice(events);
        if self.fails == Fails::NoRegister {
            return Ok(Closing::Absent { why: "told so" });
        }
        Ok(Closing::Register(Register::Pcr15))
    }
}

/// The binder in the fake's encoded evidence.
pub fn binder_of(payload: &[u8]) -> [u8; 64] {
    match Evidence::decode("vtpm", payload).unwrap() {
        Evidence::Vtpm(evidence) => evidence.quote.try_into().unwrap(),
        #[allow(unreachable_patterns)]
        other => panic!("not the fake's evidence: {}", other.kind()),
    }
}
