//! `ticket:=category`: a message to all who hold a ticket of a category, wherever they are.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use mlua::Lua;
use stage_signal::{Failure, Reason};
use stage_value::{Id, Value, wire};

use super::run_handler;
use super::signal::unheard;
use crate::vm::Local;

/// How many broadcasts a VM remembers having heard.
const REMEMBERED: usize = 64;

/// The broadcasts that a VM has heard: it may hold several tickets of a category, and each of them
/// gets every message.
#[derive(Default)]
pub(crate) struct Heard(RefCell<VecDeque<Value>>);

impl Heard {
    fn is_news(&self, id: &Value) -> bool {
        let mut heard = self.0.borrow_mut();
        if heard.contains(id) {
            return false;
        }
        if heard.len() == REMEMBERED {
            heard.pop_front();
        }
        heard.push_back(id.clone());
        true
    }
}

/// Sends a broadcast; a failure is logged and counted.
pub(super) fn send(local: &Rc<Local>, category: &Id, args: Vec<Value>) {
    let mut message = vec![Value::from(new_id(local))];
    message.extend(args);
    let (local, to) = (Rc::clone(local), category.clone());
    let address = format!("ticket:={category}");
    let tickets = local.services.parts.tickets.tickets().clone();
    let broadcast = async move { tickets.broadcast(to.as_str(), &wire::encode(&message)).await };
    let services = Arc::clone(&local.services);
    let sent = local.told.make(move || services.spawn(broadcast));
    tokio::task::spawn_local(async move {
        // A runtime that has ended has nobody left to tell.
        if let Ok(Err(error)) = sent.await {
            let failure = Failure::new(Reason::Refused, error.to_string());
            unheard(&local, &address, "", &failure);
        }
    });
}

/// Gives a broadcast that reached a ticket of this VM to the `ticket:category` handler, once.
pub(super) fn hear(lua: &Lua, local: &Rc<Local>, category: &Id, message: &[u8]) {
    let limits = &local.options.values;
    let mut args = match wire::decode(&Bytes::copy_from_slice(message), limits) {
        Ok(args) if !args.is_empty() => args,
        Ok(_) => return,
        Err(error) => {
            tracing::warn!(%category, %error, "a broadcast to ticket holders cannot be read");
            return;
        }
    };
    let id = args.remove(0);
    if !local.heard.is_news(&id) {
        return;
    }
    let name = format!("ticket:{category}");
    let handler = local.handlers.borrow().of_event(&name).cloned();
    if let Some(handler) = handler {
        let (lua, local) = (lua.clone(), Rc::clone(local));
        tokio::task::spawn_local(async move {
            run_handler(&lua, &local, name.into(), &handler, args).await;
        });
    }
}

/// Tells this broadcast from all others.
fn new_id(local: &Local) -> String {
    let number = local.services.next_number();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}/{}/{number}", local.services.parts.node, now.as_nanos())
}
