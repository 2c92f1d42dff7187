//! The bench of logins beside slow transactions as pages of their own: a table in each language, and a picture.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::estimates::{Estimate, Unit};
use super::report::shown;
use super::results::{self, Results};

const CRATE: &str = "stage-lua";

const RATES: [u32; 2] = [800, 1600];

/// A login that was given up after so many nanoseconds is not done.
const GIVEN_UP: f64 = 5e9;

/// The table of a page stands between these.
const BEGIN: &str = "<!-- table: written by cargo xtask bench --publish -->\n\n";
const END: &str = "\n<!-- end of the table -->";

const PICTURE: &str = "docs/images/login.svg";

/// A page with the table, and what it calls things.
struct Page {
    path: &'static str,
    header: &'static str,
    ways: [&'static str; 3],
    none: &'static str,
}

/// The ids of the ways, in the order in which pages name them.
const WAYS: [&str; 3] = ["stage", "lock per user", "global lock"];

const PAGES: [Page; 2] = [
    Page {
        path: "docs/bench/login.md",
        header: "| arrivals/s | service | slow transactions | p50 | p99 | p99.9 | p99 of the middle half second | logins/s done within 1 s | connections in use |",
        ways: ["STAGE", "a lock per user", "one global lock"],
        none: "none",
    },
    Page {
        path: "docs/ko/bench/login.md",
        header: "| 도착/s | 서비스 | 느린 트랜잭션 | p50 | p99 | p99.9 | 가운데 0.5초의 p99 | 1초 안에 끝난 로그인/s | 쓰인 연결 |",
        ways: ["STAGE", "사용자별 잠금", "전역 잠금"],
        none: "없음",
    },
];

/// Renews the pages and the picture, if the run measured logins.
pub(super) fn publish(root: &Path, results: &Results) -> Result<()> {
    let Some(picture) = picture(results) else { return Ok(()) };
    fs::write(root.join(PICTURE), picture).with_context(|| format!("writing {PICTURE}"))?;
    for page in &PAGES {
        let path = root.join(page.path);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", page.path))?;
        let renewed = with_table(&text, &table(page, results))
            .with_context(|| format!("{} has no place for the table", page.path))?;
        fs::write(&path, renewed).with_context(|| format!("writing {}", page.path))?;
    }
    Ok(())
}

/// The page with another table between its marks.
fn with_table(page: &str, table: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}{table}{END}{after}"))
}

fn table(page: &Page, results: &Results) -> String {
    let mut text = format!("{}\n|---:|---|---|---:|---:|---:|---:|---:|---:|\n", page.header);
    for rate in RATES {
        for (way, name) in WAYS.into_iter().zip(page.ways) {
            for slow in [false, true] {
                let value = |what: &str| median(results, what, rate, slow, way);
                let time = |what: &str| value(what).map_or_else(String::new, time);
                let per_second = value("done within 1 s").map(|each| 1e9 / each);
                let beside = if slow { "1 %" } else { page.none };
                let _ = writeln!(
                    text,
                    "| {rate} | {name} | {beside} | {} | {} | {} | {} | {} | {} |",
                    time("p50"),
                    time("p99"),
                    time("p99.9"),
                    time("p99 of the middle half second"),
                    count(per_second),
                    count(value("connections in use")),
                );
            }
        }
    }
    text
}

fn median(results: &Results, what: &str, rate: u32, slow: bool, way: &str) -> Option<f64> {
    let beside = if slow { "beside slow transactions" } else { "alone" };
    let rounds: &[Estimate] =
        results.by_full_id(CRATE, &format!("login {what} at {rate} per s {beside}/{way}"))?;
    results::value(rounds).map(|spread| spread.median)
}

fn time(nanoseconds: f64) -> String {
    if nanoseconds >= GIVEN_UP { "> 5 s".to_owned() } else { shown(nanoseconds, &Unit::Time) }
}

fn count(number: Option<f64>) -> String {
    number.map_or_else(String::new, |number| format!("{number:.0}"))
}

const LEFT: f64 = 210.0;
/// The width of a factor of ten.
const DECADE: f64 = 122.5;
const LARGE: u32 = RATES[1];

