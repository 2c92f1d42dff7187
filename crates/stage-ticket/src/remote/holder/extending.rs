//! How grants come to last longer: on request, and again and again by themselves.

use std::time::Duration;

use stage_proto::ticket::v1 as proto;

use super::{Holder, NotSent, Outcome, Stage};
use crate::coordinator::ExtensionRefusal;
use crate::{Time, Token, wire};

/// A renewal goes by this instead of a count: nobody waits for its answer.
const RENEWAL: u64 = 0;

impl Holder {
    /// Asks for a grant to be extended; returns the count of the extension, which its answer has too.
    pub(in crate::remote) fn extend(&mut self, token: Token, by: Duration) -> Result<u64, NotSent> {
        if !self.held.contains_key(&token.stamp) {
            return Err(NotSent::NotHeld);
        }
        if self.attached.is_none() {
            return Err(NotSent::NotAttached);
        }
        self.last_extension += 1;
        self.out.extend(token, by, self.last_extension);
        Ok(self.last_extension)
    }

    /// Has a grant extended again and again until `until`.
    pub(in crate::remote) fn renew(&mut self, token: Token, until: Time) {
        if let Some(expires) = self.deadline(token) {
            self.renewals.add(token, expires, until, self.grant);
        }
    }

    /// Asks for the renewals that are due.
    pub(super) fn ask_for_renewals(&mut self, now: Time) {
        while let Some((token, by)) = self.renewals.due(now, self.grant) {
            // Until it is answered it is asked again and again: an extension may be lost.
            self.renewals.postpone(token.stamp, now.after(self.grant / 6));
            if self.attached.is_some() && !by.is_zero() {
                self.out.extend(token, by, RENEWAL);
            }
        }
    }

    pub(super) fn extended(&mut self, token: Token, extension: u64, expires: Time) {
        let Some((held, known)) = self.token_of(token.stamp) else {
            // It was over here before the answer came, but lives on at the coordinator.
            return self.out.release(wire::token_message(token));
        };
        let local = self.attached.as_ref().and_then(|attached| attached.clock.local(expires));
        let Some(until) = local else { return };
        let until = until.max(known);
        let count = self.held.get(&held.stamp).copied().unwrap_or_default();
        if let Some(entry) = self.requests.get_mut(count) {
            entry.stage = Stage::Holding { token: held, until };
            self.due.remove(&(known, held.stamp));
            self.due.insert((until, held.stamp));
        }
        self.renewals.extended(held, until, self.grant);
        self.outcomes.push(Outcome::Extended { token: held, extension, expires: until });
    }

    pub(super) fn not_extended(
        &mut self,
        token: Token,
        extension: u64,
        reason: proto::ExtensionRefusal,
    ) {
        let refusal = wire::extension_refusal(reason);
        self.outcomes.push(Outcome::NotExtended { token, extension, refusal });
        if refusal == ExtensionRefusal::NotHeld {
            self.lose(token.stamp);
        }
    }
}
