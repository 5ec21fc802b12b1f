//! Lines for the console. Long work is one line that is drawn anew on a terminal, and elsewhere a line for every tenth.

use super::Event;

/// Characters of a full bar.
const WIDTH: usize = 30;

/// What has been shown of the work that is going on.
#[derive(Debug)]
pub(super) struct Lines {
    /// Percent shown last.
    percent: Option<u64>,
    /// A bar stands on a line that has not ended.
    drawn: bool,
}

impl Lines {
    pub(super) const fn new() -> Self {
        Self {
            percent: None,
            drawn: false,
        }
    }

    /// What to write for an event; nothing when the same is shown already.
    pub(super) fn next(&mut self, event: &Event, terminal: bool) -> String {
        let Some((what, percent)) = event.progress() else {
            self.percent = None;
            let end = if std::mem::take(&mut self.drawn) {
                "\n"
            } else {
                ""
            };
            return format!("{end}dawnkey-agent: {event}\n");
        };
        let shown = if terminal { percent } else { percent / 10 };
        if self.percent.replace(shown) == Some(shown) {
            return String::new();
        }
        if !terminal {
            return format!("dawnkey-agent: {event}\n");
        }
        self.drawn = true;
        let full = usize::try_from(percent).map_or(WIDTH, |percent| percent.min(100) * WIDTH / 100);
        let (done, left) = ("#".repeat(full), ".".repeat(WIDTH - full));
        format!("\rdawnkey-agent: {what} [{done}{left}] {percent:>3} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dawnkey_dm::Progress;

    fn wipe(done: u64) -> Event {
        Event::formatting(Progress::Wipe { done, total: 1000 })
    }

    #[test]
    fn terminal_gets_one_line_that_is_drawn_anew_and_ended() {
        let mut lines = Lines::new();
        assert_eq!(
            lines.next(&wipe(500), true),
            format!(
                "\rdawnkey-agent: wipe [{}{}]  50 %",
                "#".repeat(15),
                ".".repeat(15)
            )
        );
        assert_eq!(lines.next(&wipe(501), true), "");
        assert!(lines.next(&wipe(1000), true).ends_with("] 100 %"));
        let next = lines.next(&Event::DiskBlank, true);
        assert_eq!(next, "\ndawnkey-agent: disk-blank\n");
        assert_eq!(
            lines.next(&Event::DiskBlank, true),
            "dawnkey-agent: disk-blank\n"
        );
    }

    #[test]
    fn pipe_gets_a_line_for_every_tenth() {
        let mut lines = Lines::new();
        let said: Vec<String> = (0..=1000)
            .map(|done| lines.next(&wipe(done), false))
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(said.len(), 11);
        assert_eq!(
            said.first().map(String::as_str),
            Some("dawnkey-agent: formatting step=wipe percent=0\n")
        );
    }
}
