//! Two sides of a comparison: medians, spread and ratio, one line each.

/// One thing that both sides did, several times each.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was done.
    pub what: String,
    /// Its unit, for people.
    pub unit: &'static str,
    /// Our figures.
    pub ours: Vec<f64>,
    /// Those of the other side.
    pub theirs: Vec<f64>,
    /// What the ratio of medians should be.
    pub goal: &'static str,
}

/// The table's heading.
pub const HEADING: &str = "                                         ours: median (least … most)      cryptsetup: median (least … most)      ratio  goal";

impl Row {
    /// The row as text.
    pub fn line(&self) -> String {
        let ratio = match (median(&self.ours), median(&self.theirs)) {
            (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.2}", ours / theirs),
            _ => "-".to_owned(),
        };
        format!(
            "{:40} {:32} {:37} {ratio:>6}  {}",
            format!("{}, {}", self.what, self.unit),
            spread(&self.ours),
            spread(&self.theirs),
            self.goal
        )
    }
}

/// Median, least and most as text.
pub fn spread(figures: &[f64]) -> String {
    let sorted = sorted(figures);
    match (median(figures), sorted.first(), sorted.last()) {
        (Some(median), Some(least), Some(most)) => {
            format!("{median:9.2} ({least:.2} … {most:.2})")
        }
        _ => format!("{:>9}", "-"),
    }
}

/// The middle figure, or the mean of the two in the middle.
pub fn median(figures: &[f64]) -> Option<f64> {
    let sorted = sorted(figures);
    let upper = sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(*upper);
    }
    let lower = sorted.get((sorted.len() / 2).checked_sub(1)?)?;
    Some(f64::midpoint(*lower, *upper))
}

fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_in_the_middle_of_odd_and_even_numbers_of_figures() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn line_has_both_medians_and_their_ratio() {
        let row = Row {
            what: "open".to_owned(),
            unit: "ms",
            ours: vec![1.0, 2.0, 9.0],
            theirs: vec![8.0],
            goal: "at most 0.5",
        };
        let line = row.line();
        assert!(line.contains("2.00 (1.00 … 9.00)"), "{line}");
        assert!(line.contains("0.25  at most 0.5"), "{line}");
    }
}
