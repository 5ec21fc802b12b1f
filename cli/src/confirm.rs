//! Confirmation of what cannot be taken back: the volume's id, typed in full.

use crate::outcome::Failure;
use crate::output;
use std::io::BufRead;
use uuid::Uuid;

/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 256;

/// Asks for the volume's id on standard input unless `yes` stands for it.
pub(crate) fn volume(id: Uuid, yes: bool, consequence: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    output::note(consequence);
    output::note(&format!("Type the volume id to go on ({id}):"));
    answer(id, std::io::stdin().lock())
}

/// Accepts one line that is exactly the id.
fn answer(id: Uuid, input: impl BufRead) -> Result<(), Failure> {
    let mut line = String::new();
    let read = input.take(MAX_ANSWER).read_line(&mut line);
    match read {
        Ok(_) if line.trim() == id.to_string() => Ok(()),
        _ => Err(Failure::usage(
            "not confirmed; nothing was done",
            format!("volume {id}"),
            "the volume id typed in full on standard input, or --yes",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Exit;

    #[test]
    fn accepts_the_id_typed_in_full_and_nothing_else() {
        let id = Uuid::from_u128(0x1234);
        assert_eq!(answer(id, format!("{id}\n").as_bytes()), Ok(()));
        for wrong in ["", "\n", "y\n", "yes\n", "00000000-0000\n", "\u{fffd}"] {
            let refused = answer(id, wrong.as_bytes()).unwrap_err();
            assert_eq!(refused.exit, Exit::Usage, "{wrong:?}");
        }
    }
}
