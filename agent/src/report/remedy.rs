//! What to do about a failure, in one line for whoever reads the console.

/// The line for a step that failed with an exit code; nothing where the problem itself says all there is to say.
#[must_use]
pub fn remedy(step: &str, exit_code: u8) -> Option<&'static str> {
    Some(match (exit_code, step) {
        (2, _) => {
            "correct what the problem names, in the image's file, on the kernel command line or in the credential; \
             `dawnkey-agent check` reads it without a device"
        }
        (10, _) => {
            "check that the machine has this TEE or TPM, and that its driver is in the initramfs"
        }
        (20, "recovery") => {
            "start the key service, or run `dawnkey recover` while the node listens"
        }
        (20 | 22, "connect" | "ask") => {
            "do what the advice of the diagnosis says; `dawnkey-agent diagnose` looks again"
        }
        (21, _) => {
            "change what the refusal names; its record is in the key service's audit log (`dawnkey audit show`)"
        }
        (30, "find") => "attach the volume's own disk, and only that one; none was changed",
        (31, "open") => {
            "look for errors of the disk; a key that does not fit belongs to another copy of the disk or to another \
             service (`dawnkey volume show`, `dawnkey volume header show`)"
        }
        (31, "format") => {
            "give a disk that takes writes; what was begun is begun anew by the next boot"
        }
        (40, _) => {
            "boot again, the volume was not used; if that does not help, look at the TPM, or take Linux 6.16 or later \
             in a TD"
        }
        (41, _) => {
            "boot again, the volume was not used and nothing is lost; if that does not help, look at the key service"
        }
        (42, _) => {
            "let the node hold leases (`hold.enabled`, room in the kernel's keyring), or let policy say `hold = false`"
        }
        (70, _) => "give the unit `LimitMEMLOCK=infinity`, and the machine a source of randomness",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_an_unlock_has_a_line_and_it_is_one() {
        let ends = [
            (2, "config"),
            (10, "attester"),
            (10, "collect"),
            (20, "connect"),
            (20, "ask"),
            (20, "recovery"),
            (21, "ask"),
            (21, "confirm"),
            (22, "connect"),
            (22, "ask"),
            (30, "find"),
            (31, "open"),
            (31, "format"),
            (40, "close-boot"),
            (41, "confirm"),
            (42, "hold"),
            (70, "keys"),
            (70, "harden"),
        ];
        for (exit_code, step) in ends {
            let line = remedy(step, exit_code).unwrap_or_default();
            assert!(
                !line.is_empty() && !line.contains('\n'),
                "{step} {exit_code}"
            );
            assert!(!line.contains("  "), "{line}");
        }
    }

    #[test]
    fn what_is_said_by_the_problem_is_not_said_again() {
        assert_eq!(remedy("close", 31), None);
        assert_eq!(remedy("hold", 60), None);
    }
}
