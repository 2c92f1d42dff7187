//! Parameters as the type that PostgreSQL wants in their place.

use bigdecimal::BigDecimal;
use sqlx::encode::Encode;
use sqlx::postgres::{PgArguments, PgHasArrayType, PgTypeInfo, PgTypeKind, Postgres};
use sqlx::{Arguments, Type, TypeInfo};
use stage_value::Value;

use super::decode::MIDNIGHT;
use super::interval;
use super::texts::Texts;
use crate::moment;
use crate::param::{Param, as_json, as_text};

/// Binds one parameter; why it does not fit.
pub(super) fn add(
    arguments: &mut PgArguments,
    wanted: &PgTypeInfo,
    param: &Param,
) -> Result<(), String> {
    if *param == Param::Null {
        return put(arguments, None::<String>);
    }
    match wanted.kind() {
        PgTypeKind::Domain(base) => return add(arguments, base, param),
        PgTypeKind::Enum(_) => return put(arguments, text(wanted, param)?),
        PgTypeKind::Array(element) => return array(arguments, element, param),
        _ => {}
    }
    match wanted.name() {
        "BOOL" => match param {
            Param::Bool(value) => put(arguments, *value),
            _ => Err(mismatch(wanted, param)),
        },
        "INT2" => put(arguments, integer::<i16>(wanted, param)?),
        "INT4" => put(arguments, integer::<i32>(wanted, param)?),
        "INT8" => put(arguments, integer::<i64>(wanted, param)?),
        "OID" => put(arguments, sqlx::postgres::types::Oid(integer::<u32>(wanted, param)?)),
        "FLOAT4" => put(arguments, single(wanted, param)?),
        "FLOAT8" => put(arguments, float(wanted, param)?),
        "NUMERIC" => match no_number(param) {
            Some(sign) => put(arguments, sign),
            None => put(arguments, decimal(wanted, param)?),
        },
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" | "citext" | "\"CHAR\"" => {
            put(arguments, text(wanted, param)?)
        }
        "BYTEA" => match param {
            Param::Text(bytes) | Param::Blob(bytes) => put(arguments, &**bytes),
            _ => Err(mismatch(wanted, param)),
        },
        "JSON" | "JSONB" => put(arguments, sqlx::types::Json(json(param)?)),
        "UUID" => put(arguments, uuid(wanted, param)?),
        "TIMESTAMPTZ" => match endless(param) {
            Some(first) => put(arguments, if first { i64::MIN } else { i64::MAX }),
            None => put(arguments, moment_of(wanted, param)?),
        },
        "TIMESTAMP" => match endless(param) {
            Some(first) => put(arguments, if first { i64::MIN } else { i64::MAX }),
            None => {
                let at = moment_of(wanted, param)?;
                put(arguments, time::PrimitiveDateTime::new(at.date(), at.time()))
            }
        },
        "DATE" => match endless(param) {
            Some(first) => put(arguments, if first { i32::MIN } else { i32::MAX }),
            None => put(arguments, read(wanted, param, moment::parse_date)?),
        },
        "TIME" if is_text(param, moment::END_OF_DAY) => put(arguments, MIDNIGHT),
        "TIME" => put(arguments, read(wanted, param, moment::parse_clock)?),
        "INTERVAL" => {
            let span = interval::parse(&text(wanted, param)?);
            let why = || "this is no interval; it is written as in P1M2DT3.5S".to_owned();
            put(arguments, span.ok_or_else(why)?)
        }
        other => {
            let name = other.to_lowercase();
            Err(format!("scripts have no {name}; pass text and cast it: ($N::text)::{name}"))
        }
    }
}

fn put<'t, T: Encode<'t, Postgres> + Type<Postgres>>(
    arguments: &mut PgArguments,
    value: T,
) -> Result<(), String> {
    arguments.add(value).map_err(|error| error.to_string())
}

fn mismatch(wanted: &PgTypeInfo, param: &Param) -> String {
    format!("the place is of type {}, and this is {}", wanted.name().to_lowercase(), param.kind())
}

fn integer<T: TryFrom<i64>>(wanted: &PgTypeInfo, param: &Param) -> Result<T, String> {
    let number = match param {
        Param::Int(number) => *number,
        // Every integer that a float can hold without loss.
        Param::Float(number)
            if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 =>
        {
            *number as i64
        }
        _ => return Err(mismatch(wanted, param)),
    };
    T::try_from(number)
        .map_err(|_| format!("{number} is out of the range of {}", wanted.name().to_lowercase()))
}

fn float(wanted: &PgTypeInfo, param: &Param) -> Result<f64, String> {
    match param {
        Param::Int(number) => Ok(*number as f64),
        Param::Float(number) => Ok(*number),
        _ => Err(mismatch(wanted, param)),
    }
}

/// What becomes infinite only by becoming shorter does not fit.
fn single(wanted: &PgTypeInfo, param: &Param) -> Result<f32, String> {
    let number = float(wanted, param)?;
    let short = number as f32;
    if short.is_infinite() && number.is_finite() {
        return Err(format!("{number} is out of the range of float4"));
    }
    Ok(short)
}

fn is_text(param: &Param, text: &str) -> bool {
    matches!(param, Param::Text(bytes) if bytes == text)
}

/// Whether it stands for the time before all others, or for the one behind them.
fn endless(param: &Param) -> Option<bool> {
    let is_first = is_text(param, "-infinity");
    (is_first || is_text(param, "infinity")).then_some(is_first)
}

