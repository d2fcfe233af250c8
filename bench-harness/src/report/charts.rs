//! Charts as inline SVG: lines over a linear or logarithmic axis, and bars.
//!
//! Every series of a chart has the same axes. Invariant: a chart needs no script, no font and no
//! network; a series keeps its colour over the whole page.

use super::summary::short;
use std::fmt::Write;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
const COLOURS: &[&str] = &[
    "#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#57606a",
];

/// Points with a name.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: String,
    /// Which of the page's colours.
    pub(super) colour: usize,
    pub(super) points: Vec<(f64, f64)>,
}

/// What an axis says, and how it is divided.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) logarithmic: bool,
    /// Marks and their texts; without any they are chosen.
    pub(super) marks: Vec<(f64, String)>,
}

impl Axis {
    pub(super) fn linear(name: &'static str) -> Self {
        Self {
            name,
            logarithmic: false,
            marks: Vec::new(),
        }
    }

    pub(super) fn logarithmic(name: &'static str) -> Self {
        Self {
            name,
            logarithmic: true,
            marks: Vec::new(),
        }
    }
}

pub(super) fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// A range of values on so many pixels.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    fn over(values: impl Iterator<Item = f64> + Clone, axis: &Axis) -> Option<Self> {
        let usable =
            values.filter(|value| value.is_finite() && (!axis.logarithmic || *value > 0.0));
        let (low, high) = usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low > high {
            return None;
        }
        if axis.logarithmic {
            let (low, high) = (low.log10().floor(), high.log10().ceil());
            return Some(Self {
                low,
                high: high.max(low + 1.0),
                logarithmic: true,
            });
        }
        let low = low.min(0.0);
        let high = if high > low {
            high + (high - low) * 0.05
        } else {
            low + 1.0
        };
        Some(Self {
            low,
            high,
            logarithmic: false,
        })
    }

    /// From 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let value = if self.logarithmic {
            value.max(f64::MIN_POSITIVE).log10()
        } else {
            value
        };
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    fn marks(&self) -> Vec<(f64, String)> {
        if self.logarithmic {
            let decades = self.low as i32..=self.high as i32;
            return decades
                .map(|decade| 10_f64.powi(decade))
                .map(|value| (value, tick(value)))
                .collect();
        }
        let step = nice_step((self.high - self.low) / 5.0);
        let first = (self.low / step).ceil() as i64;
        (first..=first + MARKS_MAX)
            .map(|index| index as f64 * step)
            .take_while(|value| *value <= self.high)
            .map(|value| (value, tick(value)))
            .collect()
    }
}

/// More marks than steps of a fifth can give.
const MARKS_MAX: i64 = 12;

/// 1, 2 or 5 times a power of ten, at least `least`.
fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| factor * power >= least * 0.999);
    factor.unwrap_or(10.0) * power
}

fn tick(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{}M", value / 1e6),
        v if v >= 1e3 => format!("{}k", value / 1e3),
        v if !(1e-9..1.0).contains(&v) => format!("{value:.0}"),
        _ => short(value),
    }
}

/// Lines; nothing when there are no points.
pub(super) fn lines(title: &str, series: &[Series], x: &Axis, y: &Axis) -> String {
    let values = |pick: fn(&(f64, f64)) -> f64| series.iter().flat_map(|s| &s.points).map(pick);
    let (Some(xs), Some(ys)) = (
        Scale::over(values(|p| p.0), x),
        Scale::over(values(|p| p.1), y),
    ) else {
        return String::new();
    };
    let mut svg = open(title);
    let x_marks = if x.marks.is_empty() {
        xs.marks()
    } else {
        x.marks.clone()
    };
    grid(&mut svg, &xs, &x_marks, &ys, (x.name, y.name));
    for line in series.iter().filter(|line| !line.points.is_empty()) {
        let points: Vec<String> = line
            .points
            .iter()
            .map(|(px, py)| format!("{:.1},{:.1}", to_x(xs.place(*px)), to_y(ys.place(*py))))
            .collect();
        let _ = write!(
            svg,
            r#"<polyline fill="none" stroke="{}" stroke-width="1.6" points="{}"><title>{}</title></polyline>"#,
            colour(line.colour),
            points.join(" "),
            escape(&line.name)
        );
        if line.points.len() <= DOTS_MAX {
            for point in &points {
                let (px, py) = point.split_once(',').unwrap_or_default();
                let _ = write!(
                    svg,
                    r#"<circle cx="{px}" cy="{py}" r="2.5" fill="{}"/>"#,
                    colour(line.colour)
                );
            }
        }
    }
    svg + "</svg></figure>"
}

