//! What a guest reports over its virtio-serial port.
//!
//! A scenario in the guest runs commands as *steps*. For each one the port carries a line
//! `STEP <name> <exit code> <bytes of stdout> <bytes of stderr>`, then exactly those bytes of both.
//! The last line is `DONE`. Whatever lacks it, or is cut short, is no result.

use crate::error::VmError;

/// One command that ran in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The scenario's name of the step.
    pub name: String,
    /// Its exit code.
    pub exit: i32,
    /// What it printed on standard output.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
}

/// All steps of a boot, in order; exists only if the guest said DONE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results(Vec<Step>);

impl Results {
    /// Reads a complete report.
    ///
    /// # Errors
    /// [`VmError::Report`] naming the line that is not in the agreed form, or that DONE is missing.
    pub fn parse(bytes: &[u8]) -> Result<Self, VmError> {
        let (steps, done) = scan(bytes)?;
        if !done {
            return Err(VmError::Report(format!(
                "no DONE after {} steps",
                steps.len()
            )));
        }
        Ok(Results(steps))
    }

    /// The step of that name.
    ///
    /// # Errors
    /// [`VmError::Report`] when the scenario did not run it.
    pub fn step(&self, name: &str) -> Result<&Step, VmError> {
        self.0.iter().find(|step| step.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.0.iter().map(|step| step.name.as_str()).collect();
            VmError::Report(format!("no step `{name}`, only {}", names.join(", ")))
        })
    }

    /// All steps in the order they ran.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

impl Step {
    /// Standard output as one JSON object: the agent's `--json` report.
    ///
    /// # Errors
    /// [`VmError::Report`] with both streams when it is not JSON.
    pub fn json(&self) -> Result<serde_json::Value, VmError> {
        serde_json::from_str(self.stdout.trim()).map_err(|e| {
            VmError::Report(format!(
                "step `{}` printed no JSON ({e}): {self:?}",
                self.name
            ))
        })
    }
}

/// The steps that are complete, whether or not the report is: of a guest that still runs, or whose power was cut.
pub fn so_far(bytes: &[u8]) -> Vec<Step> {
    scan(bytes).map_or_else(|_| Vec::new(), |(steps, _)| steps)
}

fn scan(mut rest: &[u8]) -> Result<(Vec<Step>, bool), VmError> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            return Ok((steps, false));
        };
        let (line, after) = rest.split_at(end);
        let line = String::from_utf8_lossy(line).into_owned();
        rest = after.get(1..).unwrap_or_default();
        if line == "DONE" {
            return Ok((steps, true));
        }
        let malformed = || VmError::Report(format!("expected STEP or DONE, found `{line}`"));
        let fields: Vec<&str> = line.split(' ').collect();
        let &["STEP", name, exit, out, err] = fields.as_slice() else {
            return Err(malformed());
        };
        let out: usize = out.parse().map_err(|_| malformed())?;
        let err: usize = err.parse().map_err(|_| malformed())?;
        let Some((stdout, after)) = rest.split_at_checked(out) else {
            return Ok((steps, false));
        };
        let Some((stderr, after)) = after.split_at_checked(err) else {
            return Ok((steps, false));
        };
        rest = after;
        steps.push(Step {
            name: name.to_owned(),
            exit: exit.parse().map_err(|_| malformed())?,
            stdout: String::from_utf8_lossy(stdout).into_owned(),
            stderr: String::from_utf8_lossy(stderr).into_owned(),
        });
    }
    Ok((steps, false))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const REPORT: &[u8] = b"STEP unlock 21 3 5\n{}\nSTEP STEP list 0 5 0\na\nDONDONE\n";

    #[test]
    fn reads_steps_whose_output_looks_like_our_own_lines() {
        let results = Results::parse(REPORT).unwrap();
        let unlock = results.step("unlock").unwrap();
        assert_eq!((unlock.exit, unlock.stdout.as_str()), (21, "{}\n"));
        assert_eq!(unlock.stderr, "STEP ");
        assert_eq!(results.step("list").unwrap().stdout, "a\nDON");
        assert!(unlock.json().unwrap().is_object());
    }

    #[test]
    fn refuses_every_report_that_was_cut_short() {
        for length in 0..REPORT.len() {
            let cut = REPORT.get(..length).unwrap();
            assert!(
                matches!(Results::parse(cut), Err(VmError::Report(_))),
                "{length}"
            );
        }
    }

    #[test]
    fn refuses_an_unknown_line() {
        assert!(matches!(
            Results::parse(b"hello\nDONE\n"),
            Err(VmError::Report(_))
        ));
        assert!(matches!(
            Results::parse(b"STEP a b 0 0\nDONE\n"),
            Err(VmError::Report(_))
        ));
    }

    #[test]
    fn names_the_steps_there_are_when_one_is_missing() {
        let error = Results::parse(REPORT).unwrap().step("absent").unwrap_err();
        assert!(error.to_string().contains("unlock, list"));
    }
}
