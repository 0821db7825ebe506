//! How figures are written for people.

/// Microseconds as milliseconds: `0.3 ms`, `12.4 ms`, `1250 ms`.
pub(super) fn micros(us: u64) -> String {
    let (whole, tenth) = (us / 1000, us % 1000 / 100);
    if whole >= 100 { format!("{whole} ms") } else { format!("{whole}.{tenth} ms") }
}

/// Milliseconds as an age or lag: `40 ms`, `3.2 s`, `5 min`, `7 h`, `3 d`.
pub(super) fn millis(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min", ms / 60_000),
        3_600_000..86_400_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

/// `12 bytes`, `1.5 MiB`, `20.0 GiB`.
pub(super) fn bytes(number: u64) -> String {
    let shown = |unit: u64, name: &str| format!("{}.{} {name}", number / unit, number % unit * 10 / unit);
    match number {
        0..1_024 => format!("{number} bytes"),
        1_024..1_048_576 => shown(1 << 10, "KiB"),
        1_048_576..1_073_741_824 => shown(1 << 20, "MiB"),
        _ => shown(1 << 30, "GiB"),
    }
}

/// `1 thing`, `2 things`.
pub(super) fn count(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// What isn't known.
pub(super) const UNKNOWN: &str = "-";

/// The value, or a dash.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!([micros(340), micros(12_449), micros(1_250_000)], ["0.3 ms", "12.4 ms", "1250 ms"]);
        assert_eq!([millis(40), millis(3_210), millis(301_000)], ["40 ms", "3.2 s", "5 min"]);
        assert_eq!([millis(25_300_000), millis(300_000_000)], ["7 h", "3 d"]);
        assert_eq!([bytes(12), bytes(1_572_864), bytes(20 << 30)], ["12 bytes", "1.5 MiB", "20.0 GiB"]);
        assert_eq!([count(1, "session"), count(0, "session")], ["1 session", "0 sessions"]);
    }
}