/// The p99 of each way, alone and beside the slow transactions, on a logarithmic axis from a millisecond to ten seconds.
fn picture(results: &Results) -> Option<String> {
    let p99 = |way, slow| median(results, "p99", LARGE, slow, way);
    let mut bars = String::new();
    let mut told = Vec::new();
    for (index, (way, name)) in WAYS.into_iter().zip(PAGES[0].ways).enumerate() {
        let (alone, beside) = (p99(way, false)?, p99(way, true)?);
        let top = 62.0 + 62.0 * index as f64;
        let color = if way == results::OURS { "#1f7a4d" } else { "#c0392b" };
        let _ = writeln!(
            bars,
            "<text x=\"198\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#1f2933\">{name}</text>",
            top + 28.0
        );
        bar(alone, top, "#9aa5b1", &mut bars);
        bar(beside, top + 24.0, color, &mut bars);
        told.push(format!("{name} {} and {}", time(alone), time(beside)));
    }
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 760 300\" font-family=\"system-ui, sans-serif\" \
         font-size=\"14\" role=\"img\" aria-label=\"p99 of logins at {LARGE} arrivals per second, alone and beside slow \
         transactions: {}\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"30\" font-size=\"16\" font-weight=\"600\" fill=\"#1f2933\">99 of 100 logins are done within ... \
         (logarithmic)</text>\n",
        told.join(", ").replace('>', "&gt;")
    );
    for (power, tick) in ["1 ms", "10 ms", "100 ms", "1 s", "10 s"].into_iter().enumerate() {
        let x = LEFT + DECADE * power as f64;
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"50\" x2=\"{x:.1}\" y2=\"240\" stroke=\"#d5dbe1\"/>\
             <text x=\"{x:.1}\" y=\"258\" text-anchor=\"middle\" fill=\"#52606d\">{tick}</text>"
        );
    }
    let _ = writeln!(
        svg,
        "{bars}<text x=\"20\" y=\"288\" fill=\"#52606d\">grey: alone; colour: while one user in a hundred runs a transaction \
         of a second. {LARGE} arrivals a second, 16 connections.</text></svg>"
    );
    Some(svg)
}

fn bar(nanoseconds: f64, top: f64, color: &str, svg: &mut String) {
    let width = (DECADE * (nanoseconds / 1e6).log10()).max(2.0);
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT:.0}\" y=\"{top:.0}\" width=\"{width:.1}\" height=\"20\" fill=\"{color}\"/>\
         <text x=\"{:.1}\" y=\"{:.0}\" fill=\"#1f2933\">{}</text>",
        LEFT + width + 6.0,
        top + 15.0,
        time(nanoseconds).replace('>', "&gt;")
    );
}

#[cfg(test)]
mod tests {
    use super::super::estimates::Id;
    use super::*;

    /// As the bench leaves them: STAGE takes 3 ms, the others 400 ms beside the slow transactions, the last for ever.
    fn results() -> Results {
        let mut results = Results::default();
        let mut measured = Vec::new();
        for (way, rate, slow) in WAYS
            .into_iter()
            .flat_map(|way| RATES.map(|rate| (way, rate)))
            .flat_map(|(way, rate)| [false, true].map(|slow| (way, rate, slow)))
        {
            let beside = if slow { "beside slow transactions" } else { "alone" };
            let nanoseconds = match way {
                "global lock" if slow => 5e9,
                "lock per user" if slow => 4e8,
                _ => 3e6,
            };
            let values = [
                ("p50", nanoseconds),
                ("p99", nanoseconds),
                ("p99.9", nanoseconds),
                ("p99 of the middle half second", nanoseconds),
                ("done within 1 s", 1e9 / f64::from(rate)),
                ("connections in use", 16.0),
            ];
            measured.extend(values.map(|(what, median)| {
                let id = Id {
                    group: format!("login {what} at {rate} per s {beside}"),
                    parameter: String::new(),
                    implementation: way.into(),
                    unit: Unit::Time,
                };
                (id, Estimate { median, low: median, high: median })
            }));
        }
        results.add_round(CRATE, measured);
        results
    }

    #[test]
    fn the_table_has_a_row_for_each_way_rate_and_neighbour() {
        let table = table(&PAGES[0], &results());
        assert_eq!(table.lines().count(), 2 + 12, "{table}");
        let rows = [
            "| 800 | STAGE | none | 3.00 ms | 3.00 ms | 3.00 ms | 3.00 ms | 800 | 16 |",
            "| 1600 | a lock per user | 1 % | 400 ms | 400 ms | 400 ms | 400 ms | 1600 | 16 |",
            "| 1600 | one global lock | 1 % | > 5 s | > 5 s | > 5 s | > 5 s | 1600 | 16 |",
        ];
        assert!(rows.iter().all(|row| table.contains(row)), "{table}");
    }

    #[test]
    fn the_committed_pages_have_a_place_for_the_table_and_keep_what_stands_around_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for page in &PAGES {
            let text = fs::read_to_string(root.join(page.path)).unwrap();
            let renewed = with_table(&text, "| new |\n").unwrap();
            assert!(renewed.contains("| new |") && !renewed.contains(page.header), "{}", page.path);
            assert_eq!(renewed.lines().next(), text.lines().next());
            assert_eq!(with_table(&renewed, "| new |\n"), Some(renewed));
        }
    }

    #[test]
    fn the_picture_shows_ours_in_green_and_what_was_given_up_as_more_than_it_was_waited_for() {
        let svg = picture(&results()).unwrap();
        assert_eq!(svg.matches("fill=\"#1f7a4d\"").count(), 1);
        assert!(svg.contains(">&gt; 5 s</text>") && svg.contains(">400 ms</text>"), "{svg}");
        assert!(picture(&Results::default()).is_none());
    }
}
