//! What a hostile disk does, and when.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::wire::Kind;

/// `EIO` of Linux and of NBD.
pub const EIO: u32 = 5;
/// `EPERM`: what a disk answers that takes no writes.
pub const EPERM: u32 = 1;

/// Changes the answer to a read; gets the offset of the request and the true bytes.
pub type Lie = dyn Fn(u64, &mut [u8]) + Send + Sync;

/// What is done instead of the plain answer.
#[derive(Clone)]
pub enum Act {
    /// The request fails with this error; nothing is read or written.
    Fail(u32),
    /// A read is answered with other bytes than the disk holds.
    Lie(Arc<Lie>),
    /// Half of the data of a read, then the connection is closed for good.
    Short,
    /// The request waits until [`Backend::release`](super::Backend::release).
    Hold,
    /// The connection is closed, and the disk never comes back.
    Vanish,
    /// No answer, nothing is done, and no later write or flush is done either: the moment of a power cut.
    Freeze,
}

impl Act {
    /// A lie that puts `bytes` at `at` on the disk, as far as a read covers them.
    #[must_use]
    pub fn show(at: u64, bytes: Vec<u8>) -> Self {
        Act::Lie(Arc::new(move |offset, answer| {
            for (place, byte) in (at..).zip(&bytes) {
                let index = place
                    .checked_sub(offset)
                    .and_then(|i| usize::try_from(i).ok());
                if let Some(shown) = index.and_then(|i| answer.get_mut(i)) {
                    *shown = *byte;
                }
            }
        }))
    }
}

impl fmt::Debug for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Act::Fail(error) => write!(f, "Fail({error})"),
            Act::Lie(_) => f.write_str("Lie"),
            Act::Short => f.write_str("Short"),
            Act::Hold => f.write_str("Hold"),
            Act::Vanish => f.write_str("Vanish"),
            Act::Freeze => f.write_str("Freeze"),
        }
    }
}

/// Which of the matching requests are meant, counted from 1 since the rule was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// This one only.
    Nth(usize),
    /// This one and all after it.
    From(usize),
}

/// One rule. The first that applies to a request decides about it.
#[derive(Debug, Clone)]
pub struct Rule {
    kind: Kind,
    touches: Option<Range<u64>>,
    when: When,
    act: Act,
    seen: usize,
    after: Option<Box<Rule>>,
}

impl Rule {
    /// A rule about every request of a kind.
    #[must_use]
    pub fn new(kind: Kind, when: When, act: Act) -> Self {
        Rule {
            kind,
            touches: None,
            when,
            act,
            seen: 0,
            after: None,
        }
    }

    /// Only about requests that touch these bytes of the disk.
    #[must_use]
    pub fn touching(mut self, bytes: Range<u64>) -> Self {
        self.touches = Some(bytes);
        self
    }

    /// Only about requests that come after the first one that another rule means; what that one would do is not done.
    #[must_use]
    pub fn after(mut self, other: Rule) -> Self {
        self.after = Some(Box::new(other));
        self
    }

    /// Counts a request and says what is to be done about it.
    pub(super) fn judge(&mut self, kind: Kind, offset: u64, length: u32) -> Option<Act> {
        if let Some(other) = &mut self.after {
            if other.judge(kind, offset, length).is_some() {
                self.after = None;
            }
            return None;
        }
        let end = offset.saturating_add(u64::from(length));
        let touches = self
            .touches
            .as_ref()
            .is_none_or(|bytes| offset < bytes.end && bytes.start < end);
        if kind != self.kind || !touches {
            return None;
        }
        self.seen += 1;
        let meant = match self.when {
            When::Nth(number) => self.seen == number,
            When::From(number) => self.seen >= number,
        };
        meant.then(|| self.act.clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn counts_only_requests_that_touch_its_bytes() {
        let mut rule = Rule::new(Kind::Read, When::Nth(2), Act::Fail(EIO)).touching(4096..8192);
        assert!(rule.judge(Kind::Read, 0, 4096).is_none());
        assert!(rule.judge(Kind::Read, 0, 4097).is_none());
        assert!(rule.judge(Kind::Write, 4096, 4096).is_none());
        assert!(matches!(
            rule.judge(Kind::Read, 8191, 1),
            Some(Act::Fail(EIO))
        ));
        assert!(rule.judge(Kind::Read, 4096, 4096).is_none());
    }

    #[test]
    fn counts_only_what_comes_after_another_rule() {
        let write = Rule::new(Kind::Write, When::Nth(1), Act::Freeze);
        let mut rule = Rule::new(Kind::Flush, When::Nth(1), Act::Freeze).after(write);
        assert!(rule.judge(Kind::Flush, 0, 0).is_none());
        assert!(rule.judge(Kind::Write, 0, 512).is_none());
        assert!(matches!(rule.judge(Kind::Flush, 0, 0), Some(Act::Freeze)));
    }

    #[test]
    fn lie_covers_the_part_that_is_read() {
        let Act::Lie(lie) = Act::show(10, vec![1, 2, 3]) else {
            unreachable!("made above");
        };
        let mut answer = [0; 4];
        lie(11, &mut answer);
        assert_eq!(answer, [2, 3, 0, 0]);
        let mut answer = [0; 4];
        lie(8, &mut answer);
        assert_eq!(answer, [0, 0, 1, 2]);
    }
}
