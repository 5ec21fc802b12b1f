//! `dawnkey endorsements list`.

use super::{StoreArgs, now};
use crate::outcome::{Exit, Failure};
use crate::output::{Output, dash, table};
use clap::Args;
use dawnkey_attest::snp::certs::rfc3339;
use dawnkey_endorse::store::Listed;
use serde::Serialize;

/// Arguments of `dawnkey endorsements list`.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
}

/// A file of the store as `--json` shows it.
#[derive(Debug, Serialize)]
struct Row {
    path: String,
    /// `usable`, `ending`, `expired`, `refused`.
    state: &'static str,
    /// What it is.
    item: Option<String>,
    class: Option<&'static str>,
    issued: Option<String>,
    valid_until: Option<String>,
    /// Whole days until then, negative after it.
    days_left: Option<i64>,
    /// TCB info and QE identity.
    evaluation_number: Option<u32>,
    /// Why it is refused.
    problem: Option<String>,
}

impl Row {
    fn of(listed: &Listed, now: u64) -> Self {
        let path = listed.path.display().to_string();
        let checked = match &listed.outcome {
            Ok(checked) => checked,
            Err(error) => {
                return Self {
                    path,
                    state: "refused",
                    item: None,
                    class: None,
                    issued: None,
                    valid_until: None,
                    days_left: None,
                    evaluation_number: None,
                    problem: Some(error.to_string()),
                };
            }
        };
        let class = checked.item.class();
        let left = i64::try_from(checked.until).unwrap_or(i64::MAX)
            - i64::try_from(now).unwrap_or(i64::MAX);
        Self {
            path,
            state: match checked.until {
                until if until < now => "expired",
                until if until - now < class.warn_before() => "ending",
                _ => "usable",
            },
            item: Some(checked.item.to_string()),
            class: Some(class.name()),
            issued: Some(rfc3339(checked.issued)),
            valid_until: Some(rfc3339(checked.until)),
            days_left: Some(left.div_euclid(86_400)),
            evaluation_number: Some(checked.number).filter(|number| *number != 0),
            problem: None,
        }
    }

    fn cells(&self) -> [String; 5] {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        [
            self.state.to_owned(),
            self.days_left
                .map_or_else(|| "-".to_owned(), |days| days.to_string()),
            dash(&text(&self.valid_until)),
            dash(&text(&self.item)),
            self.problem.clone().unwrap_or_else(|| self.path.clone()),
        ]
    }
}

impl ListArgs {
    /// Lists.
    pub(super) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let store = self.store.existing()?;
        let now = now();
        let listed = store.list(now).map_err(|e| self.store.failure(&e))?;
        let rows: Vec<Row> = listed.iter().map(|file| Row::of(file, now)).collect();
        output.show(&rows, || {
            let cells: Vec<_> = rows.iter().map(Row::cells).collect();
            table(["STATE", "DAYS", "UNTIL", "WHAT", "FILE"], &cells)
        })?;
        let bad = rows
            .iter()
            .any(|row| matches!(row.state, "expired" | "refused"));
        Ok(if bad { Exit::Negative } else { Exit::Done })
    }
}
