//! Spans of time in words: `30d` as it is typed, `3d 04:05:06` as it is shown.

use time::Duration;

/// Understands a whole number and a unit: s, m, h, d or w.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "a number and a unit, such as 90m, 12h, 30d or 2w".to_owned();
    let unit = match text.chars().last() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        Some('w') => 604_800,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::seconds(i64::from(count) * unit))
}

/// Days, if any, and hours, minutes and seconds; what is less than a second is left out.
pub(crate) fn shown(span: Duration) -> String {
    let seconds = span.whole_seconds();
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let clock = format!("{hours:02}:{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    match days {
        0 => clock,
        _ => format!("{days}d {clock}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_and_shown() {
        assert_eq!(parse("30d"), Ok(Duration::days(30)));
        assert_eq!(parse("90m").map(shown), Ok("01:30:00".into()));
        assert_eq!(parse("2w").map(shown), Ok("14d 00:00:00".into()));
        assert_eq!(shown(Duration::milliseconds(999)), "00:00:00");
        for wrong in ["", "d", "30", "-1d", "1.5h", "3 d", "30é", "99999999999d"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
