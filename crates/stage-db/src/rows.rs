use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use sqlx::{Column, Either};
use stage_value::Value;

use crate::Error;

/// The names of the columns of a result, in order and all different.
pub type Columns = Arc<[Arc<str>]>;

/// The values of a row, one for each column.
pub type Row = Vec<Value>;

/// A result.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rows {
    /// The names of its columns.
    pub columns: Columns,
    /// Its rows.
    pub rows: Vec<Row>,
    /// Rows that the statement changed, as the database counts them.
    pub affected: u64,
    /// The number of the row that was inserted last, where the database tells (MySQL, SQLite).
    pub last_id: Option<i64>,
}

/// What a statement did beside its rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) affected: u64,
    pub(crate) last_id: Option<i64>,
}

/// Who takes the rows of a result.
pub(crate) trait Sink: Send {
    /// The names of the columns, before the first row.
    fn columns(&mut self, columns: Columns);

    /// Whether the next row may have so many bytes, before it is converted: what JSON and arrays become takes a multiple.
    fn admit(&self, bytes: usize) -> Result<(), Error>;

    /// The next row; an error ends the statement.
    fn row(&mut self, row: Row, bytes: usize) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Reads a result to its end: rows go to the sink, the rest is counted.
///
/// # Errors
/// The first error of the database, of a column that cannot be handed out, or of the sink.
pub(crate) async fn pour<R: sqlx::Row, Q, S: Sink>(
    mut steps: BoxStream<'_, Result<Either<Q, R>, sqlx::Error>>,
    sink: &mut S,
    raw: impl Fn(&R, usize) -> usize,
    column: impl Fn(&R, usize) -> Result<Value, String>,
    finish: impl Fn(&mut Done, Q),
    error: impl Fn(sqlx::Error) -> Error,
) -> Result<Done, Error> {
    let mut done = Done::default();
    while let Some(step) = steps.try_next().await.map_err(&error)? {
        match step {
            Either::Left(result) => finish(&mut done, result),
            Either::Right(row) => {
                sink.admit((0..row.len()).map(|at| raw(&row, at)).sum())?;
                let (mut values, mut bytes) = (Row::with_capacity(row.len()), 0);
                for at in 0..row.len() {
                    let value = column(&row, at).map_err(|why| {
                        let column = row.columns()[at].name().to_owned();
                        Error::Column { column, why }
                    })?;
                    bytes += size(&value);
                    sink.admit(bytes)?;
                    values.push(value);
                }
                sink.row(values, bytes).await?;
            }
        }
    }
    Ok(done)
}

/// Bytes that a value of a column takes, roughly.
fn size(value: &Value) -> usize {
    let inside = match value {
        Value::Bytes(bytes) => bytes.len(),
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(map) => map.iter().map(|(_, value)| OVERHEAD + size(value)).sum(),
        _ => 0,
    };
    OVERHEAD + inside
}

/// What a value takes beside its bytes.
const OVERHEAD: usize = size_of::<Value>();

/// Bytes that the text of a JSON document takes at least when it is read, which may be much more than it has: `[0,0,0]`.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) fn json_size(text: &[u8]) -> usize {
    let (mut values, mut is_string, mut is_escaped) = (1_usize, false, false);
    for byte in text {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_string,
            b'"' => is_string = !is_string,
            b',' | b':' if !is_string => values += 1,
            _ => {}
        }
    }
    text.len().max(values.saturating_mul(OVERHEAD))
}

/// The names of the columns as a result has them.
///
/// # Errors
/// [`Error::DuplicateColumn`].
pub(crate) fn named<'a>(names: impl Iterator<Item = &'a str>) -> Result<Columns, Error> {
    let columns: Columns = names.map(Arc::from).collect();
    let mut seen = HashSet::new();
    match columns.iter().find(|name| !seen.insert(&***name)) {
        Some(name) => Err(Error::DuplicateColumn { column: name.to_string() }),
        None => Ok(columns),
    }
}

/// Collects a result within its bounds.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) columns: Columns,
    pub(crate) rows: Vec<Row>,
    bytes: usize,
    most_rows: usize,
    most_bytes: usize,
}

impl Collected {
    pub(crate) fn new(most_rows: usize, most_bytes: usize) -> Self {
        Self { columns: Arc::new([]), rows: Vec::new(), bytes: 0, most_rows, most_bytes }
    }
}

impl Sink for Collected {
    fn columns(&mut self, columns: Columns) {
        self.columns = columns;
    }

    fn admit(&self, bytes: usize) -> Result<(), Error> {
        if self.rows.len() == self.most_rows {
            return Err(Error::TooManyRows { limit: self.most_rows });
        }
        if self.bytes.saturating_add(bytes) > self.most_bytes {
            return Err(Error::TooLarge { limit: self.most_bytes });
        }
        Ok(())
    }

    async fn row(&mut self, row: Row, bytes: usize) -> Result<(), Error> {
        self.admit(bytes)?;
        self.bytes = self.bytes.saturating_add(bytes);
        self.rows.push(row);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_columns_of_one_name_are_refused_by_that_name() {
        let error = named(["id", "name", "id"].into_iter()).unwrap_err();
        assert!(matches!(error, Error::DuplicateColumn { column } if column == "id"));
        assert_eq!(named(["id", "ID"].into_iter()).unwrap().len(), 2);
    }

    #[test]
    fn a_document_takes_at_least_what_its_values_take_and_what_it_has() {
        let read = |text: &str| {
            let document = stage_value::json::from_json(serde_json::from_str(text).unwrap());
            size(&document)
        };
        for text in
            ["1", "[]", "[0,0,0]", r#"{"a":1,"b":[1,{"c":null}]}"#, r#"[",,::\\\"[,]",",\\"]"#]
        {
            assert!(json_size(text.as_bytes()) <= read(text).max(text.len()), "{text}");
        }
        let zeros = format!("[{}0]", "0,".repeat(999));
        assert!(json_size(zeros.as_bytes()) >= 1000 * OVERHEAD);
        assert_eq!(json_size(format!("\"{}\"", ",".repeat(998)).as_bytes()), 1000);
    }

    #[tokio::test]
    async fn a_result_ends_at_the_first_row_and_the_first_byte_too_many() {
        let mut collected = Collected::new(2, 1000);
        let row = || vec![Value::Int(1)];
        collected.row(row(), 8).await.unwrap();
        let large = collected.row(row(), 1000).await;
        assert_eq!(large, Err(Error::TooLarge { limit: 1000 }));

        let mut collected = Collected::new(2, 1000);
        collected.row(row(), 8).await.unwrap();
        collected.row(row(), 8).await.unwrap();
        assert_eq!(collected.row(row(), 8).await, Err(Error::TooManyRows { limit: 2 }));
    }
}
