//! Measurement lists of Linux IMA: which files a kernel measured, as it tells them in
//! `/sys/kernel/security/ima/{binary,ascii}_runtime_measurements`.
//!
//! Like an event log a list proves nothing by itself: each entry's template digest must be that of its template
//! data ([`List::template_hash_mismatches`]), and all of them must replay to the PCR of a genuine quote
//! ([`replay()`]). Both forms of the list are read, with any template: known ones field by field, others raw.
//!
//! Sources: Linux `Documentation/security/IMA-templates.rst` and `security/integrity/ima/ima_{fs,crypto,template,
//! template_lib}.c`, which are the format's only definition.

mod ascii;
mod binary;
pub mod list;
pub mod replay;
pub mod template;

pub use list::{Entry, Form, ImaError, Limits, List};
pub use replay::{Extension, ImaReplayError, replay};
pub use template::{Field, Template, Value};
