use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use schemars::JsonSchema;

use super::node::{is_loopback, socket};
use super::problem::{Problem, ProblemKind};
use super::reader::{Field, Reader, Section};

pub(super) const KEYS: &[&str] = &["listen", "token"];

/// Why an operator's surface beyond loopback needs a token.
pub(super) const EXPOSED: &str = "without a token, whoever reaches this port can operate the node";

/// The operator's surface: health, state and metrics over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Admin {
    /// Where it listens, as "IP:PORT". Beyond this machine only with a token.
    #[schemars(default = "Admin::address", with = "String", extend("default" = "127.0.0.1:7780"))]
    pub listen: SocketAddr,
    /// What a client must show as bearer token: 16 to 256 visible ASCII characters. Default: nothing
    /// is asked for.
    #[schemars(default, with = "String", extend("pattern" = "^[!-~]{16,256}$"))]
    pub token: Option<Token>,
}

/// A secret that neither logs nor `Debug` show.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The secret itself.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Admin {
    /// The surface at an address, without a token.
    #[must_use]
    pub fn at(listen: SocketAddr) -> Self {
        Self { listen, token: None }
    }

    fn address() -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7780)
    }

    pub(super) fn read(field: &Field<'_>, reader: &mut Reader<'_>) -> Self {
        let mut admin = Self::at(Self::address());
        let Some(section) = Section::open(field, KEYS, reader) else { return admin };
        let token = section.field("token");
        admin.token = token.as_ref().and_then(|token| read_token(token, reader));
        let Some(listen) = section.field("listen") else { return admin };
        admin.listen = socket(&listen, reader).unwrap_or(admin.listen);
        if !is_loopback(admin.listen) && token.is_none() {
            let kind = ProblemKind::Exposed { key: listen.path.clone(), reason: EXPOSED };
            let help = "listen on 127.0.0.1, or add a \"token\" of at least 16 characters";
            reader.record(Problem::at(listen.span(), kind).help(help));
        }
        admin
    }
}

pub(super) fn read_token(field: &Field<'_>, reader: &mut Reader<'_>) -> Option<Token> {
    let text = field.text(reader)?;
    if (16..=256).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic()) {
        return Some(Token(text.to_owned()));
    }
    let kind = ProblemKind::Malformed {
        key: field.path.clone(),
        expected: "a token",
        found: "this".into(),
    };
    let help = "16 to 256 visible ASCII characters, such as the output of `openssl rand -hex 16`";
    reader.record(Problem::at(field.span(), kind).help(help));
    None
}
