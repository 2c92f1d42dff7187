//! Columns of PostgreSQL to values.

use bigdecimal::BigDecimal;
use sqlx::Decode;
use sqlx::TypeInfo;
use sqlx::ValueRef;
use sqlx::postgres::{PgTypeInfo, PgTypeKind, PgValueRef, Postgres};
use stage_value::{Value, json};
use time::{Date, Duration, OffsetDateTime, PrimitiveDateTime, Time};

use super::interval;
use crate::moment;

/// What a column holds, or why it cannot be handed out.
pub(super) fn value(raw: PgValueRef<'_>) -> Result<Value, String> {
    if raw.is_null() {
        return Ok(Value::Nil);
    }
    let info = raw.type_info().into_owned();
    of_type(&info, raw)
}

fn of_type(info: &PgTypeInfo, raw: PgValueRef<'_>) -> Result<Value, String> {
    match info.kind() {
        PgTypeKind::Domain(base) => return of_type(base, raw),
        PgTypeKind::Enum(_) => return bytes(&raw),
        PgTypeKind::Array(element) => return array(element, raw),
        _ => {}
    }
    match info.name() {
        "BOOL" => decoded(raw).map(Value::Bool),
        "INT2" => decoded::<i16>(raw).map(|value| Value::Int(value.into())),
        "INT4" => decoded::<i32>(raw).map(|value| Value::Int(value.into())),
        "INT8" => decoded(raw).map(Value::Int),
        "OID" => decoded::<sqlx::postgres::types::Oid>(raw).map(|oid| Value::Int(oid.0.into())),
        "FLOAT4" => decoded::<f32>(raw).map(|value| Value::Float(value.into())),
        "FLOAT8" => decoded(raw).map(Value::Float),
        "NUMERIC" => numeric(raw).map(Value::from),
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" | "citext" | "\"CHAR\"" | "BYTEA" => {
            bytes(&raw)
        }
        "JSON" | "JSONB" => decoded::<serde_json::Value>(raw).map(json::from_json),
        "UUID" => decoded::<uuid::Uuid>(raw).map(|uuid| Value::from(uuid.to_string())),
        "TIMESTAMPTZ" => timestamp(raw, |at| moment::moment_text(at.assume_utc())),
        "TIMESTAMP" => timestamp(raw, moment::plain_text),
        "DATE" => date(raw),
        "TIME" => clock(raw),
        "INTERVAL" => decoded(raw).map(|span| Value::from(interval::text(&span))),
        "VOID" => Ok(Value::Nil),
        other => Err(no_form(other)),
    }
}

/// Why a type cannot be handed out, and what to do.
pub(super) fn no_form(name: &str) -> String {
    let name = name.to_lowercase();
    format!("{name} has no form in scripts; cast it to text")
}

fn decoded<'r, T: Decode<'r, Postgres>>(raw: PgValueRef<'r>) -> Result<T, String> {
    T::decode(raw).map_err(|error| error.to_string())
}

/// What the wire holds, which is the text of a text.
fn bytes(raw: &PgValueRef<'_>) -> Result<Value, String> {
    raw.as_bytes().map(Value::bytes).map_err(|error| error.to_string())
}

/// As text, with as many digits behind the point as the database has.
fn numeric(raw: PgValueRef<'_>) -> Result<String, String> {
    let bytes = raw.as_bytes().map_err(|error| error.to_string())?;
    let field =
        |at: usize| bytes.get(at..at + 2).map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]));
    let (sign, digits) = (field(4), field(6));
    match sign {
        0xC000 => return Ok("NaN".into()),
        0xD000 => return Ok("Infinity".into()),
        0xF000 => return Ok("-Infinity".into()),
        _ => {}
    }
    let number = decoded::<BigDecimal>(raw)?.with_scale(digits.into());
    Ok(number.to_plain_string())
}

/// Microseconds from the first moment of 2000.
fn timestamp(
    raw: PgValueRef<'_>,
    show: impl Fn(PrimitiveDateTime) -> String,
) -> Result<Value, String> {
    let micros = decoded::<i64>(raw)?;
    let text = match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        micros => {
            let nanos = (i128::from(EPOCH) * 1_000_000 + i128::from(micros)) * 1000;
            let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).map_err(|_| FAR)?;
            show(PrimitiveDateTime::new(at.date(), at.time()))
        }
    };
    Ok(Value::from(text))
}

/// Seconds from 1970 to 2000.
const EPOCH: i64 = 946_684_800;

const FAR: &str = "the date lies outside of the years -9999 to 9999; cast it to text";

/// Days from the first day of 2000.
fn date(raw: PgValueRef<'_>) -> Result<Value, String> {
    let days = decoded::<i32>(raw)?;
    let text = match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => {
            let first = time::macros::date!(2000 - 01 - 01);
            let date: Option<Date> = first.checked_add(Duration::days(days.into()));
            moment::date_text(date.ok_or(FAR)?)
        }
    };
    Ok(Value::from(text))
}

/// Microseconds of a day, of which PostgreSQL has one more than others.
fn clock(raw: PgValueRef<'_>) -> Result<Value, String> {
    match decoded::<i64>(raw.clone())? {
        MIDNIGHT => Ok(Value::from(moment::END_OF_DAY)),
        _ => decoded::<Time>(raw).map(|time| Value::from(moment::clock_text(time))),
    }
}

/// The end of a day.
pub(super) const MIDNIGHT: i64 = 24 * 60 * 60 * 1_000_000;

/// An array of one dimension as a list; NULL in it would make a hole, which a list cannot have.
fn array(element: &PgTypeInfo, raw: PgValueRef<'_>) -> Result<Value, String> {
    if matches!(element.kind(), PgTypeKind::Enum(_)) {
        return list::<String>(raw, Value::from);
    }
    match element.name() {
        "BOOL" => list::<bool>(raw, Value::Bool),
        "INT2" => list::<i16>(raw, |value| Value::Int(value.into())),
        "INT4" => list::<i32>(raw, |value| Value::Int(value.into())),
        "INT8" => list::<i64>(raw, Value::Int),
        "FLOAT4" => list::<f32>(raw, |value| Value::Float(value.into())),
        "FLOAT8" => list::<f64>(raw, Value::Float),
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "citext" => list::<String>(raw, Value::from),
        "UUID" => list::<uuid::Uuid>(raw, |uuid| Value::from(uuid.to_string())),
        other => Err(no_form(&format!("{other}[]"))),
    }
}

fn list<T>(raw: PgValueRef<'_>, convert: impl Fn(T) -> Value) -> Result<Value, String>
where
    T: for<'r> Decode<'r, Postgres> + sqlx::Type<Postgres>,
{
    let items = decoded::<Vec<Option<T>>>(raw)?;
    let items: Option<Vec<_>> = items.into_iter().map(|item| item.map(&convert)).collect();
    items.map(Value::list).ok_or_else(|| {
        "the array holds NULL, which a list cannot; use array_remove or to_jsonb".into()
    })
}
