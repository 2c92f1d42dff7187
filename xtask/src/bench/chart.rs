//! A crate's ratios as a picture: for each peer a bar from 1 to how many times as long it takes as STAGE.

use std::fmt::Write as _;

use super::results::{self, Comparison, OURS, Results, Spread};

/// One chart for each crate that has peers: its name, and the picture as SVG.
pub(crate) fn charts(results: &Results) -> Vec<(String, String)> {
    let comparisons = results.comparisons();
    let of_crates = comparisons.chunk_by(|a, b| a.crate_name == b.crate_name);
    of_crates
        .filter_map(|of_crate| {
            let rows: Vec<_> = of_crate.iter().flat_map(rows).collect();
            let name = of_crate.first()?.crate_name.to_owned();
            (!rows.is_empty()).then(|| (name.clone(), draw(&name, &rows)))
        })
        .collect()
}

struct Row {
    /// What was measured; only in the first row of several peers.
    what: Option<String>,
    peer: String,
    /// How many times as long the peer takes.
    times: Spread,
}

fn rows(comparison: &Comparison<'_>) -> Vec<Row> {
    let Some(ours) = comparison.ours() else { return Vec::new() };
    let mut what = Some([comparison.group, comparison.parameter].join(" ").trim_end().to_owned());
    let peers = comparison.entries.iter().filter(|(id, _)| id.implementation != OURS);
    peers
        .filter_map(|(id, peer)| {
            let times = results::ratio(peer, ours)?;
            Some(Row { what: what.take(), peer: id.implementation.clone(), times })
        })
        .collect()
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 470.0;
const RIGHT: f64 = 830.0;
const TOP: f64 = 62.0;
const ROW: f64 = 22.0;
const BAR: f64 = 12.0;

/// A logarithmic axis over whole powers of ten that holds every spread and 1.
struct Axis {
    first: i32,
    last: i32,
}

impl Axis {
    fn of(rows: &[Row]) -> Self {
        let power = |value: f64| value.log10();
        let low = rows.iter().map(|row| power(row.times.low)).fold(-0.3, f64::min);
        let high = rows.iter().map(|row| power(row.times.high)).fold(1.0, f64::max);
        Self { first: low.floor() as i32, last: high.ceil() as i32 }
    }

    fn at(&self, value: f64) -> f64 {
        let span = f64::from(self.last - self.first);
        LEFT + (value.log10() - f64::from(self.first)) / span * (RIGHT - LEFT)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.first..=self.last).map(|power| 10_f64.powi(power))
    }
}

fn draw(crate_name: &str, rows: &[Row]) -> String {
    let axis = Axis::of(rows);
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + 44.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"13\" role=\"img\" aria-label=\"{crate_name}: how many times as long others take\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"28\" font-size=\"16\" font-weight=\"600\" fill=\"#1f2933\">{crate_name}: how many times as long others take</text>\n"
    );
    for tick in axis.ticks() {
        let (x, color) = (axis.at(tick), if tick == 1.0 { "#52606d" } else { "#d5dbe1" });
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"{color}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#52606d\">{tick}×</text>",
            bottom + 18.0
        );
    }
    for (index, row) in rows.iter().enumerate() {
        draw_row(row, TOP + ROW * index as f64, &axis, &mut svg);
    }
    let _ = writeln!(
        svg,
        "<text x=\"16\" y=\"{:.1}\" fill=\"#52606d\">green: STAGE takes less; red: more; \
         the thin line: from the lowest to the highest of the rounds</text></svg>",
        bottom + 38.0
    );
    svg
}

fn draw_row(row: &Row, top: f64, axis: &Axis, svg: &mut String) {
    let Spread { median, low, high } = row.times;
    let (one, at, middle) = (axis.at(1.0), axis.at(median), top + ROW / 2.0);
    let color = if median >= 1.0 { "#1f7a4d" } else { "#c0392b" };
    if let Some(what) = &row.what {
        let _ = writeln!(
            svg,
            "<text x=\"16\" y=\"{:.1}\" font-weight=\"600\" fill=\"#1f2933\">{}</text>",
            middle + 4.0,
            text(&shortened(what, 34))
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#1f2933\">{}</text>\
         <rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{color}\"/>\
         <line x1=\"{:.1}\" y1=\"{middle:.1}\" x2=\"{:.1}\" y2=\"{middle:.1}\" stroke=\"#1f2933\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#1f2933\">{}</text>",
        LEFT - 8.0,
        middle + 4.0,
        text(&shortened(&row.peer, 30)),
        one.min(at),
        middle - BAR / 2.0,
        (at - one).abs().max(1.0),
        axis.at(low),
        axis.at(high),
        axis.at(high).max(one) + 6.0,
        middle + 4.0,
        shown(median),
    );
}

/// Three digits and the sign of times.
fn shown(times: f64) -> String {
    match times {
        100.0.. => format!("{times:.0}×"),
        10.0.. => format!("{times:.1}×"),
        _ => format!("{times:.2}×"),
    }
}

fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn text(raw: &str) -> String {
    raw.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::estimates::{self, Estimate, Id, Unit};
    use super::*;

    #[test]
    fn a_crate_is_drawn_with_a_bar_for_each_peer_and_none_for_itself() {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/criterion");
        let mut results = Results::default();
        results.add_round("pail", estimates::read(&fixtures).unwrap());
        let charts = charts(&results);
        let [(name, svg)] = &charts[..] else { panic!("one chart, not {}", charts.len()) };
        assert_eq!(name, "pail");
        assert_eq!(svg.matches("height=\"12\"").count(), 1);
        assert!(svg.contains(">one key 64</text>") && svg.contains(">2.00×</text>"), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn names_of_peers_cannot_break_the_picture() {
        let estimate = |median| Estimate { median, low: median, high: median };
        let id = |name: &str| Id {
            group: "a<b".into(),
            implementation: name.into(),
            parameter: String::new(),
            unit: Unit::Time,
        };
        let mut results = Results::default();
        let measured = vec![(id("stage"), estimate(8.0)), (id("x & <y>"), estimate(2.0))];
        results.add_round("pail", measured);
        let (_, svg) = charts(&results).remove(0);
        assert!(svg.contains("x &amp; &lt;y&gt;") && svg.contains("a&lt;b"), "{svg}");
        assert!(svg.contains("#c0392b") && svg.contains(">0.25×</text>"), "{svg}");
    }

    #[test]
    fn the_axis_holds_the_lowest_and_the_highest_and_one() {
        let times = |low, high| Spread { median: low, low, high };
        let row = |times| Row { what: None, peer: String::new(), times };
        let axis = Axis::of(&[row(times(0.03, 0.04)), row(times(2.0, 300.0))]);
        assert_eq!(axis.ticks().collect::<Vec<_>>(), [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]);
        assert!((axis.at(0.01) - LEFT).abs() < 1e-6 && (axis.at(1000.0) - RIGHT).abs() < 1e-6);
    }
}
