//! The figures as tables and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::contestant::{Contestant, PLAIN};
use super::running::Running;
use super::sizes::Size;
use super::told::Told;
use crate::bench::table::{median, spread};

/// Everything that was measured.
#[derive(Debug, Clone)]
pub struct Figures {
    /// How the programs were built.
    pub programs: &'static str,
    /// Boots of each contestant.
    pub rounds: usize,
    /// Times of boots.
    pub boots: Vec<(Contestant, Vec<Told>)>,
    /// What was measured in the running system.
    pub running: Running,
    /// Each initramfs.
    pub sizes: Vec<(Contestant, Size)>,
}

/// A time of a boot.
type Pick = fn(&Told) -> Option<f64>;

/// Rows of the table about boots.
const ROWS: [(&str, Pick); 4] = [
    ("unit started to device", |told| told.unit_to_device),
    ("kernel to device", |told| Some(told.kernel_to_device)),
    ("kernel to root file system", |told| {
        Some(told.kernel_to_root)
    }),
    ("power-on to power-off (host)", |told| {
        Some(told.power_on_to_off)
    }),
];

impl Figures {
    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "n = {}, programs {}; milliseconds: median (least … most)\n",
            self.rounds, self.programs
        );
        // Writing to a string does not fail.
        let _ = self.boots(&mut text);
        let _ = self.events(&mut text);
        let _ = self.openings(&mut text);
        let _ = self.giving_up(&mut text);
        let _ = self.sizes(&mut text);
        text
    }

    fn boots(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\nwhole boots")?;
        for (what, pick) in ROWS {
            let base = self.picked(PLAIN, pick);
            for (contestant, told) in &self.boots {
                let figures: Vec<f64> = told.iter().filter_map(pick).collect();
                if figures.is_empty() {
                    continue;
                }
                let more = match (median(&figures), median(&base)) {
                    (Some(ours), Some(base)) => format!("{:+9.0} to plain", ours - base),
                    _ => String::new(),
                };
                let (name, spread) = (contestant.name, spread(&figures));
                writeln!(text, "  {what:30} {name:14} {spread:36} {more}")?;
            }
        }
        Ok(())
    }

    fn picked(&self, of: Contestant, pick: Pick) -> Vec<f64> {
        let mut boots = self.boots.iter();
        let found = boots.find(|(contestant, _)| *contestant == of);
        found.map_or_else(Vec::new, |(_, told)| told.iter().filter_map(pick).collect())
    }

    /// Where the agent's time goes.
    fn events(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "\nevents of the agent in its boots, after its unit was started"
        )?;
        let told: Vec<&Told> = self
            .boots
            .iter()
            .flat_map(|(_, told)| told)
            .filter(|told| told.events.iter().any(|(name, _)| name == "started"))
            .collect();
        let Some(first) = told.first() else {
            return Ok(());
        };
        for (name, _) in &first.events {
            let events = told.iter().flat_map(|told| &told.events);
            let times: Vec<f64> = events
                .filter(|(n, _)| n == name)
                .map(|(_, at)| *at)
                .collect();
            writeln!(text, "  {name:45} {}", spread(&times))?;
        }
        Ok(())
    }

    fn openings(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "\nopening in a running system, program started to ended"
        )?;
        for opening in &self.running.openings {
            let (name, others) = (&opening.name, spread(&opening.others));
            let (first, peak) = (opening.first, opening.peak);
            write!(
                text,
                "  {name:14} {others:36} first {first:8.0}, largest process {peak} KiB"
            )?;
            if let Some(wire) = opening.wire {
                let (connections, flights) = (wire.connections, wire.flights);
                let (sent, received) = (wire.sent, wire.received);
                write!(
                    text,
                    "; {connections} connection(s), {flights} flights, {sent} + {received} bytes"
                )?;
            }
            writeln!(text)?;
        }
        Ok(())
    }

    fn giving_up(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\nseconds until it gives up, exit code")?;
        for gave in &self.running.giving_up {
            let (world, name) = (gave.world, &gave.name);
            let (seconds, exit) = (gave.seconds, gave.exit);
            writeln!(text, "  {world:30} {name:14} {seconds:9.2}  {exit}")?;
        }
        Ok(())
    }

    fn sizes(&self, text: &mut String) -> std::fmt::Result {
        writeln!(
            text,
            "\ninitramfs, and what it has more than plain: KiB packed, KiB unpacked, files"
        )?;
        let mut sizes = self.sizes.iter();
        let plain = sizes.find(|(contestant, _)| *contestant == PLAIN);
        let base = plain.map_or(
            Size {
                packed: 0,
                unpacked: 0,
                files: 0,
            },
            |(_, size)| *size,
        );
        for (contestant, size) in &self.sizes {
            let (name, more) = (contestant.name, size.beyond(base));
            let [packed, unpacked] = [size.packed, size.unpacked].map(|bytes| bytes >> 10);
            let [adds, opens] = [more.packed, more.unpacked].map(|bytes| bytes >> 10);
            let (files, new) = (size.files, more.files);
            writeln!(
                text,
                "  {name:14} {packed:8} {unpacked:8} {files:6}   {adds:+8} {opens:+8} {new:+6}"
            )?;
        }
        Ok(())
    }

    /// For programs: all figures, not only medians.
    pub fn json(&self) -> String {
        let by_name = |pairs: Vec<(&str, Value)>| -> Value {
            let pairs = pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value));
            Value::Object(pairs.collect())
        };
        let boots = self.boots.iter().map(|(c, told)| (c.name, json!(told)));
        let sizes = self.sizes.iter().map(|(c, size)| (c.name, json!(size)));
        let all = json!({
            "programs": self.programs,
            "rounds": self.rounds,
            "boots_ms": by_name(boots.collect()),
            "openings": self.running.openings,
            "giving_up": self.running.giving_up,
            "initramfs_bytes": by_name(sizes.collect()),
        });
        format!("{all:#}\n")
    }
}
