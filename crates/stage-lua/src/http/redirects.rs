//! Which redirects are followed.
//!
//! A server that a script trusts with a header or a body need not be one that its redirects lead to, and what was
//! asked for under TLS is not to go on without.

use reqwest::Url;
use reqwest::redirect::Policy;

/// Redirects of a request that are followed.
const MOST: usize = 5;

/// Why a redirect is not followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("there are more than {MOST}")]
    TooMany,
    #[error("it leads to no address of the web")]
    NoWeb,
    #[error("it leads from https to http")]
    Downgrade,
    #[error(
        "it leads to {0}, and headers and bodies go to no other origin; to go there all the same, give follow = false and request the answer's location"
    )]
    Elsewhere(String),
}

/// Follows redirects, of requests with headers or a body only within their origin.
pub(super) fn followed(carries: bool) -> Policy {
    Policy::custom(move |attempt| match check(attempt.previous(), attempt.url(), carries) {
        Ok(()) => attempt.follow(),
        Err(why) => attempt.error(why),
    })
}

fn check(before: &[Url], next: &Url, carries: bool) -> Result<(), Refused> {
    // The first of these is what the script asked for.
    if before.len() > MOST {
        return Err(Refused::TooMany);
    }
    if !matches!(next.scheme(), "http" | "https") {
        return Err(Refused::NoWeb);
    }
    let Some(last) = before.last() else { return Ok(()) };
    if last.scheme() == "https" && next.scheme() == "http" {
        return Err(Refused::Downgrade);
    }
    if carries && last.origin() != next.origin() {
        return Err(Refused::Elsewhere(next.origin().ascii_serialization()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(from: &str, to: &str, carries: bool) -> Result<(), Refused> {
        check(&[Url::parse(from).unwrap()], &Url::parse(to).unwrap(), carries)
    }

    #[test]
    fn no_redirect_leads_from_https_to_http() {
        for carries in [false, true] {
            let down = lead("https://a.example/", "http://a.example/", carries);
            assert_eq!(down, Err(Refused::Downgrade));
        }
        assert_eq!(lead("http://a.example/", "https://a.example/", false), Ok(()));
    }

    #[test]
    fn what_carries_something_stays_with_its_scheme_host_and_port() {
        let from = "https://a.example/one?secret";
        for (to, origin) in [
            ("https://b.example/?secret", "https://b.example"),
            ("https://user:secret@a.example:444/", "https://a.example:444"),
        ] {
            assert_eq!(lead(from, to, false), Ok(()));
            assert_eq!(lead(from, to, true), Err(Refused::Elsewhere(origin.to_owned())));
        }
        let up = lead("http://a.example/", "https://a.example/", true);
        assert_eq!(up, Err(Refused::Elsewhere("https://a.example".to_owned())));
        assert_eq!(lead(from, "https://a.example:443/two", true), Ok(()));
    }

    #[test]
    fn a_redirect_to_no_address_of_the_web_is_refused() {
        assert_eq!(lead("http://a.example/", "ftp://a.example/", false), Err(Refused::NoWeb));
    }
}
