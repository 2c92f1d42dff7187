//! Curves as SVG, with no library and no script.

use std::fmt::Write as _;

pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

const COLORS: [&str; 7] =
    ["#0b6e4f", "#888888", "#d1495b", "#edae49", "#30638e", "#8e5ea2", "#3d3d3d"];
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 40.0;

/// A drawing of curves over one axis; the other begins at 0.
pub(crate) fn draw(title: &str, across: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let most_x = points().map(|point| point.0).fold(1e-9, f64::max);
    let most_y = points().map(|point| point.1).fold(1e-9, f64::max).ceil();
    let place =
        |(x, y): &(f64, f64)| (LEFT + x / most_x * WIDTH, TOP + HEIGHT - y / most_y * HEIGHT);
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 700 350\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"700\" height=\"350\" fill=\"#ffffff\"/>\n",
    );
    let mut text = |x: f64, y: f64, color: &str, text: &str| {
        let _ = writeln!(svg, "<text x=\"{x:.0}\" y=\"{y:.0}\" fill=\"{color}\">{text}</text>");
    };
    text(LEFT, 22.0, "#000000", title);
    text(LEFT + WIDTH / 2.0, TOP + HEIGHT + 36.0, "#000000", across);
    for tick in 0..=4 {
        let share = f64::from(tick) / 4.0;
        text(
            12.0,
            TOP + HEIGHT * (1.0 - share) + 4.0,
            "#444444",
            &format!("{:.2}", most_y * share),
        );
        text(
            LEFT + WIDTH * share - 6.0,
            TOP + HEIGHT + 18.0,
            "#444444",
            &format!("{:.1}", most_x * share),
        );
    }
    for (n, curve) in curves.iter().enumerate() {
        text(
            LEFT + WIDTH + 14.0,
            TOP + 16.0 * (n + 1) as f64,
            COLORS[n % COLORS.len()],
            curve.name,
        );
    }
    let _ = writeln!(
        svg,
        "<path d=\"M{LEFT} {TOP}v{HEIGHT}h{WIDTH}\" fill=\"none\" stroke=\"#444444\"/>"
    );
    for (n, curve) in curves.iter().enumerate().rev() {
        let color = COLORS[n % COLORS.len()];
        let width = if n == 0 { 3 } else { 1 };
        let path: Vec<_> =
            curve.points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let path = path.join(" ");
        let _ = writeln!(
            svg,
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\"/>"
        );
    }
    svg + "</svg>\n"
}