/// What a numeric without digits is on the wire: its sign is the third of four short numbers.
fn no_number(param: &Param) -> Option<i64> {
    let is = |text: &str, float: fn(&f64) -> bool| {
        is_text(param, text) || matches!(param, Param::Float(number) if float(number))
    };
    let sign = if is("NaN", |it| it.is_nan()) {
        0xC000
    } else if is("Infinity", |it| *it == f64::INFINITY) {
        0xD000
    } else if is("-Infinity", |it| *it == f64::NEG_INFINITY) {
        0xF000
    } else {
        return None;
    };
    Some(sign << 16)
}

fn decimal(wanted: &PgTypeInfo, param: &Param) -> Result<BigDecimal, String> {
    let text = match param {
        Param::Int(number) => return Ok((*number).into()),
        Param::Float(number) => number.to_string(),
        Param::Text(_) => text(wanted, param)?,
        _ => return Err(mismatch(wanted, param)),
    };
    // An exponent of a few bytes can stand for gigabytes of digits.
    if text.len() > LONGEST_NUMBER || text.contains(['e', 'E']) {
        return Err(format!(
            "a number is written with up to {LONGEST_NUMBER} digits, without exponent"
        ));
    }
    text.parse().map_err(|_| format!("'{text}' is no number"))
}

const LONGEST_NUMBER: usize = 1000;

/// Text; of numbers, what Lua shows of them.
fn text(wanted: &PgTypeInfo, param: &Param) -> Result<String, String> {
    match param {
        Param::Int(number) => Ok(number.to_string()),
        Param::Float(number) => Ok(format!("{number:?}")),
        Param::Text(bytes) => match as_text(bytes) {
            Some(text) if text.contains('\0') => Err("text has no zero bytes in PostgreSQL".into()),
            Some(text) => Ok(text.to_owned()),
            None => Err("text has to be UTF-8".into()),
        },
        _ => Err(mismatch(wanted, param)),
    }
}

fn uuid(wanted: &PgTypeInfo, param: &Param) -> Result<uuid::Uuid, String> {
    let text = text(wanted, param)?;
    uuid::Uuid::try_parse(&text).map_err(|_| format!("'{text}' is no uuid"))
}

/// A table as it is, text as the JSON that it holds.
fn json(param: &Param) -> Result<serde_json::Value, String> {
    match param {
        Param::Json(value) => as_json(0, value).map_err(|error| error.to_string()),
        Param::Bool(value) => Ok((*value).into()),
        Param::Int(number) => Ok((*number).into()),
        Param::Float(number) if !number.is_finite() => {
            Err("JSON has no infinite numbers and no NaN".into())
        }
        Param::Float(number) => Ok((*number).into()),
        Param::Text(bytes) => {
            serde_json::from_slice(bytes).map_err(|error| format!("this is not JSON: {error}"))
        }
        Param::Null | Param::Blob(_) => Err("this is not JSON".into()),
    }
}

fn moment_of(wanted: &PgTypeInfo, param: &Param) -> Result<time::OffsetDateTime, String> {
    match param {
        Param::Int(seconds) => moment::of_seconds(*seconds as f64),
        Param::Float(seconds) => moment::of_seconds(*seconds),
        _ => return read(wanted, param, moment::parse_moment),
    }
    .ok_or_else(|| "the seconds since 1970 are out of range".into())
}

fn read<T>(
    wanted: &PgTypeInfo,
    param: &Param,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, String> {
    let Param::Text(bytes) = param else { return Err(mismatch(wanted, param)) };
    as_text(bytes).and_then(parse).ok_or_else(|| {
        let name = wanted.name().to_lowercase();
        format!("this is no {name}; it is written as in 2026-11-23T10:00:00Z")
    })
}

/// A list as an array of one dimension.
fn array(arguments: &mut PgArguments, element: &PgTypeInfo, param: &Param) -> Result<(), String> {
    let items: Vec<Param> = match param {
        Param::Json(Value::List(items)) => items.iter().cloned().map(Param::from).collect(),
        // An empty table is a map in Lua's eyes as well as a list.
        Param::Json(Value::Map(map)) if map.is_empty() => Vec::new(),
        _ => return Err(format!("the place is an array, and this is {}", param.kind())),
    };
    let texts =
        |items: &[Param]| items.iter().map(|item| text(element, item)).collect::<Result<_, _>>();
    if matches!(element.kind(), PgTypeKind::Enum(_)) {
        return put(arguments, Texts::new(element, texts(&items)?)?);
    }
    match element.name() {
        "BOOL" => put_list(arguments, &items, |item| match item {
            Param::Bool(value) => Ok(*value),
            _ => Err(mismatch(element, item)),
        }),
        "INT2" => put_list(arguments, &items, |item| integer::<i16>(element, item)),
        "INT4" => put_list(arguments, &items, |item| integer::<i32>(element, item)),
        "INT8" => put_list(arguments, &items, |item| integer::<i64>(element, item)),
        "FLOAT4" => put_list(arguments, &items, |item| single(element, item)),
        "FLOAT8" => put_list(arguments, &items, |item| float(element, item)),
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "citext" => {
            put(arguments, Texts::new(element, texts(&items)?)?)
        }
        "UUID" => put_list(arguments, &items, |item| uuid(element, item)),
        other => {
            let name = other.to_lowercase();
            Err(format!("scripts have no {name}[]; pass JSON and unfold it in SQL"))
        }
    }
}

fn put_list<T>(
    arguments: &mut PgArguments,
    items: &[Param],
    convert: impl Fn(&Param) -> Result<T, String>,
) -> Result<(), String>
where
    T: for<'t> Encode<'t, Postgres> + Type<Postgres> + PgHasArrayType + 'static,
{
    let items: Vec<T> = items.iter().map(convert).collect::<Result<_, _>>()?;
    put(arguments, items)
}
