#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use tokio::sync::oneshot::error::TryRecvError;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A node that holds a grant.
fn holding() -> (Shared, Token) {
    let config = Arc::new(RemoteConfig::new(["127.0.0.1:1"]));
    let shared = Shared::new(config, Shard::WHOLE, broadcast::Sender::new(1));
    shared.with(attach);
    let name = CategoryName::try_new("db").unwrap();
    let count = shared.with(|state, _| state.request(&name, true).unwrap().0);
    let stamp = Stamp { epoch: 1, sequence: 1 };
    let token = Token { category: name.id(), slot: 0, stamp };
    let grant = proto::Grant { count, token: message(token), expires_ns: 9_000_000_000 };
    receive(&shared, proto::ServerFrame { grants: vec![grant], ..Default::default() });
    (shared, token)
}

fn attach(state: &mut State, now: Time) {
    let hello = proto::ServerHello {
        protocol_version: crate::wire::VERSION,
        epoch: 1,
        echo: Some(proto::HeartbeatEcho { sent_ns: now.0, server_ns: now.0 }),
        grant_ns: 9_000_000_000,
        max_grant_ns: 60_000_000_000,
        ..Default::default()
    };
    state.holder.attach(now, &hello).unwrap();
}

fn receive(shared: &Shared, frame: proto::ServerFrame) {
    shared.with(|state, now| state.holder.receive(now, frame)).unwrap();
}

fn message(token: Token) -> Option<proto::Token> {
    Some(crate::wire::token_message(token))
}

/// The counts of the extensions that are to be sent.
fn asked(shared: &Shared) -> Vec<u64> {
    let frame = shared.with(|state, _| state.holder.take_frame()).unwrap();
    frame.extensions.iter().map(|extension| extension.count).collect()
}

fn extended(token: Token, count: u64) -> proto::ServerFrame {
    let extended = proto::Extended { token: message(token), expires_ns: 20_000_000_000, count };
    proto::ServerFrame { extended: vec![extended], ..Default::default() }
}

fn refused(token: Token, count: u64) -> proto::ServerFrame {
    let reason = proto::ExtensionRefusal::NoAuthority.into();
    let refused = proto::ExtensionRefused { token: message(token), reason, count };
    proto::ServerFrame { refused_extensions: vec![refused], ..Default::default() }
}

#[test]
fn a_renewal_that_is_answered_first_does_not_answer_who_asked_for_an_extension() {
    let (shared, token) = holding();
    let mut answer = shared.with(|state, _| state.extend(token, 5 * SECOND)).unwrap();
    shared.with(|state, now| {
        state.holder.renew(token, now.after(60 * SECOND));
        state.holder.time_passed(now.after(4 * SECOND));
    });
    let [asked, renewal] = asked(&shared)[..] else { unreachable!() };
    receive(&shared, extended(token, renewal));
    assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
    receive(&shared, refused(token, asked));
    let refusal = ExtensionRefusal::NoAuthority;
    assert_eq!(answer.try_recv(), Ok(Err(ExtendError::Refused { refusal })));
}

#[test]
fn a_broken_connection_answers_all_extensions_and_none_of_the_next_one() {
    let (shared, token) = holding();
    let extend = || shared.with(|state, _| state.extend(token, 5 * SECOND)).unwrap();
    let cut = [extend(), extend()];
    shared.with(|state, _| state.holder.detach());
    for mut cut in cut {
        assert_eq!(cut.try_recv(), Ok(Err(ExtendError::Unreachable)));
    }
    shared.with(attach);
    let mut answer = extend();
    let [asked] = asked(&shared)[..] else { unreachable!() };
    receive(&shared, extended(token, asked));
    assert!(matches!(answer.try_recv(), Ok(Ok(_))));
}
