//! Statements that a connection of a pool must not run: they would change it for whoever gets it next.

use crate::Error;

/// The words that begin or end a transaction.
const REFUSED: [&str; 9] =
    ["BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "XA"];

/// Refuses the first word of a statement that begins or ends a transaction by hand.
///
/// # Errors
/// [`Error::TransactionStatement`].
pub(crate) fn check_word(word: &str) -> Result<(), Error> {
    match REFUSED.into_iter().find(|refused| word.eq_ignore_ascii_case(refused)) {
        Some(word) => Err(Error::TransactionStatement { word }),
        None => Ok(()),
    }
}

/// PostgreSQL's limit for each statement.
#[cfg(any(feature = "postgres", feature = "mysql"))]
const TIME_OF_STATEMENTS: &str = "statement_timeout";

/// What of a server's language decides which statements its connections run.
#[cfg(any(feature = "postgres", feature = "mysql"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    /// Whether a block comment within another one has an end of its own.
    nest: bool,
    /// Whether `#` begins a comment.
    hash: bool,
    /// Whether block comments may be code: `/*! COMMIT */`.
    run: bool,
    /// What ends comments of one line.
    line_ends: &'static [char],
    /// The settings that decide when a connection commits or how long it may work, each with the words of its error.
    settings: &'static [(&'static str, &'static str)],
    /// First words of statements that leave something on their connection, or close what it has.
    kept: &'static [&'static str],
    /// First words of blocks of code, in which anything may stand.
    blocks: &'static [&'static str],
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl Dialect {
    #[cfg(feature = "postgres")]
    pub(crate) const POSTGRES: Self = Self {
        nest: true,
        hash: false,
        run: false,
        line_ends: &['\n', '\r'],
        settings: &[
            (TIME_OF_STATEMENTS, "SET statement_timeout"),
            ("client_connection_check_interval", "SET client_connection_check_interval"),
        ],
        // PREPARE TRANSACTION ends one, whose locks stay; the others are about the driver's own statements.
        kept: &["PREPARE", "DEALLOCATE", "DISCARD"],
        blocks: &[],
    };

    #[cfg(feature = "mysql")]
    pub(crate) const MYSQL: Self = Self {
        nest: false,
        hash: true,
        run: true,
        line_ends: &['\n'],
        settings: &[
            ("autocommit", "SET autocommit"),
            ("completion_type", "SET completion_type"),
            ("max_statement_time", "SET max_statement_time"),
            ("max_execution_time", "SET max_execution_time"),
        ],
        kept: &["LOCK", "UNLOCK", "FLUSH", "HANDLER", "PREPARE", "DEALLOCATE", "USE"],
        blocks: &["IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR", "EXECUTE"],
    };

    /// Refuses a statement of a server that begins or ends a transaction by hand, that sets when that is done or how long statements
    /// may take, or that is for the next user of the connection as well. More than one statement in a text are refused by the
    /// servers themselves.
    ///
    /// # Errors
    /// [`Error::TransactionStatement`] with its first word or what it sets, [`Error::StatementRefused`] for the others, and if
    /// only the server knows which word is the first.
    pub(crate) fn check(self, sql: &str) -> Result<(), Error> {
        let (word, rest) = self.first_word(sql)?;
        check_word(word)?;
        let is_among = |words: &[&str]| words.iter().any(|it| word.eq_ignore_ascii_case(it));
        let refused = |what: &str| {
            Err(Error::StatementRefused { why: format!("{} {what}", word.to_ascii_uppercase()) })
        };
        if is_among(self.kept) {
            return refused("would outlast the call on its connection, which others use next");
        }
        if is_among(self.blocks) {
            return refused("may hide the end of a transaction: run the statements one by one");
        }
        if is_among(&["SET", "RESET"]) { self.check_settings(rest) } else { Ok(()) }
    }

    /// One SET may have many settings, each in many forms. None but these has a use for their names.
    fn check_settings(self, rest: &str) -> Result<(), Error> {
        let text = rest.to_ascii_lowercase();
        // For the transaction alone; one that outlives its client is still noticed.
        let is_local = !self.run && self.first_word(&text)?.0 == "local";
        let is_for_itself = |name: &str| is_local && name == TIME_OF_STATEMENTS;
        let mut named = self.settings.iter().filter(|(name, _)| text.contains(name));
        if let Some((_, word)) = named.find(|(name, _)| !is_for_itself(name)) {
            return Err(Error::TransactionStatement { word });
        }
        // SET STATEMENT name = value FOR statement.
        if self.run && text.contains("statement") {
            let why = "SET STATEMENT may hide the end of a transaction".to_owned();
            return Err(Error::StatementRefused { why });
        }
        Ok(())
    }

    /// The first word behind spaces, semicolons and comments, and what follows it. Takes O(n) for n bytes of those.
    fn first_word(self, mut sql: &str) -> Result<(&str, &str), Error> {
        loop {
            sql =
                sql.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '\u{feff}');
            let line =
                sql.strip_prefix("--").or_else(|| sql.strip_prefix('#').filter(|_| self.hash));
            if let Some(rest) = line {
                sql = rest.split_once(self.line_ends).map_or("", |(_, rest)| rest);
            } else if let Some(rest) = sql.strip_prefix("/*") {
                // Whether it is code depends on the version of the server.
                if self.run && (rest.starts_with('!') || rest.starts_with("M!")) {
                    let why = "it begins with a comment that may be code";
                    return Err(Error::StatementRefused { why: why.into() });
                }
                sql = self.behind_comment(rest);
            } else {
                let end = sql.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(sql.len());
                return Ok(sql.split_at(end));
            }
        }
    }

    /// What follows a block comment.
    fn behind_comment(self, mut rest: &str) -> &str {
        let mut depth = 1;
        while depth > 0 {
            let (open, close) = (rest.find("/*").filter(|_| self.nest), rest.find("*/"));
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
}

#[cfg(all(test, feature = "postgres", feature = "mysql"))]
mod tests {
    use super::*;

    fn is_of_transaction(dialect: Dialect, sql: &str) -> bool {
        matches!(dialect.check(sql), Err(Error::TransactionStatement { .. }))
    }

    #[test]
    fn what_begins_or_ends_a_transaction_is_refused_however_it_is_dressed() {
        for sql in [
            "BEGIN",
            "  commit;",
            "; ROLLBACK",
            "-- so\n end",
            "/* one */abort",
            "Savepoint x",
            "start transaction",
        ] {
            for dialect in [Dialect::POSTGRES, Dialect::MYSQL] {
                assert!(is_of_transaction(dialect, sql), "{sql}");
            }
        }
    }

    #[test]
    fn each_server_has_its_own_comments() {
        for sql in ["/* a /* nested */ one */ COMMIT", "-- x\rCOMMIT"] {
            assert!(is_of_transaction(Dialect::POSTGRES, sql), "{sql}");
        }
        for sql in ["# x\nCOMMIT", "/* /* */ COMMIT", "-- x\r\n#\n/**/COMMIT", "XA START 'x'"] {
            assert!(is_of_transaction(Dialect::MYSQL, sql), "{sql}");
        }
        assert_eq!(Dialect::POSTGRES.check("/* /* */ COMMIT */ SELECT 1"), Ok(()));
        assert_eq!(Dialect::MYSQL.check("-- x\rCOMMIT\nSELECT 1"), Ok(()));
    }

    #[test]
    fn a_server_that_lets_a_connection_set_when_it_commits_is_not_asked_to() {
        for sql in [
            "SET autocommit = 0",
            "set session AutoCommit=OFF",
            "SET @@autocommit := 0",
            "SET @@SESSION . `autocommit` = 0",
            "/* x */ SET\tsql_mode = '', autocommit = 0",
            "SET /*!40101 autocommit = */ 0",
            "SET GLOBAL autocommit = 0",
            "SET STATEMENT autocommit = 0 FOR SELECT 1",
            "SET completion_type = CHAIN",
        ] {
            assert!(is_of_transaction(Dialect::MYSQL, sql), "{sql}");
        }
        for sql in
            ["SET sql_mode = ''", "SELECT @@autocommit AS a", "INSERT INTO autocommit SET a = 1"]
        {
            assert_eq!(Dialect::MYSQL.check(sql), Ok(()), "{sql}");
        }
        assert_eq!(Dialect::POSTGRES.check("SET my.autocommit = 0"), Ok(()));
    }

    #[test]
    fn what_would_outlast_the_call_or_hides_what_it_runs_is_refused() {
        let refused = |dialect: Dialect, sql: &str| {
            let error = dialect.check(sql);
            assert!(matches!(error, Err(Error::StatementRefused { .. })), "{sql}: {error:?}");
        };
        for sql in
            ["PREPARE TRANSACTION 'x'", "deallocate all", "DISCARD ALL", "prepare p as select 1"]
        {
            refused(Dialect::POSTGRES, sql);
        }
        for sql in [
            "IF 1 THEN COMMIT; END IF",
            "EXECUTE IMMEDIATE 'COMMIT'",
            "SET STATEMENT sql_mode = '' FOR COMMIT",
            "LOCK TABLES t WRITE",
            "flush tables with read lock",
            "HANDLER t OPEN",
            "USE other",
        ] {
            refused(Dialect::MYSQL, sql);
        }
        for sql in ["LOCK TABLE t IN SHARE MODE", "EXECUTE p", "CALL p()", "DO $$ $$"] {
            assert_eq!(Dialect::POSTGRES.check(sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn how_long_statements_may_take_is_not_set_by_statements() {
        for sql in [
            "SET statement_timeout = 0",
            "SET LOCAL client_connection_check_interval = 0",
            "RESET statement_timeout",
        ] {
            assert!(is_of_transaction(Dialect::POSTGRES, sql), "{sql}");
        }
        for sql in [
            "SET SESSION max_statement_time = 0",
            "SET STATEMENT max_statement_time = 0 FOR SELECT 1",
        ] {
            assert!(is_of_transaction(Dialect::MYSQL, sql), "{sql}");
        }
        for sql in ["SELECT 1 AS statement_timeout", "set local Statement_Timeout to 100"] {
            assert_eq!(Dialect::POSTGRES.check(sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn a_comment_that_may_be_code_begins_no_statement() {
        for sql in ["/*! COMMIT */", "-- x\n/*!99999 x */ COMMIT", "/*M!100000 COMMIT */"] {
            let refused = Dialect::MYSQL.check(sql);
            assert!(matches!(refused, Err(Error::StatementRefused { .. })), "{sql}");
        }
        assert_eq!(Dialect::MYSQL.check("SELECT /*! SQL_NO_CACHE */ 1"), Ok(()));
    }

    #[test]
    fn other_statements_pass_even_if_they_are_no_sql() {
        for sql in ["SELECT 1", "", "-- BEGIN", "/* BEGIN", "beginning", "(SELECT 1)", "INSERT --"]
        {
            for dialect in [Dialect::POSTGRES, Dialect::MYSQL] {
                assert!(dialect.check(sql).is_ok(), "{sql}");
            }
        }
    }
}
