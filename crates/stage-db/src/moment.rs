//! Dates and times as text, the way RFC 3339 writes them.

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

type Format = &'static [BorrowedFormatItem<'static>];

const DATE: Format = format_description!(version = 2, "[year]-[month]-[day]");
const CLOCK: Format =
    format_description!(version = 2, "[hour]:[minute]:[second][optional [.[subsecond]]]");
const PLAIN: Format = format_description!(
    version = 2,
    "[year]-[month]-[day][first [T] [ ]][hour]:[minute]:[second][optional [.[subsecond]]]"
);
const ZONED: Format = format_description!(
    version = 2,
    "[year]-[month]-[day][first [T] [ ]][hour]:[minute]:[second][optional [.[subsecond]]]\
     [first [Z] [[offset_hour sign:mandatory][optional [:[offset_minute]]]]]"
);

/// A time of day that only some databases have.
#[cfg(feature = "postgres")]
pub(crate) const END_OF_DAY: &str = "24:00:00";

/// A moment: `2026-11-23T10:00:00Z`, with another offset, or without one, which is UTC.
pub(crate) fn parse_moment(text: &str) -> Option<OffsetDateTime> {
    let zoned = OffsetDateTime::parse(text, ZONED).ok();
    zoned
        .map(|moment| moment.to_offset(UtcOffset::UTC))
        .or_else(|| parse_plain(text).map(PrimitiveDateTime::assume_utc))
}

/// A date and a time of day, without a zone; a `Z` at its end is UTC as well as any other.
pub(crate) fn parse_plain(text: &str) -> Option<PrimitiveDateTime> {
    PrimitiveDateTime::parse(text.strip_suffix('Z').unwrap_or(text), PLAIN).ok()
}

pub(crate) fn parse_date(text: &str) -> Option<Date> {
    Date::parse(text, DATE).ok()
}

pub(crate) fn parse_clock(text: &str) -> Option<Time> {
    Time::parse(text, CLOCK).ok()
}

/// The moment that lies so many seconds behind 1970, as `os.time` counts.
pub(crate) fn of_seconds(seconds: f64) -> Option<OffsetDateTime> {
    // The years that dates have, and with them no NaN.
    if !(-4e11..4e11).contains(&seconds) {
        return None;
    }
    // Microseconds, which is what databases keep.
    OffsetDateTime::from_unix_timestamp_nanos((seconds * 1e6).round() as i128 * 1000).ok()
}

/// `2026-11-23T10:00:00.5Z`.
pub(crate) fn moment_text(moment: OffsetDateTime) -> String {
    let utc = moment.to_offset(UtcOffset::UTC);
    format!("{}T{}Z", date_text(utc.date()), clock_text(utc.time()))
}

/// `2026-11-23T10:00:00.5`.
pub(crate) fn plain_text(plain: PrimitiveDateTime) -> String {
    format!("{}T{}", date_text(plain.date()), clock_text(plain.time()))
}

pub(crate) fn date_text(date: Date) -> String {
    let (year, month, day) = date.to_calendar_date();
    let sign = if year < 0 { "-" } else { "" };
    format!("{sign}{:04}-{:02}-{day:02}", year.unsigned_abs(), u8::from(month))
}

/// `10:00:00`, with as many digits behind the point as it takes.
pub(crate) fn clock_text(clock: Time) -> String {
    let (hour, minute, second, nanos) = clock.as_hms_nano();
    let text = format!("{hour:02}:{minute:02}:{second:02}.{nanos:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_in_every_usual_form_and_written_in_one() {
        for text in [
            "2026-11-23T10:00:00.5Z",
            "2026-11-23 10:00:00.5",
            "2026-11-23T19:00:00.5+09:00",
            "2026-11-23 19:00:00.500+09",
        ] {
            let moment = parse_moment(text).map(moment_text);
            assert_eq!(moment.as_deref(), Some("2026-11-23T10:00:00.5Z"), "{text}");
        }
        let seconds = of_seconds(1_795_428_000.0).map(moment_text);
        assert_eq!(seconds.as_deref(), Some("2026-11-23T10:00:00Z"));
    }

    #[test]
    fn years_before_the_first_one_are_written_as_they_are_read() {
        for text in ["-0043-03-15", "0000-01-01", "-9999-01-01", "9999-12-31"] {
            assert_eq!(parse_date(text).map(date_text).as_deref(), Some(text));
            let moment = format!("{text}T10:00:00Z");
            assert_eq!(parse_moment(&moment).map(moment_text), Some(moment));
        }
    }

    #[test]
    fn what_is_no_date_is_no_date() {
        for text in ["", "now", "2026-13-01", "2026-02-30", "2026-11-23T25:00:00Z", "1"] {
            assert_eq!(parse_moment(text), None, "{text}");
            assert_eq!(parse_plain(text), None, "{text}");
            assert_eq!(parse_date(text), None, "{text}");
        }
        for seconds in [f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(of_seconds(seconds), None, "{seconds}");
        }
    }

    #[test]
    fn a_time_of_day_has_no_needless_digits() {
        for text in ["00:00:00", "23:59:59.999999", "10:20:30.5"] {
            assert_eq!(parse_clock(text).map(clock_text).as_deref(), Some(text));
        }
    }
}
