//! One chart: axes, curves, marks and a legend, as SVG inside a figure.
//!
//! The legend stands below the drawing as ordinary text, so that it never covers a curve and wraps on a small screen.

use std::fmt::Write as _;

use super::scale::Scale;
use super::words::escape;

/// Width of the drawing in its own units; the page scales it.
pub(super) const WIDTH: f64 = 960.0;
/// Height of an ordinary chart.
pub(super) const HEIGHT: f64 = 320.0;
/// Room around the plotted area: left for values and label, right, top, bottom for ticks and label.
pub(super) const LEFT: f64 = 78.0;
pub(super) const RIGHT: f64 = 18.0;
pub(super) const TOP: f64 = 14.0;
pub(super) const BOTTOM: f64 = 46.0;

/// One axis.
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) scale: Scale,
    /// Values that get a tick, and what it says.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    pub(super) fn new(label: &'static str, scale: Scale, text: fn(f64) -> String) -> Self {
        let ticks = scale.ticks().into_iter().map(|tick| (tick, text(tick))).collect();
        Self { label, scale, ticks }
    }
}

/// How a curve is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stroke {
    Solid,
    Dashed,
}

/// Points in order along x.
pub(super) struct Curve {
    pub(super) name: String,
    /// Index into the page's palette.
    pub(super) color: usize,
    pub(super) stroke: Stroke,
    pub(super) points: Vec<(f64, f64)>,
    /// Points that stand out.
    pub(super) dots: Vec<Dot>,
}

/// A point that stands out and says something when pointed at.
pub(super) struct Dot {
    pub(super) at: (f64, f64),
    pub(super) text: String,
    pub(super) fill: Fill,
}

/// Whether a dot counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    Full,
    /// What it stands for cannot be believed.
    Hollow,
}

impl Curve {
    pub(super) fn line(name: impl Into<String>, color: usize, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            color,
            stroke: Stroke::Solid,
            points,
            dots: Vec::new(),
        }
    }
}

/// A line across the chart that says something.
pub(super) enum Mark {
    Vertical { at: f64, text: String },
    Horizontal { at: f64, text: String },
}

/// A chart.
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) note: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) curves: Vec<Curve>,
    pub(super) marks: Vec<Mark>,
}

impl Plot {
    /// The figure.
    pub(super) fn figure(&self) -> String {
        let mut svg = open_svg(HEIGHT, &self.title);
        self.grid(&mut svg);
        for mark in &self.marks {
            self.mark(&mut svg, mark);
        }
        for (index, curve) in self.curves.iter().enumerate() {
            self.curve(&mut svg, index, curve);
        }
        svg.push_str("</svg>");
        figure(&self.title, &self.note, &svg, &self.legend())
    }

    fn at(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let across = LEFT + self.x.scale.place(x) * (WIDTH - LEFT - RIGHT);
        let down = HEIGHT - BOTTOM - self.y.scale.place(y) * (HEIGHT - TOP - BOTTOM);
        (across, down)
    }

    fn grid(&self, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for (value, text) in &self.y.ticks {
            let y = place_y(self.y.scale, *value);
            push(
                svg,
                format_args!("<line class=g x1={LEFT} x2={right} y1={y:.1} y2={y:.1} />"),
            );
            tick(svg, (LEFT - 8.0, y + 4.0), "end", text);
        }
        for (value, text) in &self.x.ticks {
            let x = LEFT + self.x.scale.place(*value) * (WIDTH - LEFT - RIGHT);
            push(
                svg,
                format_args!("<line class=g y1={TOP} y2={bottom} x1={x:.1} x2={x:.1} />"),
            );
            tick(svg, (x, bottom + 17.0), "middle", text);
        }
        labels(svg, HEIGHT, self.x.label, self.y.label);
    }

    fn curve(&self, svg: &mut String, index: usize, curve: &Curve) {
        let color = curve.color % COLORS;
        let dash = if curve.stroke == Stroke::Dashed { " d" } else { "" };
        push(
            svg,
            format_args!("<g class=\"s{index}\"><polyline class=\"c c{color}{dash}\" points=\""),
        );
        for point in &curve.points {
            let (x, y) = self.at(*point);
            push(svg, format_args!("{x:.1},{y:.1} "));
        }
        push(
            svg,
            format_args!("\"><title>{}</title></polyline>", escape(&curve.name)),
        );
        for dot in &curve.dots {
            let (x, y) = self.at(dot.at);
            let text = escape(&dot.text);
            let hollow = if dot.fill == Fill::Hollow { " q" } else { "" };
            push(
                svg,
                format_args!(
                    "<circle class=\"p c{color}{hollow}\" cx={x:.1} cy={y:.1} r=3.5><title>{text}</title></circle>"
                ),
            );
        }
        svg.push_str("</g>");
    }

