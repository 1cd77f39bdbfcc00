//! A plot of a few curves as SVG, for the documentation: the x axis in powers of ten, the y axis from zero.

use std::fmt::Write as _;

/// What is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Plot<'a> {
    pub title: &'a str,
    /// What the axes count.
    pub x: &'a str,
    pub y: &'a str,
    pub curves: Vec<Curve<'a>>,
}

/// One of its curves. What is no number, or has no logarithm, is left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve<'a> {
    pub name: &'a str,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Around the axes: left, right, top, bottom.
const MARGIN: [f64; 4] = [70.0, 45.0, 80.0, 55.0];
/// They can be told apart by those who do not see red and green, and so can their marks.
const COLOURS: [&str; 4] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];

/// Where numbers are in the picture.
struct Scale {
    /// Powers of ten.
    x: (f64, f64),
    top: f64,
    step: f64,
}

impl Scale {
    fn of(points: &[(f64, f64)]) -> Self {
        let powers = || points.iter().map(|(x, _)| x.log10());
        let (low, high) = (powers().fold(f64::INFINITY, f64::min), powers().fold(0.0, f64::max));
        let highest = points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
        let step = step(highest);
        let low = if low.is_finite() { low.floor() } else { 0.0 };
        Self { x: (low, high.ceil().max(low + 1.0)), top: step * (highest / step).ceil().max(1.0), step }
    }

    fn x(&self, value: f64) -> f64 {
        let [left, right, ..] = MARGIN;
        left + (value.log10() - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - left - right)
    }

    fn y(&self, value: f64) -> f64 {
        let [.., top, bottom] = MARGIN;
        HEIGHT - bottom - value / self.top * (HEIGHT - top - bottom)
    }
}

/// How far the lines across are from each other: 1, 2 or 5 times a power of ten, so that there are from 3 to 7 of them.
fn step(highest: f64) -> f64 {
    if highest <= 0.0 {
        return 1.0;
    }
    let rough = highest / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let times = [1.0, 2.0, 5.0, 10.0].into_iter().find(|times| times * power >= rough).unwrap_or(10.0);
    times * power
}

impl Plot<'_> {
    /// The picture. The same numbers are the same text on every machine.
    pub fn svg(&self) -> String {
        let good = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite() && *x > 0.0 && *y >= 0.0;
        let curves: Vec<(&str, Vec<(f64, f64)>)> = self
            .curves
            .iter()
            .map(|curve| (curve.name, curve.points.iter().copied().filter(good).collect()))
            .collect();
        let all: Vec<(f64, f64)> = curves.iter().flat_map(|(_, points)| points.iter().copied()).collect();
        let scale = Scale::of(&all);
        let [left, right, top, bottom] = MARGIN;
        let (end, floor) = (WIDTH - right, HEIGHT - bottom);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" \
             fill=\"#222\" role=\"img\">\n<title>{}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n",
            escaped(self.title)
        );
        let mut text = |x: f64, y: f64, more: &str, words: &str| {
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\"{more}>{}</text>", escaped(words));
        };
        text(left, 22.0, " font-size=\"15\" font-weight=\"bold\"", self.title);
        text(f64::midpoint(left, end), HEIGHT - 12.0, " text-anchor=\"middle\"", self.x);
        text(left, top - 12.0, "", self.y);
        let mut lines = String::new();
        let mut line = |from: (f64, f64), to: (f64, f64), colour: &str| {
            let ((x1, y1), (x2, y2)) = (from, to);
            let _ = writeln!(
                lines,
                "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
            );
        };
        let mut value = 0.0;
        while value <= scale.top * 1.001 {
            let y = scale.y(value);
            line((left, y), (end, y), if value > 0.0 { "#ddd" } else { "#222" });
            text(left - 8.0, y + 4.0, " text-anchor=\"end\"", &number(value));
            value += scale.step;
        }
        let mut power = scale.x.0;
        while power <= scale.x.1 {
            let x = scale.x(10_f64.powf(power));
            line((x, floor), (x, floor + 5.0), "#222");
            text(x, floor + 20.0, " text-anchor=\"middle\"", &number(10_f64.powf(power)));
            power += 1.0;
        }
        let (mut from, mut marks) = (left, String::new());
        for ((name, _), colour) in curves.iter().zip(COLOURS.iter().cycle()) {
            text(from + 14.0, 46.0, "", name);
            let _ = writeln!(marks, "<circle cx=\"{:.1}\" cy=\"42\" r=\"4\" fill=\"{colour}\"/>", from + 5.0);
            // About as wide as the words are.
            from += 34.0 + 7.0 * f64::from(u32::try_from(name.chars().count()).unwrap_or(0));
        }
        svg += &lines;
        svg += &marks;
        for ((_, points), colour) in curves.iter().zip(COLOURS.iter().cycle()) {
            let at: Vec<String> =
                points.iter().map(|(x, y)| format!("{:.1},{:.1}", scale.x(*x), scale.y(*y))).collect();
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                at.join(" ")
            );
            for (x, y) in points {
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"><title>{}: {}</title></circle>",
                    scale.x(*x),
                    scale.y(*y),
                    number(*x),
                    number(*y)
                );
            }
        }
        svg + "</svg>\n"
    }
}

