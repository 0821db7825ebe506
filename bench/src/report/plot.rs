//! A bar for each target in each cell: CPU per statement, as so many times HAProxy's.
//!
//! Never here: figures that are not in the tables.

use std::fmt::Write as _;

use super::BASE;
use crate::measure::{Measured, Turns};
use crate::plan::Cell;
use crate::statistics::ratio;
use crate::target::Target;

/// Sizes in pixels.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 60.0;
const BAR: f64 = 12.0;
const GAP: f64 = 14.0;
const TOP: f64 = 70.0;
/// Where the scale ends at most; a longer bar is cut, its figure stands beside it.
const MOST: f64 = 3.0;

/// What is shown, and in which colour: apart also for the colour-blind.
const SHOWN: [(Target, &str); 7] = [
    (Target::HaProxy, "#999999"),
    (Target::ByteRelay, "#000000"),
    (Target::Router, "#e69f00"),
    (Target::RouterSharing, "#d55e00"),
    (Target::SluicePrimary, "#56b4e9"),
    (Target::SluiceSplit, "#0072b2"),
    (Target::SluiceSplitTls, "#009e73"),
];

/// The bars of one cell.
fn bars(cell: &Measured) -> Vec<(Target, &'static str, f64)> {
    let of = |target| cell.targets.iter().find(|turns| turns.target == target);
    let cpu = |turns: &Turns| turns.of(|turn| turn.cpu);
    let Some(base) = of(BASE).map(cpu) else { return Vec::new() };
    let bar = |(target, colour)| Some((target, colour, ratio(&cpu(of(target)?), &base)?));
    SHOWN.into_iter().filter_map(bar).collect()
}

/// The plot of these cells.
pub(super) fn svg(cells: &[Measured]) -> String {
    let groups: Vec<_> = cells.iter().map(|cell| (cell, bars(cell))).collect();
    let groups: Vec<_> = groups.into_iter().filter(|(_, bars)| !bars.is_empty()).collect();
    let longest = groups.iter().flat_map(|(_, bars)| bars).map(|bar| bar.2).fold(1.0, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / longest.min(MOST);
    let mut body = String::new();
    let mut y = TOP;
    for (cell, bars) in groups {
        let mut title = Cell { workload: cell.workload, clients: cell.clients }.title();
        if cell.rate.is_some() {
            title += ", half load";
        }
        let _ = writeln!(body, r#"<text x="8" y="{:.0}">{title}</text>"#, y + BAR);
        for (_, colour, value) in bars {
            let length = value.min(MOST) * scale;
            let _ = writeln!(
                body,
                r#"<rect x="{LEFT}" y="{y:.0}" width="{length:.1}" height="{BAR}" fill="{colour}"/><text x="{:.1}" y="{:.0}">{value:.2}</text>"#,
                LEFT + length + 4.0,
                y + BAR - 2.0
            );
            y += BAR;
        }
        y += GAP;
    }
    let one = LEFT + scale;
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y:.0}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="white"/>
<text x="8" y="20" font-size="14">CPU of the proxy per statement, HAProxy = 1 (less is better)</text>
"##
    );
    for (number, (target, colour)) in (0_u32..).zip(SHOWN) {
        let x = 8.0 + f64::from(number) * 145.0;
        let _ = writeln!(
            out,
            r#"<rect x="{x:.0}" y="34" width="12" height="12" fill="{colour}"/><text x="{:.0}" y="44">{}</text>"#,
            x + 16.0,
            target.name()
        );
    }
    out += &body;
    let _ = writeln!(
        out,
        r##"<line x1="{one:.1}" y1="{:.0}" x2="{one:.1}" y2="{:.0}" stroke="#333" stroke-dasharray="4 3"/>"##,
        TOP - 8.0,
        y - GAP + 4.0
    );
    out += "</svg>\n";
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Turn;
    use crate::workload::Workload;

    #[test]
    fn a_bar_for_each_target_that_was_measured() {
        let turns = |target, cpu| {
            let turn = Turn { rate: 1.0, mebibytes: 1.0, p50: 1.0, p99: 1.0, p999: 1.0, cpu, switches: None };
            Turns { target, turns: vec![turn], calls: Vec::new() }
        };
        let targets = vec![
            turns(Target::Direct, None),
            turns(Target::HaProxy, Some(10.0)),
            turns(Target::SluiceSplit, Some(8.0)),
        ];
        let cell = Measured { workload: Workload::PointText, clients: 16, rate: None, targets };
        let bars = bars(&cell);
        assert_eq!(bars.iter().map(|bar| bar.2).collect::<Vec<_>>(), [1.0, 0.8]);
        let svg = svg(&[cell]);
        assert!(
            svg.contains("point select, text, 16 clients")
                && svg.contains(">0.80<")
                && svg.ends_with("</svg>\n")
        );
    }
}
