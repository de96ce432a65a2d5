//! The plot: bars per variant, one group of them per underlay and measurement, as SVG.

use std::fmt::Write;

use crate::results::{Batch, Kind, Metric};
use crate::table::number;

const WIDTH: f64 = 860.0;
/// Where bars begin: names stand before it.
const LEFT: f64 = 150.0;
/// What values beside the longest bar need.
const RIGHT: f64 = 170.0;
/// From bar to bar.
const STEP: f64 = 24.0;
/// What a heading takes.
const HEADING: f64 = 44.0;

const METRICS: [(Metric, &str); 2] =
    [(Metric::Tcp1Gbps, "TCP, 1 stream, Gb/s"), (Metric::Udp1200Kpps, "UDP 1200 B, kpps received")];

/// Draws all underlays below each other.
pub(crate) fn draw(batches: &[Batch]) -> String {
    let mut body = String::new();
    let mut y = 10.0;
    for batch in batches {
        for (metric, heading) in METRICS {
            y = group(&mut body, y, batch, metric, heading);
        }
    }
    let height = y + 10.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Draws one group and tells where the next begins.
fn group(body: &mut String, top: f64, batch: &Batch, metric: Metric, heading: &str) -> f64 {
    let bars: Vec<_> = batch.rows.iter().filter_map(|row| Some((row, row.summary(metric)?))).collect();
    let most = bars.iter().map(|(_, summary)| summary.most).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let invalid = if batch.valid() { "" } else { " (INVALID)" };
    let _ = writeln!(
        body,
        "<text x=\"10\" y=\"{:.0}\" font-size=\"15\" font-weight=\"bold\" fill=\"#1b1b1b\">\
         {heading}, underlay {}{invalid}</text>",
        top + 24.0,
        batch.underlay.name()
    );
    let mut y = top + HEADING;
    for (row, summary) in &bars {
        let middle = y + STEP / 2.0 - 2.0;
        let end = LEFT + summary.median * scale;
        let (least, most) = (LEFT + summary.least * scale, LEFT + summary.most * scale);
        let _ = writeln!(
            body,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#1b1b1b\">{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\n\
             <path d=\"M{least:.1} {middle:.1}H{most:.1}M{least:.1} {:.1}v6M{most:.1} {:.1}v6\" stroke=\"#1b1b1b\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#1b1b1b\">{} ({}-{})</text>",
            LEFT - 8.0,
            middle + 4.5,
            escaped(&row.variant),
            end - LEFT,
            STEP - 6.0,
            colour(row.kind),
            middle - 3.0,
            middle - 3.0,
            most.max(end) + 8.0,
            middle + 4.5,
            number(summary.median),
            number(summary.least),
            number(summary.most),
        );
        y += STEP;
    }
    y + 8.0
}

/// Ours stand out, in print too.
fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::NoOverlay | Kind::Kernel => "#b8bcc2",
        Kind::Ours => "#1f6fb2",
        Kind::RivalL2 => "#e0a84c",
        Kind::RivalL3 => "#efd29f",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{NO_OVERLAY, Row, Underlay};

    #[test]
    fn every_variant_that_was_measured_has_a_bar_as_long_as_its_median() {
        let mut none = Row::new(NO_OVERLAY, Kind::NoOverlay, 1500);
        none.add(Metric::Tcp1Gbps, 40.0);
        let mut rival = Row::new("a<b", Kind::RivalL2, 1400);
        rival.add(Metric::Tcp1Gbps, 10.0);
        let unmeasured = Row::new("nothing", Kind::RivalL3, 1400);
        let rows = vec![none, rival, unmeasured];
        let batch =
            Batch { underlay: Underlay::Offload, wire: vec![], drops: vec![], rows, steal_percent: 0.0 };
        let svg = draw(&[batch]);
        let whole = WIDTH - LEFT - RIGHT;
        assert!(svg.contains(&format!("width=\"{whole:.1}\"")), "{svg}");
        assert!(svg.contains(&format!("width=\"{:.1}\"", whole / 4.0)), "{svg}");
        assert!(svg.contains("a&lt;b") && !svg.contains("nothing"), "{svg}");
        assert_eq!(svg.matches("<path").count(), 2);
    }
}
