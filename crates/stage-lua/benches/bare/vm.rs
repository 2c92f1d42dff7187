//! A VM that nothing but the bench uses.

use std::sync::Arc;

use stage_lua::measure::Bare;
use stage_lua::{Options, Output, Parts};
use stage_signal::{Identity, Mesh, OpenGate};

/// The VM, and the runtime that it was opened in.
pub(crate) fn open() -> (tokio::runtime::Runtime, Bare) {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let identity = Identity { name: "a".into(), group: "a".into(), address: None, incarnation: 1 };
    let bare = tokio.block_on(async {
        let parts = Parts {
            node: "a".into(),
            mesh: Mesh::new(identity, stage_signal::Config::default(), Arc::new(OpenGate)).unwrap(),
            submitter: stage_submit::Submitter::new(stage_submit::Limits::default()),
            tickets: stage_lua::TicketDesk::new(
                stage_ticket::Tickets::new(stage_ticket::Config::default()).unwrap(),
            ),
            databases: stage_lua::Databases::default(),
            shared: Arc::default(),
            route: stage_route::Route::new("a", stage_route::Config::never()),
            output: Output::new(std::io::sink()),
        };
        Bare::open(Options::default(), parts).unwrap()
    });
    (tokio, bare)
}