/// With a comma between thousands; small ones with one digit behind the point, where it is not zero.
fn number(value: f64) -> String {
    let text = if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if matches!(rest, "" | "0") { grouped } else { format!("{grouped}.{rest}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(curves: &[(&str, &[(f64, f64)])]) -> String {
        let curves = curves.iter().map(|(name, points)| Curve { name, points: points.to_vec() }).collect();
        Plot { title: "cost & size", x: "records", y: "µs", curves }.svg()
    }

    #[test]
    fn numbers_are_in_their_places() {
        insta::assert_snapshot!(plot(&[("a<b", &[(10.0, 0.0), (1000.0, 50.0)])]), @r##"
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 400" font-family="sans-serif" font-size="12" fill="#222" role="img">
        <title>cost &amp; size</title>
        <rect width="720" height="400" fill="#fff"/>
        <text x="70.0" y="22.0" font-size="15" font-weight="bold">cost &amp; size</text>
        <text x="372.5" y="388.0" text-anchor="middle">records</text>
        <text x="70.0" y="68.0">µs</text>
        <text x="62.0" y="349.0" text-anchor="end">0</text>
        <text x="62.0" y="296.0" text-anchor="end">10</text>
        <text x="62.0" y="243.0" text-anchor="end">20</text>
        <text x="62.0" y="190.0" text-anchor="end">30</text>
        <text x="62.0" y="137.0" text-anchor="end">40</text>
        <text x="62.0" y="84.0" text-anchor="end">50</text>
        <text x="70.0" y="365.0" text-anchor="middle">10</text>
        <text x="372.5" y="365.0" text-anchor="middle">100</text>
        <text x="675.0" y="365.0" text-anchor="middle">1,000</text>
        <text x="84.0" y="46.0">a&lt;b</text>
        <line x1="70.0" y1="345.0" x2="675.0" y2="345.0" stroke="#222"/>
        <line x1="70.0" y1="292.0" x2="675.0" y2="292.0" stroke="#ddd"/>
        <line x1="70.0" y1="239.0" x2="675.0" y2="239.0" stroke="#ddd"/>
        <line x1="70.0" y1="186.0" x2="675.0" y2="186.0" stroke="#ddd"/>
        <line x1="70.0" y1="133.0" x2="675.0" y2="133.0" stroke="#ddd"/>
        <line x1="70.0" y1="80.0" x2="675.0" y2="80.0" stroke="#ddd"/>
        <line x1="70.0" y1="345.0" x2="70.0" y2="350.0" stroke="#222"/>
        <line x1="372.5" y1="345.0" x2="372.5" y2="350.0" stroke="#222"/>
        <line x1="675.0" y1="345.0" x2="675.0" y2="350.0" stroke="#222"/>
        <circle cx="75.0" cy="42" r="4" fill="#0072b2"/>
        <polyline points="70.0,345.0 675.0,80.0" fill="none" stroke="#0072b2" stroke-width="2"/>
        <circle cx="70.0" cy="345.0" r="3.5" fill="#0072b2"><title>10: 0</title></circle>
        <circle cx="675.0" cy="80.0" r="3.5" fill="#0072b2"><title>1,000: 50</title></circle>
        </svg>
        "##);
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let nothing = plot(&[("none", &[])]);
        assert_eq!(
            plot(&[("none", &[(0.0, 1.0), (-1.0, 1.0), (1.0, f64::NAN), (f64::INFINITY, 1.0)])]),
            nothing
        );
        assert!(
            nothing.ends_with("</svg>\n") && !nothing.contains("NaN") && !nothing.contains("inf"),
            "{nothing}"
        );
    }

    #[test]
    fn lines_across_have_round_numbers() {
        for (highest, wanted) in
            [(0.0, 1.0), (3.0, 1.0), (7.0, 2.0), (50.0, 10.0), (101.0, 50.0), (420.0, 100.0)]
        {
            let step = step(highest);
            assert!((step - wanted).abs() < 1e-9, "{highest}: {step}");
        }
        assert_eq!([0.0, 2.5, 20.0, 1234.4, 1e6].map(number), ["0", "2.5", "20", "1,234", "1,000,000"]);
    }
}