const DOTS_MAX: usize = 12;

/// One bar for each name, with the ends of its interval.
pub(super) fn bars(title: &str, unit: &str, bars: &[(String, usize, f64, f64, f64)]) -> String {
    if bars.is_empty() {
        return String::new();
    }
    let most = bars
        .iter()
        .map(|bar| bar.4.max(bar.2))
        .fold(f64::MIN_POSITIVE, f64::max);
    let height = 24.0 * bars.len() as f64 + 8.0;
    let mut svg = format!(
        r#"<figure><figcaption>{} <small>{}</small></figcaption><svg viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">"#,
        escape(title),
        escape(unit)
    );
    for (index, (name, tint, value, low, high)) in bars.iter().enumerate() {
        let top = 24.0 * index as f64 + 4.0;
        let span = WIDTH - BAR_LEFT - BAR_RIGHT;
        let at = |value: f64| BAR_LEFT + value / most * span;
        let _ = write!(
            svg,
            r#"<text x="{:.0}" y="{:.1}" text-anchor="end">{}</text><rect x="{BAR_LEFT}" y="{top:.1}" width="{:.1}" height="16" fill="{}"/>"#,
            BAR_LEFT - 6.0,
            top + 12.0,
            escape(name),
            at(*value) - BAR_LEFT,
            colour(*tint)
        );
        if high > low {
            let middle = top + 8.0;
            let _ = write!(
                svg,
                r##"<line x1="{:.1}" x2="{:.1}" y1="{middle:.1}" y2="{middle:.1}" stroke="#000" stroke-width="2"/>"##,
                at(*low),
                at(*high)
            );
        }
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}">{}</text>"#,
            at(high.max(*value)) + 6.0,
            top + 12.0,
            short(*value)
        );
    }
    svg + "</svg></figure>"
}

const BAR_LEFT: f64 = 150.0;
const BAR_RIGHT: f64 = 70.0;

fn open(title: &str) -> String {
    format!(
        r#"<figure><figcaption>{}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">"#,
        escape(title)
    )
}

fn grid(svg: &mut String, xs: &Scale, x_marks: &[(f64, String)], ys: &Scale, names: (&str, &str)) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for (value, text) in ys.marks() {
        let y = to_y(ys.place(value));
        let _ = write!(
            svg,
            r##"<line x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{text}</text>"##,
            LEFT - 5.0,
            y + 4.0
        );
    }
    for (value, text) in x_marks {
        let x = to_x(xs.place(*value));
        let _ = write!(
            svg,
            r##"<line x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{bottom}" stroke="#eee"/><text x="{x:.1}" y="{}" text-anchor="middle">{text}</text>"##,
            bottom + 14.0
        );
    }
    let _ = write!(
        svg,
        r#"<text x="{}" y="{}" text-anchor="middle" class="axis">{}</text><text transform="translate(12 {}) rotate(-90)" text-anchor="middle" class="axis">{}</text>"#,
        f64::midpoint(LEFT, right),
        HEIGHT - 8.0,
        names.0,
        f64::midpoint(TOP, bottom),
        names.1
    );
}

fn to_x(share: f64) -> f64 {
    LEFT + share * (WIDTH - LEFT - RIGHT)
}

fn to_y(share: f64) -> f64 {
    HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
}

/// For text and attributes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_one_two_or_five() {
        for (least, step) in [
            (0.9, 1.0),
            (1.0, 1.0),
            (1.1, 2.0),
            (3.0, 5.0),
            (7_000.0, 10_000.0),
            (0.03, 0.05),
        ] {
            assert!((nice_step(least) / step - 1.0).abs() < 1e-9, "{least}");
        }
    }

    #[test]
    fn a_chart_has_a_line_for_each_series_within_its_frame() {
        let series = |name: &str, points: &[(f64, f64)]| Series {
            name: name.to_owned(),
            colour: 0,
            points: points.to_vec(),
        };
        let all = [
            series("a<b", &[(0.0, 10.0), (1.0, 1000.0)]),
            series("c", &[(0.5, 50.0)]),
        ];
        let svg = lines("t", &all, &Axis::linear("s"), &Axis::logarithmic("us"));
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
        assert!(
            svg.contains("62.0,220.0"),
            "the lowest value of the first second is in the corner: {svg}"
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
        assert_eq!(lines("t", &[], &Axis::linear("s"), &Axis::linear("y")), "");
        assert_eq!(
            lines(
                "t",
                &[series("z", &[(1.0, 0.0)])],
                &Axis::linear("s"),
                &Axis::logarithmic("y")
            ),
            ""
        );
    }
}
