//! The address grammar: what parses, what does not, and where errors point.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use proptest::prelude::*;
use stage_value::{Address, HandlerId, Id, MessageId, Scope, SignalAddress, Target};

fn error(text: &str) -> String {
    text.parse::<Address>().unwrap_err().to_string()
}

fn id() -> impl Strategy<Value = Id> {
    "[a-zA-Z0-9_$가-힣-]{1,12}".prop_map(|text| text.parse().unwrap())
}

fn message() -> impl Strategy<Value = MessageId> {
    proptest::collection::vec(id(), 1..4)
        .prop_map(|ids| ids.iter().map(Id::as_str).collect::<Vec<_>>().join(".").parse().unwrap())
}

fn address() -> impl Strategy<Value = Address> {
    let scope = prop_oneof![
        Just(None),
        Just(Some(Scope::Every)),
        Just(Some(Scope::Group)),
        Just(Some(Scope::Others)),
    ];
    let target = prop_oneof![
        Just(Target::Own),
        Just(Target::Instance),
        id().prop_filter("reserved", |id| id.as_str() != "ticket").prop_map(Target::Stage),
    ];
    let handler = || proptest::option::of(message());
    prop_oneof![
        (scope, target, message(), handler(), handler()).prop_map(
            |(scope, target, message, reply, failure)| {
                Address::Signal(SignalAddress { scope, target, message, reply, failure })
            }
        ),
        (id(), message(), handler()).prop_map(|(category, callback, feedback)| {
            Address::Ticket { category, callback, feedback }
        }),
        id().prop_map(Address::TicketCategory),
        id().prop_map(Address::TicketBroadcast),
    ]
}

proptest! {
    #[test]
    fn every_address_is_the_parse_of_its_text(address in address()) {
        prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
    }

    #[test]
    fn whatever_parses_writes_the_same_text(text in "[a-c*=+:.!?@ ]{0,12}|ticket:[a=?@]{0,6}|\\PC{0,24}") {
        match text.parse::<Address>() {
            Ok(address) => prop_assert_eq!(address.to_string(), text),
            Err(error) => prop_assert!(error.column() <= text.chars().count() + 1),
        }
    }
}

#[test]
fn the_addresses_of_the_faq_parse() {
    let ticket: Address = "ticket:login=login_callback".parse().unwrap();
    let Address::Ticket { category, callback, feedback } = ticket else { panic!("{ticket}") };
    assert_eq!((category.as_str(), callback.as_str(), feedback), ("login", "login_callback", None));

    let signal: Address = "stage:callback=result".parse().unwrap();
    let Address::Signal(signal) = signal else { panic!("{signal}") };
    assert_eq!(signal.target, Target::Stage("stage".parse().unwrap()));
    assert_eq!(signal.message.as_str(), "callback");
    assert_eq!(signal.reply.unwrap().as_str(), "result");
}

#[test]
fn scopes_and_targets_combine() {
    let Address::Signal(signal) = "*lobby:chat.say!lost".parse().unwrap() else { panic!() };
    assert_eq!(signal.scope, Some(Scope::Every));
    assert_eq!(signal.failure.unwrap().as_str(), "lost");
    let Address::Signal(signal) = ":tick".parse().unwrap() else { panic!() };
    assert_eq!(signal.target, Target::Instance);
    let Address::Signal(signal) = "tick".parse().unwrap() else { panic!() };
    assert_eq!(signal.target, Target::Own);
}

#[test]
fn errors_point_at_the_column() {
    insta::assert_snapshot!(error("stage:call:back"), @r"
    address, column 11: ':' cannot stand here
      stage:call:back
                ^
    ");
    insta::assert_snapshot!(error(""), @r"
    address, column 1: a name is expected here
      
      ^
    ");
    insta::assert_snapshot!(error("lobby:join="), @r"
    address, column 12: a name is expected here
      lobby:join=
                 ^
    ");
    insta::assert_snapshot!(error("ticket:login"), @r"
    address, column 13: a ticket needs '=callback' here, as in ticket:login=login_callback
      ticket:login
                  ^
    ");
    insta::assert_snapshot!(error("*ticket:login=x"), @r"
    address, column 2: a ticket takes no scope: its callback runs at the sender
      *ticket:login=x
       ^
    ");
    insta::assert_snapshot!(error("a..b"), @r"
    address, column 3: '.' cannot stand here
      a..b
        ^
    ");
}

#[test]
fn long_and_odd_text_is_refused_with_a_short_error() {
    for text in ["x".repeat(100_000), "\0\u{7}".repeat(500), format!("{}!", "y.".repeat(900))] {
        let message = error(&text);
        assert!(message.len() < 400, "{message}");
    }
}

#[test]
fn only_a_trailing_dot_makes_a_prefix() {
    assert!(matches!("lobby.".parse(), Ok(HandlerId::Prefix(_))));
    assert!(matches!("lobby.join".parse(), Ok(HandlerId::Exact(_))));
    assert!(matches!("ticket:@".parse(), Ok(HandlerId::Event(_))));
    assert!(matches!("ticket:login".parse(), Ok(HandlerId::Event(_))));
    assert!(".".parse::<HandlerId>().is_err());
    assert!("lobby..".parse::<HandlerId>().is_err());
    let id: MessageId = "a.b.c".parse().unwrap();
    assert_eq!(id.prefixes().collect::<Vec<_>>(), ["a.b.", "a."]);
}
