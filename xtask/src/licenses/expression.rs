//! License expressions of SPDX: names joined by `OR`, `AND`, `WITH` and parentheses.

use anyhow::{Result, bail};

/// Whether somebody who accepts the licenses that `allows` names may use what carries the
/// expression. A name with an exception (`A WITH B`) is asked for as a whole.
pub(crate) fn holds(expression: &str, allows: &dyn Fn(&str) -> bool) -> Result<bool> {
    // Old manifests write a slash for OR; parentheses stand without spaces.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words = spaced.split_whitespace().map(|word| match word {
        // SPDX 3 takes small operators too.
        "or" => "OR",
        "and" => "AND",
        "with" => "WITH",
        word => word,
    });
    let mut parser = Parser { words: words.peekable(), allows };
    let holds = parser.either()?;
    match parser.words.next() {
        None => Ok(holds),
        Some(word) => bail!("`{expression}` is no license expression: `{word}` is too much"),
    }
}

struct Parser<'a, I: Iterator<Item = &'a str>> {
    words: std::iter::Peekable<I>,
    allows: &'a dyn Fn(&str) -> bool,
}

impl<'a, I: Iterator<Item = &'a str>> Parser<'a, I> {
    fn either(&mut self) -> Result<bool> {
        let mut holds = self.both()?;
        while self.words.next_if_eq(&"OR").is_some() {
            holds |= self.both()?;
        }
        Ok(holds)
    }

    fn both(&mut self) -> Result<bool> {
        let mut holds = self.single()?;
        while self.words.next_if_eq(&"AND").is_some() {
            holds &= self.single()?;
        }
        Ok(holds)
    }

    fn single(&mut self) -> Result<bool> {
        match self.words.next() {
            Some("(") => {
                let holds = self.either()?;
                if self.words.next() != Some(")") {
                    bail!("a parenthesis of the license expression is not closed");
                }
                Ok(holds)
            }
            Some(name) if !["OR", "AND", "WITH", ")"].contains(&name) => {
                let Some(_) = self.words.next_if_eq(&"WITH") else {
                    // `A+` may be taken as A itself.
                    let this_version = name.strip_suffix('+').unwrap_or(name);
                    return Ok((self.allows)(this_version));
                };
                let exception = self.words.next().unwrap_or_default();
                Ok((self.allows)(&format!("{name} WITH {exception}")))
            }
            _ => bail!("the license expression lacks a name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(expression: &str) -> bool {
        let allows = |id: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&id);
        holds(expression, &allows).unwrap()
    }

    #[test]
    fn operators_may_be_small() {
        assert!(allowed("MIT or GPL-3.0-only") && !allowed("MIT and GPL-3.0-only"));
        assert!(allowed("Apache-2.0 with LLVM-exception"));
    }

    #[test]
    fn one_of_several_choices_is_enough() {
        assert!(allowed("GPL-3.0 OR MIT"));
        assert!(allowed("GPL-3.0/MIT"));
        assert!(!allowed("GPL-3.0 OR MPL-2.0"));
    }

    #[test]
    fn every_part_that_applies_must_be_allowed() {
        assert!(allowed("MIT AND ISC"));
        assert!(!allowed("MIT AND GPL-3.0"));
        assert!(allowed("(GPL-3.0 OR MIT) AND ISC"));
        assert!(!allowed("GPL-3.0 OR MIT AND BSD-3-Clause"));
    }

    #[test]
    fn a_license_or_a_later_one_may_be_taken_as_itself() {
        assert!(allowed("MIT+"));
        assert!(!allowed("GPL-3.0+"));
    }

    #[test]
    fn an_exception_belongs_to_its_license() {
        assert!(allowed("Apache-2.0 WITH LLVM-exception"));
        assert!(!allowed("Apache-2.0"));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for expression in ["", "MIT OR", "(MIT", "MIT ISC", ")"] {
            assert!(holds(expression, &|_| true).is_err(), "{expression}");
        }
    }
}
