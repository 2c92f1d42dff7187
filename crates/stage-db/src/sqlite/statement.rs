//! Which texts an SQLite connection runs: one statement that stays within the database.
//!
//! A server keeps its clients from its files by their rights. SQLite is a part of this process and has no such rights, so
//! whoever writes its statements would have every file that the process has. And it runs all statements of a text, one after the
//! other, where servers refuse to prepare more than one.

use super::tokens::{Token, Tokens};
use crate::{Error, statement};

/// Statements that open or write files of their own.
const OF_FILES: [&str; 3] = ["ATTACH", "DETACH", "VACUUM"];

/// It takes an address in memory from a parameter, and SQLite calls what is there.
const CALLS_ADDRESSES: &str = "fts3_tokenizer";

/// Pragmas that may have an argument: they tell something, or set what concerns the statements of their connection and the
/// own header of the database. The others set where files are, how they are written or locked, or limits of the process.
const PRAGMAS: [&str; 20] = [
    "analysis_limit",
    "application_id",
    "automatic_index",
    "case_sensitive_like",
    "defer_foreign_keys",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "incremental_vacuum",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "optimize",
    "quick_check",
    "recursive_triggers",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// Refuses a text that begins or ends a transaction by hand, holds more than one statement, or reaches files beside the database.
///
/// # Errors
/// [`Error::TransactionStatement`], [`Error::StatementRefused`].
pub(crate) fn check(sql: &str) -> Result<(), Error> {
    if sql.contains('\0') {
        return Err(refused("it holds a zero byte, at which SQLite would stop reading"));
    }
    let mut tokens = Tokens::of(sql).skip_while(|token| *token == Token::Semicolon);
    // What is explained is compiled, and pragmas take effect then.
    let explained = ["EXPLAIN", "QUERY", "PLAN"];
    let first = tokens.find(|token| !explained.iter().any(|word| token.is(word)));
    let is_create = match first {
        Some(Token::Word(word)) => {
            statement::check_word(word)?;
            if let Some(word) = OF_FILES.iter().find(|it| word.eq_ignore_ascii_case(it)) {
                return Err(refused(&format!("{word} reaches files beside the database")));
            }
            if word.eq_ignore_ascii_case("PRAGMA") {
                return check_pragma(tokens);
            }
            word.eq_ignore_ascii_case("CREATE")
        }
        Some(_) => false,
        None => return Ok(()),
    };
    check_rest(is_create, tokens)
}

/// What a statement does to rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// It changes or deletes some.
    Other,
    /// It adds some.
    Insert,
}

