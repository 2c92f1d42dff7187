//! Spans of time as ISO 8601 writes them. It keeps months, days and seconds apart, as the database does.

use bigdecimal::{BigDecimal, ToPrimitive};
use sqlx::postgres::types::PgInterval;

/// `P1M2DT3.5S`.
pub(super) fn text(span: &PgInterval) -> String {
    let PgInterval { months, days, microseconds } = span;
    let seconds = BigDecimal::new((*microseconds).into(), 6).normalized().to_plain_string();
    format!("P{months}M{days}DT{seconds}S")
}

/// Longer than any that the database can hold.
const LONGEST: usize = 128;

/// The same in any of its forms, as `P1Y2W` or `PT-0.5S`: each part may have a sign, and seconds a fraction of six digits.
pub(super) fn parse(text: &str) -> Option<PgInterval> {
    let rest = text.strip_prefix('P').filter(|rest| rest.len() < LONGEST)?;
    let (date, clock) = rest.split_once('T').map_or((rest, None), |(date, it)| (date, Some(it)));
    if (date.is_empty() && clock.is_none()) || clock.is_some_and(str::is_empty) {
        return None;
    }
    let (mut months, mut days, mut microseconds) = (0_i64, 0_i64, 0_i64);
    for part in parts(date) {
        let (number, unit) = part?;
        let number: i64 = number.parse().ok()?;
        let (sum, times) = match unit {
            'Y' => (&mut months, 12),
            'M' => (&mut months, 1),
            'W' => (&mut days, 7),
            'D' => (&mut days, 1),
            _ => return None,
        };
        *sum = sum.checked_add(number.checked_mul(times)?)?;
    }
    for part in parts(clock.unwrap_or_default()) {
        let (number, unit) = part?;
        let times = match unit {
            'H' => 3_600_000_000_i64,
            'M' => 60_000_000,
            'S' => 1_000_000,
            _ => return None,
        };
        let number = number.parse::<BigDecimal>().ok()? * times;
        let whole = number.to_i64().filter(|_| number.is_integer())?;
        microseconds = microseconds.checked_add(whole)?;
    }
    let (months, days) = (months.try_into().ok()?, days.try_into().ok()?);
    Some(PgInterval { months, days, microseconds })
}

/// Each number with the letter behind it; `None` for one that has none.
fn parts(mut text: &str) -> impl Iterator<Item = Option<(&str, char)>> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, '+' | '-' | '.'));
        let Some(unit) = end.and_then(|end| text[end..].chars().next()) else {
            text = "";
            return Some(None);
        };
        let (number, rest) = text.split_at(end.unwrap_or_default());
        text = &rest[unit.len_utf8()..];
        Some(Some((number, unit)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_out_goes_in_again() {
        for (months, days, microseconds) in
            [(0, 0, 0), (14, -3, 3_500_000), (-1, 2, -1), (i32::MIN, i32::MAX, i64::MIN)]
        {
            let span = PgInterval { months, days, microseconds };
            assert_eq!(parse(&text(&span)).as_ref(), Some(&span), "{}", text(&span));
        }
    }

    #[test]
    fn every_usual_form_is_read_and_nothing_else() {
        let span = |text: &str| parse(text).map(|it| super::text(&it));
        assert_eq!(span("P1Y2W").as_deref(), Some("P12M14DT0S"));
        assert_eq!(span("PT1H-30M0.25S").as_deref(), Some("P0M0DT1800.25S"));
        for none in [
            "",
            "P",
            "PT",
            "P1",
            "1D",
            "P1S",
            "PT1D",
            "P1.5D",
            "PT0.0000001S",
            "PT1e9S",
            "P1한",
            "PD",
            "P99999999999D",
            "PT99999999999999S",
        ] {
            assert_eq!(span(none), None, "{none}");
        }
        assert_eq!(span(&format!("PT{}S", "1".repeat(200))), None);
    }
}
