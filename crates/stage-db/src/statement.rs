//! Statements that a connection of a pool must not run: they would change it for whoever gets it next.

use crate::Error;

/// The words that begin or end a transaction.
const REFUSED: [&str; 8] =
    ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE"];

/// Refuses a statement that begins or ends a transaction by hand.
///
/// # Errors
/// [`Error::TransactionStatement`] with its first word.
pub(crate) fn check(sql: &str) -> Result<(), Error> {
    let word = first_word(sql);
    match REFUSED.into_iter().find(|refused| word.eq_ignore_ascii_case(refused)) {
        Some(word) => Err(Error::TransactionStatement { word }),
        None => Ok(()),
    }
}

/// The first word behind spaces, semicolons and comments. Takes O(n) for n bytes of those.
fn first_word(mut sql: &str) -> &str {
    loop {
        sql = sql.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '\u{feff}');
        if let Some(rest) = sql.strip_prefix("--") {
            sql = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(rest) = sql.strip_prefix("/*") {
            sql = behind_comment(rest);
        } else {
            let end = sql.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(sql.len());
            return &sql[..end];
        }
    }
}

/// What follows a block comment, in which others may be nested.
fn behind_comment(mut rest: &str) -> &str {
    let mut depth = 1;
    while depth > 0 {
        let (open, close) = (rest.find("/*"), rest.find("*/"));
        match (open, close) {
            (Some(open), Some(close)) if open < close => {
                depth += 1;
                rest = &rest[open + 2..];
            }
            (_, Some(close)) => {
                depth -= 1;
                rest = &rest[close + 2..];
            }
            (_, None) => return "",
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_or_ends_a_transaction_is_refused_however_it_is_dressed() {
        for sql in [
            "BEGIN",
            "  commit;",
            "; ROLLBACK",
            "-- so\n end",
            "/* a /* nested */ one */abort",
            "Savepoint x",
            "start transaction",
        ] {
            assert!(matches!(check(sql), Err(Error::TransactionStatement { .. })), "{sql}");
        }
    }

    #[test]
    fn other_statements_pass_even_if_they_are_no_sql() {
        for sql in ["SELECT 1", "", "-- BEGIN", "/* BEGIN", "beginning", "(SELECT 1)", "INSERT --"]
        {
            assert!(check(sql).is_ok(), "{sql}");
        }
    }
}