/// What a statement that [`check`] lets through does to rows.
pub(crate) fn change(sql: &str) -> Change {
    let mut tokens = Tokens::of(sql).skip_while(|token| *token == Token::Semicolon);
    let Some(first) = tokens.next() else { return Change::None };
    if !first.is("WITH") {
        return change_of(&first).unwrap_or(Change::None);
    }
    // What it has in brackets are selections.
    let mut depth = 0_usize;
    tokens
        .find_map(|token| {
            match token {
                Token::Other(b'(') => depth += 1,
                Token::Other(b')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            change_of(&token).filter(|_| depth == 0)
        })
        .unwrap_or(Change::None)
}

/// What the first word of a statement tells; `None` if it is none.
fn change_of(token: &Token<'_>) -> Option<Change> {
    let is_among = |words: &[&str]| words.iter().any(|word| token.is(word));
    if is_among(&["INSERT", "REPLACE"]) {
        Some(Change::Insert)
    } else if is_among(&["UPDATE", "DELETE"]) {
        Some(Change::Other)
    } else {
        is_among(&["SELECT", "VALUES"]).then_some(Change::None)
    }
}

fn refused(why: &str) -> Error {
    Error::StatementRefused { why: why.to_owned() }
}

/// `PRAGMA [schema.]name [= value | (value)]`
fn check_pragma<'s>(mut tokens: impl Iterator<Item = Token<'s>>) -> Result<(), Error> {
    let mut name = tokens.next();
    let mut next = tokens.next();
    if next == Some(Token::Other(b'.')) {
        name = tokens.next();
        next = tokens.next();
    }
    if matches!(next, None | Some(Token::Semicolon)) {
        return match next {
            Some(_) => check_end(tokens),
            None => Ok(()),
        };
    }
    let is_known = |token: &Token<'_>| PRAGMAS.iter().any(|known| token.names(known));
    if !name.as_ref().is_some_and(is_known) {
        let name = match name {
            Some(Token::Word(name) | Token::Quoted(name)) => name,
            _ => "this",
        };
        return Err(refused(&format!("PRAGMA {name} is not set by statements")));
    }
    check_rest(false, tokens)
}

/// What follows the first word, up to the end of the text.
fn check_rest<'s>(is_create: bool, tokens: impl Iterator<Item = Token<'s>>) -> Result<(), Error> {
    let mut tokens = tokens.peekable();
    if is_create {
        tokens.next_if(|token| token.is("TEMP") || token.is("TEMPORARY"));
    }
    // The statements of a trigger are a part of its own.
    let mut in_trigger = is_create && tokens.next_if(|token| token.is("TRIGGER")).is_some();
    while let Some(token) = tokens.next() {
        match token {
            Token::Semicolon if in_trigger => {
                in_trigger = tokens.next_if(|token| token.is("END")).is_none();
            }
            Token::Semicolon => return check_end(tokens),
            token if token.names(CALLS_ADDRESSES) => {
                return Err(refused("fts3_tokenizer reaches the memory of the process"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What follows a statement: nothing.
fn check_end<'s>(mut tokens: impl Iterator<Item = Token<'s>>) -> Result<(), Error> {
    match tokens.any(|token| token != Token::Semicolon) {
        true => Err(refused("it holds more than one statement: run them one by one")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(sql: &str) -> String {
        match check(sql) {
            Err(Error::StatementRefused { why }) => why,
            other => panic!("{sql}: {other:?}"),
        }
    }

    #[test]
    fn what_reaches_files_is_refused_however_it_is_dressed() {
        for sql in [
            "ATTACH DATABASE '/etc/x' AS y",
            " ;; attach '/x' as y",
            "/* /* */ Attach '/x' AS y",
            "-- SELECT\nDETACH y",
            "\u{feff}VACUUM INTO '/x'",
            "\u{a0}vacuum",
            "EXPLAIN ATTACH '/x' AS y",
        ] {
            assert!(why(sql).contains("files"), "{sql}");
        }
        for sql in [
            "PRAGMA temp_store_directory = '/x'",
            "PRAGMA main.journal_mode=OFF",
            "PRAGMA/**/\"writable_schema\"(1)",
            "PRAGMA [main] . 'writable_schema' = 1",
            "EXPLAIN QUERY PLAN PRAGMA hard_heap_limit = 1",
            "PRAGMA 1 = 1",
        ] {
            assert!(why(sql).contains("is not set"), "{sql}");
        }
        for sql in ["SELECT fts3_tokenizer('x', $1)", "SELECT \"FTS3_Tokenizer\"($1)"] {
            assert!(why(sql).contains("memory"), "{sql}");
        }
        assert!(why("SELECT 1;\0COMMIT").contains("zero byte"));
    }

    #[test]
    fn a_second_statement_is_refused_however_it_is_dressed() {
        for sql in [
            "SELECT 1; COMMIT",
            "SELECT ';' ; COMMIT",
            "SELECT 'a''b\\'; COMMIT --'",
            "SELECT \"a\"\";\" AS x; COMMIT",
            "SELECT 1 AS [a'b]; COMMIT --'",
            "SELECT `'`; COMMIT --`'",
            "SELECT 1 /* /* */; COMMIT /* */",
            "SELECT 1 -- it's\n; COMMIT --'",
            "SELECT 1 /*/ ; */; COMMIT",
            "SELECT $a('); COMMIT --')",
            "SELECT @a::b(--); COMMIT",
            "SELECT 1;;\u{feff};COMMIT",
            "PRAGMA user_version; COMMIT",
            "PRAGMA user_version = 1; COMMIT",
            "CREATE TABLE trigger_x (id); COMMIT",
            "CREATE TRIGGER t AFTER INSERT ON x BEGIN SELECT 1; END; COMMIT",
            "CREATE TABLE temp (id); SELECT 1; END",
        ] {
            assert!(why(sql).contains("more than one"), "{sql}");
        }
    }

    #[test]
    fn one_statement_passes() {
        for sql in [
            "",
            ";",
            "-- nothing",
            "SELECT 1;",
            "SELECT 1 ; ; -- done; really",
            "SELECT 1; /* ; */",
            "SELECT ';', \";\", `;`, [;], $a(;) --;",
            "SELECT 1 /* ; unfinished",
            "(SELECT 1)",
            "INSERT INTO t VALUES ('ATTACH ''x''; VACUUM')",
            "CREATE TRIGGER t AFTER INSERT ON x BEGIN DELETE FROM x; SELECT CASE WHEN 1 THEN 2 END; END",
            "create temp trigger if not exists t after insert on x begin select 1; end;",
            "EXPLAIN CREATE TEMPORARY TRIGGER t AFTER INSERT ON x BEGIN SELECT 1; END -- so",
            "PRAGMA table_info(users)",
            "PRAGMA main.user_version = 3;",
            "PRAGMA journal_mode",
            "WITH attach AS (SELECT 1) SELECT * FROM attach",
        ] {
            assert_eq!(check(sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn a_transaction_is_not_for_statements() {
        for sql in ["COMMIT", "; /* /* */ end", "EXPLAIN BEGIN", "\u{b}ROLLBACK TO x"] {
            assert!(matches!(check(sql), Err(Error::TransactionStatement { .. })), "{sql}");
        }
    }
}
