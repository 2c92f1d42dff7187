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

/// How a server writes comments.
#[cfg(any(feature = "postgres", feature = "mysql"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Comments {
    /// Whether one in a block comment has an end of its own.
    nest: bool,
    /// Whether `#` begins one.
    hash: bool,
    /// Whether block comments may be code: `/*! COMMIT */`.
    run: bool,
    /// What ends those of one line.
    line_ends: &'static [char],
    /// The settings that decide when a connection commits, each with the words of its error.
    settings: &'static [(&'static str, &'static str)],
}

#[cfg(any(feature = "postgres", feature = "mysql"))]
impl Comments {
    #[cfg(feature = "postgres")]
    pub(crate) const POSTGRES: Self =
        Self { nest: true, hash: false, run: false, line_ends: &['\n', '\r'], settings: &[] };

    #[cfg(feature = "mysql")]
    pub(crate) const MYSQL: Self = Self {
        nest: false,
        hash: true,
        run: true,
        line_ends: &['\n'],
        settings: &[("autocommit", "SET autocommit"), ("completion_type", "SET completion_type")],
    };

    /// Refuses a statement of a server that begins or ends a transaction by hand, or sets when that is done. More than one
    /// statement in a text are refused by the servers themselves.
    ///
    /// # Errors
    /// [`Error::TransactionStatement`] with its first word or what it sets, [`Error::StatementRefused`] if only the server
    /// knows which word is the first.
    pub(crate) fn check(self, sql: &str) -> Result<(), Error> {
        let word = self.first_word(sql)?;
        check_word(word)?;
        if !word.eq_ignore_ascii_case("SET") || self.settings.is_empty() {
            return Ok(());
        }
        // One SET may have many settings, each in many forms. None but these has a use for their names.
        let text = sql.to_ascii_lowercase();
        match self.settings.iter().find(|(name, _)| text.contains(name)) {
            Some((_, word)) => Err(Error::TransactionStatement { word }),
            None => Ok(()),
        }
    }

    /// The first word behind spaces, semicolons and comments. Takes O(n) for n bytes of those.
    fn first_word(self, mut sql: &str) -> Result<&str, Error> {
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
                return Ok(&sql[..end]);
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

    fn is_of_transaction(comments: Comments, sql: &str) -> bool {
        matches!(comments.check(sql), Err(Error::TransactionStatement { .. }))
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
            for comments in [Comments::POSTGRES, Comments::MYSQL] {
                assert!(is_of_transaction(comments, sql), "{sql}");
            }
        }
    }

    #[test]
    fn each_server_has_its_own_comments() {
        for sql in ["/* a /* nested */ one */ COMMIT", "-- x\rCOMMIT"] {
            assert!(is_of_transaction(Comments::POSTGRES, sql), "{sql}");
        }
        for sql in ["# x\nCOMMIT", "/* /* */ COMMIT", "-- x\r\n#\n/**/COMMIT", "XA START 'x'"] {
            assert!(is_of_transaction(Comments::MYSQL, sql), "{sql}");
        }
        assert_eq!(Comments::POSTGRES.check("/* /* */ COMMIT */ SELECT 1"), Ok(()));
        assert_eq!(Comments::MYSQL.check("-- x\rCOMMIT\nSELECT 1"), Ok(()));
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
            assert!(is_of_transaction(Comments::MYSQL, sql), "{sql}");
        }
        for sql in
            ["SET sql_mode = ''", "SELECT @@autocommit AS a", "INSERT INTO autocommit SET a = 1"]
        {
            assert_eq!(Comments::MYSQL.check(sql), Ok(()), "{sql}");
        }
        assert_eq!(Comments::POSTGRES.check("SET my.autocommit = 0"), Ok(()));
    }

    #[test]
    fn a_comment_that_may_be_code_begins_no_statement() {
        for sql in ["/*! COMMIT */", "-- x\n/*!99999 x */ COMMIT", "/*M!100000 COMMIT */"] {
            let refused = Comments::MYSQL.check(sql);
            assert!(matches!(refused, Err(Error::StatementRefused { .. })), "{sql}");
        }
        assert_eq!(Comments::MYSQL.check("SELECT /*! SQL_NO_CACHE */ 1"), Ok(()));
    }

    #[test]
    fn other_statements_pass_even_if_they_are_no_sql() {
        for sql in ["SELECT 1", "", "-- BEGIN", "/* BEGIN", "beginning", "(SELECT 1)", "INSERT --"]
        {
            for comments in [Comments::POSTGRES, Comments::MYSQL] {
                assert!(comments.check(sql).is_ok(), "{sql}");
            }
        }
    }
}