    fn mark(&self, svg: &mut String, mark: &Mark) {
        match mark {
            Mark::Vertical { at, text } => {
                let x = LEFT + self.x.scale.place(*at) * (WIDTH - LEFT - RIGHT);
                push(
                    svg,
                    format_args!(
                        "<line class=m y1={TOP} y2={} x1={x:.1} x2={x:.1} />",
                        HEIGHT - BOTTOM
                    ),
                );
                // On the side where there is room.
                let (shift, anchor) = if x > WIDTH * 0.7 {
                    (-6.0, "end")
                } else {
                    (6.0, "start")
                };
                mark_text(svg, (x + shift, TOP + 12.0), anchor, text);
            }
            Mark::Horizontal { at, text } => {
                let y = place_y(self.y.scale, *at);
                push(
                    svg,
                    format_args!(
                        "<line class=m x1={LEFT} x2={} y1={y:.1} y2={y:.1} />",
                        WIDTH - RIGHT
                    ),
                );
                mark_text(svg, (LEFT + 6.0, y - 5.0), "start", text);
            }
        }
    }

    fn legend(&self) -> String {
        let mut out = String::new();
        for (index, curve) in self.curves.iter().enumerate() {
            let dash = if curve.stroke == Stroke::Dashed { " d" } else { "" };
            push(
                &mut out,
                format_args!(
                    "<button class=l data-s=s{index}><svg viewBox=\"0 0 26 10\"><line class=\"c c{}{dash}\" x1=1 x2=25 y1=5 y2=5 /></svg>{}</button>",
                    curve.color % COLORS,
                    escape(&curve.name)
                ),
            );
        }
        out
    }
}

/// Colours of the palette, as many as the page's style names.
pub(super) const COLORS: usize = 8;

fn place_y(scale: Scale, value: f64) -> f64 {
    HEIGHT - BOTTOM - scale.place(value) * (HEIGHT - TOP - BOTTOM)
}

/// Appends formatted text; a string takes everything.
pub(super) fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _written = out.write_fmt(text);
}

/// The start of a drawing.
pub(super) fn open_svg(height: f64, title: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=img aria-label=\"{}\">",
        escape(title)
    )
}

/// One tick's text.
pub(super) fn tick(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    push(
        svg,
        format_args!(
            "<text class=t x={x:.1} y={y:.1} text-anchor={anchor}>{}</text>",
            escape(text)
        ),
    );
}

fn mark_text(svg: &mut String, (x, y): (f64, f64), anchor: &str, text: &str) {
    push(
        svg,
        format_args!(
            "<text class=mt x={x:.1} y={y:.1} text-anchor={anchor}>{}</text>",
            escape(text)
        ),
    );
}

/// The labels of both axes.
pub(super) fn labels(svg: &mut String, height: f64, x: &str, y: &str) {
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    push(
        svg,
        format_args!(
            "<text class=a x={middle:.1} y={:.1} text-anchor=middle>{}</text>",
            height - 8.0,
            escape(x)
        ),
    );
    let middle = f64::midpoint(TOP, height - BOTTOM);
    push(
        svg,
        format_args!(
            "<text class=a transform=\"translate(14 {middle:.1}) rotate(-90)\" text-anchor=middle>{}</text>",
            escape(y)
        ),
    );
}

/// A drawing with its title, a note and a legend.
pub(super) fn figure(title: &str, note: &str, svg: &str, legend: &str) -> String {
    let note = if note.is_empty() {
        String::new()
    } else {
        format!("<p class=n>{}</p>", escape(note))
    };
    let legend = if legend.is_empty() {
        String::new()
    } else {
        format!("<div class=legend>{legend}</div>")
    };
    format!(
        "<figure><figcaption>{}</figcaption>{note}{svg}{legend}</figure>\n",
        escape(title)
    )
}
