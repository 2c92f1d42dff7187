use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Profile;

const WIDTH: f64 = 1200.0;
const ROW: f64 = 18.0;
const TOP: f64 = 44.0;
/// About as wide as a letter is.
const LETTER: f64 = 6.6;
/// What is narrower is left out.
const NARROWEST: f64 = 0.3;

/// A frame with all that it called.
#[derive(Default)]
struct Call<'a> {
    samples: u64,
    calls: BTreeMap<&'a str, Call<'a>>,
}

impl<'a> Call<'a> {
    fn add(&mut self, stack: &'a str, samples: u64) {
        let mut call = self;
        call.samples += samples;
        for frame in stack.split(';') {
            call = call.calls.entry(frame).or_default();
            call.samples += samples;
        }
    }
}

pub(super) fn draw(profile: &Profile) -> String {
    let mut root = Call::default();
    for (stack, samples) in &profile.stacks {
        root.add(stack, *samples);
    }
    let deepest = profile.stacks.keys().map(|stack| stack.split(';').count()).max().unwrap_or(0);
    let height = TOP + ROW * (deepest as f64 + 1.0) + 12.0;
    let lost = match profile.lost {
        0 => String::new(),
        lost => format!(", {lost} more of too many different stacks"),
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"ui-monospace, monospace\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n<text x=\"10\" y=\"24\" font-size=\"14\" \
         fill=\"#1f2933\">Lua by script line: {} samples{lost}</text>\n",
        root.samples
    );
    let whole = (root.samples as f64).max(1.0);
    let page = Page { per_sample: (WIDTH - 20.0) / whole, whole, bottom: height - 12.0 };
    let mut levels = vec![(&root, "all", 10.0, 0_usize)];
    while let Some((call, name, left, depth)) = levels.pop() {
        page.frame(&mut svg, call.samples, name, left, depth);
        let mut left = left;
        for (name, callee) in &call.calls {
            if callee.samples as f64 * page.per_sample >= NARROWEST {
                levels.push((callee, name, left, depth + 1));
            }
            left += callee.samples as f64 * page.per_sample;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

struct Page {
    /// The width of a sample.
    per_sample: f64,
    whole: f64,
    bottom: f64,
}

impl Page {
    fn frame(&self, svg: &mut String, samples: u64, name: &str, left: f64, depth: usize) {
        let width = samples as f64 * self.per_sample;
        let top = self.bottom - ROW * (depth as f64 + 1.0);
        let share = samples as f64 / self.whole * 100.0;
        let name_shown = escaped(name);
        let _ = writeln!(
            svg,
            "<g><title>{name_shown}: {samples} samples, {share:.1} %</title><rect x=\"{left:.1}\" y=\"{top:.1}\" \
             width=\"{:.1}\" height=\"{:.1}\" rx=\"1\" fill=\"{}\"/>{}</g>",
            (width - 0.5).max(0.2),
            ROW - 1.0,
            color(name, depth),
            label(name, left, top, width),
        );
    }
}

/// As much of the name as there is room for.
fn label(name: &str, left: f64, top: f64, width: f64) -> String {
    let room = ((width - 6.0) / LETTER).max(0.0) as usize;
    if room < 3 {
        return String::new();
    }
    let length = name.chars().count();
    let shown: String = if length <= room {
        name.to_owned()
    } else {
        name.chars().take(room - 1).chain(['…']).collect()
    };
    let (x, y) = (left + 3.0, top + ROW - 5.5);
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"#1f2933\">{}</text>", escaped(&shown))
}

/// The same for the same name, in every picture; the base is grey.
fn color(name: &str, depth: usize) -> String {
    if depth == 0 {
        return "#d5dbe1".to_owned();
    }
    let hash = name
        .bytes()
        .fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
    let (hue, light) = (18 + hash % 36, 62 + (hash >> 8) % 14);
    format!("hsl({hue} 85% {light}%)")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(stacks: &[(&str, u64)]) -> Profile {
        let stacks = stacks.iter().map(|(stack, count)| ((*stack).to_owned(), *count)).collect();
        Profile { stacks, lost: 0 }
    }

    #[test]
    fn a_frame_is_as_wide_as_its_samples_and_stands_on_its_caller() {
        let svg = draw(&profile(&[("lobby;a.lua:1 f;a.lua:9 g", 75), ("lobby;a.lua:1 f", 25)]));
        assert!(svg.contains("<title>a.lua:1 f: 100 samples, 100.0 %</title>"), "{svg}");
        let inner =
            svg.lines().find(|line| line.contains("<title>a.lua:9 g: 75 samples, 75.0 %")).unwrap();
        assert!(inner.contains("width=\"884.5\""), "{inner}");
        let height = |title: &str| {
            let line = svg.lines().find(|line| line.contains(title)).unwrap();
            let (_, rest) = line.split_once(" y=\"").unwrap();
            rest.split_once('"').unwrap().0.parse::<f64>().unwrap()
        };
        assert!((height("a.lua:1 f") - height("a.lua:9 g") - ROW).abs() < 1e-9);
    }

    #[test]
    fn names_cannot_break_the_picture_and_nothing_is_a_picture_too() {
        let svg = draw(&profile(&[("lobby;<b> & \"c\":1", 3)]));
        assert!(svg.contains("&lt;b&gt; &amp; &quot;c&quot;:1") && !svg.contains("<b>"), "{svg}");
        assert!(draw(&Profile::default()).contains("0 samples"));
    }

    #[test]
    fn what_is_too_narrow_to_see_is_left_out() {
        let svg = draw(&profile(&[("lobby;a:1", 1_000_000), ("lobby;b:1", 1)]));
        assert!(svg.contains("a:1") && !svg.contains("b:1"), "{svg}");
    }
}
